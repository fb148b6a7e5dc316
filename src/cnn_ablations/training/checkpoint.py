"""Checkpoints of a training: one file each, written whole, named after its own hash."""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnn_ablations.files import write_atomically

NAME = re.compile(r"epoch-(\d{6})-([0-9a-f]{64})\.npz")


@dataclass
class State:
    """How far a training has come, besides the variables of its network and optimiser."""

    epoch: int = 0
    """Epochs completed."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch: metric by name."""
    iterations: list[list[float]] = field(default_factory=list)
    """Epoch, iteration, accuracy and loss of every batch, where they are recorded."""
    seconds: float = 0.0
    """Wall-clock time spent, over all processes that took part."""


def save_checkpoint(folder: Path, state: State, variables: Sequence[Any]) -> None:
    """Write a checkpoint, then drop all but the one before it.

    Raises ProjectError where the folder cannot be written.
    """
    arrays = {f"variable_{i:04d}": np.asarray(v) for i, v in enumerate(variables)}
    arrays["state"] = np.frombuffer(json.dumps(vars(state)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    content = buffer.getvalue()
    name = f"epoch-{state.epoch:06d}-{hashlib.sha256(content).hexdigest()}.npz"
    write_atomically(folder / name, content)
    for old in _checkpoints(folder)[2:]:
        old.unlink()


def load_checkpoint(folder: Path, variables: Sequence[Any]) -> State:
    """Assign the newest intact checkpoint to `variables`; a new `State` where there is none.

    A file whose content does not have the hash in its name was damaged: it is passed over, and
    the one before it is used.
    """
    for path in _checkpoints(folder):
        content = path.read_bytes()
        match = NAME.fullmatch(path.name)
        if match is None or hashlib.sha256(content).hexdigest() != match[2]:
            continue
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"variable_{i:04d}"])
            return State(**json.loads(arrays["state"].tobytes()))
    return State()


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in the folder, newest first."""
    found = (path for path in folder.glob("*.npz") if NAME.fullmatch(path.name) and path.is_file())
    return sorted(found, reverse=True)
