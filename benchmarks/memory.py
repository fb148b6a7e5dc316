"""Part e: the most memory that a training holds, over one epoch of the whole data set."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.checkout import run, temporary_checkout
from benchmarks.progress import Say
from benchmarks.study import plain
from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths


def measure(
    paths: Paths, params: Params, *, variants: tuple[str, ...], say: Say
) -> dict[str, dict[str, int]]:
    """MiB by variant: `project`, the process that trains (the kernel of its notebook), and `plain`.

    Both run at the same time: memory is what they are asked for, not seconds.
    """
    changes = {name: {"epochs": 1, "seeds": [0]} for name in variants}
    datasets = sorted({params.variant(name).dataset for name in variants})
    measured = {}
    with temporary_checkout(paths, datasets, changes) as checkout:
        for name in variants:
            variant = params.variant(name)
            command = [str(Path(sys.executable).parent / "cnn-ablations"), "train", name]
            arrays = checkout.arrays(variant.dataset)
            with ThreadPoolExecutor(1) as thread:
                script = thread.submit(plain, name, arrays, "--epochs", 1, "--threads", 1)
                run(command, checkout.root)
                timings = json.loads(checkout.timings(variant.group, name).read_bytes())
                measured[name] = {
                    "project": int(timings["seeds"]["0"]["peak_memory_mb"]),
                    "plain": int(script.result()["peak_memory_mb"]),
                }
            say(f"{name}: {measured[name]}")
    return measured
