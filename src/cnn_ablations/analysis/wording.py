"""Numbers and metrics as people read them."""

import math
from typing import Literal

Unit = Literal["points", "percent", "share", "ratio", "nats"]
"""A difference of accuracies or shares in percentage points, an accuracy in per cent, another share
in per cent, a ratio by its logarithm, a difference of losses."""

METRICS = {
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "running_train_accuracy": "training accuracy (average over the last epoch)",
    "running_train_loss": "training loss (average over the last epoch)",
    "train_val_accuracy": "training and validation accuracy, together",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "test_accuracy": "test accuracy",
    "test_balanced_accuracy": "balanced test accuracy",
    "test_loss": "test loss",
    "majority_train_val_accuracy": "always the most common class, training and validation together",
    "majority_test_accuracy": "always the most common class, test",
}


def curve_name(metric: str) -> str:
    """A metric after each epoch."""
    return METRICS[metric].removesuffix(" (average over the last epoch)")


def points(fraction: float) -> str:
    """An accuracy in per cent, or a difference of accuracies in percentage points."""
    return f"{100 * fraction:z.2f}".replace("-", "−")


def measure(value: float, unit: Unit) -> str:
    """A number with its unit."""
    if unit == "ratio":
        return f"× {math.exp(value):.2f}"
    if unit == "nats":
        return f"{value:z.3f} nats".replace("-", "−")
    return f"{points(value)} {'points' if unit == 'points' else '%'}"


def p_text(p: float) -> str:
    """A p value, to be put behind its name."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
