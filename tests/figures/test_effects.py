from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_ablations.figures.effects import accuracy_along

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
