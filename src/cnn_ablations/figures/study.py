"""The variants of a study beside each other. Seeds that collapsed to chance have an axis of their
own, so that they neither hide nor squeeze the others into a corner.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
from cnn_ablations.files import write_atomically

Floats = NDArray[np.float64]
BELOW = 0.34
"""Where a row has its median and interval, so that the marks of the seeds do not hide them."""
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
        axes.set_title(textwrap.fill(label, 24), parse_math=False)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(_percent)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(curves) - columns) : len(curves)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    figure.supylabel("accuracy", fontsize=10)
    names = {"train": "training, average over the epoch's batches"}
    names |= {"val": "validation, after the epoch"}
    entries: list[dict[str, Any]] = [
        {"color": COLOURS[SPLITS[split]], "ls": LINES[SPLITS[split]], "lw": 2, "label": name}
        for split, name in names.items()
    ]
    if len(medians) > 1:
        entries.append({"color": "#cccccc", "label": "validation, the other variants"})
    _legend(figure, *entries)
    return figure


def accuracies_beside(seeds: Mapping[str, Seeds], split: str) -> Figure:
    """The accuracy of every seed after training, with median and interval, one row a variant.

    Args:
        seeds: by label, with an interval of the accuracy over other seeds and images.
        split: `val`, `test` or `test_balanced`.
    """
    alt = f"{SPLIT_NAMES[split].capitalize()} accuracy of every seed. Medians: {_medians(seeds)}."
    figure = new_figure(WIDTH, 1.0 + 0.38 * len(seeds), alt)
    dots: dict[str, Any] = {"color": COLOURS[SPLITS[split]], "marker": MARKERS[SPLITS[split]]}
    black: dict[str, Any] = {"color": "black", "zorder": 4}
    shown = [v for s in seeds.values() for v in (s.median, *(s.interval or ()))]
    panels = _rows(figure, seeds, f"{SPLIT_NAMES[split]} accuracy after training", shown, dots)
    for axes in panels:
        for row, of_variant in enumerate(seeds.values()):
            if of_variant.interval:
                axes.plot(of_variant.interval, [row + BELOW] * 2, lw=1.2, **black)
            axes.plot(of_variant.median, row + BELOW, marker="|", ms=7, mew=2, **black)
    _legend(
        figure,
        {"ls": "", "alpha": 0.6, "label": "a seed", **dots},
        {"color": "black", "marker": "|", "ms": 9, "mew": 2.4, "label": "median; 95 % interval"},
    )
    return figure


def accuracy_against_cost(
    seeds: Mapping[str, Seeds], flops: Mapping[str, float], split: str
) -> Figure:
    """Median accuracy with its interval against arithmetic.

    Args:
        seeds: by label, with an interval of the accuracy over other seeds and images.
        flops: floating-point operations of the forward pass of one image, by label.
        split: `val`, `test` or `test_balanced`.
    """
    dearest, cheapest = max(flops, key=flops.__getitem__), min(flops, key=flops.__getitem__)
    alt = (
        f"{SPLIT_NAMES[split].capitalize()} accuracy against operations, from {cheapest}, the "
        f"cheapest, to {dearest}. Medians: {_medians(seeds)}."
    )
    figure = new_figure(WIDTH, max(3.6, 1.2 + 0.27 * len(seeds)), alt)
    axes = figure.subplots()
    places, costs = _side_by_side(np.array([flops[label] for label in seeds]))
    for i, (label, of_variant) in enumerate(seeds.items()):
        style: dict[str, Any] = {"color": COLOURS[i % 7], "zorder": 3}
        if of_variant.interval:
            axes.plot([places[i]] * 2, of_variant.interval, linewidth=1.2, alpha=0.7, **style)
        marker = MARKERS[(i + i // 7) % 7]
        axes.plot(places[i], of_variant.median, marker=marker, ms=7, ls="", label=label, **style)
    axes.grid()
    axes.yaxis.set_major_formatter(_percent)
    # One interval that reaches down to chance would press all the others together: it is cut.
    medians = [of_variant.median for of_variant in seeds.values()]
    ends = [end for of_variant in seeds.values() for end in of_variant.interval or ()]
    room = max(0.02, float(np.ptp(medians)))
    shown = np.clip(ends, min(medians) - room, max(medians) + room).tolist()
    axes.set_ylim(_padded([*medians, *shown]))
    axes.set_xscale("log")
    axes.set_xlim(places.min() / 1.3, places.max() * 1.3)
    ticks = _apart(costs)
    axes.set_xticks(ticks, [f"{cost / 1e6:.3g}" for cost in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("million operations an image (variants of equal cost are drawn side by side)")
    axes.set_ylabel(f"{SPLIT_NAMES[split]} accuracy")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
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
    dots: dict[str, Any] = {"color": COLOURS[0], "marker": MARKERS[0]}
    cross: dict[str, Any] = {"color": COLOURS[1], "marker": "X"}
    band: dict[str, Any] = {"color": "#bbbbbb", "lw": 7, "alpha": 0.6}
    shown = [*published.values(), *(b for s in seeds.values() for b in s.interval or ())]
    for axes in _rows(figure, seeds, "accuracy", shown, dots):
        for row, (label, of_variant) in enumerate(seeds.items()):
            if of_variant.interval:
                axes.plot(of_variant.interval, [row, row], **band)
            axes.plot(published[label], row, ms=9, mec="white", zorder=4, **cross)
    _legend(
        figure,
        {"ls": "", "ms": 8, "label": "published", **cross},
        {"ls": "", "alpha": 0.6, "label": "a seed of ours", **dots},
        {"label": "one more seed that learns (95 %)", **band},
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure as SVG to `path`: the same bytes whenever the figure and matplotlib are the
    same. Its title is the figure's alternative text.

    Raises ProjectError where the folder cannot be written.
    """
    buffer = BytesIO()
    metadata = {"Title": figure.get_label(), "Creator": None, "Date": None}
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    write_atomically(path, buffer.getvalue())


