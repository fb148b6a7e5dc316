from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays
from cnn_ablations.data.splits import (
    Images,
    last_split,
    random_split,
    split_arrays,
    stratified_split,
)
from cnn_ablations.errors import ProjectError


def numbered(train: int, test: int, classes: int = 251) -> Arrays:
    """Images of one pixel and labels that both say where they stood, modulo the classes."""

    def rows(count: int) -> Any:
        return (np.arange(count) % classes).astype(np.uint8)

    return Arrays(
        train_images=rows(train).reshape(-1, 1, 1, 1),
        train_labels=rows(train),
        test_images=rows(test).reshape(-1, 1, 1, 1),
        test_labels=rows(test),
        classes=["a", "b"],
        pixel_max=255,
        sha256={},
    )


def having(variant: Variant, **changes: Any) -> Variant:
    return Variant.model_validate({**variant.model_dump(), **changes})


RANDOM = {"method": "train_test_split", "held_out": 0.3, "random_state": 123}
STRATIFIED = {"method": "stratified", "val": 0.2, "random_state": 1}


def test_the_split_of_r2_is_scikit_learn_s() -> None:
    """As its notebook drew it: images and labels split together, twice, with the same state."""
    images = np.arange(60_000)[:, None] * np.ones((1, 2), int)
    labels = np.arange(60_000) % 10
    x_train, x_rest, y_train, y_rest = train_test_split(
        images, labels, test_size=0.3, random_state=123
    )
    x_test, x_val, y_test, y_val = train_test_split(x_rest, y_rest, test_size=0.5, random_state=123)

    train, val, test = random_split(60_000, 0.3, 123)
    for indices, x, y in ((train, x_train, y_train), (val, x_val, y_val), (test, x_test, y_test)):
        np.testing.assert_array_equal(images[indices], x)
        np.testing.assert_array_equal(labels[indices], y)
    assert (len(train), len(val), len(test)) == (42_000, 9_000, 9_000)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val, test])), np.arange(60_000))


@pytest.mark.parametrize(
    ("images", "val", "train"),
    [
        (60_000, 1 / 12, 55_000),
        (50_000, 0.1, 45_000),
        (10, 0.25, 7),
        (3, 0.5, 1),
        (60_000, 5_000, 55_000),
        (10, 1, 9),
        (10, 10, 0),
        (10, 11, 0),
    ],
)
def test_the_last_images_validate(images: int, val: float, train: int) -> None:
    first, last = last_split(images, val)
    np.testing.assert_array_equal(first, np.arange(train))
    np.testing.assert_array_equal(last, np.arange(train, images))


@given(images=st.integers(2, 70_000), val=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_fraction_is_rounded_as_keras_rounds_validation_split(images: int, val: float) -> None:
    first, last = last_split(images, val)
    assert len(first) == int(np.floor(images * (1 - val)))
    assert len(first) + len(last) == images


def test_a_last_split_tests_on_the_test_images(tiny_variant: Variant) -> None:
    arrays = numbered(train=50, test=7)
    variant = having(tiny_variant, split={"method": "last", "val": 0.2})
    subsets = split_arrays(arrays, variant)
    assert list(subsets) == ["train", "val", "test"]
    for split, expected in (("train", range(40)), ("val", range(40, 50)), ("test", range(7))):
        np.testing.assert_array_equal(subsets[split].labels, expected)
        np.testing.assert_array_equal(subsets[split].images[:].ravel(), expected)
        assert subsets[split].images.dtype == np.uint8


def test_only_the_first_images_are_used_where_a_variant_says_so(tiny_variant: Variant) -> None:
    arrays = numbered(train=50, test=7)
    last = having(tiny_variant, train_images=20, split={"method": "last", "val": 0.1})
    subsets = split_arrays(arrays, last)
    np.testing.assert_array_equal(subsets["train"].labels, range(18))
    np.testing.assert_array_equal(subsets["val"].labels, [18, 19])
    assert len(subsets["test"].labels) == 7

    drawn = split_arrays(arrays, having(tiny_variant, train_images=20, split=RANDOM))
    together = np.concatenate([subset.labels for subset in drawn.values()])
    np.testing.assert_array_equal(np.sort(together), range(20))


@pytest.mark.parametrize("split", [{"method": "last", "val": 0.2}, RANDOM, STRATIFIED])
def test_retraining_takes_the_validation_images_in(
    tiny_variant: Variant, split: dict[str, Any]
) -> None:
    arrays = numbered(train=50, test=7, classes=5)
    apart = split_arrays(arrays, having(tiny_variant, split=split))
    together = split_arrays(arrays, having(tiny_variant, split=split, train_on="train+val"))
    assert set(together) == {"train", "test"}
    for kind in ("images", "labels"):
        parts = {split: getattr(subset, kind)[:] for split, subset in apart.items()}
        both = np.concatenate([parts["train"], parts["val"]])
        np.testing.assert_array_equal(getattr(together["train"], kind)[:], both)
        np.testing.assert_array_equal(getattr(together["test"], kind)[:], parts["test"])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train_images": 51}, "train_images is 51, but digits has 50"),
        ({"split": {"method": "last", "val": 50}}, "split"),
        ({"split": {"method": "last", "val": 60}}, "split"),
        ({"train_images": 1}, "split"),
        ({"split": {**RANDOM, "held_out": 1}}, "split cannot be made of 50 images"),
        ({"split": {**STRATIFIED, "val": 1}}, "split cannot be made of 50 images"),
        ({"split": {**RANDOM, "held_out": 60}}, "split cannot be made of 50 images"),
    ],
)
def test_too_few_images_are_refused(
    tiny_variant: Variant, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(ProjectError, match=rf"^params\.yaml: variants\.tiny-net\.{key}"):
        split_arrays(numbered(train=50, test=7), having(tiny_variant, **changes))


def test_a_number_of_images_can_be_held_out() -> None:
    train, val, test = random_split(100, 20, 1)
    assert (len(train), len(val), len(test)) == (80, 10, 10)


@pytest.mark.parametrize(("val", "images"), [(0.25, 30), (24, 24)])
def test_a_stratified_split_holds_out_the_same_share_of_each_class(val: float, images: int) -> None:
    labels = np.repeat(np.array([0, 1, 2], np.uint8), [80, 30, 10])
    train, held_out = stratified_split(labels, val, 1)
    assert len(held_out) == images
    share = np.array([80, 30, 10]) * images / 120
    assert np.abs(np.bincount(labels[held_out]) - share).max() < 1
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(120))
    assert (np.diff(train) > 0).all()
    assert not np.array_equal(held_out, stratified_split(labels, val, 2)[1])


def test_images_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    """More of them than fit in memory, as far as the file system tells."""
    shape = (2**20, 1000, 1000, 1)
    array = np.lib.format.open_memmap(tmp_path / "many.npy", "w+", np.uint8, shape)
    array[7, 5, 5] = 3
    images = Images(array, np.arange(len(array))[::-1])
    assert (images.shape, len(images), images.dtype.name) == (shape, 2**20, "uint8")
    assert images[[-8, 0]].sum(axis=(1, 2, 3)).tolist() == [3, 0]
    assert type(images[:2]) is np.ndarray
