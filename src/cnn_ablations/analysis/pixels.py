"""Statistics of a data set's pixels, exact and without ever holding them as floats."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    baseline = 100 * test[common] / test.sum()
    return (
        f"{balance} Always answering {classes[common]} would be right for **{baseline:.2f} %** of "
        "the test images."
    )
