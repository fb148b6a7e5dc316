import hashlib
from pathlib import Path

import numpy as np
import pytest

from cnn_ablations.config.params import Params
from cnn_ablations.data.pixels import (
    FORMATS,
    check_showcase,
    describe_balance,
    pixel_counts,
    pixel_statistics,
    verify_files,
)
from cnn_ablations.errors import ProjectError

rng = np.random.default_rng(0)


def test_statistics_are_those_of_the_pixels_channel_by_channel() -> None:
    images = rng.integers(3, 200, (5000, 2, 3, 3)).astype(np.uint8)  # more than one chunk
    images[..., 2] //= 2
    counts = pixel_counts(images, 255)
    assert counts.shape == (3, 256)
    assert counts.sum() == images.size
    for channel in range(3):
        pixels = images[..., channel] / 255
        statistics = pixel_statistics(counts[channel])
        assert statistics.mean == pytest.approx(pixels.mean())
        assert statistics.std == pytest.approx(pixels.std())
        assert statistics.lowest == images[..., channel].min()
        assert statistics.highest == images[..., channel].max()


def test_equal_classes_are_called_equal() -> None:
    counts = {"train": np.array([6, 6]), "test": np.array([1, 3])}
    assert describe_balance(counts, ["cat", "dog"]) == (
        "The training images are 6 of each class. Always answering cat would be right for "
        "**50.00 %** of the training images and **25.00 %** of the test images."
    )


def test_the_baseline_is_the_most_common_training_class() -> None:
    counts = {"train": np.array([1200, 3000, 2]), "test": np.array([5, 4, 1])}
    text = describe_balance(counts, ["cat", "dog", "frog"])
    assert "rarest class among the training images is frog (2)" in text
    assert "most common one dog (3,000)" in text
    assert "answering dog would be right for **71.39 %** of the training images" in text
    assert "and **40.00 %** of the test images" in text


def test_files_are_listed_once_their_hash_is_right(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1234)
    (tmp_path / "b").write_bytes(b"")
    right = hashlib.sha256(b"x" * 1234).hexdigest()
    table = verify_files(tmp_path, {"a": right, "b": None})
    assert table.loc["a"].to_dict() == {"bytes": "1,234", "fingerprint": right[:12]}
    assert table.loc["b", "bytes"] == "0"


def test_a_file_that_is_wrong_or_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"changed")
    way_out = f"run `dvc repro download@{tmp_path.name}`"
    with pytest.raises(ProjectError, match=rf"a has the sha256 .* instead of 00; {way_out}"):
        verify_files(tmp_path, {"a": "00"})
    with pytest.raises(ProjectError, match=rf"cannot read .*/b: No such file.*; {way_out}"):
        verify_files(tmp_path, {"b": None})


def test_the_showcase_is_an_image() -> None:
    check_showcase("mnist", 59_999, 60_000)
    message = "datasets.mnist.showcase is 60000, but mnist has 60,000 .*choose 0 to 59999"
    with pytest.raises(ProjectError, match=message):
        check_showcase("mnist", 60_000, 60_000)


def test_every_format_has_its_story(real_params: Params) -> None:
    assert {dataset.format for dataset in real_params.datasets.values()} == set(FORMATS)
