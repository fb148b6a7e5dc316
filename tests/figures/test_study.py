from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from cnn_ablations.figures import study
from cnn_ablations.figures.study import Seeds
from cnn_ablations.figures.style import png

LONG = "2 conv, batch norm, retrained on all"


def seeds(*values: float, interval: tuple[float, float] | None = None) -> Seeds:
    array = np.array(values)
    return Seeds(array, array <= 0.1, interval or (float(array.min()), float(array.max())))


LEARNED = {"a": seeds(0.8, 0.82, 0.81), "b": seeds(0.9), LONG: seeds(0.85, 0.86)}
COLLAPSED = {**LEARNED, "c": seeds(0.1, 0.098, 0.83), "d": seeds(0.1, 0.1, 0.1)}


def curves(accuracies: Seeds, validated: bool = True) -> pd.DataFrame:
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
        yield study.curves_beside({label: curves(s, label != "b") for label, s in group.items()})
        yield study.accuracies_beside(group, "val")
        yield study.accuracy_against_cost(group, flops, "test")
        yield study.published_beside(group, dict.fromkeys(group, 0.84))


@pytest.mark.parametrize("figure", list(figures()))
def test_no_text_is_clipped_and_the_bytes_are_the_same_twice(figure: Figure) -> None:
    first = png(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text() and text.get_visible() and text.axes is not None:
            if not text.axes.get_visible():
                continue
            box = text.get_window_extent()
            if box.width:
                assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
                assert -1 <= box.y0 <= box.y1 <= height + 1, text.get_text()
    assert png(figure) == first


def points(figure: Figure) -> list[set[float]]:
    """The accuracies drawn as points that lie within the limits of each axis."""
    shown = []
    for axes in figure.axes:
        low, high = axes.get_xlim()
        x = np.concatenate([c.get_offsets()[:, 0] for c in axes.collections])  # type: ignore[index]
        shown.append({round(float(v), 6) for v in x if low <= v <= high})
    return shown


def test_every_seed_is_a_point() -> None:
    (shown,) = points(study.accuracies_beside(LEARNED, "test"))
    assert shown == {0.8, 0.82, 0.81, 0.9, 0.85, 0.86}


def test_collapsed_seeds_have_an_axis_of_their_own() -> None:
    for figure in (
        study.accuracies_beside(COLLAPSED, "test"),
        study.published_beside(COLLAPSED, dict.fromkeys(COLLAPSED, 0.8)),
    ):
        chance, learned = points(figure)
        assert chance == {0.1, 0.098}
        assert learned == {0.8, 0.82, 0.81, 0.9, 0.85, 0.86, 0.83}
        left = figure.axes[0]
        assert [text.get_text() for text in left.texts] == ["2 of 3", "3 of 3"]
        assert left.get_xlim()[1] < figure.axes[1].get_xlim()[0]


def test_published_figures_lie_within_the_axis() -> None:
    figure = study.published_beside(LEARNED, {"a": 0.5, "b": 0.9, LONG: 0.99})
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5
    assert high > 0.99


def test_intervals_that_go_beyond_the_seeds_lie_within_the_axis() -> None:
    figure = study.accuracies_beside({"a": seeds(0.8, 0.82, interval=(0.7, 0.95))}, "val")
    low, high = figure.axes[0].get_xlim()
    assert low < 0.7
    assert high > 0.95


def test_variants_of_equal_cost_do_not_hide_each_other() -> None:
    flops = {"a": 1e6, "b": 1e6, LONG: 3e6}
    figure = study.accuracy_against_cost(LEARNED, flops, "test")
    axes = figure.axes[0]
    places = {line.get_label(): float(np.asarray(line.get_xdata())[0]) for line in axes.lines}
    assert places["a"] < 1e6 < places["b"] < 1.2e6
    assert places[LONG] == pytest.approx(3e6)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3"]


def test_variants_at_chance_are_drawn_below_the_others() -> None:
    figure = study.accuracy_against_cost(COLLAPSED, dict.fromkeys(COLLAPSED, 1e6), "test")
    main, chance = figure.axes
    assert main.get_ylim()[0] > 0.3
    assert chance.get_ylim()[0] < 0.098
    assert 0.1 < chance.get_ylim()[1] < main.get_ylim()[0]


def test_a_panel_shows_all_seeds_their_median_and_the_other_variants() -> None:
    figure = study.curves_beside({label: curves(s) for label, s in LEARNED.items()})
    first = figure.axes[0]
    others, thin, medians = 2, 2 * 3, 2
    assert len(first.lines) == others + thin + medians
    median = np.asarray(first.lines[-1].get_ydata(), dtype=float)
    np.testing.assert_allclose(median, [0.27, 0.54, 0.81])
    assert {axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_visible()} == {
        *LEARNED
    }


def test_titles_of_panels_do_not_run_into_each_other() -> None:
    labels = [f"{i} conv, batch norm, 64 filters" for i in range(4)]
    figure = study.curves_beside({label: curves(LEARNED["a"]) for label in labels})
    png(figure)
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_variant_without_validation_shows_its_training() -> None:
    figure = study.curves_beside({"a": curves(LEARNED["a"], validated=False)})
    assert len(figure.axes[0].lines) == 4
