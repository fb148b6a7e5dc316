"""What the networks of a trained variant say to pictures from disk."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.analysis.run import Run, load_run, open_network
from cnn_ablations.config.datasets import Dataset, Fit, FolderDataset
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, UInt8s
from cnn_ablations.data.folder import FILE_LIMIT
from cnn_ablations.data.images import look_at, read_image
from cnn_ablations.data.splits import Images, Subset
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import read_limited
from cnn_ablations.paths import Paths
from cnn_ablations.training.evaluation import BATCH, evaluate

Probabilities = NDArray[np.float32]
FITTED: dict[Fit, str] = {"resize": "resized", "pad": "resized and padded", "crop": "cropped"}
ANOTHER_NETWORK = 0.01
"""Probabilities that differ by more than this on average are those of another network."""


class Picture(NamedTuple):
    """A picture's file as the networks see it."""

    pixels: UInt8s
    """(height, width, channels), as the data set has them."""
    changes: str
    """What was done to it, such as `resized from 400×500 pixels (height×width)`; may be empty."""


def open_run(variant: Variant, paths: Paths) -> Run:
    """A trained variant with the weights of its networks.

    Raises ProjectError where they are not there, which git does not hold, or as `load_run` does.
    """
    if not paths.run(variant.group, variant.name).is_dir():
        raise ProjectError(
            f"the networks of {variant.name} are not in this checkout, since git does not hold "
            f"them; `dvc repro train@{variant.name}` trains them again"
        )
    return load_run(variant, paths)


def read_picture(path: Path, arrays: Arrays, dataset: Dataset) -> Picture:
    """A picture as an image of the data set, read as folders of images are.

    Nothing is inverted. Raises ProjectError where the file cannot be read as a picture.
    """
    fit = dataset.fit if isinstance(dataset, FolderDataset) else "resize"
    height, width, channels = arrays.image_shape
    try:
        if channels not in (1, 3):
            raise ValueError(f"the data set's images have {channels} channels")
        content = read_limited(path, FILE_LIMIT)
        look = look_at(content, path.name)
        pixels = read_image(content, arrays.image_shape, fit)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ProjectError(f"{path} cannot be read as a picture: {what}") from None
    changes = [*look.odd, *(["made grey"] if channels == 1 and not look.grey else [])]
    if (look.height, look.width) != (height, width):
        changes.append(f"{FITTED[fit]} from {look.height}×{look.width} pixels (height×width)")
    if arrays.pixel_max != 255:
        changes.append(f"pixels brought to 0..{arrays.pixel_max}")
        pixels = np.rint(pixels * (arrays.pixel_max / 255)).astype(np.uint8)
    return Picture(pixels, ", ".join(changes))


def probabilities(run: Run, seed: int, images: UInt8s) -> Probabilities:
    """What the network of one seed says to images (n, height, width, channels): (n, classes).

    They are evaluated among test images, in batches of the same size as those were after the
    training: the same image gives the same bits, and a network that changed since is found out.

    Raises ProjectError where the network is missing, or does not answer as it did.
    """
    network, test, kept = open_network(run, seed), run.subsets["test"], kept_answers(run, seed)
    size, answers = min(BATCH, len(kept)), []
    step = max(1, size - 1)
    for start in range(0, len(images), step):
        asked = images[start : start + step]
        pixels = np.concatenate([asked, test.images[: size - len(asked)]])
        labels = np.zeros(size, test.labels.dtype)  # which only the loss depends on
        batch = Subset(Images(pixels, np.arange(size)), labels, test.part)
        found = evaluate(network, batch, run.variant.evaluate_mirrored).probabilities
        answers.append(found[: len(asked)])
        if np.abs(found[len(asked) :] - kept[: size - len(asked)]).mean() > ANOTHER_NETWORK:
            raise ProjectError(
                f"the network of seed {seed} of {run.variant.name} does not answer the test "
                "images as it did after its training, so params.yaml or the code is another now; "
                f"run `dvc repro train@{run.variant.name}`"
            )
    return np.concatenate(answers)


def kept_answers(run: Run, seed: int) -> Probabilities:
    """What the network of one seed said to the test images after its training, (n, classes)."""
    kept: Probabilities = np.load(run.folder / f"seed-{seed}" / "test_probabilities.npy")
    return kept


def verdict(of_seeds: Mapping[int, Probabilities], run: Run) -> str:
    """What the typical network takes an image for, and how many of all agree.

    `of_seeds` has the probabilities (classes,) of each seed. Those that diverged do not vote.
    """
    seed, classes = run.result.typical_seed, run.arrays.classes
    answers = {k: int(p.argmax()) for k, p in of_seeds.items() if np.isfinite(p).all()}
    if seed not in answers:
        return f"no answer, since the network of seed {seed} diverged"
    answer, votes = answers[seed], [*answers.values()]
    sure = np.format_float_positional(of_seeds[seed][answer], trim="0")  # as many digits as it has
    text = (
        f"{classes[answer]}, probability {sure}; "
        f"{votes.count(answer)} of {len(of_seeds)} seeds agree"
    )
    others = Counter(vote for vote in votes if vote != answer).most_common()
    said = ", ".join(f"{classes[label]} ({count})" for label, count in others)
    return f"{text}; others: {said}" if said else text
