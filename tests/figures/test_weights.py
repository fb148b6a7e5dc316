from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.weights import kernels, weight_histograms

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]
rng = np.random.default_rng(0)


def test_a_row_a_layer_with_weights_and_biases(texts: Texts) -> None:
    layers = {
        "conv1": {"weights": rng.normal(size=(3, 3, 1, 16)), "biases": np.zeros(16)},
        "output": {"weights": rng.normal(size=(80, 10))},
    }
    figure = weight_histograms(layers)
    written = texts(figure)
    assert any(text.startswith("conv1: 144 weights, mean ") for text in written)
    assert "conv1: 16 biases, mean 0, std 0" in written
    assert any(text.startswith("output: 800 weights") for text in written)
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, False]


def test_the_histogram_counts_every_finite_weight(texts: Texts) -> None:
    weights = rng.normal(size=1000)
    weights[:10] = np.nan
    figure = weight_histograms({"dense1": {"weights": weights}})
    corners = figure.axes[0].patches[0].get_path().vertices
    assert np.asarray(corners)[:, 1].max() <= 990
    assert any("10 not finite" in text for text in texts(figure))


def test_a_layer_without_any_finite_weight_says_so(texts: Texts) -> None:
    figure = weight_histograms({"dense1": {"weights": np.full((2, 2), np.nan)}})
    assert "dense1: 4 weights, none is a finite number" in texts(figure)


def test_first_kernels_are_shown_in_a_common_scale_and_each_in_its_own(
    texts: Texts, pixels: Pixels
) -> None:
    weights = np.array([[0.0, 1.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 2)
    figure = kernels(weights, "conv1")
    common, own = pixels(figure)[:2]
    assert common[1, 1:3].tolist() == [0, 0.5]
    assert common[1, 4:6].tolist() == [0, 1]
    assert own[1, 1:3].tolist() == own[1, 4:6].tolist() == [0, 1]
    assert {"conv1: 2 kernels", "one scale for all", "each scaled to 0..1"} <= set(texts(figure))


@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_a_bar_says_which_weights_are_black_and_white(texts: Texts, inputs: int) -> None:
    weights = np.zeros((3, 3, inputs, 4))
    weights[0, 0, 0, 0], weights[1, 1, 0, 1] = -0.25, 0.5
    assert {"−0.25", "0.5", "weight"} <= set(texts(kernels(weights, "conv1")))


def test_colour_kernels_are_in_colour(texts: Texts, pixels: Pixels) -> None:
    figure = kernels(rng.normal(size=(5, 5, 3, 70)), "conv1")
    assert pixels(figure)[0].shape[-1] == 3
    assert "conv1: the first 64 of 70 kernels" in texts(figure)


def test_inner_kernels_have_a_row_for_each_input_channel(texts: Texts, pixels: Pixels) -> None:
    weights = np.zeros((3, 3, 2, 4))
    weights[:, :, 1, 2] = 1
    figure = kernels(weights, "conv2")
    image = pixels(figure)[0]
    assert (image[5:8, 9:12] == 1).all()
    assert np.nansum(image) == 9
    assert {"conv2: 8 kernels", "input channel", "output channel", "weight"} <= set(texts(figure))


def test_a_corner_of_the_inner_kernels_is_shown(texts: Texts, pixels: Pixels) -> None:
    figure = kernels(rng.normal(size=(3, 3, 32, 64)), "conv5", channels=8)
    assert "conv5: the first 64 of 2,048 kernels" in texts(figure)
    assert pixels(figure)[0].shape == (8 * 4 + 1, 8 * 4 + 1)


@pytest.mark.parametrize("inputs", [1, 3, 16, 64])
def test_any_number_of_channels_fits(texts: Texts, inputs: int) -> None:
    texts(kernels(rng.normal(size=(3, 3, inputs, 64)), "conv1"))


@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_a_network_that_diverged_is_pale(texts: Texts, inputs: int) -> None:
    texts(kernels(np.full((3, 3, inputs, 4), np.nan), "conv1"))
