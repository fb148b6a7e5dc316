"""What is measured: jobs, each with the ways that take turns."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.processes import ROOT, checkout, finish, held, kill, python, start
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import LastSplit, Variant
from cnn_ablations.paths import Paths

Figures = Mapping[str, float]
"""What one turn measured, by unit or name."""
Ways = dict[str, Callable[[], Figures]]

COLUMNS = ["what", "way", "turn", "figure", "value"]
PROJECT, PLAIN, PEER = "project", "plain Keras", "ictonyx"
CORE, PLAIN_CORE = "project, one core", "plain Keras, one core"
WORKERS, THREADS = "project, a training a core", "project, one training on all cores"
BFLOAT16, PLAIN_FLOAT32 = "project, bfloat16, a training a core", "plain Keras, float32"
MATRICES = "matrix products, one core"
SECONDS, MIB, RATE, GFLOPS = "s", "MiB", "images/s", "GFLOP/s"

SAMPLES = {
    "r1-mnist-base": (10_910, 1_818),  # two batches of 5,000
    "r1-cifar10-stride1": (1_112, 222),  # two of 500
    "r2-1conv-batchnorm": (30_000, 5_000),
    "r4-maxpool": (5_000, 1_000),
}
"""How many training and test images make an epoch of a second or more."""
MNIST_IMAGES = 60_000
STUDY = ("quickstart-none", "quickstart-l2", "quickstart-dropout", "quickstart-batchnorm")
PRODUCTS = """
import json, statistics, time
import tensorflow as tf
matrix, taken = tf.random.stateless_normal((2048, 2048), seed=(0, 0)), []
for _ in range(9):
    began = time.monotonic()
    tf.linalg.matmul(matrix, matrix)
    taken.append(time.monotonic() - began)
