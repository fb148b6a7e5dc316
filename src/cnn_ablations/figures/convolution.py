"""A convolution step by step, channels beside results, and where a result is bright."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnn_ablations.figures.images import draw_image
from cnn_ablations.figures.style import COLOURS, LINES, MARKERS, WIDTH, new_figure

Array = NDArray[Any]

_SHADE = "#dfe5ea"
"""Of the padding."""
_RULE = "#b5b5b5"
"""Between cells and around images."""


def worked_steps(
    padded: Array, kernel: Array, result: Array, places: Sequence[tuple[int, int]]
) -> Figure:
    """What happens at some places of a small image, one row of panels a place.

    The padded image with the window, the kernel, their products, and the result so far.

    Args:
        padded: the image in its frame of zeros, integers.
        kernel: (rows, columns), integers.
        result: (height, width), integers.
        places: (row, column) of the result, in the order in which the window visits them.
    """
    rows, columns = kernel.shape
    padding = np.ones(padded.shape, bool)
    padding[rows // 2 :, columns // 2 :][: result.shape[0], : result.shape[1]] = False
    widths = [array.shape[1] for array in (padded, kernel, kernel, result)]
    cell = (WIDTH - 1.2) / sum(widths)
    sums = ", ".join(f"{_signed(int(result[place]))} at {place}" for place in places)
    alt = f"Padded image, kernel, products and result so far. Results by row and column: {sums}."
    figure = new_figure(WIDTH, len(places) * (padded.shape[0] * cell + 0.4), alt)
    grid = figure.subplots(len(places), 4, width_ratios=widths, squeeze=False)
    for (row, column), panels in zip(places, grid, strict=True):
        products = padded[row : row + rows, column : column + columns] * kernel
        so_far = np.arange(result.size).reshape(result.shape) <= row * result.shape[1] + column
        _write_numbers(panels[0], padded, "padded image", shaded=padding)
        _write_numbers(panels[1], kernel, "× kernel")
        _write_numbers(panels[2], products, f"= products,\nsum {_signed(products.sum())}")
        _write_numbers(panels[3], np.ma.masked_array(result, ~so_far), "result so far")
        _outline(panels[0], row, column, rows, columns)
        _outline(panels[3], row, column, 1, 1)
    return figure


def number_grids(grids: Mapping[str, Array]) -> Figure:
    """Arrays (rows, columns) of integers side by side, number by number, by title."""
    widths = [array.shape[1] for array in grids.values()]
    rows = "; ".join(f"{title}: {_rows(array)}" for title, array in grids.items())
    alt = f"Grids of numbers, row by row. {rows}."
    figure = new_figure(min(WIDTH, 0.4 * sum(widths) + len(grids)), 1.9, alt)
    panels = figure.subplots(1, len(grids), width_ratios=widths)
    for axes, (title, array) in zip(panels, grids.items(), strict=True):
        _write_numbers(axes, array, title)
    return figure


def grey_images(images: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Images (height, width) of one size side by side, 0 black and 255 white, by title."""
    height, width = next(iter(images.values())).shape
    means = ", ".join(f"{title} {image.mean():.0f}" for title, image in images.items())
    alt = f"Grey images of {height}×{width} pixels. Mean brightness of 0 to 255: {means}."
    figure = new_figure(WIDTH, WIDTH / len(images) * height / width + 0.3, alt)
    for axes, (title, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        draw_image(axes, image[..., None], 255)
        axes.spines[:].set(visible=True, color=_RULE, linewidth=0.6)  # white ends somewhere
        axes.set_title(title)
    return figure


def brightness_by_steepness(means: Mapping[str, NDArray[np.float64]]) -> Figure:
    """How bright pictures are where the photograph is flat and where it is steep.

    Args:
        means: the mean brightness, 0..255, of equal parts from flattest to steepest, by picture.
    """
    ends = ", ".join(f"{name} {v[0]:.0f} to {v[-1]:.0f}" for name, v in means.items())
    alt = f"Mean brightness from the flattest to the steepest parts of the photograph: {ends}."
    figure = new_figure(WIDTH, 3.4, alt)
    axes = figure.subplots()
    for (name, values), colour, line, marker in zip(
        means.items(), COLOURS, LINES, MARKERS, strict=False
    ):
        parts = np.arange(1, len(values) + 1)
        axes.plot(parts, values, color=colour, linestyle=line, marker=marker, label=name)
    axes.set_xticks(parts, [f"{part}" for part in parts])
    axes.set(
        xlabel=f"where the photograph is flattest (1) to steepest ({len(parts)}), equal shares",
        ylabel="mean brightness (0..255)",
        ylim=(-8, 263),
    )
    axes.grid(axis="y")
    figure.legend(loc="outside right center")
    return figure


def _write_numbers(axes: Axes, values: Array, title: str, shaded: Array | None = None) -> None:
    """A grid of cells with a number in each that is not masked."""
    backgrounds = np.zeros(values.shape) if shaded is None else shaded
    colours = ListedColormap(["white", _SHADE])
    cells = axes.pcolormesh(backgrounds, cmap=colours, vmin=0, vmax=1)
    cells.set(edgecolors=_RULE, linewidth=0.6, clip_on=False)
    for (row, column), masked in np.ndenumerate(np.ma.getmaskarray(values)):
        if not masked:
            text = _signed(int(values[row, column]))
            axes.text(column + 0.5, row + 0.52, text, ha="center", va="center", fontsize=8.5)
    axes.set(aspect="equal", xticks=[], yticks=[], title=title)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, row: int, column: int, height: int, width: int) -> None:
    frame = Rectangle((column, row), width, height, fill=False, edgecolor=COLOURS[1], linewidth=2.4)
    frame.set(clip_on=False, zorder=3)
    axes.add_patch(frame)


def _rows(values: Array) -> str:
    return " / ".join(" ".join(_signed(int(value)) for value in row) for row in values)


def _signed(value: int) -> str:
    return f"{value}".replace("-", "−")
