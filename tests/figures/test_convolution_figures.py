from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnn_ablations.convolution import cross_correlate, zero_pad
from cnn_ablations.figures.convolution import (
    brightness_by_steepness,
    grey_images,
    number_grids,
    worked_steps,
)

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]

IMAGE = np.array([[1, 2, 3], [4, 5, 6]])
KERNEL = np.array([[0, 0, 0, 0, 0], [0, 0, 2, 0, -1], [0, 0, 0, 0, 0]])


def written(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def outlined(axes: Axes) -> tuple[float, float, float, float]:
    (frame,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    return (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height())


def test_each_step_shows_window_products_sum_and_the_result_so_far(texts: Texts) -> None:
    padded, result = zero_pad(IMAGE, KERNEL.shape), cross_correlate(IMAGE, KERNEL)
    figure = worked_steps(padded, KERNEL, result, places=[(0, 0), (1, 1)])
    titles = texts(figure)
    assert "= products,\nsum −1" in titles
    assert "= products,\nsum 10" in titles
    _, kernel, products, _ = figure.axes[:4]
    assert written(kernel) == [str(value).replace("-", "−") for value in KERNEL.flat]
    assert written(products)[5:10] == ["0", "0", "2", "0", "−3"]
    image, _, _, so_far = figure.axes[4:]
    assert written(image) == [str(value) for value in padded.flat]
    assert written(so_far) == ["−1", "4", "6", "2", "10"]
    assert outlined(image) == (1, 1, 5, 3)
    assert outlined(so_far) == (1, 1, 1, 1)
    shades = np.asarray(image.collections[0].get_array()).reshape(padded.shape)
    np.testing.assert_array_equal(shades, padded == 0)  # only the padding is 0


def test_grids_show_every_number_under_a_title(texts: Texts) -> None:
    figure = number_grids({"K": KERNEL, "the image": IMAGE})
    assert {"K", "the image", "−1", "6"} <= set(texts(figure))
    assert written(figure.axes[1]) == list("123456")


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_images_share_one_scale(texts: Texts, pixels: Pixels, shape: tuple[int, int]) -> None:
    images = {"B": np.full(shape, 7, np.uint8), "B with K1": np.full(shape, 200, np.uint8)}
    figure = grey_images(images)
    assert texts(figure) == list(images)
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 255)] * 2
    for image, axes_pixels in zip(images.values(), pixels(figure), strict=True):
        np.testing.assert_array_equal(axes_pixels, image)


def test_brightness_has_a_line_a_picture(texts: Texts) -> None:
    means = {"B": np.linspace(255, 0, 10), "with K1": np.linspace(0, 255, 10)}
    figure = brightness_by_steepness(means)
    assert {"B", "with K1", "10", "mean brightness (0..255)"} <= set(texts(figure))
    first, second = figure.axes[0].lines
    np.testing.assert_array_equal(second.get_ydata(), means["with K1"])
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()
