"""How long trainings will take, from what trainings took, and in which order to start them."""

import heapq
import math
import multiprocessing
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from cnn_ablations.training.backend import circumstances
from cnn_ablations.training.fingerprint import LABELS
from cnn_ablations.training.variant import seed_folder

STAGE_SECONDS = 20.0
"""About what a stage takes besides training: DVC, a kernel, TensorFlow, figures."""
GUESSED_RATES = np.array([5e-11, 5e-3])
"""Seconds for the training that goes with a forward operation, and for a step of the optimiser,
where nothing was ever recorded; a measurement then says how far they are off."""
GUESSED_IMAGES = 50_000
MEASURED_IMAGES = 100
MEASURED_STEPS = 3


@dataclass(frozen=True)
class Job:
    """What is to do for one variant, on one worker."""

    variant: Variant
    stages: tuple[str, ...]
    """Of `train` and `inspect`, in this order."""
    reasons: list[str]
    seeds: list[int]
    """Those to train; a seed whose result is in scratch is not trained again."""
    flops: int | None
    """Forward, for one image; None where this variant is not on record."""
    seed_seconds: float | None
    """Predicted for the training of one seed."""
    basis: str
    """What the prediction rests on: "recorded", "recorded elsewhere" (on another processor),
    "FLOPs", "measured", or "nothing"."""

    @property
    def seconds(self) -> float | None:
        """Predicted for the whole job."""
        if self.seeds and self.seed_seconds is None:
            return None
        return len(self.seeds) * (self.seed_seconds or 0.0) + len(self.stages) * STAGE_SECONDS

    @property
    def pieces(self) -> list[float] | None:
        """The same seconds in parts that different workers can do: idle ones take over seeds."""
        if self.seconds is None:
            return None
        shared = (len(self.seeds) - 1) * [self.seed_seconds or 0.0]
        if not worth_a_process(self.seed_seconds):
            shared = []
        return [self.seconds - sum(shared), *shared]

    def ahead(self, progress: Mapping[str, Any]) -> list[int]:
        """The seeds that its stage has not begun to train, by its progress file's content."""
        if not progress:
            return self.seeds[1:]
        return [seed for seed in self.variant.seeds[progress["number"] :] if seed in self.seeds]


def worth_a_process(seed_seconds: float | None) -> bool:
    """Whether a seed trains so long that another process may be started for it."""
    return seed_seconds is None or seed_seconds >= STAGE_SECONDS


@dataclass(frozen=True)
class Recorded:
    """What is on record of a variant as params.yaml has it today."""

    flops: int
    seed_seconds: float
    """Median over seeds, training and evaluation."""
    elsewhere: bool
    """Whether that was on another processor than this machine's."""


@dataclass(frozen=True)
class Size:
    """What the network of a variant costs."""

    flops: int
    """Forward, for one image."""
    image_seconds: float | None = None
    """To train on one image, on this machine; None where that was not measured."""


def jobs_of(
    stale: Iterable[Stale],
    needed: Collection[str],
    params: Params,
    paths: Paths,
    lock: Mapping[str, Any],
) -> list[Job]:
    """What is to do for each variant with a stage out of date, with what records say about it.

    A variant that is trained anew is inspected anew, where that is among the stages `needed`.
    """
    by_variant: dict[str, dict[str, Stale]] = {}
    for stage in stale:
        if stage.verb in VARIANT_STAGES:
            by_variant.setdefault(stage.entry, {})[stage.verb] = stage
    arrays = {
        name: _arrays(name, paths) for name in {params.variants[v].dataset for v in by_variant}
    }
    jobs = []
    for name, stages in by_variant.items():
        variant = params.variants[name]
        first = stages.get("train") or stages["inspect"]
        record = recorded(variant, paths)
        jobs.append(
            Job(
                variant=variant,
                stages=tuple(
                    verb
                    for verb in VARIANT_STAGES
                    if verb in stages or ("train" in stages and f"{verb}@{name}" in needed)
                ),
                reasons=reasons(first, lock, params, paths),
                seeds=_untrained(variant, arrays[variant.dataset], paths)
                if "train" in stages
                else [],
                flops=record.flops if record else None,
                seed_seconds=record.seed_seconds if record else None,
                basis=_basis(record),
            )
        )
    return jobs


def predicted(jobs: Iterable[Job], params: Params, paths: Paths) -> list[Job]:
    """The jobs, longest first, with a prediction for each.

    Where a variant has no recorded times, those of the others say what an operation and what a
    step of the optimiser take, and those of its group how far the group is from that. Networks
    whose operations are not on record are built to count them, and of a group without any
    recorded times the largest is trained for some steps, which takes seconds.
    """
    jobs = list(jobs)
    images = {name: _dataset_images(name, paths) for name in params.datasets}
    on_record = {
        variant.name: (work(variant, record.flops, images[variant.dataset]), record.seed_seconds)
        for variant in params.variants.values()
        if (record := recorded(variant, paths))
    }
    rates = fitted_rates(on_record.values()) if on_record else GUESSED_RATES
    deviations: dict[str, list[float]] = {}
    for name, (done, seconds) in on_record.items():
        deviations.setdefault(params.variants[name].group, []).append(seconds / float(done @ rates))
    unknown = [job.variant for job in jobs if job.seeds and job.flops is None]
    sizes = measured(unknown, params, set(deviations))
    for variant in unknown:
        size, available = sizes[variant.name], images[variant.dataset]
        if size.image_seconds is not None:
            trained = variant.epochs * training_images(variant, available)
            expected = float(work(variant, size.flops, available) @ rates)
            deviations[variant.group] = [trained * size.image_seconds / expected]
    groups_on_record = {params.variants[name].group for name in on_record}

    def complete(job: Job) -> Job:
        if not job.seeds or job.flops is not None:
            return job
        variant, flops = job.variant, sizes[job.variant.name].flops
        seconds = float(work(variant, flops, images[variant.dataset]) @ rates)
        return replace(
            job,
            flops=flops,
            seed_seconds=seconds * median(deviations[variant.group]),
            basis="FLOPs" if variant.group in groups_on_record else "measured",
        )

    return sorted(map(complete, jobs), key=lambda job: -(job.seconds or 0))


