"""The variants of a study beside each other. Seeds that collapsed to chance have an axis of their
own, so that they neither hide nor squeeze the others into a corner.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from cnn_ablations.figures.style import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    SPLIT_NAMES,
    SPLITS,
    WIDTH,
    new_figure,
    percent,
)

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Seeds:
    """The accuracy of each seed of a variant on one split."""

    values: Floats
    """(seeds,)."""
    collapsed: NDArray[np.bool_]
    """(seeds,), whether it stayed at chance."""
    interval: Interval | None = None
    """Of their median, or of one more seed: the figure says which."""

    @property
    def median(self) -> float:
        return float(np.median(self.values))


def curves_beside(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy per epoch, one panel a variant: every seed thin, their median thick, and in grey
    the validation medians of the other variants.

    Args:
        curves: by label, with columns `seed`, `epoch`, `val_accuracy` (where there is a
            validation split) and `running_train_accuracy`.
    """
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    alt = f"Accuracy by epoch, a panel a variant: {', '.join(curves)}."
    figure = new_figure(WIDTH, 0.8 + 1.9 * rows, alt)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    medians = {
        label: _by_seed(frame, "val_accuracy").median(axis=1)
        for label, frame in curves.items()
        if "val_accuracy" in frame
    }
    for axes, (label, frame) in zip(panels, curves.items(), strict=False):
        for other in medians.keys() - {label}:
            axes.plot(medians[other], color="#cccccc", linewidth=0.9, zorder=1)
        for column, split in (("running_train_accuracy", "train"), ("val_accuracy", "val")):
            if column in frame:
                _draw_seeds(axes, _by_seed(frame, column), SPLITS[split])
        axes.set_title(textwrap.fill(label, 24))
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(_percent)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(curves) - columns) : len(curves)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    figure.supylabel("accuracy", fontsize=10)
    legend = Axes(figure, (0, 0, 1, 1))
    for split, name in (
        ("train", "training, average over the epoch's batches"),
        ("val", "validation, after the epoch"),
    ):
        place = SPLITS[split]
        legend.plot([], color=COLOURS[place], linestyle=LINES[place], linewidth=2, label=name)
    if len(medians) > 1:
        legend.plot([], color="#cccccc", label="validation, the other variants")
    figure.legend(*legend.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def accuracies_beside(seeds: Mapping[str, Seeds], split: str) -> Figure:
    """The accuracy of every seed after training, with median and interval, one row a variant.

    Args:
        seeds: by label, with the interval of the median.
        split: `val` or `test`.
    """
    alt = f"{SPLIT_NAMES[split].capitalize()} accuracy of every seed. Medians: {_medians(seeds)}."
    figure = new_figure(WIDTH, 1.0 + 0.38 * len(seeds), alt)
    place = SPLITS[split]
    shown = [v for s in seeds.values() for v in (s.median, *(s.interval or ()))]
    panels = _panels(figure, seeds.values(), extra=shown)
    for axes in panels:
        for row, of_variant in enumerate(seeds.values()):
            _draw_dots(axes, of_variant.values, row, COLOURS[place], MARKERS[place])
            if of_variant.interval:
                axes.plot(of_variant.interval, [row, row], color="black", lw=1.2, zorder=2)
            axes.plot(of_variant.median, row, color="black", marker="|", ms=14, mew=2, zorder=2)
    _finish_rows(panels, list(seeds), f"{SPLIT_NAMES[split]} accuracy after training")
    handles = Axes(figure, (0, 0, 1, 1))
    handles.plot([], color=COLOURS[place], marker=MARKERS[place], ls="", alpha=0.6, label="a seed")
    handles.plot(
        [], color="black", marker="|", ms=11, mew=2.4, label="median; 95 % interval of the mean"
    )
    figure.legend(*handles.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def accuracy_against_cost(
    seeds: Mapping[str, Seeds], flops: Mapping[str, float], split: str, *, per_image: bool = True
) -> Figure:
    """Median accuracy with its interval against arithmetic.

    Args:
        seeds: by label, with the interval of the median.
        flops: floating-point operations by label, of the forward pass of one image, or else of
            all forward passes of a training.
        split: `val` or `test`.
        per_image: which of the two.
    """
    dearest, cheapest = max(flops, key=flops.__getitem__), min(flops, key=flops.__getitem__)
    alt = (
        f"{SPLIT_NAMES[split].capitalize()} accuracy against operations, from {cheapest}, the "
        f"cheapest, to {dearest}. Medians: {_medians(seeds)}."
    )
    figure = new_figure(WIDTH, max(3.6, 1.2 + 0.27 * len(seeds)), alt)
    medians = {label: s.median for label, s in seeds.items()}
    bounds = [b for s in seeds.values() for b in s.interval or ()]
    at_chance = [medians[label] for label, s in seeds.items() if s.collapsed.mean() > 0.5]
    learned = [m for m in medians.values() if m not in at_chance]
    low = max(at_chance, default=-1.0)
    shown = [*learned, *(b for b in bounds if b > low + 0.1)]
    main, *rest = (
        figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
        if at_chance and learned
        else [figure.subplots()]
    )
    places, costs = _side_by_side(np.array([flops[label] for label in seeds]))
    for axes in (main, *rest):
        for i, (label, of_variant) in enumerate(seeds.items()):
            style = {"color": COLOURS[i % 7], "zorder": 3}
            if of_variant.interval:
                axes.plot([places[i]] * 2, of_variant.interval, linewidth=1.2, alpha=0.7, **style)
            marker = MARKERS[(i + i // 7) % 7]
            axes.plot(places[i], medians[label], marker=marker, ms=7, ls="", label=label, **style)
        axes.grid()
        axes.yaxis.set_major_formatter(_percent)
    main.set_ylim(_padded(shown or at_chance))
    for axes in rest:
        axes.set_ylim(_padded([*at_chance, *(b for b in bounds if b <= low + 0.1)], 0.02))
        axes.set_ylabel("at chance")
        axes.yaxis.set_major_locator(MaxNLocator(2))
        main.tick_params(bottom=False)
        main.spines.bottom.set_visible(False)
    bottom = rest[0] if rest else main
    bottom.set_xscale("log")
    bottom.set_xlim(places.min() / 1.3, places.max() * 1.3)
    unit = 1e6 if per_image else 1e12
    bottom.set_xticks(costs, [f"{cost / unit:.3g}" for cost in costs])
    bottom.xaxis.set_minor_locator(NullLocator())
    what = "million operations an image" if per_image else "trillion operations a training"
    bottom.set_xlabel(f"{what} (variants of equal cost are drawn side by side)")
    main.set_ylabel(f"{SPLIT_NAMES[split]} accuracy")
    figure.legend(*main.get_legend_handles_labels(), loc="outside right upper")
    return figure


def published_beside(seeds: Mapping[str, Seeds], published: Mapping[str, float]) -> Figure:
    """Published accuracies beside every seed of ours and where one more seed would fall.

    Args:
        seeds: by label, with the prediction interval of one more seed.
        published: by the same labels.
    """
    pairs = ", ".join(f"{label} {percent(published[label])}" for label in seeds)
    alt = f"Published accuracies: {pairs}. Ours, medians of the seeds: {_medians(seeds)}."
    figure = new_figure(WIDTH, 1.0 + 0.32 * len(seeds), alt)
    bounds = [min(max(bound, 0.0), 1.0) for s in seeds.values() for bound in s.interval or ()]
    panels = _panels(figure, seeds.values(), extra=[*published.values(), *bounds])
    for axes in panels:
        for row, (label, of_variant) in enumerate(seeds.items()):
            if of_variant.interval:
                axes.plot(of_variant.interval, [row, row], color="#bbbbbb", lw=7, alpha=0.6)
            _draw_dots(axes, of_variant.values, row, COLOURS[0], MARKERS[0])
            axes.plot(published[label], row, color=COLOURS[1], marker="X", ms=9, mec="white")
    _finish_rows(panels, list(seeds), "accuracy")
    handles = Axes(figure, (0, 0, 1, 1))
    handles.plot([], color=COLOURS[1], marker="X", ls="", ms=8, label="published")
    handles.plot([], color=COLOURS[0], marker="o", ls="", alpha=0.6, label="a seed of ours")
    handles.plot([], color="#bbbbbb", lw=7, alpha=0.6, label="one more seed of ours (95 %)")
    figure.legend(*handles.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _medians(seeds: Mapping[str, Seeds]) -> str:
    return ", ".join(f"{label} {percent(s.median)}" for label, s in seeds.items())


def _by_seed(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    return curves.pivot(index="epoch", columns="seed", values=column)


def _draw_seeds(axes: Axes, by_seed: pd.DataFrame, place: int) -> None:
    colour, line = COLOURS[place], LINES[place]
    if by_seed.shape[1] > 1:
        axes.plot(by_seed, color=colour, linestyle=line, linewidth=0.8, alpha=0.5, zorder=2)
    axes.plot(by_seed.median(axis=1), color=colour, linestyle=line, linewidth=2.0, zorder=3)


def _draw_dots(axes: Axes, values: Floats, row: int, colour: str, marker: str) -> None:
    offsets = np.linspace(-0.24, 0.24, len(values)) if len(values) > 1 else np.zeros(1)
    axes.scatter(
        values,
        row + offsets,
        s=32,
        color=colour,
        marker=marker,
        alpha=0.8,
        edgecolors="white",
        linewidths=0.5,
        zorder=3,
    )


def _panels(figure: Figure, seeds: Iterable[Seeds], extra: Sequence[float]) -> list[Axes]:
    """One axis of accuracy, or two with a gap where some seeds collapsed: those to the left."""
    groups = list(seeds)
    chance = [float(v) for s in groups for v in s.values[s.collapsed]]
    learned = [float(v) for s in groups for v in s.values[~s.collapsed]]
    if not chance or not learned:
        axes = figure.subplots()
        axes.set_xlim(_padded([*chance, *learned, *extra]))
        return [axes]
    gap = max(chance) + 0.02
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 5])
    # The end of an interval may lie between the two: it is drawn on the side that is nearer.
    gap = max(gap, (max(chance) + min(learned)) / 2)
    left.set_xlim(_padded([*chance, *(value for value in extra if value <= gap)], 0.02))
    right.set_xlim(_padded([*learned, *(value for value in extra if value > gap)]))
    left.set_title("collapsed")
    left.xaxis.set_major_locator(MaxNLocator(1))
    right.spines.left.set_visible(False)
    right.tick_params(axis="y", length=0)
    for row, of_variant in enumerate(groups):
        count = of_variant.collapsed.sum()
        if count:
            left.annotate(
                f"{count} of {len(of_variant.values)}",
                (1, row - 0.26),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7.5,
                color=GREY,
            )
    return [left, right]


def _finish_rows(panels: Sequence[Axes], labels: Sequence[str], xlabel: str) -> None:
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    panels[-1].set_xlabel(xlabel)
    for axes in panels:
        axes.xaxis.set_major_formatter(_percent)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        for row in range(1, len(labels)):
            axes.axhline(row - 0.5, color="#eeeeee", linewidth=0.8, zorder=0)


def _padded(values: Sequence[float], least: float = 0.004) -> Interval:
    low, high = min(values), max(values)
    pad = max(0.05 * (high - low), least)
    return low - pad, high + pad


def _percent(fraction: float, _: float | None = None) -> str:
    return f"{round(100 * fraction, 4):g}%"


def _side_by_side(costs: Floats) -> tuple[Floats, Floats]:
    """Places near the costs on a logarithmic axis, so that equal ones do not hide each other, and
    the middle of each group of such places.
    """
    logs = np.log10(costs)
    step = 0.014 * max(float(np.ptp(logs)), 0.3)
    order = np.argsort(logs, kind="stable")
    clusters = np.cumsum(np.diff(logs[order], prepend=logs[order[0]]) > step)
    places = logs.copy()
    middles = []
    for cluster in range(clusters[-1] + 1):
        members = np.sort(order[clusters == cluster])
        middles.append(logs[members].mean())
        places[members] += step * (np.arange(len(members)) - (len(members) - 1) / 2)
    return 10**places, 10 ** np.array(middles)
