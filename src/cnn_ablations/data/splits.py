"""Which images a variant trains on, validates on and tests on."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.config.variants import LastSplit, StratifiedSplit, Variant
from cnn_ablations.data.arrays import Arrays, Labels, Part, UInt8s
from cnn_ablations.errors import ProjectError

Indices = NDArray[np.intp]
IN_MEMORY = 2**30
"""Bytes. So many are read at once, which is faster; of more, what is asked for each time."""


class Images:
    """Some images of an array that may not fit in memory."""

    def __init__(self, array: UInt8s, chosen: Indices) -> None:
        """The images (n, height, width, channels) of the array at `chosen`, (n,)."""
        self.shape = (len(chosen), *array.shape[1:])
        self.dtype = array.dtype
        self._array: UInt8s = np.asarray(array)  # a memory-mapped array would wrap every answer
        self._chosen: Indices | None = chosen
        if math.prod(self.shape) <= IN_MEMORY:
            self._array, self._chosen = self._array[chosen], None

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, positions: Any) -> UInt8s:
        """The images at these positions."""
        if self._chosen is not None:
            positions = self._chosen[positions]
        taken: UInt8s = self._array[positions]
        return taken


@dataclass(frozen=True)
class Subset:
    """The images of one split, and their labels (n,) in memory."""

    images: Images
    labels: Labels
    part: Part
    """Which of the data set's arrays the images are of: a split may be drawn from `train` alone."""


def split_arrays(arrays: Arrays, variant: Variant) -> dict[str, Subset]:
    """The subsets `train`, `val` and `test`; without `val` where training takes it in.

    Raises ProjectError where the data set has too few images for the split.
    """
    available = len(arrays.train_labels)
    wanted = variant.train_images or available
    if wanted > available:
        raise ProjectError(
            f"params.yaml: variants.{variant.name}.train_images is {wanted}, but "
            f"{variant.dataset} has {available} training images"
        )
    split = variant.split
    test = None
    try:
        if isinstance(split, LastSplit):
            train, val = last_split(wanted, split.val)
        elif isinstance(split, StratifiedSplit):
            labels = arrays.train_labels[:wanted]
            train, val = stratified_split(labels, split.val, split.random_state)
        else:
            train, val, test = random_split(wanted, split.held_out, split.random_state)
    except ValueError as error:
        raise ProjectError(
            f"params.yaml: variants.{variant.name}.split cannot be made of {wanted} images: {error}"
        ) from None
    if not len(train) or not len(val):
        raise ProjectError(
            f"params.yaml: variants.{variant.name}.split leaves no images to train on or to "
            f"validate on, out of {wanted}"
        )
    subsets = {}
    if variant.train_on == "train+val":
        train = np.concatenate([train, val])
    else:
        subsets["val"] = _take(arrays, val)
    if test is None:
        every = np.arange(len(arrays.test_labels))
        subsets["test"] = Subset(
            Images(arrays.test_images, every), arrays.test_labels[every], "test"
        )
    else:
        subsets["test"] = _take(arrays, test)
    return {"train": _take(arrays, train), **subsets}


def last_split(images: int, val: float) -> tuple[Indices, Indices]:
    """Indices of the training images and of the last `val` (a fraction or a number) of them.

    A fraction is rounded as Keras rounds `validation_split`: the training part down.
    """
    boundary = int(images * (1 - val)) if val < 1 else max(images - int(val), 0)
    return np.arange(boundary), np.arange(boundary, images)


def stratified_split(labels: Labels, val: float, random_state: int) -> tuple[Indices, Indices]:
    """Indices of training and of validation images, each in ascending order.

    Args:
        labels: (images,).
        val: a fraction of the images or a number of them, of each class the same share.
        random_state: of scikit-learn's `train_test_split`.

    Raises ValueError where a class has a single image, or a part has fewer images than classes.
    """
    from sklearn.model_selection import train_test_split

    train, held_out = train_test_split(
        np.arange(len(labels)),
        test_size=val if val < 1 else int(val),
        random_state=random_state,
        stratify=labels,
    )
    return np.sort(train), np.sort(held_out)


def random_split(images: int, held_out: float, random_state: int) -> tuple[Indices, ...]:
    """Shuffled indices of training, validation and test images, as report R2 drew them.

    scikit-learn's `train_test_split` holds out a part; the same function with the same
    `random_state` halves it into test and validation, in this order.

    Raises ValueError where a part would be empty.
    """
    from sklearn.model_selection import train_test_split

    size = held_out if held_out < 1 else int(held_out)
    train, rest = train_test_split(np.arange(images), test_size=size, random_state=random_state)
    test, val = train_test_split(rest, test_size=0.5, random_state=random_state)
    return train, val, test


def _take(arrays: Arrays, indices: Indices) -> Subset:
    return Subset(Images(arrays.train_images, indices), arrays.train_labels[indices], "train")
