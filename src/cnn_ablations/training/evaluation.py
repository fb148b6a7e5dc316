"""What a network makes of images, computed once and kept as probabilities."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from cnn_ablations.data.arrays import Labels
from cnn_ablations.data.splits import Subset
from cnn_ablations.faults import reach

if TYPE_CHECKING:
    import keras

BATCH = 500
"""Fixed: another batch size can change the last bits."""


@dataclass(frozen=True)
class Evaluation:
    """A network's answers on n images."""

    accuracy: float
    loss: float
    """Mean cross-entropy in nats plus the network's L1 and L2 penalty, as Keras reports it."""
    predicted: Labels
    """The most probable class of each image, (n,)."""
    probabilities: NDArray[np.float32]
    """(n, classes)."""


def evaluate(model: "keras.Model", subset: Subset, mirrored: bool = False) -> Evaluation:
    """Run the network, as in use (no dropout, no augmentation), over all images of a subset.

    `mirrored` takes the mean of the logits of an image and of its mirror image.
    """
    answers = []
    for start in range(0, len(subset.images), BATCH):
        images = subset.images[start : start + BATCH]
        # `predict` builds a pipeline of data for each call, a tenth of a second that adds up.
        logits = model.predict_on_batch(images).astype(np.float64)
        if mirrored:
            logits = (logits + model.predict_on_batch(images[:, :, ::-1])) / 2
        answers.append(logits)
    reach("evaluate")
    logits = np.concatenate(answers)
    # A network that diverged answers NaN: its loss is NaN, its answers are those of class 0.
    log_probabilities = log_softmax(logits, axis=1)
    predicted = logits.argmax(axis=1).astype(subset.labels.dtype)
    cross_entropy = -log_probabilities[np.arange(len(logits)), subset.labels].mean()
    return Evaluation(
        accuracy=float((predicted == subset.labels).mean()),
        loss=float(cross_entropy) + penalty(model),
        predicted=predicted,
        probabilities=np.exp(log_probabilities).astype(np.float32),
    )


def penalty(model: "keras.Model") -> float:
    """The sum of the network's L1 and L2 terms."""
    return float(sum(float(loss) for loss in model.losses))
