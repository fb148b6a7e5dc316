"""The batches of an epoch: the order of the images, and changes to them in whole pixels.

Everything here depends on (seed, epoch) alone and computes with whole numbers, so that it is the
same on every machine.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cnn_ablations.config.variants import Augmentation, Variant
from cnn_ablations.data.arrays import Labels, UInt8s
from cnn_ablations.data.splits import Subset

Bools = NDArray[np.bool_]


def epoch_batches(
    train: Subset, variant: Variant, seed: int, epoch: int
) -> Iterator[tuple[UInt8s, Labels]]:
    """Images (n, height, width, channels) and labels (n,), until each image was there once.

    `epoch` counts from 1. The last batch may be smaller than the others.
    """
    chance = np.random.default_rng([seed, epoch])
    number = len(train.labels)
    order = chance.permutation(number)
    augmentation = variant.augmentation or Augmentation()
    mirrored = _mirrored(augmentation, number, seed, epoch)
    for start in range(0, number, variant.batch_size):
        chosen = order[start : start + variant.batch_size]
        images = train.images[chosen]
        if mirrored is not None:
            images = mirror(images, mirrored[chosen])
        if augmentation.crop:
            images = crop(images, augmentation.crop, chance)
        if augmentation.cutout:
            images = cut_out(images, augmentation.cutout, chance)
        yield images, train.labels[chosen]


def mirror(images: UInt8s, which: Bools) -> UInt8s:
    """Images (n, height, width, channels), mirrored left to right where `which`, (n,), is true."""
    return np.where(which[:, None, None, None], images[:, :, ::-1], images)


def crop(images: UInt8s, pixels: int, chance: np.random.Generator) -> UInt8s:
    """Each image (n, height, width, channels) moved by up to `pixels` down or up, right or left.

    Pixels that come in from outside are 0.
    """
    number, height, width, _ = images.shape
    sides = (pixels, pixels)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)))
    parts = sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = chance.integers(2 * pixels + 1, size=(2, number))
    return np.moveaxis(parts[np.arange(number), down, right], 1, -1)


def cut_out(images: UInt8s, side: int, chance: np.random.Generator) -> UInt8s:
    """Images (n, height, width, channels), each with a square of 0 centred on one of its pixels."""
    number, *size, _ = images.shape
    within = []
    for length in size:
        first = chance.integers(length, size=(number, 1)) - side // 2
        place = np.arange(length)
        within.append((first <= place) & (place < first + side))
    rows, columns = within
    blank = rows[:, :, None] & columns[:, None, :]
    return np.where(blank[..., None], np.uint8(0), images)


def _mirrored(augmentation: Augmentation, number: int, seed: int, epoch: int) -> Bools | None:
    """Which of `number` images are mirrored in this epoch."""
    if augmentation.mirror is None:
        return None
    alternating = augmentation.mirror == "alternating"
    # A sequence of its own: the order of the images stays that of a training without it.
    chance = np.random.default_rng([seed, 1 if alternating else epoch, 0, 1])
    drawn = chance.integers(2, size=number, dtype=np.uint8).astype(bool)
    return drawn ^ (alternating and epoch % 2 == 0)
