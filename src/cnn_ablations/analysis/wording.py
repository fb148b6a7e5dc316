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


def number(value: float, unit: Unit) -> str:
    """A number in its unit, which is not named."""
    if math.isinf(value):
        return "∞" if value > 0 else {"ratio": "0.00"}.get(unit, "−∞")
    if unit == "ratio":
        return f"{math.exp(value):.2f}"
    return f"{value:z.3f}".replace("-", "−") if unit == "nats" else points(value)


def measure(value: float, unit: Unit) -> str:
    """A number with its unit."""
    text = number(value, unit)
    return f"× {text}" if unit == "ratio" else f"{text} {_NAMES.get(unit, '%')}"


_NAMES = {"points": "points", "nats": "nats"}


def p_text(p: float | None) -> str:
    """A p value in words; none where nothing was left to chance."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def said_by(source: str) -> str:
    """Whose claim it is; this project asks, where the reports say."""
    return f"{'Asked' if source == 'this project' else 'Said'} by {source}"
