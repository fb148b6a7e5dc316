"""What a trained variant gets right and wrong."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from cnn_ablations.figures.style import (
    COLOURS,
    MARKERS,
    SPLIT_NAMES,
    SPLITS,
    WIDTH,
    new_figure,
    percent,
)

Floats = NDArray[np.floating]
LONGEST = 24
"""Letters of a class's name at a matrix."""


def final_accuracies(accuracies: Mapping[str, Floats]) -> Figure:
    """The accuracy of each seed after training, (seeds,) by split, and their median below."""
    medians = ", ".join(
        f"{SPLIT_NAMES[split]} {percent(float(np.median(of_seeds)))} "
        f"({percent(of_seeds.min())} to {percent(of_seeds.max())})"
        for split, of_seeds in accuracies.items()
    )
    alt = f"Accuracy of each seed after training. Median and range: {medians}."
    figure = new_figure(WIDTH, 0.8 + 0.55 * len(accuracies), alt)
    axes = figure.subplots()
    for row, (split, of_seeds) in enumerate(accuracies.items()):
        place = SPLITS[split]
        heights = row + np.linspace(-0.35, 0.05, len(of_seeds) + 2)[1:-1]
        axes.scatter(
            of_seeds,
            heights,
            color=COLOURS[place],
            marker=MARKERS[place],
            alpha=0.6,
        )
        axes.plot(np.median(of_seeds), row + 0.25, color="black", marker="d", markersize=7)
    axes.set_yticks(range(len(accuracies)), [SPLIT_NAMES[split] for split in accuracies])
    axes.set_ylim(len(accuracies) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_xlabel("accuracy after training")
    axes.grid(axis="x")
    return figure


def confusion_matrix(counts: Mapping[str, NDArray[np.int64]], classes: Sequence[str]) -> Figure:
    """Confusion matrices side by side, as numbers of images and below as shares of each true class.

    Cells without images, and shares below half a per cent, stay empty.

    Args:
        counts: (classes, classes), rows true, columns predicted, by split.
        classes: the names of the classes.
    """
    side = 3.4 * min(len(classes), 10) / 10
    right = ", ".join(
        f"{percent(np.trace(of_split) / of_split.sum())} of the {SPLIT_NAMES[split]} images"
        for split, of_split in counts.items()
    )
    alt = f"Confusion matrices of {len(classes)} classes. On the diagonal, so right, are {right}."
    figure = new_figure(WIDTH, 1.6 + 2 * (side + 0.3), alt)
    rows = figure.subplots(2, len(counts), sharex=True, sharey=True, squeeze=False)
    for (split, of_split), (upper, lower) in zip(counts.items(), rows.T, strict=True):
        totals = of_split.sum(axis=1, keepdims=True)
        shares = np.divide(of_split, totals, out=np.zeros(of_split.shape), where=totals > 0)
        numbers = [[f"{n}" if n else "" for n in row] for row in of_split]
        per_cent = [[f"{100 * s:.0f}" if s >= 0.005 else "" for s in row] for row in shares]
        _draw_matrix(upper, shares, numbers, classes)
        _draw_matrix(lower, shares, per_cent, classes)
        upper.set_title(f"{SPLIT_NAMES[split]}: number of images")
        lower.set_title(f"{SPLIT_NAMES[split]}: per cent of the true class")
        lower.set_xlabel("predicted class")
    for axes in rows[:, 0]:
        axes.set_ylabel("true class")
    return figure


def _draw_matrix(
    axes: Axes, shares: Floats, texts: list[list[str]], classes: Sequence[str]
) -> None:
    # Most cells of a good network are near zero: the root spreads what lies there.
    shade = np.sqrt(shares)
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1.15)
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes]
    slant = 45 if max(map(len, names)) > 2 else 0
    axes.set_xticks(
        range(len(classes)),
        names,
        rotation=slant,
        ha="right" if slant else "center",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.set_yticks(range(len(classes)), names, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, of_row in enumerate(texts):
        for column, text in enumerate(of_row):
            colour = "white" if shade[row, column] > 0.65 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
