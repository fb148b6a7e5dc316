"""Part e: the most memory that a training holds, over one epoch of the whole data set."""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.checkout import run, temporary_checkout
from benchmarks.progress import Say
from benchmarks.study import plain
from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths

TRAINING = {"project": "ipykernel_launcher", "plain": "benchmarks.plain"}
"""A word of the command line of each process that trains."""
PAUSE = 0.1
"""Seconds between two looks at what a process holds for itself."""


def measure(
    paths: Paths, params: Params, *, variants: tuple[str, ...], say: Say
) -> dict[str, dict[str, int]]:
    """MiB by variant: `project`, the process that trains (the kernel of its notebook), and `plain`;
    `project_own` and `plain_own` leave out what is mapped from files.

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
            with _own_memory() as own, ThreadPoolExecutor(1) as thread:
                script = thread.submit(plain, name, arrays, "--epochs", 1, "--threads", 1)
                run(command, checkout.root)
                timings = json.loads(checkout.timings(variant.group, name).read_bytes())
                measured[name] = {
                    "project": int(timings["seeds"]["0"]["peak_memory_mb"]),
                    "plain": int(script.result()["peak_memory_mb"]),
                    **{f"{name}_own": most // 2**20 for name, most in own.items()},
                }
            say(f"{name}: {measured[name]}")
    return measured


@contextmanager
def _own_memory() -> Iterator[dict[str, int]]:
    """The most bytes, mapped from no file, that each training below this process held so far."""
    own = dict.fromkeys(TRAINING, 0)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PAUSE):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    words, memory = " ".join(process.cmdline()), process.memory_info()
                    for name, word in TRAINING.items():
                        if word in words:
                            own[name] = max(own[name], memory.rss - memory.shared)

    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(watch)
        try:
            yield own
        finally:
            done.set()
            watching.result()
