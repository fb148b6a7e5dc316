"""Random affine maps of training images, one for each.

As Keras 2's ImageDataGenerator did it (`random_transform`, `apply_affine_transform`): rotation,
shift, shear and zoom are multiplied into one matrix about the centre, so that pixels are
interpolated once. A layer for each of them, as Keras 3 offers, would interpolate as many times,
and a network that learns from images so blurred does worse on sharp ones.
"""

import math
from typing import TYPE_CHECKING, Any

from cnn_ablations.config.variants import Augmentation

if TYPE_CHECKING:
    import keras


def is_affine(augmentation: Augmentation) -> bool:
    """Whether it asks for an affine map at all, which `training.batches` does not make."""
    return bool(
        augmentation.rotation or augmentation.shift or augmentation.shear or augmentation.zoom
    )


def augmentation_layer(augmentation: Augmentation) -> "keras.layers.Layer":
    """A layer that maps float32 images (n, height, width, channels) while training only."""
    import keras
    from keras import ops

    class RandomAffine(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            # In float32 whatever the precision of the network: coordinates need it.
            super().__init__(name="augmentation", dtype="float32")
            self.generator = keras.random.SeedGenerator()

        def call(self, images: Any, training: bool = False) -> Any:
            if not training:
                return images
            number, height, width, _ = ops.shape(images)

            def draw(most: float) -> Any:
                return keras.random.uniform((number,), -most, most, seed=self.generator)

            transforms = affine_transforms(
                height,
                width,
                angle=draw(math.radians(augmentation.rotation)),
                down=height * draw(augmentation.shift),
                right=width * draw(augmentation.shift),
                shear=draw(math.radians(augmentation.shear)),
                zoom_height=1 + draw(augmentation.zoom),
                zoom_width=1 + draw(augmentation.zoom),
            )
            return ops.image.affine_transform(
                images, transforms, interpolation="bilinear", fill_mode="nearest"
            )

    return RandomAffine()


def affine_transforms(
    height: int,
    width: int,
    *,
    angle: Any,
    down: Any,
    right: Any,
    shear: Any,
    zoom_height: Any,
    zoom_width: Any,
) -> Any:
    """What `keras.ops.image.affine_transform` takes, (n, 8), from numbers of each image, (n,).

    Args:
        height: of the images, in pixels.
        width: likewise.
        angle: of the rotation, in radians.
        down: a pixel of the result is read so many pixels further down.
        right: likewise.
        shear: in radians.
        zoom_height: how much of the height is seen: more than 1 makes things smaller.
        zoom_width: likewise.
    """
    from keras import ops

    sine, cosine = ops.sin(angle), ops.cos(angle)
    # From the place (row, column) of a pixel in the result to that in the image, about the
    # centre: rotation @ shift @ shear @ zoom.
    row_row = cosine * zoom_height
    row_column = -ops.sin(angle + shear) * zoom_width
    column_row = sine * zoom_height
    column_column = ops.cos(angle + shear) * zoom_width
    row, column = (height - 1) / 2, (width - 1) / 2
    rows = cosine * down - sine * right + row - row_row * row - row_column * column
    columns = sine * down + cosine * right + column - column_row * row - column_column * column
    none = ops.zeros_like(angle)
    # Keras names x, the column, first.
    parts = (column_column, column_row, columns, row_column, row_row, rows, none, none)
    return ops.stack(parts, axis=-1)
