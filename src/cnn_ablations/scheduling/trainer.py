"""The child of a worker: reads a line of JSON for each seed to train, and answers in such lines."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.processes import die_with_parent
from cnn_ablations.progress import estimator
from cnn_ablations.training.backend import provenance
from cnn_ablations.training.loop import train_seed
from cnn_ablations.training.variant import seed_folder

IDLE_SECONDS = 60

Say = Callable[[dict[str, Any]], None]


def train(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Train a seed where its checkout would.

    Args:
        request: `variant` and `seed`; `root`, in which data and scratch lie; `folder`, the name of
            the seed's folder in scratch, and the `provenance` on which that rests.
        say: told of the progress.

    Returns:
        The folder with the `result`, why it is `refused`, or an `error` with a `log`.
    """
    try:
        variant, seed = Variant.model_validate(request["variant"]), int(request["seed"])
        paths = Paths(Path(request["root"]))
        arrays = load_arrays(paths.arrays(variant.dataset))
        folder = seed_folder(variant, seed, arrays, paths)
        if folder.name != request["folder"]:
            wanted, here = request["provenance"], provenance(variant.precision)
            other = sorted(here.items() - wanted.items())
            words = (f"{name} is {value} instead of {wanted.get(name)}" for name, value in other)
            return {"refused": ", ".join(words) or "code or data are others"}
        progress = estimator(variant, seed)
        result = train_seed(
            variant, seed, arrays, folder, lambda *epoch: say({"progress": progress(*epoch)})
        )
        return {"result": str(result)}
    except ProjectError as error:
        return {"error": str(error)}
    except Exception as error:  # a bug, such as in a model of the user's own
        return {"error": f"{type(error).__name__}: {error}", "log": traceback.format_exc()}


def main() -> None:
    """Answer requests."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a model prints is no answer

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    signal.alarm(IDLE_SECONDS)  # which ends this process
    for line in sys.stdin:
        signal.alarm(0)
        say(train(json.loads(line), say))
        signal.alarm(IDLE_SECONDS)


if __name__ == "__main__":
    main()
