"""Architectures: functions from factors to networks.

To add one, write a function like `conv_net` (an input tensor and the number of classes first,
then its factors as typed keyword arguments; it returns the logits) and enter it here. The schema
of params.yaml takes the factors from its signature.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cnn_ablations.models.conv_net import check_conv_net, conv_net


class Architecture(NamedTuple):
    """A network's definition and, where there is one, a check of its factors without Keras."""

    build: Callable[..., Any]
    """`build(inputs, classes, **factors)` returns the tensor of logits, (batch, classes)."""
    check: Callable[..., None] | None = None
    """`check(image_shape, **factors)` raises ProjectError where a layer cannot be built."""


ARCHITECTURES: dict[str, Architecture] = {"conv_net": Architecture(conv_net, check_conv_net)}


def factor_types(architecture: str) -> dict[str, tuple[Any, Any]]:
    """The type and default (`...` where there is none) of each factor of an architecture."""
    return {
        name: (
            parameter.annotation,
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for name, parameter in inspect.signature(
            ARCHITECTURES[architecture].build
        ).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def check_factors(architecture: str, image_shape: Sequence[int], factors: dict[str, Any]) -> None:
    """Raise ProjectError where the factors make a network that this image does not fit through."""
    check = ARCHITECTURES[architecture].check
    if check is not None:
        check(tuple(image_shape), **factors)


def layer_names(architecture: str, factors: dict[str, Any]) -> list[str] | None:
    """The layers that have weights and biases, in order; None where the architecture does not say.

    So that a claim about a layer can be checked without Keras.
    """
    if architecture != "conv_net":
        return None
    convolutions = [f"conv{i + 1}" for i in range(len(factors["filters"]))]
    return [*convolutions, *(f"dense{i + 1}" for i in range(len(factors["dense"]))), "output"]
