import numpy as np
import pytest

from cnn_ablations.analysis.pixels import describe_balance, pixel_counts, pixel_statistics

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


def test_the_scale_is_that_of_the_data_set() -> None:
    counts = pixel_counts(np.full((2, 8, 8, 1), 16, np.uint8), 16)
    assert pixel_statistics(counts[0]) == (1.0, 0.0, 16, 16)


def test_equal_classes_are_called_equal() -> None:
    counts = {"train": np.array([6, 6]), "test": np.array([1, 3])}
    assert describe_balance(counts, ["cat", "dog"]) == (
        "The training images are 6 of each class. Always answering cat would be right for "
        "**25.00 %** of the test images."
    )


def test_the_baseline_is_the_most_common_training_class() -> None:
    counts = {"train": np.array([1200, 3000, 2]), "test": np.array([5, 4, 1])}
    text = describe_balance(counts, ["cat", "dog", "frog"])
    assert "rarest class among the training images is frog (2)" in text
    assert "most common one dog (3,000)" in text
    assert "answering dog would be right for **40.00 %**" in text
