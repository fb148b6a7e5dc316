from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.feature_maps import feature_maps

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]
rng = np.random.default_rng(0)
image = rng.integers(0, 255, (28, 28, 1)).astype(np.uint8)


def test_a_row_a_layer_with_its_size(texts: Texts) -> None:
    maps = {"conv1": rng.random((26, 26, 16)), "conv2": rng.random((11, 11, 4))}
    figure = feature_maps(image, maps, caption="correct: Bag", pixel_max=255, channels=8)
    written = texts(figure)
    assert "correct: Bag" in written
    assert "conv1: first 8 of 16 maps of 26×26 pixels" in written
    assert "conv2: 4 maps of 11×11 pixels" in written


def test_each_map_is_scaled_on_its_own_and_flat_ones_are_counted(
    texts: Texts, pixels: Pixels
) -> None:
    maps = np.zeros((1, 2, 3))
    maps[0, 1, 0], maps[0, 1, 1] = 5, 50
    figure = feature_maps(image, {"conv1": maps}, caption="", pixel_max=255, channels=3)
    shown = pixels(figure)[1][1]
    assert shown[[1, 2, 4, 5, 7, 8]].tolist() == [0, 1, 0, 1, 0, 0]
    assert "conv1: 3 maps of 1×2 pixels (1 of 3 flat)" in texts(figure)


def test_maps_of_one_pixel_are_compared_with_each_other(texts: Texts, pixels: Pixels) -> None:
    maps = np.array([0.0, 1.0, 2.0]).reshape(1, 1, 3)
    figure = feature_maps(image, {"conv3": maps}, caption="", pixel_max=255, channels=3)
    shown = pixels(figure)[1][1]
    assert shown[[1, 3, 5]].tolist() == [0, 0.5, 1]
    assert "conv3: 3 maps of 1×1 pixels" in texts(figure)


def test_many_layers_fit(texts: Texts) -> None:
    maps = {f"conv{i}": rng.random((32 // i, 32 // i, 32)) for i in range(1, 7)}
    photograph = np.zeros((32, 32, 3), np.uint8)
    texts(feature_maps(photograph, maps, caption="wrong", pixel_max=255, channels=8))


def test_maps_that_are_no_numbers_are_pale(texts: Texts) -> None:
    maps = {"conv1": np.full((4, 4, 2), np.nan)}
    texts(feature_maps(image, maps, caption="", pixel_max=255, channels=2))
