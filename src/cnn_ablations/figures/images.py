"""Images as they are: single, in grids with captions, and many small ones as one mosaic."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
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
    side = WIDTH / columns
    texts = [wrapped(caption, 0.95 * side, 9) for caption in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    alt = f"{len(images)} images: {'; '.join(map(one_line, captions))}."
    figure = new_figure(WIDTH, rows * (0.88 * side + 0.17 * lines), alt)
    for axes, image, text in zip(_grid(figure, rows, columns), images, texts, strict=False):
        axes.set_visible(True)
        draw_image(axes, image, pixel_max)
        axes.set_anchor("N")  # or the layout counts on room above the image for its caption
        axes.set_title(text, fontsize=9, pad=3, parse_math=False)
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
    axes.set(xlabel="column (pixels)", ylabel="row (pixels)")
    axes.set_title(wrapped(title, 4, 10.5), parse_math=False)
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


def wrapped(caption: str, width: float, size: float) -> str:
    """The caption in lines that are at most so many inches wide, in letters of `size` points.

    A word that is longer goes on in the next line, after an underscore if it can.
    """
    font = FontProperties(size=size)

    def wide(line: str) -> bool:
        return text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] > 72 * width

    texts = []
    for line in caption.split("\n"):
        parts, letters = [line], len(line)
        while any(map(wide, parts)):
            letters -= 1
            parts = [part.replace("_ ", "_") for part in wrap(line.replace("_", "_ "), letters)]
        texts += parts
    return "\n".join(texts)


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
