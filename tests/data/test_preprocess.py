import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.params import Params
from cnn_ablations.data import digits
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays
from cnn_ablations.data.download import download
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


def load_real(name: str, params: Params, paths: Paths) -> Arrays:
    dataset = params.dataset(name)
    download(name, dataset, paths, os.environ.get("CNN_ABLATIONS_MIRROR"), print)
    preprocess(name, dataset, paths)
    return load_arrays(paths.arrays(name))


def test_digits_end_in_the_test_split(real_params: Params, paths: Paths) -> None:
    with pytest.raises(ProjectError, match=r"csv\.gz is missing; run `dvc repro download@digits`$"):
        preprocess("digits", real_params.dataset("digits"), paths)
    arrays = load_real("digits", real_params, paths)
    assert [file.name for file in paths.raw("digits").iterdir()] == [digits.FILE]
    images, labels = digits.read_digits(paths.raw("digits") / digits.FILE)
    for part, where in (("train", slice(1437)), ("test", slice(1437, None))):
        np.testing.assert_array_equal(getattr(arrays, f"{part}_images"), images[where])
        np.testing.assert_array_equal(getattr(arrays, f"{part}_labels"), labels[where])
    assert real_params.dataset("digits").images == 1437
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
    assert len(arrays.train_labels) == images == real_params.dataset(name).images
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


def random_bytes(*shape: int, below: int = 256) -> UInt8s:
    return np.random.default_rng(len(shape)).integers(0, below, shape, np.uint8)


IDX = {
    "train_images": random_bytes(7, 5, 6),
    "train_labels": random_bytes(7, below=3),
    "test_images": random_bytes(4, 5, 6),
    "test_labels": random_bytes(4, below=3),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_images": random_bytes(4, 6, 5)}, r"but test images are \[6, 5, 1\]"),
        ({"test_labels": random_bytes(3, below=3)}, r"4 test images, but labels of shape \(3,\)"),
        ({"train_labels": random_bytes(7, 1)}, r"7 train images, but labels of shape \(7, 1\)"),
        ({"test_labels": np.full(4, 3, np.uint8)}, "has 3 names, but a test label is 3"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(
    own: Any, write_idx: Callable[..., Path], arrays: dict[str, UInt8s], message: str
) -> None:
    with pytest.raises(ProjectError, match=rf"^idx.*{message}"):
        own.add(write_idx(IDX | arrays))


def test_what_contradicts_params_or_was_damaged_is_refused(
    own: Any, write_idx: Callable[..., Path]
) -> None:
    own.add(write_idx(IDX))
    own.download()
    with pytest.raises(ProjectError, match=r"datasets\.own\.image_shape is \[5, 6, 3\], but"):
        own.preprocess(image_shape=[5, 6, 3])
    file = min(own.paths.raw("own").iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ProjectError, match=rf"{file} has the sha256 .* `dvc repro download@own`$"):
        own.preprocess()
    file.unlink()
    with pytest.raises(ProjectError, match=rf"{file} is missing; run `dvc repro download@own`$"):
        own.preprocess()
    assert not own.paths.arrays("own").exists()
