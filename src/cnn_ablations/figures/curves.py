"""How accuracy and loss went from epoch to epoch, and from batch to batch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cnn_ablations.figures.style import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    WIDTH,
    new_figure,
    percent,
)

SERIES = {
    "running_train": "training, average over the epoch's batches",
    "train": "training, after the epoch",
    "val": "validation, after the epoch",
    "test": "test, after the epoch",
}
"""The columns `<key>_accuracy` and `<key>_loss`, and how the legend names them."""
EXPLODED = 10_000
"""A loss so many times as large as what is usual for a training is off the axis."""
_PLACES = {"running_train": 0, "train": 3, "val": 1, "test": 2}


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Accuracy and loss per epoch: a faint line for each seed, a strong one for their median.

    Args:
        curves: columns `seed`, `epoch` and, for each of `SERIES` that was recorded,
            `<key>_accuracy` and `<key>_loss`. Values that are not finite are left out. Where
            losses explode, the axis ends with those that did not, or all that matters would be a
            flat line.
    """
    at_end = curves[curves["epoch"] == curves["epoch"].max()]
    medians = ", ".join(
        f"{label.partition(',')[0]} {percent(at_end[f'{key}_accuracy'].median())}"
        for key, label in SERIES.items()
        if f"{key}_accuracy" in curves
    )
    seeds, epochs = curves["seed"].nunique(), curves["epoch"].nunique()
    of, kind = (f"{seeds} seeds", " (medians)") if seeds > 1 else ("one seed", "")
    alt = f"Accuracy and loss by epoch of {of}. After {epochs} epochs: {medians}{kind}."
    figure = new_figure(WIDTH, 3.8, alt)
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


def iteration_curves(iterations: pd.DataFrame) -> Figure:
    """Accuracy and loss of every batch of one training: faint points, and their running median.

    Args:
        iterations: columns `epoch`, `iteration` (from 1 in every epoch), `accuracy` and `loss`,
            one row a batch in the order of training. Values that are not finite are left out.
            Where a few losses explode, the axis ends with the medians.
    """
    finite = iterations.replace([np.inf, -np.inf], np.nan)
    finite.index = pd.RangeIndex(1, len(finite) + 1)
    window = max(5, len(finite) // 200 * 2 + 1)
    medians = finite[["accuracy", "loss"]].rolling(window, center=True, min_periods=1).median()
    first, last = medians.iloc[0], medians.iloc[-1]
    figure = new_figure(
        WIDTH,
        4.1,
        f"Accuracy and loss of {len(finite):,} batches. The running median of the accuracy goes "
        f"from {percent(first['accuracy'])} to {percent(last['accuracy'])}, that of the loss from "
        f"{first['loss']:.3g} to {last['loss']:.3g}.",
    )
    left, right = figure.subplots(1, 2, sharex=True)
    for axes, metric in ((left, "accuracy"), (right, "loss")):
        style = {"color": COLOURS[5], "markersize": 1.5, "alpha": 0.6}
        axes.plot(finite[metric], ".", label="one batch", **style)
        label = f"running median of {window} batches"
        axes.plot(medians[metric], color=COLOURS[0], label=label)
        axes.set_xlabel("iteration (batch)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(x=0.01)
        axes.grid(axis="y")
        _mark_epochs(axes, int(iterations["iteration"].max()), int(iterations["epoch"].max()))
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    left.set_ylabel("accuracy")
    right.set_ylabel("loss (nats)")
    lowest, highest = medians["loss"].min(), medians["loss"].max()
    if 0 < 10 * lowest < highest:
        right.set_yscale("log")
    if finite["loss"].max() > 10 * highest:
        right.set_ylim(top=1.1 * highest)
        _remark_above(right, int((finite["loss"] > 1.1 * highest).sum()))
    legend = left.get_legend_handles_labels()
    figure.legend(*legend, loc="outside upper center", ncols=2, markerscale=6)
    return figure


def _mark_epochs(axes: Axes, batches: int, epochs: int) -> None:
    """An axis on top that counts epochs of so many `batches`."""
    shown = [int(e) for e in MaxNLocator(10, integer=True).tick_values(0, epochs) if e <= epochs]
    top = axes.secondary_xaxis("top")
    top.set_xticks([epoch * batches for epoch in shown], [f"{epoch}" for epoch in shown])
    top.set_xlabel("epoch")
    for epoch in shown:
        axes.axvline(epoch * batches, color="#dddddd", linewidth=0.6, zorder=0)


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
    if not np.isfinite(values).any():
        _remark(axes, "no loss is finite")
        return
    # Of an even number of seeds the lower one in the middle: half of two may have exploded.
    medians = losses.groupby(curves["epoch"]).quantile(interpolation="lower").to_numpy()
    high = np.nanmax(medians, initial=-np.inf, where=medians <= EXPLODED * np.nanmedian(medians))
    last = values[curves["epoch"] == curves["epoch"].max()]
    high = np.nanmax(last, initial=high, where=last <= 10 * high)
    low, highest = np.nanmin(values), np.nanmax(values)
    if highest < 2 * high:
        high = highest
    if 0 < 50 * low < high:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.1)
    else:
        margin = 0.05 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
    _remark_above(axes, int((values > high).sum()))


def _remark_above(axes: Axes, points: int) -> None:
    if points:
        _remark(axes, f"{points:,} {'point lies' if points == 1 else 'points lie'} above")


def _remark(axes: Axes, text: str) -> None:
    axes.text(1, 1, text, transform=axes.transAxes, ha="right", va="top", color=GREY, size=9)
