"""Layers that compute the same bits on every processor of a class, whoever made it.

x86 processors have fast instructions for 1/x and 1/sqrt(x), RCPPS and RSQRTPS, whose last bits each
maker chooses. TensorFlow uses them in `rsqrt`, `reciprocal` and `erfc`, and so in Keras's batch
normalisation and gelu. Square roots and divisions are exact by IEEE 754.

The one module that imports Keras at its top: import it inside functions only.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's layer (Ioffe and Szegedy 2015, arXiv:1502.03167), dividing by a square root.

    The statistics are computed in float32 whatever the precision of the network. Masks, batch
    renormalisation and an axis other than the last are not there.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = ops.cast(inputs, "float32")
        if training and self.trainable:
            mean, variance = ops.moments(x, self._reduction_axes)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        deviation = ops.sqrt(variance + self.epsilon)
        # Where a root is divided by and used for nothing else, TensorFlow's graphs multiply by
        # `rsqrt` instead. The maximum changes no number and stands between them.
        scale = self.gamma / ops.maximum(deviation, 0.0)
        return ops.cast(x * scale + (self.beta - mean * scale), self.compute_dtype)


class Shortcut(keras.layers.Layer):  # type: ignore[misc]
    """Halves images (n, height, width, channels) and adds channels of zeros, without weights.

    Every other pixel is taken (He et al. 2016, arXiv:1512.03385, section 3.3, option A).
    """

    def __init__(self, channels: int, **options: Any) -> None:
        """`channels` come out, no fewer than go in."""
        super().__init__(**options)
        self.channels = channels

    def call(self, images: Any) -> Any:
        missing = self.channels - images.shape[-1]
        around = (missing // 2, missing - missing // 2)
        return ops.pad(images[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), around])


def gelu(x: Any) -> Any:
    """The Gaussian error linear unit (Hendrycks and Gimpel 2016, arXiv:1606.08415), by `erf`."""
    return 0.5 * x * (1 + ops.erf(math.sqrt(0.5) * x))


def activation(name: str) -> str | Callable[[Any], Any]:
    """What Keras's layers take as their activation, by its name in params.yaml."""
    return gelu if name == "gelu" else name
