"""The project's own training loop on the options that `benchmarks.plain` takes, and `threads`."""

import json
import math
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.training import backend, loop
from cnn_ablations.training.checkpoint import State, save_checkpoint
from cnn_ablations.training.cost import layer_costs
from cnn_ablations.training.network import build_network
from cnn_ablations.training.optimiser import compile_network


def main(
    arrays: str, variants: list[dict[str, Any]], images: list[int], threads: int = backend.THREADS
) -> None:
    backend.THREADS = threads
    loop.CHECKPOINT_SECONDS, between = math.inf, loop.CHECKPOINT_SECONDS
    variant = Variant.model_validate(variants[0])
    data = load_arrays(Path(arrays))
    parts: dict[str, Any] = {
        f"{part}_{kind}": getattr(data, f"{part}_{kind}")[:number]
        for part, number in zip(("train", "test"), images, strict=True)
        for kind in ("images", "labels")
    }
    data = replace(data, **parts)
    ends = [time.monotonic()]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        loop.train_seed(variant, 0, data, place, lambda *_: ends.append(time.monotonic()))
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        # None falls into so few epochs: a checkpoint's share is added to each.
        network = build_network(variant, data.image_shape, len(data.classes), data.pixel_max)
        compile_network(network, variant, data.train_labels)
        network.optimizer.build(network.trainable_variables)
        began = time.monotonic()
        save_checkpoint(place, State(epoch=1), [*network.weights, *network.optimizer.variables])
        saving = (time.monotonic() - began) / between
    forward = sum(layer.flops for layer in layer_costs(network))
    result = {
        "images": len(split_arrays(data, variant)["train"].labels),
        "epoch_seconds": (np.diff(ends) * (1 + saving)).tolist(),
        "gflop": 3 * forward / 1e9,  # Kaplan et al. 2020, arXiv:2001.08361, section 2.1
        "mib": mib,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
