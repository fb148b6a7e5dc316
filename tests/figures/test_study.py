from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cnn_ablations.figures import study
from cnn_ablations.figures.study import Seeds
from cnn_ablations.figures.style import png

LONG = "2 conv, batch norm, retrained on all"


def seeds(*values: float, interval: tuple[float, float] | None = None) -> Seeds:
    array = np.array(values)
    return Seeds(array, array <= 0.1, interval or (float(array.min()), float(array.max())))


LEARNED = {"a": seeds(0.8, 0.82, 0.81), "b": seeds(0.9), LONG: seeds(0.85, 0.86)}
COLLAPSED = {**LEARNED, "c": seeds(0.1, 0.098, 0.83), "d": seeds(0.1, 0.1, 0.1)}


def curves(accuracies: Seeds, *, validated: bool = True) -> pd.DataFrame:
    frame = pd.DataFrame(
        [
            {"seed": seed, "epoch": epoch, "running_train_accuracy": final * epoch / 3}
            for seed, final in enumerate(accuracies.values)
            for epoch in (1, 2, 3)
        ]
    )
    return frame.assign(val_accuracy=frame["running_train_accuracy"]) if validated else frame


def figures() -> Iterator[Figure]:
    for group in (LEARNED, COLLAPSED, {"d": COLLAPSED["d"]}):
        flops = {label: 1e6 * (1 + i // 2) for i, label in enumerate(group)}
        yield study.curves_beside(
            {label: curves(s, validated=label != "b") for label, s in group.items()}
        )
        yield study.accuracies_beside(group, "val")
        yield study.accuracy_against_cost(group, flops, "test_balanced")
        yield study.published_beside(group, dict.fromkeys(group, 0.84))


@pytest.mark.parametrize("figure", list(figures()))
def test_no_text_is_clipped_and_the_bytes_are_the_same_twice(
    figure: Figure, texts: Callable[[Figure], list[str]]
) -> None:
    assert texts(figure)
    assert png(figure) == png(figure)


@pytest.mark.parametrize(
    "figure",
    [
        study.published_beside(LEARNED, {"a": 0.5, "b": 0.9, LONG: 0.99}),
        study.accuracies_beside({"a": seeds(0.8, 0.82, interval=(0.5, 0.99))}, "val"),
    ],
)
def test_what_goes_beyond_the_seeds_lies_within_the_axis(figure: Figure) -> None:
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5
    assert high > 0.99


@pytest.mark.parametrize("group", [COLLAPSED, {"d": COLLAPSED["d"]}], ids=["some", "all"])
def test_collapsed_seeds_stand_to_the_left(group: dict[str, Seeds]) -> None:
    left, right = study.accuracies_beside(group, "val").axes
    assert left.get_title() == "collapsed"
    assert left.get_xlim()[1] < 0.2 < right.get_xlim()[0] < 0.83 < right.get_xlim()[1]


def test_no_seed_hides_the_median_or_what_was_published() -> None:
    group = {"a": seeds(*np.linspace(0.8, 0.82, 25))}
    (axes,) = study.accuracies_beside(group, "val").axes
    (dots,), (*_, median) = axes.collections, axes.lines
    lowest = np.asarray(dots.get_offsets())[:, 1].max()
    assert lowest + 0.1 < np.asarray(median.get_ydata(), dtype=float).item() < 0.5
    (axes,) = study.published_beside(group, {"a": 0.81}).axes
    (dots,), (*_, cross) = axes.collections, axes.lines
    assert cross.get_zorder() > dots.get_zorder()


def test_costs_that_lie_close_share_a_label() -> None:
    flops = dict(zip(COLLAPSED, [1e6, 1.04e6, 1.08e6, 3e6, 9e6], strict=True))
    figure = study.accuracy_against_cost(COLLAPSED, flops, "test")
    png(figure)
    boxes = [label.get_window_extent() for label in figure.axes[-1].get_xticklabels()]
    assert len(boxes) == 3
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_one_interval_that_reaches_far_does_not_press_the_others_together() -> None:
    group = {"a": seeds(0.8), "b": seeds(0.9), "c": seeds(0.85, interval=(0.1, 0.86))}
    figure = study.accuracy_against_cost(
        group, dict(zip("abc", [1e6, 2e6, 3e6], strict=True)), "test"
    )
    low, high = figure.axes[0].get_ylim()
    assert 0.65 < low < 0.7
    assert high > 0.9


def test_titles_of_panels_do_not_run_into_each_other() -> None:
    labels = [f"{i} conv, batch norm, 64 filters" for i in range(4)]
    figure = study.curves_beside({label: curves(LEARNED["a"]) for label in labels})
    png(figure)
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_many_panels_stand_in_rows_of_four() -> None:
    figure = study.curves_beside({str(number): curves(LEARNED["a"]) for number in range(6)})
    assert len({axes.get_position().x0 for axes in figure.axes}) == 4