print(json.dumps({"GFLOP/s": 2 * 2.048**3 / statistics.median(taken)}))
"""


@dataclass(frozen=True)
class Job:
    """What is compared with each other."""

    part: str
    what: str
    seconds: int
    """About what a turn of all ways takes on two cores: for the display of what is left."""
    turns: int
    ways: Callable[[ExitStack], Ways]
    """Makes what they need, which the stack takes away again."""


def jobs(paths: Paths, peer: Path | None, *, quick: bool) -> Iterator[Job]:
    """All that `make bench` measures; without ictonyx where there is no folder that has it."""
    turns = 1 if quick else 3
    names = list(SAMPLES)[: 1 if quick else None]
    for name in names:
        yield Job("throughput", name, 75, turns, partial(_throughput, paths, name))
    for name in names[:2]:
        yield Job("bfloat16", name, 25, turns, partial(_bfloat16, paths, name))
    yield Job("stage", STUDY[0], 35, turns, partial(_stage, paths))
    few = Study(paths, peer, STUDY[:1], 2 if quick else 5)
    study = few if quick else Study(paths, peer, STUDY, 10)
    yield Job("study", study.name, 450, min(turns, 2), lambda _: study.ways(study.measured))
    yield Job("kill", few.name, 180, 1, lambda _: few.ways(few.killed))


def sample(variant: Variant, **changes: Any) -> Variant:
    """The variant for a part of its images: split in the proportions of the whole."""
    split = variant.split
    if isinstance(split, LastSplit) and split.val >= 1:
        changes["split"] = split.model_copy(update={"val": split.val / MNIST_IMAGES})
    return variant.model_copy(update=changes)


def rate(commands: Sequence[Sequence[str]]) -> Figures:
    """Of trainings side by side: images trained a second, the first epoch left out; and of one."""
    answers = [finish(process)[-1] for process in [start(command) for command in commands]]
    rates = [answer["images"] / mean(answer["epoch_seconds"][1:]) for answer in answers]
    arithmetic = {GFLOPS: rates[0] * answers[0]["gflop"]} if "gflop" in answers[0] else {}
    of_one = {**arithmetic, MIB: answers[0]["mib"]} if len(answers) == 1 else {}
    return {RATE: sum(rates), **of_one}


def _options(paths: Paths, variants: Sequence[Variant], **more: Any) -> str:
    """What children are told."""
    dumped = [variant.model_dump(mode="json") for variant in variants]
    arrays = str(paths.arrays(variants[0].dataset))
    return json.dumps({"arrays": arrays, "variants": dumped, "images": [None, None], **more})


def _epochs(paths: Paths, name: str, precision: str = "float32", **more: Any) -> str:
    """The options for an epoch to warm up and one to be timed."""
    variant = load_params(paths.params).variant(name)
    variant = sample(variant, precision=precision, epochs=2, seeds=[0])
    return _options(paths, [variant], images=SAMPLES[name], **more)


def _throughput(paths: Paths, name: str, _: ExitStack) -> Ways:
    cores = os.sched_getaffinity(0)
    options = _epochs(paths, name)
    wide = python("-m", "benchmarks.product", _epochs(paths, name, threads=len(cores)))
    product = partial(python, "-m", "benchmarks.product", options)
    plain = partial(python, "-m", "benchmarks.plain", options)
    matrices = python("-c", PRODUCTS, core=min(cores))
    return {
        CORE: lambda: rate([product(core=min(cores))]),
        PLAIN_CORE: lambda: rate([plain(core=min(cores))]),
        WORKERS: lambda: rate([product()] * len(cores)),
        PLAIN: lambda: rate([plain()]),
        THREADS: lambda: rate([wide]),
        MATRICES: lambda: finish(start(matrices))[0],
    }


def _bfloat16(paths: Paths, name: str, _: ExitStack) -> Ways:
    product = python("-m", "benchmarks.product", _epochs(paths, name, "mixed_bfloat16"))
    plain = python("-m", "benchmarks.plain", _epochs(paths, name))
    workers = [product] * len(os.sched_getaffinity(0))
    return {BFLOAT16: lambda: rate(workers), PLAIN_FLOAT32: lambda: rate([plain])}


def _stage(paths: Paths, stack: ExitStack) -> Ways:
    """Seconds less those of the training, of one epoch."""
    changes = {"epochs": 1, "seeds": [0]}
    copy = stack.enter_context(checkout(paths, {STUDY[0]: changes}))
    variant = load_params(copy.params).variant(STUDY[0])

    def besides(*command: str) -> Figures:
        shutil.rmtree(copy.scratch(), ignore_errors=True)
        began = time.monotonic()
        answers = finish(start(command, copy.root))
        seconds = time.monotonic() - began
        if answers:  # the plain script's
            return {SECONDS: seconds - sum(answers[0]["epoch_seconds"])}
        recorded = json.loads(copy.timings(variant.group, variant.name).read_bytes())
        return {SECONDS: seconds - recorded["seeds"]["0"]["train_seconds"]}

    stage = python("-m", "dvc", "repro", "--force", "--single-item", f"train@{variant.name}")
    plain = python("-m", "benchmarks.plain", _options(copy, [variant]))
    return {
        PROJECT: partial(besides, *stage),
        "project, without DVC": partial(besides, "cnn-ablations", "train", variant.name),
        PLAIN: partial(besides, *plain),
    }


@dataclass(frozen=True)
class Study:
    """Some of quickstart's networks with some seeds, trained in each of the ways."""

    paths: Paths
    peer: Path | None
    variants: Sequence[str]
    seeds: int

    @property
    def name(self) -> str:
        return f"{len(self.variants)} × {self.seeds} trainings"

    def ways(self, measure: Callable[[str], Figures]) -> Ways:
        names = (PROJECT, PLAIN, *([PEER] if self.peer else []))
        return {name: partial(measure, name) for name in names}

    def measured(self, way: str) -> Figures:
        """Seconds, the most memory of all processes together, and the accuracy: the mean over the
        variants of the median over their seeds.
        """
        with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
            begin, folder = self._prepared(way, stack)
            began, process = time.monotonic(), begin()
            most = thread.submit(held, process)
            found = [answer["accuracy"] for answer in finish(process)]
            seconds = time.monotonic() - began
            medians = [median(found[i : i + self.seeds]) for i in range(0, len(found), self.seeds)]
            for variant in self.variants if way == PROJECT else []:
                metrics = Paths(folder).metrics("quickstart", variant).read_bytes()
                medians.append(json.loads(metrics)["test_accuracy"])
        return {SECONDS: seconds, MIB: most.result(), "test accuracy": mean(medians)}

    def killed(self, way: str) -> Figures:
        """Seconds undisturbed, and of the same command once it was killed at half of them."""
        seconds: list[float] = []
        for killed in (False, True):
            with ExitStack() as stack:
                begin, _ = self._prepared(way, stack)
                if killed:
                    kill(begin(), seconds[0] / 2)
                began = time.monotonic()
                finish(begin())
                seconds.append(time.monotonic() - began)
        return dict(zip(("undisturbed, s", "after the kill, s"), seconds, strict=True))

    def _prepared(self, way: str, stack: ExitStack) -> tuple[Callable[[], Any], Path]:
        """What starts it, and the folder that it works in."""
        seeds = list(range(self.seeds))
        if way == PROJECT:
            changes = {name: {"seeds": seeds} for name in self.variants}
            folder = stack.enter_context(checkout(self.paths, changes)).root
            command = ["cnn-ablations", "repro", *(f"train@{name}" for name in self.variants)]
            return partial(start, command, folder), folder
        params = load_params(self.paths.params)
        chosen = [params.variant(n).model_copy(update={"seeds": seeds}) for n in self.variants]
        kept = stack.enter_context(tempfile.TemporaryDirectory())
        more, module = ({"kept": kept}, "peer") if way == PEER else ({}, "plain")
        command = python("-m", f"benchmarks.{module}", _options(self.paths, chosen, **more))
        return partial(start, command, ROOT, self.peer or ROOT), ROOT
