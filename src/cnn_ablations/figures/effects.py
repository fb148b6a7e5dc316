"""What one factor does: to accuracy, along its values, and to the weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import NDArray

from cnn_ablations.figures.style import (
    COLOURS,
    LINES,
    MARKERS,
    SPLIT_NAMES,
    SPLITS,
    WIDTH,
    new_figure,
    percent,
)

Floats = NDArray[np.float64]

NAMES = {"strides": "stride", "train_images": "training images"}
"""Of factors whose key does not name a single value."""
WIDE = 20
"""Positive values that span more than this factor are drawn on a logarithmic axis."""


def accuracy_along(accuracies: Mapping[float, Mapping[str, Floats]], name: str) -> Figure:
    """Accuracy after training against the values of one factor: every seed faint, their medians
    connected. A logarithmic axis has a place for 0, too.

    Args:
        accuracies: (seeds,) by the factor's value and split.
        name: of the factor.
    """
    values = sorted(accuracies)
    medians = {
        split: [float(np.median(accuracies[value][split])) for value in values]
        for split in SPLITS
        if all(split in accuracies[value] for value in values)
    }
    ends = ", ".join(
        f"{SPLIT_NAMES[split]} {percent(of_split[0])} to {percent(of_split[-1])}"
        for split, of_split in medians.items()
    )
    alt = f"Accuracy against {name} from {values[0]:,g} to {values[-1]:,g}; medians: {ends}."
    figure = new_figure(WIDTH, 3.8, alt)
    axes = figure.subplots()
    for split, of_split in medians.items():
        place = SPLITS[split]
        style: dict[str, Any] = {"color": COLOURS[place], "marker": MARKERS[place]}
        for value in values:
            of_seeds = accuracies[value][split]
            axes.plot([value] * len(of_seeds), of_seeds, ls="", alpha=0.35, ms=4, mew=0, **style)
        axes.plot(values, of_split, ls=LINES[place], label=SPLIT_NAMES[split], **style)
    unit = " (pixels)" if name in ("kernel_size", "strides", "pooling") else ""
    least = min((value for value in values if value > 0), default=values[-1])
    if values[-1] > WIDE * least:
        axes.set_xscale("symlog", linthresh=least)
        unit = " (logarithmic axis)"
    axes.set_xticks(values, [f"{value:,g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"{NAMES.get(name, name.replace('_', ' '))}{unit}")
    axes.set_ylabel("accuracy after training")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.grid()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def weights_overlaid(
    histograms: Mapping[str, Mapping[str, tuple[Floats, Floats]]],
) -> Figure:
    """The distribution of each layer's weights in several networks, one upon the other.

    Args:
        histograms: counts (bins,) and edges (bins + 1,) by the network's label and the layer's
            name; the layers that the first network has are drawn.
    """
    first = next(iter(histograms.values()))
    columns = min(3, len(first))
    rows = -(-len(first) // columns)
    alt = f"Histograms of the weights of {', '.join(first)} in {' and in '.join(histograms)}."
    figure = new_figure(WIDTH, 0.9 + 2.0 * rows, alt)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(first) :]:
        axes.set_visible(False)
    for axes, layer in zip(panels, first, strict=False):
        for place, (label, layers) in enumerate(histograms.items()):
            if layer not in layers:
                continue
            counts, edges = layers[layer]
            share = counts / max(counts.sum(), 1) / np.maximum(np.diff(edges), 1e-12)
            axes.stairs(share, edges, color=COLOURS[place], fill=True, alpha=0.25)
            axes.stairs(share, edges, color=COLOURS[place], ls=LINES[place], lw=1.2, label=label)
        axes.set_title(layer)
        axes.set_yscale("log")
        axes.set_xlabel("weight")
    for axes in panels[::columns]:
        axes.set_ylabel("density")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