def _medians(seeds: Mapping[str, Seeds]) -> str:
    return ", ".join(f"{label} {percent(s.median)}" for label, s in seeds.items())


def _by_seed(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    return curves.pivot(index="epoch", columns="seed", values=column)


def _draw_seeds(axes: Axes, by_seed: pd.DataFrame, place: int) -> None:
    colour, line = COLOURS[place], LINES[place]
    if by_seed.shape[1] > 1:
        axes.plot(by_seed, color=colour, linestyle=line, linewidth=0.8, alpha=0.5, zorder=2)
    axes.plot(by_seed.median(axis=1), color=colour, linestyle=line, linewidth=2.0, zorder=3)


def _rows(
    figure: Figure,
    seeds: Mapping[str, Seeds],
    xlabel: str,
    extra: Sequence[float],
    dots: Mapping[str, Any],
) -> list[Axes]:
    """A row of dots a variant, one dot a seed, on an axis that shows `extra` too; where some seeds
    collapsed on two, with a gap between: those to the left, and nothing to the right if all did.
    """
    panels: list[Axes]
    groups = list(seeds.values())
    chance = [float(v) for s in groups for v in s.values[s.collapsed]]
    learned = [float(v) for s in groups for v in s.values[~s.collapsed]]
    if chance:
        left, right = panels = figure.subplots(1, 2, sharey=True, width_ratios=[1, 5]).tolist()
        # The end of an interval may lie between the two: it is drawn on the side that is nearer.
        gap = max(max(chance) + 0.02, (max(chance) + min(learned, default=1.0)) / 2)
        left.set_xlim(_padded([*chance, *(value for value in extra if value <= gap)], 0.02))
        beyond = [value for value in extra if value > gap]
        right.set_xlim(_padded([*(learned or [gap, 1.0]), *beyond]))
        left.set_title("collapsed")
        left.xaxis.set_major_locator(MaxNLocator(1))
        right.spines.left.set_visible(False)
    else:
        panels = [figure.subplots()]
        panels[0].set_xlim(_padded([*learned, *extra]))
    for row, of_variant in enumerate(groups):
        n, gone = len(of_variant.values), of_variant.collapsed.sum()
        heights = row + (np.linspace(-0.28, 0.2, n) if n > 1 else np.zeros(1))
        for axes in panels:
            style = {"s": 32, "alpha": 0.8, "edgecolors": "white", "linewidths": 0.5, **dots}
            axes.scatter(of_variant.values, heights, zorder=3, **style)
        if gone:
            panels[0].annotate(
                f"{gone} of {n}",
                (1, row - 0.26),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=7.5,
                color=GREY,
            )
    panels[0].set_yticks(range(len(groups)), list(seeds), parse_math=False)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    panels[-1].set_xlabel(xlabel)
    for axes in panels:
        axes.xaxis.set_major_formatter(_percent)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        for row in range(1, len(groups)):
            axes.axhline(row - 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
    return panels


def _legend(figure: Figure, *entries: Mapping[str, Any]) -> None:
    """A legend above the axes: what lines and markers in these styles, each with a label, mean."""
    handles = [Line2D([], [], **entry) for entry in entries]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


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
    logs = pd.Series(np.log10(costs))
    step = 0.014 * max(float(np.ptp(logs)), 0.3)
    groups = logs.groupby((logs.sort_values().diff() > step).cumsum())
    middles, sizes = groups.transform("mean"), groups.transform("size")
    places = middles + step * (groups.cumcount() - (sizes - 1) / 2)
    return 10 ** places.to_numpy(), 10 ** np.unique(middles)


def _apart(costs: Floats) -> list[float]:
    """Those in ascending order that leave room for a label each on a logarithmic axis."""
    chosen = [float(costs[0])]
    room = (costs[-1] / costs[0]) ** 0.06
    for cost in costs[1:]:
        if cost >= chosen[-1] * room:
            chosen.append(float(cost))
    return chosen
