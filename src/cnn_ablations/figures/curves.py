"""How accuracy and loss went from epoch to epoch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cnn_ablations.figures.style import COLOURS, GREY, LINES, MARKERS, WIDTH, new_figure

SERIES = {
    "running_train": "training, average over the epoch's batches",
    "train": "training, after the epoch",
    "val": "validation, after the epoch",
    "test": "test, after the epoch",
}
"""The columns `<key>_accuracy` and `<key>_loss`, and how the legend names them."""
_PLACES = {"running_train": 0, "train": 3, "val": 1, "test": 2}


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Accuracy and loss per epoch: a faint line for each seed, a strong one for their median.

    Args:
        curves: columns `seed`, `epoch` and, for each of `SERIES` that was recorded,
            `<key>_accuracy` and `<key>_loss`. Values that are not finite are left out. Where a
            seed's loss explodes, the axis ends with the medians and the last epoch, or all that
            matters would be a flat line.
    """
    figure = new_figure(WIDTH, 3.8)
    left, right = figure.subplots(1, 2, sharex=True)
    finite = curves.replace([np.inf, -np.inf], np.nan)
    _draw_metric(left, finite, "accuracy")
    _draw_metric(right, finite, "loss")
    left.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    left.set_ylabel("accuracy")
    right.set_ylabel("loss (nats)")
    _limit_loss(right, finite)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _draw_metric(axes: Axes, curves: pd.DataFrame, metric: str) -> None:
    for key, label in SERIES.items():
        column = f"{key}_{metric}"
        if column not in curves:
            continue
        colour, line = COLOURS[_PLACES[key]], LINES[_PLACES[key]]
        by_seed = curves.pivot(index="epoch", columns="seed", values=column)
        if by_seed.shape[1] > 1:
            axes.plot(by_seed, color=colour, linestyle=line, linewidth=0.8, alpha=0.4)
        axes.plot(
            by_seed.median(axis=1),
            color=colour,
            linestyle=line,
            marker=MARKERS[_PLACES[key]] if len(by_seed) <= 20 else "",
            label=label,
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")


def _limit_loss(axes: Axes, curves: pd.DataFrame) -> None:
    losses = curves.filter(like="_loss")
    values = losses.to_numpy()
    medians = losses.groupby(curves["epoch"]).median().to_numpy()
    shown = np.concatenate([medians, values[curves["epoch"] == curves["epoch"].max()]])
    if not np.isfinite(shown).any():
        return
    low, high, highest = np.nanmin(values), np.nanmax(shown), np.nanmax(values)
    if highest < 2 * high:
        high = highest
    if 0 < 50 * low < high:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.1)
    else:
        margin = 0.05 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
    above = int((values > high).sum())
    if above:
        text = f"{above} {'point lies' if above == 1 else 'points lie'} above"
        axes.text(1, 1, text, transform=axes.transAxes, ha="right", va="top", color=GREY, size=9)
