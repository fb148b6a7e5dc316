"""Trains `tiny-net` in forked processes, so that Keras is imported only once.

Each line of standard input is a job, {"root": ..., "seeds": [...], "fault": ..., "changes": {...}},
and is answered by the status that its process ended with.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import keras  # noqa: F401

from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.paths import Paths
from cnn_ablations.training import loop
from cnn_ablations.training.variant import train_variant

loop.CHECKPOINT_SECONDS = float(sys.argv[1])


def train(root: str, seeds: list[int], fault: str, changes: dict[str, Any]) -> None:
    os.environ["CNN_ABLATIONS_FAULT"] = fault
    paths = Paths(Path(root))
    variant = load_params(paths.params).variant("tiny-net")
    changed = {**variant.model_dump(), **changes, "seeds": seeds}
    train_variant(Variant.model_validate(changed), paths)


for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            train(**json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
