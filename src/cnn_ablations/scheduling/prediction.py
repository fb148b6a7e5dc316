"""What is to be trained, and how long that takes."""

import heapq
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from cnn_ablations.analysis.results import load_metrics
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import LastSplit, StratifiedSplit, Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.data.splits import last_split
from cnn_ablations.errors import ProjectError
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import VARIANT_STAGES, Stale, reasons, trained_as
from cnn_ablations.training.fingerprint import LABELS
from cnn_ablations.training.variant import seed_folder

STAGE_SECONDS = 20.0
"""About what a stage takes besides training: DVC, a kernel, TensorFlow, figures."""
GUESSED_IMAGES = 50_000
EFFICIENCY = 0.2
"""Forward operations in the time of a training, as a share of those of a large product: about
a third is forward, and small layers take longer."""
PRODUCT = 1000
"""Rows and columns of that product."""


@dataclass(frozen=True)
class Job:
    """What is to do for a variant with a stage out of date."""

    variant: Variant
    reasons: list[str]
    seeds: list[int]
    """Those to train: a seed whose result is in scratch is not trained again."""
    seed_seconds: float | None = None
    """Predicted for the training of one seed."""
    basis: str = ""
    """What the prediction rests on: "recorded" or "FLOPs"."""

    @property
    def seconds(self) -> float:
        """Predicted for all seeds."""
        return len(self.seeds) * (self.seed_seconds or 0.0)


def jobs_of(
    stale: Mapping[str, Stale], params: Params, paths: Paths, lock: Mapping[str, Any]
) -> list[Job]:
    """What is to do for each variant with a stage out of date, with what records say about it.

    `lock` has the stages of dvc.lock.
    """
    jobs = []
    entries = {stage.entry for stage in stale.values() if stage.verb in VARIANT_STAGES}
    variants = [variant for name, variant in params.variants.items() if name in entries]
    arrays = {name: _arrays(name, paths) for name in {v.dataset for v in variants}}
    for variant in variants:
        name = variant.name
        training = stale.get(f"train@{name}")
        why = reasons(training or stale[f"inspect@{name}"], lock, params, paths)
        seeds = _untrained(variant, arrays[variant.dataset], paths) if training else []
        seconds = recorded(variant, paths) if seeds else None
        jobs.append(Job(variant, why, seeds, seconds, "recorded" if seconds else ""))
    return jobs


def predicted(jobs: Iterable[Job], params: Params, paths: Paths) -> list[Job]:
    """The jobs, longest seeds first, with a prediction for each that has seeds.

    A variant without recorded times takes as long for an operation as the others of its group, or
    as all that are on record; where there are none, this machine's rate is measured.
    """
    jobs = list(jobs)
    unknown = [job.variant for job in jobs if job.seeds and job.seed_seconds is None]
    if unknown:
        flops, machine = measured(unknown, params)
        groups = rates(params, paths)
        everywhere = [rate for found in groups.values() for rate in found] or [machine]
        jobs = [
            replace(
                job,
                seed_seconds=operations(job.variant, flops[job.variant.name], paths)
                / median(groups.get(job.variant.group, everywhere)),
                basis="FLOPs",
            )
            if job.variant in unknown
            else job
            for job in jobs
        ]
    return sorted(jobs, key=lambda job: -(job.seed_seconds or 0))


def recorded(variant: Variant, paths: Paths) -> float | None:
    """The seconds that a seed of this very variant took, by epoch; None where it never ran as it is
    today but for the number of epochs.
    """
    before = trained_as(variant, paths)
    if before is None or _recipe(before) != _recipe(variant):
        return None
    timings = load_timings(paths.timings(variant.group, variant.name))
    assert timings is not None
    return median(s.seconds for s in timings.seeds.values()) * variant.epochs / before.epochs


