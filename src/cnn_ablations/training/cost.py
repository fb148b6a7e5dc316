"""What a network costs: parameters, and arithmetic for one image."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LayerCost:
    """One layer of a network."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Without the batch."""
    parameters: int
    non_trainable: int
    flops: int
    """Floating-point operations for one image, forward."""


def layer_costs(model: "keras.Model") -> list[LayerCost]:
    """The layers in order. A multiply-add counts as two operations.

    Counted are the layers with kernels (convolutions and dense layers), at two operations per
    kernel weight and output position; bias, activation, pooling and normalisation come to less
    than a few per cent of them.
    """
    costs = []
    for layer in model.layers:
        shape = tuple(layer.output.shape[1:])
        positions = math.prod(shape[:-1])
        kernels = sum(math.prod(w.shape) for w in layer.trainable_weights if len(w.shape) > 1)
        costs.append(
            LayerCost(
                name=layer.name,
                kind=type(layer).__name__,
                output_shape=shape,
                parameters=layer.count_params(),
                non_trainable=sum(math.prod(w.shape) for w in layer.non_trainable_weights),
                flops=2 * kernels * positions,
            )
        )
    return costs
