import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.datasets import Dataset, dataset_adapter
from cnn_ablations.config.params import Params
from cnn_ablations.data import digits
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays, load_file_names
from cnn_ablations.data.download import download
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def random_bytes(*shape: int, below: int = 256) -> UInt8s:
    return np.random.default_rng(len(shape)).integers(0, below, shape, np.uint8)


def put(path: Path, content: bytes) -> str:
    """Write a raw file; its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def idx_dataset(paths: Paths, arrays: dict[str, UInt8s], **changes: Any) -> Dataset:
    """Write the arrays as raw IDX files. The data set `d` that describes them."""
    files = {}
    for role, array in arrays.items():
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content = gzip.compress(header + array.tobytes(), 1)
        files[role] = {"name": f"{role}.gz", "sha256": put(paths.raw("d") / f"{role}.gz", content)}
    described = {"format": "idx", "title": "", "image_shape": [5, 6, 1], "classes": ["a", "b", "c"]}
    rest = {"citation": "", "urls": ["http://127.0.0.1/"], "files": files}
    return dataset_adapter.validate_python(described | rest | changes)


IDX = {
    "train_images": random_bytes(7, 5, 6),
    "train_labels": random_bytes(7, below=3),
    "test_images": random_bytes(4, 5, 6),
    "test_labels": random_bytes(4, below=3),
}
NAMES = ["cat", "dog", "frog"]


Pickle = Callable[[Any], bytes]


def cifar10_dataset(paths: Paths, python_2_pickle: Pickle, **changes: Any) -> Dataset:
    """Write raw batches of two images each, whose label is the number of the batch modulo 3."""
    batches = {f"data_batch_{number}": number for number in range(1, 6)} | {"test_batch": 6}
    contents: dict[str, dict[str, Any]] = {"batches.meta": {"label_names": NAMES}}
    for name, number in batches.items():
        rows = np.full((2, 3072), number, np.uint8)
        files = [f"{name}-{image}.png" for image in range(2)]
        contents[name] = {"data": rows, "labels": [number % 3] * 2, "filenames": files}
    members = {
        name: put(paths.raw("d") / name, python_2_pickle(content))
        for name, content in contents.items()
    }
    described = {"format": "cifar10", "title": "", "image_shape": [32, 32, 3], "classes": NAMES}
    rest = {"citation": "", "urls": ["http://127.0.0.1/"], "archive": "a", "members": members}
    return dataset_adapter.validate_python(described | rest | changes)


COLOUR = IDX | {"train_images": random_bytes(7, 5, 6, 3), "test_images": random_bytes(4, 5, 6, 3)}


@pytest.mark.parametrize(("given", "channels"), [(IDX, 1), (COLOUR, 3)])
def test_idx_files_become_arrays_with_a_channel(
    paths: Paths, given: dict[str, UInt8s], channels: int
) -> None:
    preprocess("d", idx_dataset(paths, given, image_shape=[5, 6, channels]), paths)
    arrays = load_arrays(paths.arrays("d"))
    assert arrays.image_shape == (5, 6, channels)
    for name, array in given.items():
        np.testing.assert_array_equal(getattr(arrays, name).reshape(array.shape), array)
    assert (arrays.classes, arrays.pixel_max) == (["a", "b", "c"], 255)


def test_cifar10_batches_are_joined_in_order(paths: Paths, python_2_pickle: Pickle) -> None:
    preprocess("d", cifar10_dataset(paths, python_2_pickle), paths)
    arrays = load_arrays(paths.arrays("d"))
    assert arrays.train_images.shape == (10, 32, 32, 3)
    assert arrays.train_images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert arrays.train_labels.tolist() == [1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    assert arrays.test_images[:, 0, 0, 0].tolist() == [6, 6]
    assert arrays.test_labels.tolist() == [0, 0]
    train_files = load_file_names(paths.arrays("d"), "train")
    assert train_files is not None
    assert train_files[1:3] == ["data_batch_1-1.png", "data_batch_2-0.png"]
    assert load_file_names(paths.arrays("d"), "test") == ["test_batch-0.png", "test_batch-1.png"]
    assert (arrays.classes, arrays.pixel_max) == (NAMES, 255)


def load_real(name: str, params: Params, paths: Paths) -> Arrays:
    dataset = params.dataset(name)
    download(name, dataset, paths, os.environ.get("CNN_ABLATIONS_MIRROR"), print)
    preprocess(name, dataset, paths)
    return load_arrays(paths.arrays(name))


def test_digits_end_in_the_test_split(real_params: Params, paths: Paths) -> None:
    with pytest.raises(ProjectError, match=r"csv\.gz is missing; run `dvc repro download@digits`$"):
        preprocess("digits", real_params.dataset("digits"), paths)
    arrays = load_real("digits", real_params, paths)
    images, labels = digits.read_digits(paths.raw("digits") / digits.FILE)
    for part, where in (("train", slice(1437)), ("test", slice(1437, None))):
        np.testing.assert_array_equal(getattr(arrays, f"{part}_images"), images[where])
        np.testing.assert_array_equal(getattr(arrays, f"{part}_labels"), labels[where])
    assert len(arrays.test_labels) == 360
    assert arrays.pixel_max == arrays.train_images.max() == 16


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "images", "means", "stds"),
    [
        ("mnist", 60_000, [0.130660], [0.308108]),
        ("fashion-mnist", 60_000, [0.286041], [0.353024]),
        (
            "cifar10",
            50_000,
            [0.49139968, 0.48215841, 0.44653091],
            [0.24703223, 0.24348513, 0.26158784],
        ),
    ],
)
def test_real_pixels_have_the_known_means(
    real_params: Params, paths: Paths, name: str, images: int, means: list[float], stds: list[float]
) -> None:
    arrays = load_real(name, real_params, paths)
    assert len(arrays.train_labels) == images
    assert arrays.test_images.shape == (10_000, *arrays.image_shape)
    assert np.bincount(arrays.test_labels).tolist() == [1000] * 10 or name == "mnist"
    for channel, (mean, std) in enumerate(zip(means, stds, strict=True)):
        count = np.bincount(arrays.train_images[..., channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        found = np.average(values, weights=count)
        assert found == pytest.approx(mean, abs=1e-6)
        assert np.sqrt(np.average((values - found) ** 2, weights=count)) == pytest.approx(
            std, abs=1e-6
        )


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({}, {"image_shape": [5, 6, 3]}, r"d\.image_shape is \[5, 6, 3\], but .* are \[5, 6, 1\]"),
        ({"test_images": random_bytes(4, 6, 5)}, {}, r"but the test images are \[6, 5, 1\]"),
        ({"train_images": random_bytes(7, 30)}, {}, r"but the training images are \[30\]"),
        ({"test_labels": random_bytes(3, below=3)}, {}, r"4 images and labels of shape \(3,\)"),
        ({"train_labels": random_bytes(7, 1)}, {}, r"7 images and labels of shape \(7, 1\)"),
        ({}, {"classes": ["a", "b"]}, r"d\.classes has 2 names, but a training label is 2"),
    ],
)
def test_refuses_what_contradicts_params(
    paths: Paths, arrays: dict[str, UInt8s], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message):
        preprocess("d", idx_dataset(paths, IDX | arrays, **changes), paths)
    assert not paths.arrays("d").exists()


def test_refuses_other_class_names_than_those_of_the_pickle(
    paths: Paths, python_2_pickle: Pickle
) -> None:
    dataset = cifar10_dataset(paths, python_2_pickle, classes=["dog", "cat", "frog"])
    with pytest.raises(ProjectError, match=r"datasets\.d\.classes is not what .* their order$"):
        preprocess("d", dataset, paths)


@pytest.mark.parametrize("make", [lambda paths, _: idx_dataset(paths, IDX), cifar10_dataset])
def test_names_the_stage_that_makes_a_missing_or_damaged_file(
    paths: Paths, python_2_pickle: Pickle, make: Any
) -> None:
    dataset = make(paths, python_2_pickle)
    file = sorted(paths.raw("d").iterdir())[-1]
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ProjectError, match=rf"{file} has the sha256 .* `dvc repro download@d`$"):
        preprocess("d", dataset, paths)
    file.unlink()
    with pytest.raises(ProjectError, match=rf"{file} is missing; run `dvc repro download@d`$"):
        preprocess("d", dataset, paths)
    assert not paths.arrays("d").exists()