def work(variant: Variant, flops: int, available: int) -> NDArray[np.float64]:
    """What the training of one seed comes to, (2,): forward operations, and optimiser steps.

    `flops` are for one image; `available` is the number of the data set's training images.
    """
    images = training_images(variant, available)
    steps = math.ceil(images / variant.batch_size)
    return variant.epochs * np.array([flops * images, steps], float)


def fitted_rates(
    measured: Iterable[tuple[NDArray[np.float64], float]],
) -> NDArray[np.float64]:
    """Seconds for an operation and for a step, (2,), from trainings and the seconds they took.

    Non-negative, and such that the relative errors are least in the sum of their squares.
    """
    from scipy.optimize import nnls

    relative = np.array([done / seconds for done, seconds in measured])
    scale = relative.max(axis=0)  # operations are a billion times as many as steps
    rates: NDArray[np.float64] = nnls(relative / scale, np.ones(len(relative)))[0] / scale
    return rates


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


def recorded(variant: Variant, paths: Paths) -> Recorded | None:
    """What earlier runs of this very variant took, by epoch; None where it never ran as it is
    today but for the number of epochs.
    """
    before = trained_as(variant, paths)
    if before is None or _recipe(before) != _recipe(variant):
        return None
    own = (variant.group, variant.name)
    try:
        metrics = load_metrics(paths.metrics(*own))
        timings = load_timings(paths.timings(*own))
    except (OSError, ValueError, ProjectError):  # no such files, or not what they were
        return None
    flops = metrics.get("flops")
    if timings is None or not flops:
        return None
    seconds = median(seed.seconds for seed in timings.seeds.values())
    return Recorded(
        flops=int(flops),
        seed_seconds=seconds * variant.epochs / before.epochs,
        elsewhere=not any(map(_is_here, timings.provenance or [{}])),
    )


def measured(
    variants: Sequence[Variant], params: Params, known: Collection[str]
) -> dict[str, Size]:
    """What the networks of some variants cost, by the variant's name.

    The largest of each group that is not `known` is trained on images of noise, to see how fast
    this machine is. That takes a process of its own, which takes TensorFlow with it when it ends.
    """
    if not variants:
        return {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_silence) as process:
        return process.submit(_measured, variants, params.datasets, known).result()


def _measured(
    variants: Sequence[Variant], datasets: Mapping[str, Any], known: Collection[str]
) -> dict[str, Size]:
    from cnn_ablations.training.backend import configure
    from cnn_ablations.training.cost import layer_costs
    from cnn_ablations.training.network import build_network

    configure()
    sizes = {}
    largest: dict[str, tuple[int, Variant, Any]] = {}
    for variant in variants:
        dataset = datasets[variant.dataset]
        # The largest pixel only scales the input: it changes no count.
        model = build_network(variant, dataset.image_shape, len(dataset.classes), pixel_max=1)
        flops = sum(layer.flops for layer in layer_costs(model))
        sizes[variant.name] = Size(flops)
        if variant.group not in known and flops >= largest.get(variant.group, (0,))[0]:
            largest[variant.group] = flops, variant, model
    for flops, variant, model in largest.values():
        sizes[variant.name] = Size(flops, _image_seconds(model, variant, datasets[variant.dataset]))
    return sizes


def _image_seconds(model: Any, variant: Variant, dataset: Any) -> float:
    """Seconds that a network takes to train on one image."""
    from cnn_ablations.training.optimiser import compile_network

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (MEASURED_IMAGES, *dataset.image_shape), np.uint8)
    labels = generator.integers(0, len(dataset.classes), MEASURED_IMAGES, np.uint16)
    compile_network(model, variant, labels)
    model.train_on_batch(images, labels)  # the first step compiles
    began = time.monotonic()
    for _ in range(MEASURED_STEPS):
        model.train_on_batch(images, labels)
    return (time.monotonic() - began) / (MEASURED_STEPS * MEASURED_IMAGES)


def _silence() -> None:
    os.environ.update(KERNEL_ENVIRONMENT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow greets whatever the log level


def _recipe(variant: Variant) -> dict[str, Any]:
    return variant.model_dump(exclude=(LABELS - {"dataset"}) | {"epochs"})


@cache
def _processors() -> dict[str, str]:
    return {key: circumstances()[key] for key in ("device", "cpu", "processor")}


def _is_here(provenance: Mapping[str, str]) -> bool:
    """Whether what is on record of a machine's processors is true of this machine's, too."""
    return all(provenance.get(key, here) == here for key, here in _processors().items())


def _basis(record: Recorded | None) -> str:
    if record is None:
        return "nothing"
    return "recorded elsewhere" if record.elsewhere else "recorded"


def _untrained(variant: Variant, arrays: Arrays | None, paths: Paths) -> list[int]:
    if arrays is None:
        return variant.seeds
    return [
        seed
        for seed in variant.seeds
        if not (seed_folder(variant, seed, arrays, paths) / "result").is_dir()
    ]


def _dataset_images(dataset: str, paths: Paths) -> int:
    arrays = _arrays(dataset, paths)
    return len(arrays.train_labels) if arrays else GUESSED_IMAGES


def _arrays(dataset: str, paths: Paths) -> Arrays | None:
    try:
        return load_arrays(paths.arrays(dataset))
    except ProjectError:  # not prepared yet
        return None
