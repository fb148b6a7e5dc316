"""A variant's network as a Keras model: uint8 images in, logits out."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnn_ablations.config.variants import CosineDecay, Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import ARCHITECTURES
from cnn_ablations.training.augmentation import augmentation_layer

if TYPE_CHECKING:
    import keras


def build_network(
    variant: Variant, image_shape: Sequence[int], classes: int, pixel_max: int
) -> "keras.Model":
    """Scaling, augmentation (while training) and the variant's architecture in one model.

    Args:
        variant: its factors, pixel scaling, augmentation and precision are used.
        image_shape: height, width, channels of the uint8 images that go in.
        classes: the number of logits that come out, as float32.
        pixel_max: the largest value of a pixel, which `pixels: unit` divides by.

    Raises:
        ProjectError: where the architecture refuses its factors.
    """
    import keras

    keras.config.set_dtype_policy(variant.precision)
    try:
        inputs = keras.Input(tuple(image_shape), dtype="uint8", name="images")
        scale = 1 / pixel_max if variant.pixels == "unit" else 1.0
        x = keras.layers.Rescaling(scale, dtype="float32", name="pixels")(inputs)
        if variant.augmentation:
            x = augmentation_layer(variant.augmentation)(x)
        build = ARCHITECTURES[variant.architecture].build
        logits = build(x, classes, **variant.factors)
        if variant.precision != "float32":
            # A softmax over bfloat16 logits would lose the digits that the loss is made of.
            logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        return keras.Model(inputs, logits, name=variant.name.replace("-", "_"))
    except (ValueError, TypeError) as error:
        what = " ".join(str(error).split())
        raise ProjectError(f"{variant.name}: its network cannot be built: {what}") from error
    finally:
        keras.config.set_dtype_policy("float32")


def cross_entropy(labels: Any, logits: Any) -> Any:
    """In nats, of integer labels (n,) or (n, 1) and logits (n, classes): (n,).

    Keras's own sparse loss gathers each image's term. In TensorFlow's deterministic mode the
    gradient of that takes up to a quarter of the time; this sum, whose other terms are
    zeros, ends in the same bits.
    """
    from keras import ops

    log_probabilities = ops.log_softmax(logits)
    right = ops.one_hot(ops.reshape(labels, (-1,)), logits.shape[-1], dtype="bool")
    return -ops.sum(ops.where(right, log_probabilities, 0.0), axis=-1)


def compile_network(model: "keras.Model", variant: Variant, images: int) -> None:
    """Give the network the variant's optimiser and the cross-entropy of its logits.

    `images` is how many there are to train on, which says when a decay of the learning rate ends.
    """
    import keras

    rate = variant.learning_rate
    if isinstance(rate, CosineDecay):
        batches = variant.epochs * math.ceil(images / variant.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(rate.cosine, batches)

    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    model.compile(
        optimizer=optimizers[variant.optimizer](rate),
        loss=cross_entropy,
        metrics=["accuracy"],
        jit_compile=False,
    )
