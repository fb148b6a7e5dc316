"""How a network learns: its loss, its learning rate and its optimiser."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.config.variants import Schedule, Steps, Variant
from cnn_ablations.data.arrays import Labels

if TYPE_CHECKING:
    import keras

NOT_KERNELS = ["bias", "beta", "gamma"]
"""The trained weights that weight decay leaves alone, as L1 and L2 do."""


def compile_network(model: "keras.Model", variant: Variant, labels: Labels) -> None:
    """Give the network the variant's optimiser and loss.

    `labels`, (n,), are those of the training images, whose counts balance classes.
    """
    weights = None
    if variant.class_weights:
        weights = balanced_weights(labels, model.output.shape[-1])
    model.compile(
        optimizer=_optimizer(variant),
        loss=cross_entropy(variant.label_smoothing, weights),
        metrics=["accuracy"],
        jit_compile=False,
    )


def cross_entropy(
    smoothing: float = 0.0, weights: NDArray[np.float32] | None = None
) -> Callable[[Any, Any], Any]:
    """The loss of integer labels (n,) or (n, 1) and logits (n, classes), in nats: (n,).

    Keras's own sparse loss gathers each image's term. In TensorFlow's deterministic mode the
    gradient of that takes up to a quarter of the time; this sum, whose other terms are
    zeros, ends in the same bits.

    Args:
        smoothing: this share of a label is spread evenly over all classes.
        weights: of the classes, (classes,), that an image's loss is multiplied by.
    """
    from keras import ops

    def loss(labels: Any, logits: Any) -> Any:
        log_probabilities = ops.log_softmax(logits)
        right = ops.one_hot(ops.reshape(labels, (-1,)), logits.shape[-1], dtype="bool")
        if smoothing:
            spread = smoothing / logits.shape[-1]
            terms = ops.where(right, 1 - smoothing + spread, spread) * log_probabilities
        else:
            terms = ops.where(right, log_probabilities, 0.0)
        losses = -ops.sum(terms, axis=-1)
        if weights is None:
            return losses
        return losses * ops.sum(ops.where(right, weights, 0.0), axis=-1)

    return loss


def balanced_weights(labels: Labels, classes: int) -> NDArray[np.float32]:
    """Images / (classes that occur * images of a class), as scikit-learn's `balanced`: (classes,).

    A class without an image has the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    even = len(labels) / np.count_nonzero(counts)
    return np.divide(even, counts, out=np.zeros(classes), where=counts > 0).astype(np.float32)


def learning_rates(schedule: Schedule, batches: int, epochs: int, epoch: int) -> Iterator[float]:
    """The learning rate of each batch of an epoch, which counts from 1.

    `batches` are those of an epoch. Numbers of float64, which are rounded where they are used, so
    that the last bit of a cosine, which differs between C libraries, does not matter.
    """
    warm_up = round(schedule.warm_up * batches)
    decay_batches = epochs * batches - warm_up
    for step in range((epoch - 1) * batches, epoch * batches):
        done = (step - warm_up) / decay_batches
        share = 1.0
        if step < warm_up:
            share = (step + 1) / warm_up
        elif schedule.decay == "linear":
            share = 1 - done
        elif schedule.decay == "cosine":
            share = (1 + math.cos(math.pi * done)) / 2
        elif isinstance(schedule.decay, Steps):
            share = schedule.decay.factor ** sum(e < epoch for e in schedule.decay.after)
        yield schedule.peak * share


def _optimizer(variant: Variant) -> "keras.optimizers.Optimizer":
    from keras import optimizers

    rate = variant.learning_rate
    if isinstance(rate, Schedule):
        rate = rate.peak  # until the first batch
    average = variant.weight_average
    shared = {"use_ema": bool(average), "ema_momentum": average}
    if variant.optimizer == "adam":
        return optimizers.Adam(rate, **shared)
    if variant.optimizer == "adamw":
        adamw = optimizers.AdamW(rate, variant.weight_decay, **shared)
        adamw.exclude_from_weight_decay(var_names=NOT_KERNELS)
        return adamw
    return optimizers.SGD(rate, float(variant.momentum), nesterov=variant.nesterov, **shared)
