"""The network of all four reports: convolutions, each with its pooling, then dense layers."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from annotated_types import Ge, Lt
from pydantic import NonNegativeFloat, PositiveInt

from cnn_ablations.errors import ProjectError

if TYPE_CHECKING:
    import keras

Rate = Annotated[float, Ge(0), Lt(1)]
LayerKind = Literal["conv", "dense", "output"]
T = TypeVar("T")


def conv_net(
    inputs: "keras.KerasTensor",
    classes: int,
    *,
    filters: list[PositiveInt],
    kernel_size: PositiveInt | list[PositiveInt] = 3,
    strides: PositiveInt | list[PositiveInt] = 1,
    padding: Literal["same", "valid"] = "same",
    pooling: PositiveInt | list[PositiveInt] = 1,
    batch_norm: bool = False,
    conv_dropout: Rate | list[Rate] = 0.0,
    dense: list[PositiveInt] = [],
    dense_dropout: Rate | list[Rate] = 0.0,
    activation: Literal["relu", "elu", "gelu", "tanh"] = "relu",
    l1: NonNegativeFloat = 0.0,
    l1_on: list[LayerKind] = ["conv", "dense", "output"],
    l2: NonNegativeFloat = 0.0,
    l2_on: list[LayerKind] = ["conv", "dense", "output"],
) -> "keras.KerasTensor":
    """Convolutions, each followed by max pooling, batch normalisation and dropout in that order,
    then flattened into dense layers, each followed by batch normalisation and dropout.

    A list gives one value per layer; a single value holds for all of them.

    Args:
        inputs: images, (batch, height, width, channels), scaled as the protocol asks.
        classes: the number of logits.
        filters: output channels of each convolution.
        kernel_size: height and width of the kernels, in pixels.
        strides: step of the kernels, in pixels.
        padding: `same` pads with zeros to ceil(size / stride), `valid` pads nothing.
        pooling: side and stride of the max pooling (valid), in pixels; 1 is none.
        batch_norm: normalise after each pooling and after each dense layer.
        conv_dropout: rate of the dropout after each pooling.
        dense: widths of the hidden dense layers.
        dense_dropout: rate of the dropout after each hidden dense layer.
        activation: of all layers but the output.
        l1: factor of the sum of absolute kernel weights in the loss (biases are free).
        l1_on: the kinds of layer that `l1` holds for.
        l2: factor of the sum of squared kernel weights in the loss (biases are free).
        l2_on: the kinds of layer that `l2` holds for.

    Returns:
        The logits, (batch, classes).
    """
    from keras import layers, regularizers

    from cnn_ablations.layers import BatchNormalization
    from cnn_ablations.layers import activation as activation_of

    def penalty(kind: LayerKind) -> "keras.regularizers.Regularizer | None":
        on_l1, on_l2 = l1 * (kind in l1_on), l2 * (kind in l2_on)
        return regularizers.L1L2(on_l1, on_l2) if on_l1 or on_l2 else None

    x = inputs
    depth = len(filters)
    rates = per_layer(conv_dropout, depth)
    for i in range(depth):
        x = layers.Conv2D(
            filters[i],
            per_layer(kernel_size, depth)[i],
            strides=per_layer(strides, depth)[i],
            padding=padding,
            activation=activation_of(activation),
            kernel_regularizer=penalty("conv"),
            name=f"conv{i + 1}",
        )(x)
        pool = per_layer(pooling, depth)[i]
        if pool > 1:
            x = layers.MaxPooling2D(pool, name=f"pool{i + 1}")(x)
        if batch_norm:
            x = BatchNormalization(name=f"conv{i + 1}_norm")(x)
        if rates[i]:
            x = layers.Dropout(rates[i], name=f"conv{i + 1}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    rates = per_layer(dense_dropout, len(dense))
    for i, width in enumerate(dense):
        x = layers.Dense(
            width,
            activation=activation_of(activation),
            kernel_regularizer=penalty("dense"),
            name=f"dense{i + 1}",
        )(x)
        if batch_norm:
            x = BatchNormalization(name=f"dense{i + 1}_norm")(x)
        if rates[i]:
            x = layers.Dropout(rates[i], name=f"dense{i + 1}_dropout")(x)
    return layers.Dense(classes, kernel_regularizer=penalty("output"), name="output")(x)


def check(
    image_shape: tuple[int, ...],
    *,
    filters: list[int],
    kernel_size: int | list[int],
    strides: int | list[int],
    padding: str,
    pooling: int | list[int],
    conv_dropout: float | list[float],
    dense: list[int],
    dense_dropout: float | list[float],
    l1: float,
    l1_on: list[str],
    l2: float,
    l2_on: list[str],
    **_: object,
) -> None:
    """Follow an image of `image_shape` (height, width, channels) through `conv_net`.

    Raises ProjectError, with the layer's name, where a list has not one value per layer, a
    kernel is larger than its (padded) input, or pooling leaves nothing.
    """
    depth = len(filters)
    for factor, values, layers in (
        ("kernel_size", kernel_size, depth),
        ("strides", strides, depth),
        ("pooling", pooling, depth),
        ("conv_dropout", conv_dropout, depth),
        ("dense_dropout", dense_dropout, len(dense)),
    ):
        if isinstance(values, list) and len(values) != layers:
            raise ProjectError(
                f"{factor} has {len(values)} values for {layers} layers; give one value a layer"
            )
    for factor, value, where in (
        ("dense_dropout", max(per_layer(dense_dropout, 1), default=0), dense),
        ("l1", l1, l1_on),
        ("l2", l2, l2_on),
    ):
        if value and not where:
            raise ProjectError(f"{factor} is {value:g}, but there is no layer for it; set it to 0")
    for i in range(depth):
        kernel = per_layer(kernel_size, depth)[i]
        stride = per_layer(strides, depth)[i]
        pool = per_layer(pooling, depth)[i]
        sizes = []
        for size in image_shape[:2]:
            padded = size + kernel - 1 if padding == "same" else size
            if kernel > padded:
                raise ProjectError(
                    f"conv{i + 1}: a kernel of {kernel} pixels is larger than its padded input of "
                    f"{padded} pixels; make kernel_size smaller or reduce less before it"
                )
            convolved = -(-size // stride) if padding == "same" else (size - kernel) // stride + 1
            if convolved < pool:
                raise ProjectError(
                    f"pool{i + 1}: pooling by {pool} leaves nothing of a feature map of "
                    f"{convolved} pixels; make pooling or strides smaller"
                )
            sizes.append(convolved // pool)
        image_shape = (*sizes, filters[i])


def layer_names(*, filters: list[int], dense: list[int], **_: object) -> list[str]:
    """The layers with weights, in order."""
    convolutions = [f"conv{i + 1}" for i in range(len(filters))]
    return [*convolutions, *(f"dense{i + 1}" for i in range(len(dense))), "output"]


def per_layer(values: T | list[T], layers: int) -> list[T]:
    """One value per layer, from a list of them or from one for all."""
    return values if isinstance(values, list) else [values] * layers
