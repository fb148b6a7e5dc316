"""What `repro` would do, why, and how long it takes, before it does it."""

import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from cnn_ablations.analysis.results import load_metrics
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.inputs import write_inputs
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.display import counted, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    VARIANT_STAGES,
    Stale,
    behind,
    locked_stages,
    needed_stages,
    reasons,
    stale_stages,
    trained_as,
)
from cnn_ablations.training.fingerprint import LABELS
from cnn_ablations.training.variant import seed_folder

STAGE_SECONDS = 20.0
"""About what a stage takes besides training: DVC, a kernel, TensorFlow, figures."""
ROWS = 20
"""Variants that fit a screen."""
GUESSED_IMAGES = 50_000
GUESSED_RATE = 1e10
"""Forward operations in a second of training, where nothing is on record."""


@dataclass(frozen=True)
class Job:
    """What is to do for a variant with a stage out of date."""

    variant: Variant
    why: str
    seeds: list[int]
    """Those to train: a seed whose result is in scratch is not trained again."""
    seed_seconds: float | None = None
    """Predicted for the training of one seed."""
    basis: str = ""
    """What the prediction rests on: "recorded" or "FLOPs"."""


def plan_of(
    targets: Sequence[str], params: Params, paths: Paths, workers: int, *, allow_missing: bool
) -> str:
    """What is out of date among `targets` and all that they need, why, and for how long.

    Raises ProjectError where DVC cannot tell.
    """
    lock = locked_stages(paths)  # which says more of a damaged file than DVC does
    write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
    stale = stale_stages(paths, targets, allow_missing=allow_missing)
    if not stale:
        return "everything is up to date"
    jobs = predicted(jobs_of(stale, params, paths, lock), params, paths)
    needed = needed_stages(paths, targets)
    data = [name for name in needed if name in stale and stale[name].verb in DATA_STAGES]
    stages = behind(needed, set(stale) - set(data))
    others = [name for name in stages if name.partition("@")[0] not in VARIANT_STAGES]
    trained = [job.seed_seconds or 0.0 for job in jobs for _ in job.seeds]
    seconds = sum(trained) + STAGE_SECONDS * len(stages)
    lines = []
    if data:
        lines.append(
            f"data first: {', '.join(data)} (a variant that only misses them runs only if they "
            "come out otherwise)"
        )
    if jobs:
        lines += _table(jobs[:ROWS])
        lines += [f"and {counted(len(jobs) - ROWS, 'variant')} more"] * (len(jobs) > ROWS)
    if others:
        lines.append(f"then: {', '.join(others)}")
    lines.append(
        f"{counted(len(jobs), 'variant')}, {counted(len(trained), 'seed')} to train: about "
        f"{duration(seconds)} one after another, {duration(seconds / workers)} with "
        f"{counted(workers, 'worker')}"
    )
    return "\n".join(lines)


def jobs_of(
    stale: Mapping[str, Stale], params: Params, paths: Paths, lock: Mapping[str, Any]
) -> list[Job]:
    """What is to do for each variant with a stage out of date. `lock` has dvc.lock's stages."""
    entries = {stage.entry for stage in stale.values() if stage.verb in VARIANT_STAGES}
    variants = [variant for name, variant in params.variants.items() if name in entries]
    arrays = {name: _arrays(name, paths) for name in {v.dataset for v in variants}}
    jobs = []
    for variant in variants:
        training = stale.get(f"train@{variant.name}")
        why = reasons(training or stale[f"inspect@{variant.name}"], lock, variant, paths)
        found = arrays[variant.dataset]
        seeds = [
            seed
            for seed in variant.seeds * bool(training)
            if not (found and (seed_folder(variant, seed, found, paths) / "result").is_dir())
        ]
        seconds = recorded(variant, paths) if seeds else None
        jobs.append(Job(variant, why, seeds, seconds, "recorded" if seconds else ""))
    return jobs


def predicted(jobs: Iterable[Job], params: Params, paths: Paths) -> list[Job]:
    """The jobs, longest seeds first, with a prediction for each that has seeds.

    A variant without recorded times takes as long for an operation as the others of its group, or
    as all that are on record.
    """
    jobs = list(jobs)
    unknown = [job.variant for job in jobs if job.seeds and job.seed_seconds is None]
    if unknown:
        rates = recorded_rates(params, paths)
        everywhere = [rate for found in rates.values() for rate in found] or [GUESSED_RATE]
        seconds = {
            name: operations / median(rates.get(params.variants[name].group, everywhere))
            for name, operations in counted_operations(unknown, params, paths).items()
        }
        jobs = [
            replace(job, seed_seconds=seconds[job.variant.name], basis="FLOPs")
            if job.variant.name in seconds
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


def recorded_rates(params: Params, paths: Paths) -> dict[str, list[float]]:
    """Forward operations in a second of training, of each variant on record, by group."""
    found: dict[str, list[float]] = {}
    for variant in params.variants.values():
        try:
            flops = load_metrics(paths.metrics(variant.group, variant.name)).get("flops")
        except (OSError, ValueError, ProjectError):  # no such file, or not what it was
            continue
        if flops and (seconds := recorded(variant, paths)):
            rate = flops * images(variant, paths) / seconds
            found.setdefault(variant.group, []).append(rate)
    return found


def counted_operations(
    variants: Sequence[Variant], params: Params, paths: Paths
) -> dict[str, float]:
    """Forward operations of the training of a seed, by variant.

    That takes a process of its own, which takes TensorFlow with it when it ends.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_silence) as process:
        flops = process.submit(_flops, variants, params.datasets).result()
    return {variant.name: flops[variant.name] * images(variant, paths) for variant in variants}


def images(variant: Variant, paths: Paths) -> int:
    """About how many images the training of a seed sees: those held out count as well."""
    labels = paths.arrays(variant.dataset) / "train_labels.npy"
    try:
        available = len(np.load(labels, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError):  # not prepared yet
        available = GUESSED_IMAGES
    return variant.epochs * min(variant.train_images or available, available)


def _flops(variants: Sequence[Variant], datasets: Mapping[str, Any]) -> dict[str, int]:
    from cnn_ablations.training.backend import configure
    from cnn_ablations.training.cost import layer_costs
    from cnn_ablations.training.network import build_network

    configure()
    flops = {}
    for variant in variants:
        dataset = datasets[variant.dataset]
        # The largest pixel only scales the input: it changes no count.
        model = build_network(variant, dataset.image_shape, len(dataset.classes), pixel_max=1)
        flops[variant.name] = sum(layer.flops for layer in layer_costs(model))
    return flops


def _silence() -> None:
    os.environ.update(KERNEL_ENVIRONMENT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow greets whatever the log level


def _recipe(variant: Variant) -> dict[str, Any]:
    return variant.model_dump(exclude=(LABELS - {"dataset"}) | {"epochs"})


def _arrays(dataset: str, paths: Paths) -> Arrays | None:
    try:
        return load_arrays(paths.arrays(dataset))
    except ProjectError:  # not prepared yet
        return None


def _table(jobs: Sequence[Job]) -> list[str]:
    width = max(len(job.variant.name) for job in jobs)
    form = f"{{:{width}}}  {{:>8}}  {{:>7}}  {{:8}}  {{}}"
    rows = [
        (
            job.variant.name,
            f"{len(job.seeds)} of {len(job.variant.seeds)}",
            f"{len(job.seeds) * (job.seed_seconds or 0) / 60:,.1f}",
            job.basis,
            job.why,
        )
        for job in jobs
    ]
    return [form.format(*row) for row in (("variant", "seeds", "minutes", "by", "why"), *rows)]
