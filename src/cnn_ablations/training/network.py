"""A variant's network as a Keras model: uint8 images in, logits out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import build_function
from cnn_ablations.training.augmentation import augmentation_layer, is_affine

if TYPE_CHECKING:
    import keras


def build_network(
    variant: Variant, image_shape: Sequence[int], classes: int, pixel_max: int
) -> "keras.Model":
    """Scaling, augmentation (while training) and the variant's model in one.

    Args:
        variant: its factors, pixel scaling, augmentation and precision are used.
        image_shape: height, width, channels of the uint8 images that go in.
        classes: the number of logits that come out, as float32.
        pixel_max: the largest value of a pixel, which `pixels: unit` divides by.

    Raises:
        ProjectError: where the model refuses its factors.
    """
    import keras

    keras.config.set_dtype_policy(variant.precision)
    try:
        inputs = keras.Input(tuple(image_shape), dtype="uint8", name="images")
        scale = 1 / pixel_max if variant.pixels == "unit" else 1.0
        x = keras.layers.Rescaling(scale, dtype="float32", name="pixels")(inputs)
        if variant.augmentation and is_affine(variant.augmentation):
            x = augmentation_layer(variant.augmentation)(x)
        logits = build_function(variant.model)(x, classes, **variant.factors)
        if variant.precision != "float32":
            # A softmax over bfloat16 logits would lose the digits that the loss is made of.
            logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        return keras.Model(inputs, logits, name=variant.name.replace("-", "_"))
    except (ValueError, TypeError) as error:
        what = " ".join(str(error).split())
        raise ProjectError(f"{variant.name}: its network cannot be built: {what}") from error
    finally:
        keras.config.set_dtype_policy("float32")
