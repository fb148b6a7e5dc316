"""The arithmetic of a network, before it is built: `training.cost` counts it, but needs TensorFlow,
whose import takes longer than a plan may.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from cnn_ablations.config.variants import Variant
from cnn_ablations.models.conv_net import per_layer

FLOPS_A_VALUE = 2_000
"""For each number that an image consists of, about the median of the models here: what is taken for
a model of one's own."""


def forward_flops(variant: Variant, image_shape: Sequence[int], classes: int) -> int:
    """Floating-point operations for one image, forward, as `training.cost` counts them.

    `image_shape` is height, width, channels.
    """
    match variant.model:
        case "conv_net":
            return _conv_net(image_shape, classes, **variant.factors)
        case "res_net":
            return _res_net(image_shape, classes, **variant.factors)
        case _:
            return FLOPS_A_VALUE * math.prod(image_shape)


def _conv_net(
    image_shape: Sequence[int],
    classes: int,
    *,
    filters: list[int],
    kernel_size: int | list[int],
    strides: int | list[int],
    padding: str,
    pooling: int | list[int],
    dense: list[int],
    **_: object,
) -> int:
    *sides, channels = image_shape
    factors = (per_layer(factor, len(filters)) for factor in (kernel_size, strides, pooling))
    weights_times_places = 0
    for width, kernel, stride, pool in zip(filters, *factors, strict=True):
        lost = kernel - 1 if padding == "valid" else 0
        sides = [math.ceil((side - lost) / stride) for side in sides]
        weights_times_places += kernel**2 * channels * width * math.prod(sides)
        sides = [side // pool for side in sides]
        channels = width
    widths = [math.prod(sides) * channels, *dense, classes]
    return 2 * (weights_times_places + sum(before * after for before, after in pairwise(widths)))


def _res_net(
    image_shape: Sequence[int], classes: int, *, stages: int, blocks: int, width: int, **_: object
) -> int:
    *sides, channels = image_shape
    weights_times_places = 0
    for stage in range(stages):
        if stage:
            sides = [math.ceil(side / 2) for side in sides]
        for _convolution in range(2 * blocks + (not stage)):
            weights_times_places += 9 * channels * (width * 2**stage) * math.prod(sides)
            channels = width * 2**stage
    return 2 * (weights_times_places + channels * classes)
