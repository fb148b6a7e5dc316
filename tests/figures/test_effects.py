from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_ablations.figures.effects import accuracy_along, weights_overlaid

Texts = Callable[[Figure], list[str]]


@pytest.mark.parametrize(
    ("values", "scale", "label"),
    [
        ((0.001, 10, 0, 0.1), "symlog", "l1 (logarithmic axis)"),
        ((3, 5, 9, 0), "linear", "l1"),
        ((0,), "linear", "l1"),
    ],
)
def test_values_that_span_decades_stand_apart_by_their_logarithms(
    texts: Texts, values: tuple[float, ...], scale: str, label: str
) -> None:
    splits = {"train": np.array([0.5, 0.6]), "test": np.array([0.4, 0.5])}
    figure = accuracy_along(dict.fromkeys(values, splits), "l1")
    assert {*(f"{value:g}" for value in values), label} <= set(texts(figure))
    assert figure.axes[0].get_xscale() == scale
    assert figure.axes[0].get_xticks().tolist() == sorted(values)


def test_medians_are_connected_and_every_seed_is_shown(texts: Texts) -> None:
    rng = np.random.default_rng(0)
    of_value: dict[float, dict[str, Any]] = {
        value: {split: rng.uniform(0.4, 0.6, 3) for split in ("val", "test_balanced")}
        for value in (1.0, 2.0)
    }
    del of_value[2]["val"]  # a split that one variant lacks is left out
    figure = accuracy_along(of_value, "strides")
    *seeds, medians = figure.axes[0].lines
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in seeds])
    np.testing.assert_allclose(
        drawn, [*of_value[1]["test_balanced"], *of_value[2]["test_balanced"]]
    )
    np.testing.assert_allclose(
        np.asarray(medians.get_ydata(), dtype=float),
        [np.median(of_value[value]["test_balanced"]) for value in (1, 2)],
    )
    assert {"stride (pixels)", "balanced test"} <= set(texts(figure))
    assert {"training", "validation"}.isdisjoint(texts(figure))


def test_a_layer_that_one_network_lacks_is_drawn_of_the_others(texts: Texts) -> None:
    drawn = np.histogram(np.linspace(-1, 1, 100), 20)
    names = [f"conv{number}" for number in range(5)]
    figure = weights_overlaid({"plain": dict.fromkeys(names, drawn), "L2": {"conv0": drawn}})
    assert {*names, "plain", "L2"} <= set(texts(figure))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [len(axes.patches) for axes in panels] == [4, 2, 2, 2, 2]
