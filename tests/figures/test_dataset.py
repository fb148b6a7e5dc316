from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from cnn_ablations.figures.dataset import class_balance, pixel_histogram

Texts = Callable[[Figure], list[str]]


def test_bars_are_shares_of_their_split(texts: Texts) -> None:
    counts = {"train": np.array([30, 10]), "test": np.array([1, 3])}
    figure = class_balance(counts, ["T-shirt/top", "Bag"])
    train, test = (c for c in figure.axes[0].containers if isinstance(c, BarContainer))
    assert [bar.get_width() for bar in train] == pytest.approx([0.75, 0.25])
    assert [bar.get_width() for bar in test] == pytest.approx([0.25, 0.75])
    written = texts(figure)
    assert {"T-shirt/top", "Bag", "30", "10", "1", "3"} <= set(written)
    assert "training, 40 images" in written
    assert "test, 4 images" in written


def test_bars_of_a_split_have_their_own_hatch() -> None:
    figure = class_balance({"train": np.array([1]), "test": np.array([1])}, ["x"])
    assert len({bar.get_hatch() for bar in figure.axes[0].patches}) == 2


def test_steps_are_shares_of_each_channels_pixels(texts: Texts) -> None:
    counts = np.array([[6, 2, 0], [1, 1, 2], [4, 0, 4]])
    figure = pixel_histogram(counts, ["red", "green", "blue"])
    steps = figure.axes[0].patches
    for step, row in zip(steps, counts, strict=True):
        np.testing.assert_allclose(step.get_data().values, row / row.sum())  # type: ignore[attr-defined]
    assert len({step.get_linestyle() for step in steps}) == 3
    assert {"red", "green", "blue", "pixel value (0..2)"} <= set(texts(figure))


def test_a_single_channel_needs_no_legend(texts: Texts) -> None:
    assert "grey" not in texts(pixel_histogram(np.ones((1, 17), int), ["grey"]))
