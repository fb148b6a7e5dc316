"""What the convolutions make of an image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.images import draw_image, draw_mosaic, scaled, scaled_each
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

    Each map is scaled on its own, black for its lowest value, white for its highest; a flat map,
    of a channel that does not respond to this image, is black. Maps of one pixel share a scale.

    Args:
        image: (height, width, 1 or 3).
        maps: (height, width, channels) by the layer's name.
        caption: of the image.
        pixel_max: what is white in the image.
        channels: at most so many maps of a layer, eight a row.
    """
    columns = 8
    rows = [-(-min(channels, of_layer.shape[-1]) // columns) for of_layer in maps.values()]
    figure = new_figure(WIDTH, max(2.2, sum(rows) * 0.83 + 0.3 * len(maps)))
    grid = figure.add_gridspec(len(maps), 2, width_ratios=(1, 3.6), height_ratios=rows)
    axes = figure.add_subplot(grid[:, 0])
    draw_image(axes, image, pixel_max)
    axes.set_title(caption)
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
