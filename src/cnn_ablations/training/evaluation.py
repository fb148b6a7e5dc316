"""A network's answers to images, computed once and kept as probabilities."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.data.arrays import Labels
from cnn_ablations.data.splits import Subset
from cnn_ablations.faults import reach

if TYPE_CHECKING:
    import keras

BATCH = 500
"""Fixed: another batch size can change the last bits."""


@dataclass(frozen=True)
class Evaluation:
    """A network's answers to n images."""

    accuracy: float
    loss: float
    """Mean cross-entropy in nats plus the network's L1 and L2 penalty, as Keras reports it."""
    predicted: Labels
    """The most probable class of each image, (n,). Of NaN, the first."""
    probabilities: NDArray[np.float32]
    """(n, classes)."""


def evaluate(model: "keras.Model", subset: Subset, mirrored: bool = False) -> Evaluation:
    """Run the network, as in use (no dropout, no augmentation), over all images of a subset.

    `mirrored` takes the mean of the logits of an image and of its mirror image.
    """
    answers, losses = [], []
    for start in range(0, len(subset.images), BATCH):
        images = subset.images[start : start + BATCH]
        # `predict` builds a pipeline of data for each call, a tenth of a second that adds up.
        logits = model.predict_on_batch(images).astype(np.float64)
        if mirrored:
            logits = (logits + model.predict_on_batch(images[:, :, ::-1])) / 2
        log_probabilities = _log_softmax(logits)
        labels = subset.labels[start : start + BATCH]
        losses.append(-log_probabilities[np.arange(len(labels)), labels])
        answers.append(np.exp(log_probabilities).astype(np.float32))
    reach("evaluate")
    probabilities = np.concatenate(answers)
    predicted = probabilities.argmax(axis=1).astype(subset.labels.dtype)
    return Evaluation(
        accuracy=float((predicted == subset.labels).mean()),
        loss=float(np.concatenate(losses).mean()) + penalty(model),
        predicted=predicted,
        probabilities=probabilities,
    )


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of logits (n, classes). NaN where a network diverged."""
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        normalised: NDArray[np.float64] = shifted - np.log(
            np.exp(shifted).sum(axis=1, keepdims=True)
        )
    return normalised


def penalty(model: "keras.Model") -> float:
    """The sum of the network's L1 and L2 terms."""
    return float(sum(float(loss) for loss in model.losses))
