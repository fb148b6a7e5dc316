"""Part d: what a `train` stage takes besides training, and on what.

The stage trains a small network on digits for one epoch. Its parts cannot be told apart from
outside, so less and less of it is run: the stage; its command without DVC; a notebook with an
empty cell; a process that imports TensorFlow.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.checkout import dvc, run, temporary_checkout
from benchmarks.progress import Say
from benchmarks.study import plain
from cnn_ablations.paths import Paths

VARIANT = "quickstart-none"
GROUP = "quickstart"
PARTS_ROUNDS = 3
"""Of those that only say what a stage's seconds are spent on."""
EMPTY = """
from pathlib import Path
from cnn_ablations.notebooks import execute
from cnn_ablations.paths import Paths
paths = Paths(Path.cwd())
execute("empty", paths.notebook("empty"), {"variant": None}, paths)
"""
IMPORT = "import tensorflow, keras"


def measure(paths: Paths, *, rounds: int, say: Say) -> dict[str, Any]:
    """Run a stage, what it consists of, and a plain script that trains the same, in turn.

    Returns:
        Seconds by what was run and round; `stage`, `command` and `plain` are less their training.
    """
    changes = {VARIANT: {"epochs": 1, "seeds": [0]}}
    taken: dict[str, list[float]] = {}
    with temporary_checkout(paths, ["digits"], changes) as checkout:
        _write_empty_template(checkout.template("empty"))
        command = str(Path(sys.executable).parent / "cnn-ablations")

        def stage() -> float:
            shutil.rmtree(checkout.scratch(), ignore_errors=True)
            # Forced: DVC would take the second run from its run cache.
            dvc(checkout, "repro", "--force", "--single-item", f"train@{VARIANT}")
            return _training_seconds(checkout)

        def without_dvc() -> float:
            shutil.rmtree(checkout.scratch(), ignore_errors=True)
            run([command, "train", VARIANT], checkout.root)
            return _training_seconds(checkout)

        def empty_notebook() -> float:
            run([sys.executable, "-c", EMPTY], checkout.root)
            return 0.0

        def imports() -> float:
            run([sys.executable, "-c", IMPORT], checkout.root)
            return 0.0

        def script() -> float:
            answer = plain(VARIANT, checkout.arrays("digits"), "--epochs", 1)
            return float(answer["fit_seconds"])

        turns: dict[str, Callable[[], float]] = {
            "stage": stage,
            "command": without_dvc,
            "empty notebook": empty_notebook,
            "import": imports,
            "plain": script,
        }
        for number in range(rounds):
            for name in list(turns) if number % 2 == 0 else reversed(turns):
                if name not in ("stage", "plain") and number >= PARTS_ROUNDS:
                    continue
                began = time.monotonic()
                training = turns[name]()
                taken.setdefault(name, []).append(time.monotonic() - began - training)
            say(f"round {number + 1} of {rounds}: {taken['stage'][-1]:.1f} s for a stage")
    return {"seconds": taken, "stage_seconds": median(taken["stage"]), **shares(taken)}


def shares(taken: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Where a stage's seconds go, by differences of medians."""
    medians = {name: median(seconds) for name, seconds in taken.items()}
    return {
        "shares": {
            "DVC: start, hashes, dvc.lock": medians["stage"] - medians["command"],
            "import of TensorFlow and Keras": medians["import"],
            "papermill and a kernel": medians["empty notebook"],
            "other imports, network, final evaluation, summaries, notebook": medians["command"]
            - medians["import"]
            - medians["empty notebook"],
        }
    }


def _training_seconds(checkout: Paths) -> float:
    timings = json.loads(checkout.timings(GROUP, VARIANT).read_bytes())
    return float(timings["seeds"]["0"]["train_seconds"])


def _write_empty_template(path: Path) -> None:
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "cell-00",
        "metadata": {"tags": ["parameters"]},
        "execution_count": None,
        "outputs": [],
        "source": "variant = None",
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps({**notebook, "nbformat": 4, "nbformat_minor": 5}))
