"""A data set as its notebook shows it: how its classes and its pixels are distributed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from cnn_ablations.figures.images import UInt8s, draw_image
from cnn_ablations.figures.style import (
    COLOURS,
    GREY,
    LINES,
    SPLIT_NAMES,
    SPLITS,
    WIDTH,
    new_figure,
    percent,
)

Counts = NDArray[np.int64]
NAMED = 60
"""Classes that a figure names."""
CHANNELS = {"red": COLOURS[1], "green": COLOURS[2], "blue": COLOURS[0]}


def class_balance(counts: Mapping[str, Counts], classes: Sequence[str]) -> Figure:
    """The share of each class in each split; of many classes by size, without their names.

    Args:
        counts: images of each class, (classes,), by split.
        classes: the names of the classes.
    """
    ranges = ", ".join(
        f"{of_split.min():,} to {of_split.max():,} {SPLIT_NAMES[split]} images"
        for split, of_split in counts.items()
    )
    alt = f"The share of each of {len(classes)} classes; a class has {ranges}."
    if len(classes) > NAMED:
        return _class_sizes(counts, alt)
    figure = new_figure(WIDTH, 0.9 + 0.34 * len(classes), alt)
    axes = figure.subplots()
    thickness = 0.8 / len(counts)
    legend: list[Artist | BarContainer] = []
    for i, (split, of_split) in enumerate(counts.items()):
        place = SPLITS[split]
        bars = axes.barh(
            np.arange(len(classes)) + (i - (len(counts) - 1) / 2) * thickness,
            of_split / of_split.sum(),
            height=thickness,
            color=COLOURS[place],
            hatch="" if place == 0 else "//",
            edgecolor="white",
            label=f"{SPLIT_NAMES[split]}, {of_split.sum():,} images",
        )
        legend.append(bars)
        axes.bar_label(bars, [f"{n:,}" for n in of_split], padding=3, fontsize=8)
    legend.append(
        axes.axvline(1 / len(classes), color=GREY, linewidth=1, linestyle=":", label="equal shares")
    )
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel("share of the split's images (number at the bar)")
    figure.legend(handles=legend, loc="outside upper center", ncols=3)
    return figure


def _class_sizes(counts: Mapping[str, Counts], alt: str) -> Figure:
    figure = new_figure(WIDTH, 4.0, alt)
    axes = figure.subplots()
    order = np.argsort(-next(iter(counts.values())), kind="stable")
    for split, of_split in counts.items():
        place = SPLITS[split]
        axes.step(
            np.arange(1, len(order) + 1),
            of_split[order],
            where="mid",
            color=COLOURS[place],
            linestyle=LINES[place],
            label=f"{SPLIT_NAMES[split]}, {of_split.sum():,} images",
        )
    axes.set(xlabel="class, from the most common in training to the rarest", ylabel="images")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend()
    return figure


def pixel_histogram(counts: Counts, channels: Sequence[str]) -> Figure:
    """How often each pixel value occurs, by channel; the share is on a logarithmic axis.

    Args:
        counts: pixels of each value 0..maximum, (channels, maximum + 1).
        channels: the name of each channel.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    peaks = ", ".join(
        f"{name} {share.argmax()} ({percent(share.max())} of the pixels)"
        for name, share in zip(channels, shares, strict=True)
    )
    figure = new_figure(
        WIDTH, 3.0, f"How often each pixel value occurs. The most frequent: {peaks}."
    )
    axes = figure.subplots()
    colours = list(CHANNELS.values()) if len(channels) == 3 else COLOURS
    edges = np.arange(counts.shape[1] + 1) - 0.5
    for share, name, colour, line in zip(shares, channels, colours, LINES, strict=False):
        axes.stairs(share, edges, color=colour, linestyle=line, linewidth=1.4, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=f"pixel value (0..{counts.shape[1] - 1})", ylabel="share of pixels")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    if len(channels) > 1:
        axes.legend(title="channel")
    return figure


def row_to_image(row: UInt8s, planes: UInt8s, image: UInt8s, pixel_max: int, title: str) -> Figure:
    """An image in its three stages: a row of values, a plane for each channel, an image.

    A grey image is its only plane, which is shown once.

    Args:
        row: (channels * height * width,).
        planes: (channels, height, width).
        image: (height, width, channels).
        pixel_max: what is white.
        title: of the figure.
    """
    colour = len(planes) == 3
    names = list(CHANNELS) if colour else []
    planes_of = f"planes of {', '.join(names)}, " if colour else ""
    alt = f"Stages of an image ({title}): a row of {row.size:,} values, {planes_of}the image."
    figure = new_figure(WIDTH, 3.9, alt)
    grid = figure.add_gridspec(2, len(names) + 1, height_ratios=(1, 5))
    strip = figure.add_subplot(grid[0, :])
    # A pixel of the figure covers several values: their mean, not the one that happens to hit.
    strip.imshow(row[None], vmin=0, vmax=pixel_max, aspect="auto", interpolation="antialiased")
    strip.set(title=f"the row: {row.size:,} values, one after the other", yticks=[])
    strip.set_xticks(np.linspace(0, row.size, 4 if colour else 3))
    strip.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for i, name in enumerate(names):
        place = (i + 0.5) * row.size / 3
        strip.text(place, 0.75, name, va="top", ha="center")
    for i, (name, plane) in enumerate(zip(names, planes, strict=False)):
        axes = figure.add_subplot(grid[1, i])
        draw_image(axes, plane[..., None], pixel_max)
        axes.set_title(f"{name} plane")
    axes = figure.add_subplot(grid[1, len(names)])
    draw_image(axes, image, pixel_max)
    axes.set_title("the image" if colour else "the image, its only plane")
    figure.suptitle(title, fontsize=10.5, parse_math=False)
    return figure
