"""What comes out of the convolutions for an image."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.images import (
    PALE,
    draw_image,
    draw_mosaic,
    one_line,
    scaled,
    scaled_each,
    wrapped,
)
from cnn_ablations.figures.style import WIDTH, new_figure

Floats = NDArray[np.floating]


def feature_maps(
    image: NDArray[np.uint8],
    maps: Mapping[str, Floats],
    *,
    caption: str,
    pixel_max: int,
    channels: int,
) -> Figure:
    """An image and the first `channels` feature maps of each convolution, from input to depth.

    Each map is scaled on its own, black for its lowest value, white for its highest; a flat map
    is black. Maps of one pixel share a scale.

    Args:
        image: (height, width, 1 or 3).
        maps: (height, width, channels) by the layer's name.
        caption: of the image.
        pixel_max: what is white in the image.
        channels: at most so many maps of a layer, eight a row.
    """
    columns = 8
    rows = [-(-min(channels, of_layer.shape[-1]) // columns) for of_layer in maps.values()]
    alt = f"The image “{one_line(caption)}” and its feature maps in {', '.join(maps)}."
    figure = new_figure(WIDTH, max(2.2, sum(rows) * 0.83 + 0.3 * len(maps)), alt)
    grid = figure.add_gridspec(len(maps), 2, width_ratios=(1, 3.6), height_ratios=rows)
    axes = figure.add_subplot(grid[:, 0])
    draw_image(axes, image, pixel_max)
    axes.set_title(wrapped(caption, 1.7, 10.5), parse_math=False)
    for row, (name, of_layer) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[row, 1])
        height, width, total = of_layer.shape
        shown = np.moveaxis(of_layer[..., :channels], -1, 0)
        draw_mosaic(axes, scaled_each(shown) if height * width > 1 else scaled(shown), columns)
        flat = int((np.ptp(of_layer, axis=(0, 1)) == 0).sum()) if height * width > 1 else 0
        some = "" if len(shown) == total else f"first {len(shown)} of "
        remark = f" ({flat} of {total} flat)" if flat else ""
        title = f"{name}: {some}{total} maps of {height}×{width} pixels{remark}"
        axes.set_title(title, loc="left")
    return figure


def maps_through_depth(
    images: NDArray[np.uint8],
    maps: Sequence[Mapping[str, Floats]],
    *,
    captions: Sequence[str],
    pixel_max: int,
) -> Figure:
    """Images on their way through the network: a row each, with the first feature map of every
    convolution, each scaled on its own.

    Below a flat map stands its one value.

    Args:
        images: (n, height, width, 1 or 3).
        maps: of each image, (height, width, channels) by the layer's name.
        captions: of the images.
        pixel_max: what is white in the images.
    """
    names = list(maps[0])
    side = min(1.3, 7.4 / (len(names) + 1))
    texts = [wrapped(caption, 1.5, 9) for caption in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    figure = new_figure(
        1.6 + side * (len(names) + 1),
        0.4 + len(images) * max(side, 0.2 * lines),
        f"One image a row, followed by its first feature map in {', '.join(names)}: "
        f"{'; '.join(map(one_line, captions))}.",
    )
    rows = figure.subplots(len(images), len(names) + 1, squeeze=False)
    for row, image, of_image, text in zip(rows, images, maps, texts, strict=True):
        draw_image(row[0], image, pixel_max)
        row[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, parse_math=False)
        for axes, of_layer in zip(row[1:], of_image.values(), strict=True):
            _draw_map(axes, of_layer[..., 0])
    for axes, name in zip(rows[0, 1:], names, strict=True):
        height, width = maps[0][name].shape[:2]
        axes.set_title(f"{name}\n{height}×{width}", fontsize=9)
    rows[0, 0].set_title("image", fontsize=9)
    return figure


def _draw_map(axes: Axes, values: Floats) -> None:
    axes.set_facecolor(PALE)
    axes.imshow(scaled(values), vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if (values == values.flat[0]).all():
        axes.set_xlabel(f"flat: {values.flat[0]:.2g}".replace("-", "−"), fontsize=8)
