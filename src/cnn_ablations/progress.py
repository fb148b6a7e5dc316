"""How far a task is, in words and in a file for whoever waits for it."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cnn_ablations.config.variants import Variant
from cnn_ablations.files import json_bytes, write_atomically

LINE_SECONDS = 15.0
"""Where there is no terminal, a line this often says enough."""


def describe(name: str, progress: dict[str, Any]) -> str:
    """One line from the content of a progress file."""
    seconds = progress["seconds_left"]
    return (
        f"{name}: seed {progress['number']} of {progress['seeds']}, "
        f"epoch {progress['epoch']} of {progress['epochs']}, "
        f"accuracy {100 * progress['accuracy']:.2f} %"
        f"{'' if seconds is None else f', {timedelta(seconds=seconds)} left'}"
    )


def tracked(
    starts: Sequence[int], total: int, report: Callable[[str], None], done: str
) -> Iterator[int]:
    """Where parts of `total` things begin; now and then a line says how many are `done`."""
    began = said = time.monotonic()
    for start in starts:
        if start and (now := time.monotonic()) - said >= LINE_SECONDS:
            left = timedelta(seconds=round((now - began) * (total - start) / start))
            report(f"{start:,} of {total:,} {done}, {left} left")
            said = now
        yield start


def reporter(
    variant: Variant, seed: int, path: Path, ahead: Sequence[Path] = ()
) -> Callable[[int, dict[str, float]], None]:
    """Keeps a file that says how far the variant is, for whoever waits for it: see `estimator`."""
    progress = estimator(variant, seed, ahead)
    return lambda epoch, row: write_atomically(path, json_bytes(progress(epoch, row)))


def estimator(
    variant: Variant, seed: int, ahead: Sequence[Path] = ()
) -> Callable[[int, dict[str, float]], dict[str, Any]]:
    """Says after each epoch how far a training is, and what is left.

    Of the seeds after this one, whose scratch folders are `ahead`, those without a result count
    as left to do. The first epoch compiles the network: only the others tell how long one takes,
    so that after it nothing is said of what is left.
    """
    number = variant.seeds.index(seed) + 1
    times: list[float] = []

    def progress(epoch: int, row: dict[str, float]) -> dict[str, Any]:
        times.append(time.monotonic())
        epoch_seconds = (times[-1] - times[0]) / max(1, len(times) - 1)
        seeds_left = sum(not (folder / "result").is_dir() for folder in ahead)
        epochs_left = variant.epochs - epoch + seeds_left * variant.epochs
        return {
            "seed": seed,
            "number": number,
            "seeds": len(variant.seeds),
            "epoch": epoch,
            "epochs": variant.epochs,
            "accuracy": row.get("val_accuracy", row["running_train_accuracy"]),
            "seconds_left": round(epochs_left * epoch_seconds) if len(times) > 1 else None,
        }

    return progress
