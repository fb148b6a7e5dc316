from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.effects import accuracy_along, weights_overlaid

Texts = Callable[[Figure], list[str]]
Floats = NDArray[np.float64]


def accuracies(*values: float, splits: tuple[str, ...] = ("train", "val", "test")) -> dict:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return {value: {split: rng.uniform(0.4, 0.6, 3) for split in splits} for value in values}


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
    figure = accuracy_along(accuracies(*values), "l1")
    assert {*(f"{value:g}" for value in values), label} <= set(texts(figure))
    assert figure.axes[0].get_xscale() == scale
    assert figure.axes[0].get_xticks().tolist() == sorted(values)


def test_medians_are_connected_and_every_seed_is_shown(texts: Texts) -> None:
    of_value = accuracies(1, 2, splits=("val", "test"))
    del of_value[2]["val"]  # a split that one variant lacks is left out
    figure = accuracy_along(of_value, "strides")
    *seeds, medians = figure.axes[0].lines
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in seeds])
    np.testing.assert_allclose(drawn, [*of_value[1]["test"], *of_value[2]["test"]])
    np.testing.assert_allclose(
        np.asarray(medians.get_ydata(), dtype=float),
        [np.median(of_value[value]["test"]) for value in (1, 2)],
    )
    assert {"strides (pixels)", "test"} <= set(texts(figure))
    assert {"training", "validation"}.isdisjoint(texts(figure))


def histogram(spread: float) -> tuple[Floats, Floats]:
    values = np.random.default_rng(0).normal(0, spread, 1000)
    counts, edges = np.histogram(values, 20)
    return counts.astype(np.float64), edges


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_one_panel_a_layer_with_all_networks_in_it(texts: Texts, layers: int) -> None:
    names = [f"conv{i}" for i in range(layers)]
    networks = {
        "plain": {name: histogram(0.1) for name in names},
        "L2": {name: histogram(0.01) for name in names[:1]},
    }
    figure = weights_overlaid(networks)
    shown = texts(figure)
    assert {*names, "plain", "L2"} <= set(shown)
    first, *others = [axes for axes in figure.axes if axes.get_visible()]
    assert len(first.patches) == 4
    assert all(len(axes.patches) == 2 for axes in others)


def test_densities_do_not_depend_on_the_number_of_weights() -> None:
    counts, edges = histogram(0.1)
    networks = {"a": {"conv1": (counts, edges)}, "b": {"conv1": (7 * counts, edges)}}
    figure = weights_overlaid(networks)
    first, _, second, _ = figure.axes[0].patches
    np.testing.assert_allclose(first.get_data().values, second.get_data().values)  # type: ignore[attr-defined]
    np.testing.assert_allclose((first.get_data().values * np.diff(edges)).sum(), 1)  # type: ignore[attr-defined]
