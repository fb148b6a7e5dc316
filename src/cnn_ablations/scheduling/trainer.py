"""The child of a worker: reads a line of JSON for each seed to train, and answers in such lines.

It ends with whoever holds the other end of its standard input, and where it is idle for long.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.progress import estimator
from cnn_ablations.training.backend import circumstances
from cnn_ablations.training.loop import OnEpoch, train_seed
from cnn_ablations.training.variant import seed_folder

IDLE_SECONDS = 60.0
PROGRESS_SECONDS = 0.5
NO_MATTER = ("c_library", "processor", "python")
"""Circumstances of a training that may differ where the others do not."""

Say = Callable[[dict[str, Any]], None]


def train(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Train a seed where its checkout would.

    Args:
        request: `variant` and `seed`; `root`, in which data and scratch lie; `circumstances`, which
            this process must have; `folder`, the name of the seed's folder in scratch.
        say: told of the progress.

    Returns:
        The folder with the `result`, why it is `refused`, or an `error` with a `log`.
    """
    try:
        variant, seed = Variant.model_validate(request["variant"]), int(request["seed"])
        wanted, here = request["circumstances"], required(variant.precision)
        if names := [name for name in wanted if here.get(name) != wanted[name]]:
            words = (f"{name} is {here.get(name)} instead of {wanted[name]}" for name in names)
            return {"refused": ", ".join(words)}
        paths = Paths(Path(request["root"]))
        arrays = load_arrays(paths.arrays(variant.dataset))
        folder = seed_folder(variant, seed, arrays, paths)
        if folder.name != request["folder"]:
            raise ProjectError("its worker has other code or data than this checkout")
        report = _reporter(estimator(variant, seed), say)
        return {"result": str(train_seed(variant, seed, arrays, folder, report))}
    except ProjectError as error:
        return {"error": str(error), "log": ""}
    except Exception as error:  # a bug, such as in a model of the user's own
        return {"error": f"{type(error).__name__}: {error}", "log": traceback.format_exc()}


def required(precision: str) -> dict[str, str]:
    """What this machine's results depend on: versions, and the class of processor."""
    found = circumstances(precision).items()
    return {name: value for name, value in found if name not in NO_MATTER}


def main() -> None:
    """Answer requests."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a model prints is no answer
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    with suppress(queue.Empty):
        while True:
            say(train(json.loads(requests.get(timeout=IDLE_SECONDS)), say))
    os._exit(0)  # though a thread still listens


def _listen(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # in the middle of a training: it goes on from its last checkpoint


def _reporter(progress: Callable[..., dict[str, Any]], say: Say) -> OnEpoch:
    said = -PROGRESS_SECONDS

    def report(epoch: int, row: dict[str, float]) -> None:
        nonlocal said
        line = progress(epoch, row)
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            say({"progress": line})

    return report


if __name__ == "__main__":
    main()
