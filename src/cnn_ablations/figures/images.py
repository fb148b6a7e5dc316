"""Images as they are: single, in grids with captions, and many small ones as one mosaic."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.style import WIDTH, new_figure

Floats = NDArray[np.floating]
UInt8s = NDArray[np.uint8]

PALE = "#cfe3f5"
"""Between tiles, so that neither a black nor a white one runs into its neighbour."""
GREYS = 32
"""Steps from black to white in a mosaic: eyes see no more, and the PNG is a third smaller."""


def draw_image(axes: Axes, image: UInt8s, pixel_max: int) -> None:
    """Show an image (height, width, 1 or 3 channels) with pixels of 0..`pixel_max`, no ticks."""
    shown = image.squeeze(-1) if image.shape[-1] == 1 else image / pixel_max
    axes.imshow(shown, vmin=0, vmax=pixel_max)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def image_grid(images: UInt8s, captions: Sequence[str], pixel_max: int, columns: int) -> Figure:
    """Images (n, height, width, channels), each under its caption (of one or more lines)."""
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    side = WIDTH / columns
    alt = f"{len(images)} images: {'; '.join(map(one_line, captions))}."
    figure = new_figure(WIDTH, rows * (0.88 * side + 0.17 * lines), alt)
    for axes, image, caption in zip(_grid(figure, rows, columns), images, captions, strict=False):
        axes.set_visible(True)
        draw_image(axes, image, pixel_max)
        axes.set_title(caption, fontsize=9, pad=3)
    return figure


def large_image(image: UInt8s, pixel_max: int, title: str) -> Figure:
    """One image with its coordinates and, if it is grey, the scale of its pixels."""
    height, width = image.shape[:2]
    alt = f"An image of {height}×{width} pixels ({title}), enlarged, its rows and columns numbered."
    figure = new_figure(5, 4.3, alt)
    axes = figure.subplots()
    draw_image(axes, image, pixel_max)
    axes.set_xticks(_ticks(width))
    axes.set_yticks(_ticks(height))
    axes.set(title=title, xlabel="column (pixels)", ylabel="row (pixels)")
    if image.shape[-1] == 1:
        figure.colorbar(axes.images[0], label="pixel value", shrink=0.85).outline.set_visible(False)
    return figure


def draw_mosaic(axes: Axes, tiles: Floats, columns: int) -> None:
    """Show tiles (n, height, width) or (n, height, width, 3) of values 0..1 side by side,
    `columns` a row, a pale pixel apart. What is not a number stays as pale.
    """
    count, height, width, *channels = tiles.shape
    rows = -(-count // columns)
    image = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *channels), np.nan)
    for i, tile in enumerate(np.round(tiles * GREYS) / GREYS):
        top = i // columns * (height + 1) + 1
        left = i % columns * (width + 1) + 1
        image[top : top + height, left : left + width] = tile
    if channels:
        image = np.where(np.isfinite(image), image, to_rgb(PALE))
    axes.set_facecolor(PALE)
    axes.imshow(image, vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def one_line(caption: str) -> str:
    """A caption as a part of an alternative text."""
    return caption.replace("\n", ", ")


def scaled(tiles: Floats) -> Floats:
    """Values moved and stretched to 0..1, by what is finite; the rest becomes NaN."""
    finite = np.where(np.isfinite(tiles), tiles, np.nan)
    if np.isnan(finite).all():
        return finite
    low, high = np.nanmin(finite), np.nanmax(finite)
    return np.asarray((finite - low) / (high - low if high > low else 1))


def scaled_each(tiles: Floats) -> Floats:
    """Each tile (n, ...) scaled on its own."""
    return np.stack([scaled(tile) for tile in tiles])


def _grid(figure: Figure, rows: int, columns: int) -> list[Axes]:
    grid: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid:
        axes.set_visible(False)
    return grid


def _ticks(size: int) -> range:
    return range(0, size, max(1, size // 7))
