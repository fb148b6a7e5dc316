from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.dataset import class_balance, pixel_histogram, row_to_image

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]


def test_bars_are_shares_of_their_split(texts: Texts) -> None:
    counts = {"train": np.array([30, 10]), "test": np.array([1, 3])}
    figure = class_balance(counts, ["T-shirt/top", "Bag"])
    train, test = (c for c in figure.axes[0].containers if isinstance(c, BarContainer))
    assert [bar.get_width() for bar in train] == pytest.approx([0.75, 0.25])
    assert [bar.get_width() for bar in test] == pytest.approx([0.25, 0.75])
    assert train[0].get_hatch() != test[0].get_hatch()
    written = texts(figure)
    assert {"T-shirt/top", "Bag", "30", "10", "1", "3"} <= set(written)
    assert "training, 40 images" in written
    assert "test, 4 images" in written


def test_many_classes_are_sorted_by_size_instead_of_named(texts: Texts) -> None:
    train = np.arange(200)
    figure = class_balance({"train": train, "test": train[::-1]}, [f"c{n}" for n in train])
    steps = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(steps["training, 19,900 images"], train[::-1])
    np.testing.assert_array_equal(steps["test, 19,900 images"], train)
    assert figure.get_figheight() < 5
    assert "c0" not in texts(figure)


def test_steps_are_shares_of_each_channels_pixels(texts: Texts) -> None:
    counts = np.array([[6, 2, 0], [1, 1, 2], [4, 0, 4]])
    figure = pixel_histogram(counts, ["red", "green", "blue"])
    steps = figure.axes[0].patches
    for step, row in zip(steps, counts, strict=True):
        np.testing.assert_allclose(step.get_data().values, row / row.sum())  # type: ignore[attr-defined]
    assert len({step.get_linestyle() for step in steps}) == 3
    assert {"red", "green", "blue", "pixel value (0..2)"} <= set(texts(figure))
    assert "grey" not in texts(pixel_histogram(counts[:1], ["grey"]))  # needs no legend


def test_a_colour_image_is_shown_as_row_as_planes_and_as_image(
    texts: Texts, pixels: Pixels
) -> None:
    row = np.arange(3 * 4 * 5, dtype=np.uint8)
    planes = row.reshape(3, 4, 5)
    figure = row_to_image(row, planes, planes.transpose(1, 2, 0), 60, "training image 7: cat")
    strip, *shown, image = pixels(figure)
    np.testing.assert_array_equal(strip, row[None])
    np.testing.assert_array_equal(shown, planes)
    np.testing.assert_allclose(image, planes.transpose(1, 2, 0) / 60)
    written = texts(figure)
    assert written.count("red") == written.count("green") == written.count("blue") == 1
    assert {"training image 7: cat", "red plane", "green plane", "blue plane", "60"} <= set(written)


def test_a_grey_image_is_its_only_plane(texts: Texts, pixels: Pixels) -> None:
    row = np.arange(64, dtype=np.uint8)
    planes = row.reshape(1, 8, 8)
    figure = row_to_image(row, planes, planes.transpose(1, 2, 0), 64, "training image 0: 5")
    assert [shown.shape for shown in pixels(figure)] == [(1, 64), (8, 8)]
    assert "the row: 64 values, one after the other" in texts(figure)
