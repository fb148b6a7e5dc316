"""What a convolution computes, for one channel and one kernel: as a loop, and without one.

Both functions are the 'same' cross-correlation that networks call a convolution: the result has
the shape of the image, what lies outside the image counts as zero, the kernel is not flipped.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


def cross_correlate(image: Array, kernel: Array, clip: tuple[float, float] | None = None) -> Array:
    """The sum of a window's pixels times the kernel's weights, for the window around each pixel.

    Args:
        image: (height, width).
        kernel: (rows, columns), both odd.
        clip: the lowest and the highest value of the result.

    Returns:
        (height, width), int64 for integers, else float64.

    Raises:
        ValueError: where an array is not 2-D or is empty, or a side of the kernel is even.
    """
    image, kernel = _checked(image, kernel)
    windows = sliding_window_view(zero_pad(image, kernel.shape), kernel.shape)
    result: Array = np.einsum("ijkl,kl->ij", windows, kernel)
    return result if clip is None else np.clip(result, *clip)


def cross_correlate_loop(
    image: Array, kernel: Array, clip: tuple[float, float] | None = None
) -> Array:
    """The same as `cross_correlate`, step by step: pad, slide, multiply, sum, clip."""
    image, kernel = _checked(image, kernel)
    (height, width), (rows, columns) = image.shape, kernel.shape
    padded = zero_pad(image, kernel.shape)
    result = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            window = padded[i : i + rows, j : j + columns]
            result[i, j] = np.sum(window * kernel)
    return result if clip is None else np.clip(result, *clip)


def zero_pad(image: Array, kernel_shape: tuple[int, ...]) -> Array:
    """The image with zeros around it, on each side half a kernel, rounded down."""
    return np.pad(image, [(side // 2, side // 2) for side in kernel_shape])


def by_steepness(image: Array, values: Array, parts: int = 10) -> NDArray[np.float64]:
    """The mean of `values` where `image` is flattest, ..., where it is steepest.

    The pixels are ordered by `steepness` and cut into `parts` of equal size.

    Returns:
        (parts,).
    """
    order = np.argsort(steepness(image), axis=None, kind="stable")
    return np.array([part.mean() for part in np.array_split(values.ravel()[order], parts)])


def steepness(image: Array) -> NDArray[np.float64]:
    """The length of the gradient at each pixel of (height, width), by central differences."""
    down, right = np.gradient(image.astype(np.float64))
    return np.asarray(np.hypot(down, right))


def _checked(image: Array, kernel: Array) -> tuple[Array, Array]:
    """Both in a type that holds the sums."""
    for name, array in (("image", image), ("kernel", kernel)):
        if array.ndim != 2 or not array.size:
            raise ValueError(f"the {name} must be 2-D and not empty, not of shape {array.shape}")
    if any(side % 2 == 0 for side in kernel.shape):
        raise ValueError(f"both sides of the kernel must be odd, not {kernel.shape}")
    dtype = np.result_type(image, kernel, np.int64)  # the product of two bytes is no byte
    return image.astype(dtype), kernel.astype(dtype)
