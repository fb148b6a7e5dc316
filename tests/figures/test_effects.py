from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.effects import accuracy_along

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
