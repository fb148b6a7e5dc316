"""What the notebooks `dataset` and `own-data` say of data: files, classes and pixels.

Statistics of pixels are exact, and never hold them as floats.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.data.arrays import PARTS, Arrays, Part
from cnn_ablations.data.verify import check_sha256
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of

FORMATS = {
    "digits": (
        "scikit-learn ships these images as one gzipped table of text. A line is an image: 64 "
        "numbers from 0 to 16, row by row from the top left to the bottom right, then its label. "
        "The table has no test part of its own; here its last 360 lines are the test images."
    ),
    "idx": (
        "The data set is published as four gzipped files in the IDX format, one each for the "
        "images and the labels of either part. Such a file begins with a header of 32-bit numbers: "
        "a magic number that says that unsigned bytes in so many dimensions follow, then the size "
        "of each dimension, for images their count, rows and columns. After it come the pixels, "
        "image after image, row after row, with nothing between them. So the header is all that "
        "one needs to cut the stream of bytes into images."
    ),
    "cifar10": (
        "The data set is published as Python pickles: five batches of 10,000 training images, one "
        "batch of test images, and `batches.meta` with the names of the classes. In a batch, an "
        "image is a row of 3,072 bytes: first its 1,024 red values, then the green, then the blue "
        "ones, each colour row by row from the top left to the bottom right. Reading a pickle can "
        "run any program that is hidden in it, so `pickle.load` is not used: `read_batch` accepts "
        "a dictionary of plain values and arrays, and refuses everything else."
    ),
}
"""How the files of each format of params.yaml hold the images."""
_CHUNK = 4096
"""Images at a time: numpy widens what it counts to 8 bytes a pixel."""


class PixelStatistics(NamedTuple):
    """Of one channel, on the scale that divides pixels by their maximum, but for the range."""

    mean: float
    std: float
    """Of the population (ddof 0)."""
    lowest: int
    """As stored."""
    highest: int
    """As stored."""


def verify_files(folder: Path, sha256: Mapping[str, str | None]) -> pd.DataFrame:
    """Size and hash of the downloaded files of a data set, one row a file.

    Args:
        folder: where they are.
        sha256: the expected hash of each file by its name; None expects none.

    Raises ProjectError where a file is missing or has another hash.
    """
    again = f"run `dvc repro download@{folder.name}`"
    rows = {}
    for name, expected in sha256.items():
        path = folder / name
        try:
            size, found = path.stat().st_size, sha256_of(path)
            check_sha256(found, expected or found, str(path))
        except ProjectError as error:
            raise ProjectError(f"{error}; {again}") from None
        except OSError as error:
            raise ProjectError(f"cannot read {path}: {error.strerror}; {again}") from None
        rows[name] = {"bytes": f"{size:,}", "fingerprint": found[:12]}
    return pd.DataFrame.from_dict(rows, orient="index")


def check_showcase(name: str, showcase: int, images: int) -> None:
    """Raises ProjectError where the data set `name` has no training image number `showcase`."""
    if showcase >= images:
        raise ProjectError(
            f"params.yaml: datasets.{name}.showcase is {showcase}, but {name} has {images:,} "
            f"training images: choose 0 to {images - 1}"
        )


def pixel_counts(images: NDArray[np.uint8], pixel_max: int) -> NDArray[np.int64]:
    """How many pixels of images (n, height, width, channels) have each value.

    Returns:
        (channels, pixel_max + 1).
    """
    counts = np.zeros((images.shape[-1], pixel_max + 1), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        for channel, of_channel in enumerate(counts):
            of_channel += np.bincount(chunk[..., channel].ravel(), minlength=pixel_max + 1)
    return counts


def pixel_statistics(counts: NDArray[np.int64]) -> PixelStatistics:
    """What follows from the counts of one channel's values, (pixel_max + 1,)."""
    present = np.flatnonzero(counts)
    scaled = np.arange(len(counts)) / (len(counts) - 1)
    mean = float(np.average(scaled, weights=counts))
    variance = float(np.average((scaled - mean) ** 2, weights=counts))
    return PixelStatistics(mean, variance**0.5, int(present[0]), int(present[-1]))


def describe_balance(counts: Mapping[str, NDArray[np.int64]], classes: Sequence[str]) -> str:
    """Sentences on how equally often the classes occur, and what a constant answer would reach.

    `counts` are images of each class, (classes,), for `train` and `test`.
    """
    train, test = counts["train"], counts["test"]
    rare, common = int(train.argmin()), int(train.argmax())
    if train[rare] == train[common]:
        balance = f"The training images are {train[rare]:,} of each class."
    else:
        balance = (
            f"The rarest class among the training images is {classes[rare]} ({train[rare]:,}), "
            f"the most common one {classes[common]} ({train[common]:,})."
        )
    of_train, of_test = (100 * part[common] / part.sum() for part in (train, test))
    return (
        f"{balance} Always answering {classes[common]} would be right for **{of_train:.2f} %** of "
        f"the training images and **{of_test:.2f} %** of the test images."
    )


def same_images(arrays: Arrays) -> list[list[tuple[Part, int]]]:
    """For each image that is there more than once, the part and the place of each of its copies."""
    places: dict[bytes, list[tuple[Part, int]]] = defaultdict(list)
    for part in PARTS:
        for place, image in enumerate(getattr(arrays, f"{part}_images")):
            places[hashlib.sha256(image.tobytes()).digest()].append((part, place))
    return [copies for copies in places.values() if len(copies) > 1]
