from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.signal import convolve2d, correlate2d

from cnn_ablations.convolution import (
    by_steepness,
    cross_correlate,
    cross_correlate_loop,
    steepness,
    zero_pad,
)

Array = NDArray[Any]

BOTH = pytest.mark.parametrize("correlate", [cross_correlate, cross_correlate_loop])
EXAMPLE = np.array([[10, 10, 10, 0, 0, 0]] * 5)
LEFT_MINUS_RIGHT = np.array([[1, 0, -1]] * 3)

images = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)))
odd = st.sampled_from([1, 3, 5, 7])
kernels = arrays(np.int64, st.tuples(odd, odd), elements=st.integers(-9, 9))


@given(images, kernels)
def test_both_agree_with_scipy_to_the_last_digit(image: Array, kernel: Array) -> None:
    wide = image.astype(np.int64)
    expected = correlate2d(wide, kernel, mode="same")
    np.testing.assert_array_equal(cross_correlate_loop(image, kernel), expected, strict=True)
    np.testing.assert_array_equal(cross_correlate(image, kernel), expected, strict=True)
    flipped = convolve2d(wide, kernel[::-1, ::-1], mode="same")
    np.testing.assert_array_equal(flipped, expected)


@BOTH
def test_the_worked_example(correlate: Callable[..., Array]) -> None:
    outer, inner = [-20, 0, 20, 20, 0, 0], [-30, 0, 30, 30, 0, 0]
    expected = [outer, inner, inner, inner, outer]
    assert correlate(EXAMPLE, LEFT_MINUS_RIGHT).tolist() == expected
    clipped = correlate(EXAMPLE, LEFT_MINUS_RIGHT, clip=(0, 25))
    assert clipped.tolist() == np.clip(expected, 0, 25).tolist()


@BOTH
def test_bytes_do_not_wrap_and_fractions_stay(correlate: Callable[..., Array]) -> None:
    white = np.full((1, 1), 255, np.uint8)
    assert correlate(white, np.full((1, 1), 2, np.uint8)).tolist() == [[510]]
    assert correlate(white, np.full((1, 1), 0.5, np.float32)).tolist() == [[127.5]]


@BOTH
@pytest.mark.parametrize(
    ("image", "kernel", "message"),
    [
        ((4, 4), (2, 3), r"odd, not \(2, 3\)"),
        ((4, 4), (3, 2), r"odd, not \(3, 2\)"),
        ((4, 4), (3,), r"kernel must be 2-D .* \(3,\)"),
        ((4, 4), (0, 3), r"kernel must be .* not empty"),
        ((4, 4, 3), (3, 3), r"image must be 2-D .* \(4, 4, 3\)"),
        ((0, 4), (3, 3), r"image must be .* not empty"),
    ],
)
def test_what_has_no_same_result_is_refused(
    correlate: Callable[..., Array], image: tuple[int, ...], kernel: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        correlate(np.zeros(image), np.zeros(kernel))


def test_padding_is_half_a_kernel_on_each_side() -> None:
    padded = zero_pad(np.ones((2, 3)), (3, 5))
    assert padded.shape == (4, 7)
    assert padded[1:-1, 2:-2].tolist() == np.ones((2, 3)).tolist()
    assert padded.sum() == 6


def test_steepness_is_the_length_of_the_gradient() -> None:
    rows, columns = np.indices((5, 6))
    np.testing.assert_allclose(steepness((3 * rows + 4 * columns).astype(np.uint8)), 5)


def test_parts_go_from_flattest_to_steepest() -> None:
    ramp = np.tile(np.arange(6) ** 2, (3, 1))  # the steeper, the further to the right
    np.testing.assert_allclose(
        by_steepness(ramp, np.tile(np.arange(6), (3, 1)), 3), [0.5, 2.5, 4.5]
    )
