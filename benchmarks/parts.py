"""What is measured: jobs, each with the ways that take turns."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.processes import ROOT, checkout, finish, held, kill, python, start
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import LastSplit, Variant
from cnn_ablations.paths import Paths

Figures = Mapping[str, float]  # what one turn measured, by unit or name
Ways = dict[str, Callable[[], Figures]]
COLUMNS = ["what", "way", "turn", "figure", "value"]
PROJECT, PLAIN, PEER = "project", "plain Keras", "ictonyx"
CORE, PLAIN_CORE = "project, one core", "plain Keras, one core"
WORKERS, THREADS = "project, a training a core", "project, one training on all cores"
BFLOAT16, MATRICES = "project, a training a core, bfloat16", "matrix products, one core"
SECONDS, MIB, RATE, GFLOPS = "s", "MiB", "images/s", "GFLOP/s"

SAMPLES = {  # training and test images that make an epoch of a second or more
    "r1-mnist-base": (10_910, 1_818),  # two batches of 5,000
    "r1-cifar10-stride1": (1_112, 222),  # two of 500
    "r2-1conv-batchnorm": (30_000, 5_000),
    "r4-maxpool": (5_000, 1_000),
}
STUDY = ("quickstart-none", "quickstart-l2", "quickstart-dropout", "quickstart-batchnorm")
PRODUCTS = """
import json, timeit, tensorflow as tf
matrix = tf.random.stateless_normal((2048, 2048), seed=(0, 0))
seconds = min(timeit.repeat(lambda: tf.linalg.matmul(matrix, matrix), number=1, repeat=9))
print(json.dumps({"GFLOP/s": 2 * 2.048**3 / seconds}))
"""


@dataclass(frozen=True)
class Job:
    """What is compared with each other; a turn of all ways takes about so many seconds."""

    part: str
    what: str
    seconds: int
    turns: int
    ways: Ways


def jobs(paths: Paths, peer: Path | None, *, quick: bool) -> Iterator[Job]:
    """All that `make bench` measures; without ictonyx where there is no folder that has it."""
    turns = 1 if quick else 3
    for name in list(SAMPLES)[-1 if quick else 0 :]:
        yield Job("throughput", name, 90, turns, _throughput(paths, name))
    short = Study(paths, peer, STUDY[:1], {"seeds": [0, 1], "epochs": 1})
    few = Study(paths, peer, STUDY[:1], {"seeds": [0, 1, 2]})
    study = Study(paths, peer, STUDY, {"seeds": list(range(10))})
    yield Job("overhead", f"{short.name} of an epoch", 50, turns, short.ways(short.measured))
    if quick:
        study = few = Study(paths, peer, STUDY[:1], {"seeds": [0, 1]})
    yield Job("study", study.name, 450, min(turns, 2), study.ways(study.measured))
    yield Job("kill", few.name, 130, 1, few.ways(few.killed))


def sample(variant: Variant, **changes: Any) -> Variant:
    """The variant for a part of its images: split in the proportions of the whole."""
    split = variant.split
    if isinstance(split, LastSplit) and split.val >= 1:
        changes["split"] = split.model_copy(update={"val": split.val / 60_000})
    return variant.model_copy(update=changes)


def rate(commands: Sequence[Sequence[str]]) -> Figures:
    """Of trainings side by side: images trained a second, the first epoch left out; and of one."""
    answers = [finish(process)[-1] for process in [start(command) for command in commands]]
    rates = [answer["images"] / mean(answer["epoch_seconds"][1:]) for answer in answers]
    arithmetic = {GFLOPS: rates[0] * answers[0]["gflop"]} if "gflop" in answers[0] else {}
    of_one = {**arithmetic, MIB: answers[0]["mib"]} if len(answers) == 1 else {}
    return {RATE: sum(rates), **of_one}


def _options(paths: Paths, *variants: Variant, **more: Any) -> str:
    """What children are told."""
    dumped = [variant.model_dump(mode="json") for variant in variants]
    arrays = str(paths.arrays(variants[0].dataset))
    return json.dumps({"arrays": arrays, "variants": dumped, "images": [None, None], **more})


def _throughput(paths: Paths, name: str) -> Ways:
    """An epoch to warm up and one to be timed."""
    cores = os.sched_getaffinity(0)
    one = {"core": min(cores)}

    def train(module: str, precision: str = "float32", **more: Any) -> Callable[..., list[str]]:
        variant = load_params(paths.params).variant(name)
        variant = sample(variant, precision=precision, epochs=2, seeds=[0])
        options = _options(paths, variant, images=SAMPLES[name], **more)
        return partial(python, "-m", f"benchmarks.{module}", options)

    plain, product = train("plain"), train("product")
    half, wide = train("product", "mixed_bfloat16"), train("product", threads=len(cores))
    return {
        CORE: lambda: rate([product(**one)]),
        PLAIN_CORE: lambda: rate([plain(**one)]),
        WORKERS: lambda: rate([product()] * len(cores)),
        PLAIN: lambda: rate([plain()]),
        BFLOAT16: lambda: rate([half()] * len(cores)),
        THREADS: lambda: rate([wide()]),
        MATRICES: lambda: finish(start(python("-c", PRODUCTS, **one)))[0],
    }


@dataclass(frozen=True)
class Study:
    """Some of quickstart's networks with some seeds, trained in each of the ways."""

    paths: Paths
    peer: Path | None
    variants: Sequence[str]
    changes: Mapping[str, Any]  # of their keys, `seeds` among them

    @property
    def name(self) -> str:
        return f"{len(self.variants)} × {len(self.changes['seeds'])} trainings"

    def ways(self, measure: Callable[[str], Figures]) -> Ways:
        names = (PROJECT, PLAIN, *([PEER] if self.peer else []))
        return {name: partial(measure, name) for name in names}

    def measured(self, way: str) -> Figures:
        """Seconds, the most memory of all processes together, and a mean of median accuracies."""
        seeds = len(self.changes["seeds"])
        with self._prepared(way) as (begin, paths), ThreadPoolExecutor(1) as thread:
            began, process = time.monotonic(), begin()
            most = thread.submit(held, process)
            found = [answer["accuracy"] for answer in finish(process)]
            seconds = time.monotonic() - began
            medians = [median(found[i : i + seeds]) for i in range(0, len(found), seeds)]
            for name in self.variants if way == PROJECT else []:
                metrics = json.loads(paths.metrics("quickstart", name).read_bytes())
                medians.append(metrics["test_accuracy"])
        return {SECONDS: seconds, MIB: most.result(), "test accuracy": mean(medians)}

    def killed(self, way: str) -> Figures:
        """Seconds undisturbed, and of the same command once it was killed at half of them."""
        seconds: list[float] = []
        for killed in (False, True):
            with self._prepared(way) as (begin, _):
                if killed:
                    kill(begin(), seconds[0] / 2)
                began = time.monotonic()
                finish(begin())
                seconds.append(time.monotonic() - began)
        return {"undisturbed, s": seconds[0], "after the kill, s": seconds[1]}

    @contextmanager
    def _prepared(self, way: str) -> Iterator[tuple[Callable[[], Any], Paths]]:
        """What starts it, and where it works."""
        if way == PROJECT:
            with checkout(self.paths, dict.fromkeys(self.variants, self.changes)) as copy:
                command = ["cnn-ablations", "repro", *(f"train@{name}" for name in self.variants)]
                yield partial(start, command, copy.root), copy
            return
        params = load_params(self.paths.params)
        variants = [params.variant(name).model_copy(update=self.changes) for name in self.variants]
        with tempfile.TemporaryDirectory() as kept:
            module, more = ("peer", {"kept": kept}) if way == PEER else ("plain", {})
            options = _options(self.paths, *variants, **more)
            command = python("-m", f"benchmarks.{module}", options)
            yield partial(start, command, peer=self.peer or ROOT), self.paths
