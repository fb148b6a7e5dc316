"""What a network has learnt, as numbers: its weights, biases and kernels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cnn_ablations.figures.images import draw_mosaic, scaled, scaled_each
from cnn_ablations.figures.style import COLOURS, GREY, WIDTH, new_figure

Floats = NDArray[np.floating]

MOST_KERNELS = 64
"""Shown of a layer that sees an image."""


def weight_histograms(layers: Mapping[str, Mapping[str, Floats]]) -> Figure:
    """The distribution of each layer's weights and biases.

    Args:
        layers: arrays of any shape by `weights` and `biases`, by the layer's name.
    """
    alt = f"Histograms of the weights and of the biases of {', '.join(layers)}."
    figure = new_figure(WIDTH, 0.5 + 1.35 * len(layers), alt)
    rows = figure.subplots(len(layers), 2, squeeze=False)
    for row, (name, arrays) in zip(rows, layers.items(), strict=True):
        for axes, (kind, colour) in zip(
            row, {"weights": COLOURS[0], "biases": COLOURS[1]}.items(), strict=True
        ):
            axes.set_visible(kind in arrays)
            if kind in arrays:
                text = _draw_histogram(axes, arrays[kind].ravel(), colour)
                title = f"{name}: {arrays[kind].size:,} {kind}, {text}"
                axes.set_title(title, loc="left", fontsize=9.5)
        row[0].set_ylabel("count")
    for axes, kind in zip(rows[-1], ("weight", "bias"), strict=True):
        axes.set_xlabel(kind)
    figure.align_ylabels(rows[:, 0])
    return figure


def _draw_histogram(axes: Axes, values: Floats, colour: str) -> str:
    """Draw the finite values; returns what their mean and spread are."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "none is a finite number"
    bins = min(100, max(10, 2 * round(len(finite) ** 0.5)))
    axes.hist(finite, bins=bins, color=colour, histtype="stepfilled")
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    text = f"mean {finite.mean():.2g}, std {finite.std():.2g}".replace("-", "−")
    missing = len(values) - len(finite)
    return f"{text}, {missing:,} not finite" if missing else text


def kernels(weights: Floats, name: str, channels: int = 16) -> Figure:
    """The kernels of a convolution in grey, or in colour where it sees red, green and blue.

    Of a layer that sees an image, up to `MOST_KERNELS` are shown twice: in one common scale, and
    each in its own, from its lowest weight at 0 (black) to its highest at 1 (white). Of a deeper
    layer, in one scale, each row holds the kernels of one input channel.

    Args:
        weights: (height, width, input channels, output channels).
        name: the layer's name.
        channels: at most so many of a deeper layer's input and of its output.
    """
    if weights.shape[2] in (1, 3):
        return _image_kernels(weights, name)
    return _inner_kernels(weights, name, channels)


def _image_kernels(weights: Floats, name: str) -> Figure:
    tiles = np.moveaxis(weights[..., :MOST_KERNELS], -1, 0)
    tiles = tiles.squeeze(-1) if tiles.shape[-1] == 1 else tiles
    title = _title(name, len(tiles), weights.shape[-1])
    alt = f"{title} as small images, in one scale and each in its own."
    figure = new_figure(WIDTH, 0.75 + -(-len(tiles) // 8) * 0.5, alt)
    common, bar, own = figure.subplots(1, 3, width_ratios=(1, 0.03, 1))
    draw_mosaic(common, scaled(tiles), columns=8)
    draw_mosaic(own, scaled_each(tiles), columns=8)
    common.set_title("one scale for all")
    own.set_title("each scaled to 0..1")
    _draw_scale(figure, common, tiles, cax=bar)
    figure.suptitle(title, fontsize=10.5)
    return figure


def _inner_kernels(weights: Floats, name: str, channels: int) -> Figure:
    height, width, inputs, outputs = weights.shape
    shown = weights[:, :, :channels, :channels]
    rows, columns = shown.shape[2:]
    title = _title(name, rows * columns, inputs * outputs)
    alt = f"{title} as small images: a column an output channel, a row an input channel."
    figure = new_figure(0.4 * columns + 1.6, 0.4 * rows + 0.75, alt)
    axes = figure.subplots()
    tiles = shown.transpose(2, 3, 0, 1).reshape(-1, height, width)
    draw_mosaic(axes, scaled(tiles), columns)
    axes.set_xticks((width + 1) * (np.arange(columns) + 0.5), _names(columns))
    axes.set_yticks((height + 1) * (np.arange(rows) + 0.5), _names(rows))
    axes.tick_params(length=0)
    axes.set(
        xlabel="output channel",
        ylabel="input channel",
        title=title,
    )
    _draw_scale(figure, axes, shown, shrink=0.6, aspect=30)
    return figure


def _draw_scale(figure: Figure, axes: Axes, weights: Floats, **place: Any) -> None:
    """A bar that says which weights are black and white in `axes`."""
    grey = ScalarMappable(Normalize(0, 1), rcParams["image.cmap"])
    bar = figure.colorbar(grey, ax=axes if "cax" not in place else None, ticks=[0, 1], **place)
    finite = weights[np.isfinite(weights)]
    ends = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
    bar.set_ticklabels([f"{end:.2g}".replace("-", "−") for end in ends])
    bar.set_label("weight", labelpad=-12)
    bar.outline.set_visible(False)


def _names(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def _title(name: str, shown: int, total: int) -> str:
    some = "" if shown == total else f"the first {shown:,} of "
    return f"{name}: {some}{total:,} kernels"