def rates(params: Params, paths: Paths) -> dict[str, list[float]]:
    """Forward operations in a second of training, of each variant on record, by group."""
    found: dict[str, list[float]] = {}
    for variant in params.variants.values():
        seconds = recorded(variant, paths)
        try:
            flops = load_metrics(paths.metrics(variant.group, variant.name)).get("flops")
        except (OSError, ValueError, ProjectError):  # no such file, or not what it was
            continue
        if seconds and flops:
            rate = operations(variant, int(flops), paths) / seconds
            found.setdefault(variant.group, []).append(rate)
    return found


def operations(variant: Variant, flops: int, paths: Paths) -> int:
    """Forward operations of the training of a seed, with `flops` for one image."""
    labels = paths.arrays(variant.dataset) / "train_labels.npy"
    try:
        available = len(np.load(labels, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError):  # not prepared yet
        available = GUESSED_IMAGES
    return variant.epochs * training_images(variant, available) * flops


def makespan(seconds: Iterable[float], workers: int, busy: Sequence[float] = ()) -> float:
    """When the last of some jobs ends, each started, longest first, on the first free worker.

    Args:
        seconds: of each job.
        workers: how many jobs run at the same time.
        busy: in how many seconds those workers that are at work now will be free.

    Returns:
        Seconds from now, at most 4/3 of the shortest possible (Graham 1969, Bounds on
        multiprocessing timing anomalies).
    """
    free = [*busy, *[0.0] * (workers - len(busy))]
    heapq.heapify(free)
    for job in sorted(seconds, reverse=True):
        heapq.heappushpop(free, free[0] + job)
    return max(free)


def training_images(variant: Variant, available: int) -> int:
    """How many images one epoch of a variant sees, of a data set's `available` training images."""
    wanted = min(variant.train_images or available, available)
    split = variant.split
    if isinstance(split, LastSplit):
        train, val = (len(part) for part in last_split(wanted, split.val))
    else:  # as scikit-learn's train_test_split counts
        share = split.val if isinstance(split, StratifiedSplit) else split.held_out
        rest = math.ceil(wanted * share) if share < 1 else int(share)
        val = rest if isinstance(split, StratifiedSplit) else math.ceil(rest / 2)
        train = wanted - rest
    return train + val if variant.train_on == "train+val" else train


def measured(variants: Sequence[Variant], params: Params) -> tuple[dict[str, int], float]:
    """Forward operations of each network for one image, and how many this machine's trainings may
    do in a second. That takes a process of its own, which takes TensorFlow with it when it ends.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_silence) as process:
        return process.submit(_measured, variants, params.datasets).result()


def _measured(
    variants: Sequence[Variant], datasets: Mapping[str, Any]
) -> tuple[dict[str, int], float]:
    from cnn_ablations.training.backend import configure
    from cnn_ablations.training.cost import layer_costs
    from cnn_ablations.training.network import build_network

    configure()
    import tensorflow as tf

    flops = {}
    for variant in variants:
        dataset = datasets[variant.dataset]
        # The largest pixel only scales the input: it changes no count.
        model = build_network(variant, dataset.image_shape, len(dataset.classes), pixel_max=1)
        flops[variant.name] = sum(layer.flops for layer in layer_costs(model))
    square = tf.ones((PRODUCT, PRODUCT))
    for _ in range(2):  # the first one warms up
        began = time.monotonic()
        tf.linalg.matmul(square, square).numpy()
    return flops, EFFICIENCY * 2 * PRODUCT**3 / (time.monotonic() - began)


def _silence() -> None:
    os.environ.update(KERNEL_ENVIRONMENT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow greets whatever the log level


def _recipe(variant: Variant) -> dict[str, Any]:
    return variant.model_dump(exclude=(LABELS - {"dataset"}) | {"epochs"})


def _untrained(variant: Variant, arrays: Arrays | None, paths: Paths) -> list[int]:
    if arrays is None:
        return variant.seeds
    return [
        seed
        for seed in variant.seeds
        if not (seed_folder(variant, seed, arrays, paths) / "result").is_dir()
    ]


def _arrays(dataset: str, paths: Paths) -> Arrays | None:
    try:
        return load_arrays(paths.arrays(dataset))
    except ProjectError:  # not prepared yet
        return None
