from collections.abc import Callable
from itertools import pairwise

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.images import (
    GREYS,
    PALE,
    draw_mosaic,
    image_grid,
    large_image,
    scaled,
    scaled_each,
    wrapped,
)
from cnn_ablations.figures.style import new_figure

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]


def test_a_grid_shows_every_image_under_its_caption(texts: Texts, pixels: Pixels) -> None:
    images = np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2, 1)
    captions = [f"class {i}\nsecond line" for i in range(7)]
    figure = image_grid(images, captions, pixel_max=27, columns=3)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert texts(figure) == captions
    np.testing.assert_array_equal(pixels(figure), images[..., 0])
    for axes in shown:
        assert axes.images[0].get_clim() == (0, 27)


def test_captions_do_not_run_into_their_neighbours(texts: Texts) -> None:
    long = "American Staffordshire terrier (100\N{NO-BREAK SPACE}%)\nis W"
    captions = [long, "W" * 40, "IMG_20190203_123456789_HDR.jpg", "50$ or 60$"] * 2
    figure = image_grid(np.zeros((8, 2, 2, 1), np.uint8), captions, pixel_max=1, columns=6)
    texts(figure)
    for row in (figure.axes[:6], figure.axes[6:8]):
        boxes = [axes.title.get_window_extent() for axes in row]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    shown = [axes.title.get_text() for axes in figure.axes]
    assert shown[0] == "American\nStaffordshire terrier\n(100\N{NO-BREAK SPACE}%)\nis W"
    assert shown[1].replace("\n", "") == captions[1]
    assert shown[2:4] == ["IMG_20190203_\n123456789_HDR.jpg", "50$ or 60$"]


def test_a_caption_that_fits_is_left_as_it_is() -> None:
    assert wrapped("T-shirt/top (100 %)\n\nis Bag ", 1.5, 9) == "T-shirt/top (100 %)\n\nis Bag "


def test_colour_images_are_scaled_by_the_largest_pixel(pixels: Pixels) -> None:
    image = np.full((1, 2, 2, 3), 5, dtype=np.uint8)
    figure = image_grid(image, ["x"], pixel_max=10, columns=1)
    np.testing.assert_allclose(pixels(figure), 0.5)


def test_a_large_image_has_coordinates_and_a_scale_if_it_is_grey(texts: Texts) -> None:
    grey = large_image(np.zeros((8, 8, 1), np.uint8), 16, "training image 0: 3")
    assert {"training image 0: 3", "row (pixels)", "column (pixels)", "pixel value"} <= set(
        texts(grey)
    )
    name = "$cache_$/" + "a long name " * 9
    colour = large_image(np.zeros((32, 32, 3), np.uint8), 255, name)
    assert "pixel value" not in texts(colour)
    assert " ".join(colour.axes[0].get_title().split()) == name.strip()
    colour.draw_without_rendering()
    box = colour.axes[0].title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= colour.bbox.width


def test_tiles_lie_row_by_row_with_gaps_between(pixels: Pixels) -> None:
    figure = new_figure(1, 1, "Tiles.")
    tiles = np.array([[[1.0]], [[2.0]], [[3.0]]]) / 4
    draw_mosaic(figure.subplots(), tiles, columns=2)
    (image,) = pixels(figure)
    expected = np.full((5, 5), np.nan)
    expected[1, 1], expected[1, 3], expected[3, 1] = tiles.ravel()
    np.testing.assert_array_equal(image, expected)


def test_tiles_have_few_greys_near_the_true_ones(pixels: Pixels) -> None:
    tiles = np.linspace(0, 1, 1000).reshape(1, 10, 100)
    figure = new_figure(1, 1, "Tiles.")
    draw_mosaic(figure.subplots(), tiles, columns=1)
    shown = pixels(figure)[0][1:-1, 1:-1]
    np.testing.assert_allclose(shown, tiles[0], atol=0.51 / GREYS)
    assert len(np.unique(shown)) == GREYS + 1


def test_gaps_and_what_is_no_number_are_pale_in_colour(pixels: Pixels) -> None:
    figure = new_figure(1, 1, "Tiles.")
    tiles = np.zeros((2, 1, 1, 3))
    tiles[1] = np.nan
    draw_mosaic(figure.subplots(), tiles, columns=2)
    (image,) = pixels(figure)
    np.testing.assert_allclose(image[1, 1], 0)
    np.testing.assert_allclose(image[1, 3], to_rgb(PALE))
    np.testing.assert_allclose(image[0, 0], to_rgb(PALE))


def test_scaling_goes_from_lowest_to_highest() -> None:
    tiles = np.array([[[1.0, 2.0]], [[5.0, 9.0]]])
    np.testing.assert_allclose(scaled(tiles), (tiles - 1) / 8)
    np.testing.assert_allclose(scaled_each(tiles), [[[0, 1]], [[0, 1]]])


def test_scaling_leaves_out_what_is_not_finite_and_survives_constants() -> None:
    np.testing.assert_allclose(scaled(np.array([1, np.inf, np.nan, 3])), [0, np.nan, np.nan, 1])
    np.testing.assert_allclose(scaled(np.array([2.0, 2.0])), [0, 0])
    assert np.isnan(scaled(np.array([np.nan, np.inf]))).all()
