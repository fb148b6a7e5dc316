"""A trained variant opened again: its results, one of its networks, and what that one answers."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.analysis.results import Floats, VariantResult, load_result
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import (
    PARTS,
    Arrays,
    UInt8s,
    load_arrays,
    load_file_names,
)
from cnn_ablations.data.splits import Subset, split_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

if TYPE_CHECKING:
    import keras

Labels = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Run:
    """What the training of a variant left, and the images that it was trained and measured on."""

    variant: Variant
    result: VariantResult
    folder: Path
    """With the weights and probabilities of each seed."""
    arrays: Arrays
    subsets: dict[str, Subset]
    """Images and labels of `train`, `val` (where there is one) and `test`."""
    files: Sequence[str] | None
    """Of each test image its place in the folder that the data set was made from, if it was."""


@dataclass(frozen=True)
class Predictions:
    """The classes of n images, and what one network takes them for."""

    labels: Labels
    """True classes, (n,)."""
    predicted: Labels
    """(n,)."""


@dataclass(frozen=True)
class Answers(Predictions):
    """What one network says to n test images, and how sure it is."""

    confidence: NDArray[np.float32]
    """The probability of the predicted class, (n,); NaN where the network diverged."""

    @property
    def diverged(self) -> bool:
        return not bool(np.isfinite(self.confidence).all())


def load_run(variant: Variant, paths: Paths) -> Run:
    """Read what `train` wrote for a variant.

    Raises ProjectError where a file is missing or damaged, or the run is of other seeds.
    """
    arrays = load_arrays(paths.arrays(variant.dataset))
    result = load_result(paths, variant.group, variant.name)
    if result.seeds.tolist() != variant.seeds:
        raise ProjectError(
            f"{paths.predictions(variant.group, variant.name)} is of the seeds "
            f"{result.seeds.tolist()}, not {variant.seeds}; run `dvc repro train@{variant.name}`"
        )
    return Run(
        variant=variant,
        result=result,
        folder=paths.run(variant.group, variant.name),
        arrays=arrays,
        subsets=split_arrays(arrays, variant),
        files=_files(arrays, variant, paths.arrays(variant.dataset)),
    )


def _files(arrays: Arrays, variant: Variant, folder: Path) -> list[str] | None:
    names = {part: load_file_names(folder, part) for part in PARTS}
    if not all(of_part and "/" in of_part[0] for of_part in names.values()):
        return None  # or names that lead to no file, as those in CIFAR-10's batches
    # A split may draw its test images from the training images: names go the way of their images.
    named: dict[str, Any] = {f"{part}_images": np.array(names[part]) for part in PARTS}
    test = split_arrays(replace(arrays, **named), variant)["test"]
    files: list[str] = test.images[:].tolist()
    return files


def accuracies(result: VariantResult) -> dict[str, Floats]:
    """The accuracy of each seed after training, (seeds,), by split; first the balanced accuracy on
    the test images, where plain accuracy misleads.
    """
    first = [] if result.main_accuracy == "test" else [result.main_accuracy]
    splits = [*first, "train", *result.predicted]
    return {split: result.per_seed(f"{split}_accuracy") for split in splits}


def read_answers(run: Run, seed: int) -> Answers:
    """What the network of one seed says to the test images.

    Raises ProjectError where the variant has no such seed, or its file is missing.
    """
    probabilities = np.load(_file(run, seed, "test_probabilities.npy"), allow_pickle=False)
    predicted = run.result.predicted["test"][run.variant.seeds.index(seed)]
    return Answers(
        labels=run.result.labels["test"],
        predicted=predicted,
        confidence=probabilities[np.arange(len(predicted)), predicted],
    )


def read_predictions(run: Run, seed: int) -> dict[str, Predictions]:
    """What the network of one seed takes the images of each split for: `train` first.

    Raises ProjectError where the variant has no such seed, or its file is missing.
    """
    on_train = np.load(_file(run, seed, "train_predicted.npy"), allow_pickle=False)
    row = run.variant.seeds.index(seed)
    return {
        "train": Predictions(run.subsets["train"].labels, on_train),
        **{
            split: Predictions(run.result.labels[split], predicted[row])
            for split, predicted in run.result.predicted.items()
        },
    }


def read_iterations(run: Run, seed: int) -> pd.DataFrame:
    """Accuracy and loss of each batch of one seed: columns epoch, iteration, accuracy, loss.

    Raises ProjectError where the variant has no such seed, or did not record them.
    """
    return pd.read_csv(_file(run, seed, "iterations.csv"))


def open_network(run: Run, seed: int) -> "keras.Model":
    """The trained network of one seed: uint8 images in, logits out.

    Raises ProjectError where the variant has no such seed, or its weights are missing or those
    of another network.
    """
    from cnn_ablations.training.backend import configure
    from cnn_ablations.training.network import build_network

    path = _file(run, seed, "weights.weights.h5")
    configure()
    import keras

    keras.utils.clear_session()  # layers have the names that they have in reports/weights
    arrays = run.arrays
    network = build_network(run.variant, arrays.image_shape, len(arrays.classes), arrays.pixel_max)
    try:
        with warnings.catch_warnings():
            # Keras only warns of a layer that it leaves untrained.
            warnings.simplefilter("error", UserWarning)
            network.load_weights(path)
    except (ValueError, OSError, UserWarning) as error:
        raise ProjectError(
            f"{path} does not hold the weights of {run.variant.name} "
            f"({' '.join(str(error).split())}); run `dvc repro train@{run.variant.name}`"
        ) from None
    return network


def maps_of(network: "keras.Model", image: UInt8s) -> dict[str, NDArray[np.float32]]:
    """What comes out of each convolution, with its activation where that is part of the layer.

    Args:
        network: takes uint8 images.
        image: (height, width, channels).

    Returns:
        (height, width, channels) by the layer's name, in order; none without convolutions.
    """
    from cnn_ablations.training.variant import feature_maps

    return {name: maps[0] for name, maps in feature_maps(network, image[None])}


def _file(run: Run, seed: int, name: str) -> Path:
    if seed not in run.variant.seeds:
        raise ProjectError(f"{run.variant.name} has no seed {seed}; it has {run.variant.seeds}")
    path = run.folder / f"seed-{seed}" / name
    if not path.is_file():
        raise ProjectError(f"{path} is missing; run `dvc repro train@{run.variant.name}`")
    return path
