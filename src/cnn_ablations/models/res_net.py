"""Residual networks for small images."""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Le
from pydantic import NonNegativeFloat, PositiveInt

from cnn_ablations.errors import ProjectError

if TYPE_CHECKING:
    import keras


def res_net(
    inputs: "keras.KerasTensor",
    classes: int,
    *,
    stages: Annotated[PositiveInt, Le(8)] = 3,
    blocks: Annotated[PositiveInt, Le(100)] = 3,
    width: Annotated[PositiveInt, Le(4096)] = 16,
    shortcuts: bool = True,
    batch_norm: bool = True,
    activation: Literal["relu", "elu", "gelu", "tanh"] = "relu",
    l2: NonNegativeFloat = 0.0,
) -> "keras.KerasTensor":
    """A residual network as He et al. built it for CIFAR-10 (2016, arXiv:1512.03385, section 4.2).

    A convolution, then stages of blocks of two convolutions with a shortcut around them, all with
    kernels of 3×3, then the mean over the image and a dense layer. It has
    2 × stages × blocks + 2 layers: 20 as it stands. Each stage but the first halves the size by a
    stride of 2 and doubles the channels; there the shortcut takes every other pixel and adds
    channels of zeros (their option A), so that it has no weights.

    Args:
        inputs: images, (batch, height, width, channels), scaled as the protocol asks.
        classes: the number of logits.
        stages: parts of the network with maps of one size.
        blocks: per stage.
        width: output channels of the first stage.
        shortcuts: add each block's input to its output; without them it is a plain network.
        batch_norm: normalise after each convolution, before the activation.
        activation: after each convolution; in a block's second one, after the shortcut.
        l2: factor of the sum of squared kernel weights in the loss (biases are free). Weight
            decay of 0.0001, as in the paper, is an `l2` of 0.00005.

    Returns:
        The logits, (batch, classes).
    """
    from keras import layers, regularizers

    from cnn_ablations.layers import BatchNormalization, Shortcut
    from cnn_ablations.layers import activation as activation_of

    penalty = regularizers.L2(l2) if l2 else None

    def convolution(
        x: "keras.KerasTensor", channels: int, stride: int, name: str
    ) -> "keras.KerasTensor":
        if stride > 1:  # on both sides, so that the kernel's centre is the pixel of the shortcut
            x = layers.ZeroPadding2D(1, name=f"{name}_padding")(x)
        x = layers.Conv2D(
            channels,
            3,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            kernel_regularizer=penalty,
            name=name,
        )(x)
        return BatchNormalization(name=f"{name}_norm")(x) if batch_norm else x

    def activated(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        return layers.Activation(activation_of(activation), name=f"{name}_{activation}")(x)

    x = activated(convolution(inputs, width, 1, "conv1"), "conv1")
    number = 1
    for stage in range(stages):
        channels = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x
            for part in (1, 2):
                number += 1
                x = convolution(x, channels, stride if part == 1 else 1, f"conv{number}")
                if part == 1:
                    x = activated(x, f"conv{number}")
            if shortcuts:
                if stride > 1:
                    shortcut = Shortcut(channels, name=f"conv{number}_shortcut")(shortcut)
                x = layers.Add(name=f"conv{number}_add")([x, shortcut])
            x = activated(x, f"conv{number}")
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return layers.Dense(classes, kernel_regularizer=penalty, name="output")(x)


def check(image_shape: tuple[int, ...], *, stages: int, **_: object) -> None:
    """Raise ProjectError where images of `image_shape` have no pixels left to halve."""
    smallest = min(image_shape[:2])
    if smallest < 2 ** (stages - 1):
        raise ProjectError(
            f"stages is {stages}, but an image of {smallest} pixels can be halved only "
            f"{smallest.bit_length() - 1} times; take at most {smallest.bit_length()} stages"
        )


def layer_names(*, stages: int, blocks: int, **_: object) -> list[str]:
    """The layers with weights, in order."""
    return [*(f"conv{i + 1}" for i in range(2 * stages * blocks + 1)), "output"]
