"""The project's own training loop on one variant, waiting after each epoch.

`python -m benchmarks.product VARIANT ARRAYS --threads 1`. See `benchmarks.gate`.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.gate import Gate
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.paths import find_project
from cnn_ablations.training import backend, checkpoint, evaluation, loop
from cnn_ablations.training.cost import layer_costs
from cnn_ablations.training.network import build_network

CHECKPOINTS = 5


def resized(variant: Variant) -> Variant:
    """`variant` with its split as a fraction, so that it fits a part of the data set."""
    split = variant.split
    if split.method == "last" and split.val >= 1:
        split = split.model_copy(update={"val": split.val / 60_000})
    return variant.model_copy(update={"split": split, "epochs": 10**6})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variant")
    parser.add_argument("arrays", type=Path)
    parser.add_argument("--threads", type=int, default=backend.THREADS)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()

    backend.THREADS = options.threads
    variant = load_params(find_project(Path(__file__)).params).variant(options.variant)
    variant = resized(variant).model_copy(update={"precision": options.precision})
    backend.configure()

    arrays = load_arrays(options.arrays)
    network = build_network(variant, arrays.image_shape, len(arrays.classes), arrays.pixel_max)
    flops = sum(layer.flops for layer in layer_costs(network))

    gate = Gate()
    variables: list[Any] = []

    def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.monotonic()
            result = function(*arguments, **keywords)
            gate.spend(phase, time.monotonic() - began)
            return result

        return call

    def remember(folder: Path, of_training: Sequence[Any]) -> checkpoint.State:
        variables.extend(of_training)
        return checkpoint.load_checkpoint(folder, of_training)

    scratch = Path(tempfile.mkdtemp(dir=options.arrays.parent))  # whoever started this clears up

    def on_epoch(epoch: int, row: dict[str, float]) -> None:
        if epoch == 1:
            saving = save_seconds(scratch, variables)
            print(json.dumps({"forward_flops": flops, "checkpoint_seconds": saving}), flush=True)
        gate()

    # A training that waits for its turn would write a checkpoint in each: they are timed apart.
    own: dict[str, Any] = {
        "CHECKPOINT_SECONDS": math.inf,
        "load_checkpoint": remember,
        "evaluate": timed("evaluate", evaluation.evaluate),
        "_train_epoch": timed("train", loop._train_epoch),
    }
    with patch.multiple(loop, **own):
        loop.train_seed(variant, 0, arrays, scratch, on_epoch)


def save_seconds(scratch: Path, variables: Sequence[Any]) -> float:
    """What a checkpoint takes, the median of some."""
    taken = []
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for epoch in range(CHECKPOINTS):
            began = time.monotonic()
            checkpoint.save_checkpoint(Path(folder), checkpoint.State(epoch=epoch), variables)
            taken.append(time.monotonic() - began)
    return median(taken)


if __name__ == "__main__":
    main()
