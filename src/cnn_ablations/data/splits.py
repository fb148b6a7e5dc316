"""Which images a variant trains on, validates on and tests on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.config.variants import LastSplit, Variant
from cnn_ablations.data.arrays import Arrays, UInt8s
from cnn_ablations.errors import ProjectError

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Subset:
    """Images as uint8 (n, height, width, channels) and labels as uint8 (n,)."""

    images: UInt8s
    labels: UInt8s


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
    if isinstance(variant.split, LastSplit):
        train, val = last_split(wanted, variant.split.val)
        test = None
    else:
        held_out, random_state = variant.split.held_out, variant.split.random_state
        try:
            train, val, test = random_split(wanted, held_out, random_state)
        except ValueError as error:
            raise ProjectError(
                f"params.yaml: variants.{variant.name}.split cannot hold out {held_out:g} of "
                f"{wanted} images: {error}"
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
        subsets["test"] = Subset(arrays.test_images, arrays.test_labels)
    else:
        subsets["test"] = _take(arrays, test)
    return {"train": _take(arrays, train), **subsets}


def last_split(images: int, val: float) -> tuple[Indices, Indices]:
    """Indices of the training images and of the last `val` (a fraction or a number) of them.

    A fraction is rounded as Keras rounds `validation_split`: the training part down.
    """
    boundary = int(images * (1 - val)) if val < 1 else max(images - int(val), 0)
    return np.arange(boundary), np.arange(boundary, images)


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
    return Subset(arrays.train_images[indices], arrays.train_labels[indices])
