"""What `repro` would do, why, and how long it takes, before it does it."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.inputs import write_inputs
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling import pipeline
from cnn_ablations.scheduling.display import counted, duration
from cnn_ablations.scheduling.flops import forward_flops
from cnn_ablations.training.variant import seed_folder

STAGE_SECONDS = 20.0
"""About what a stage takes besides training: DVC, a kernel, TensorFlow, figures."""
ROWS = 20
"""Variants that fit a screen."""
GUESSED_IMAGES = 50_000
"""To train on, of a data set that is neither prepared nor counted."""
FLOPS_A_SECOND, STEP_SECONDS = 60e9, 0.004
"""Of a core, and what each batch takes besides its arithmetic. So each group of reports/timings is
predicted from the others within a factor of 1.4 mostly, and of 4 always."""


@dataclass(frozen=True)
class Job:
    """What is to do for a variant with a stage out of date."""

    variant: Variant
    why: str
    seeds: Mapping[int, Path | None]
    """Those without a result in scratch, with their folders there if the arrays are prepared."""
    seconds: float
    """Predicted for the training of one seed."""
    basis: str
    """What the prediction rests on."""

    @property
    def minutes(self) -> float:
        """Of all its seeds."""
        return len(self.seeds) * self.seconds / 60


def plan_of(
    targets: Sequence[str], params: Params, paths: Paths, workers: int, *, allow_missing: bool
) -> str:
    """What is out of date among `targets` and all that they need, why, and for how long.

    Raises ProjectError where DVC cannot tell.
    """
    lock = pipeline.locked_stages(paths)  # which says more of a damaged file than DVC does
    write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
    stale = pipeline.stale_stages(paths, targets, allow_missing=allow_missing)
    stale.pop("check", None)  # which costs nothing
    if not stale:
        return "everything is up to date"
    jobs = jobs_of(stale, params, paths, lock)
    needed = pipeline.needed_stages(paths, targets)
    data = [n for n in needed if n in stale and pipeline.verb(n) in pipeline.DATA_STAGES]
    stages = pipeline.behind(needed, set(stale) - set(data))
    others = [name for name in stages if pipeline.verb(name) not in pipeline.VARIANT_STAGES]
    lines = []
    if data:
        lines.append(f"data first: {', '.join(data)}")
    if jobs:
        lines += _table(jobs[:ROWS])
    if len(jobs) > ROWS:
        rest = sum(job.minutes for job in jobs[ROWS:])
        lines.append(f"and {counted(len(jobs) - ROWS, 'variant')} more: {rest:,.1f} minutes")
    if others:
        lines.append(f"then: {', '.join(others)}")
    seeds = counted(sum(len(job.seeds) for job in jobs), "seed")
    minutes = sum(job.minutes for job in jobs)
    seconds = 60 * minutes + STAGE_SECONDS * len(stages)
    lines.append(
        f"{seeds} of {counted(len(jobs), 'variant')} to train, {minutes:,.1f} minutes, and "
        f"{counted(len(stages), 'stage')} to run, {STAGE_SECONDS:.0f} s each: about "
        f"{duration(seconds)} one after another, {duration(seconds / workers)} with "
        f"{counted(workers, 'worker')}"
    )
    return "\n".join(lines)


def jobs_of(
    stale: Mapping[str, pipeline.Changes], params: Params, paths: Paths, lock: Collection[str]
) -> list[Job]:
    """What is to do for each variant with a stage out of date, the longest seeds first. `lock` has
    the names of the stages that ever ran.
    """
    records = {name: pipeline.recorded(variant, paths) for name, variant in params.variants.items()}
    known = [r for r in records.values() if r and r.variant.dataset in params.datasets]
    stages = {
        name: [stage for stage in (f"train@{name}", f"inspect@{name}") if stage in stale]
        for name in params.variants
    }
    due = [params.variants[name] for name, out_of_date in stages.items() if out_of_date]
    flops = forward_flops(due, known, params)
    arrays = cache(lambda dataset: load_arrays(paths.arrays(dataset)))  # it reads all of them
    jobs = []
    for variant in due:
        name, why = variant.name, "never run"
        if (first := stages[name][0]) in lock:
            before = record.variant if (record := records[name]) else variant
            why = pipeline.reasons(stale[first], variant, before)
        seeds = _untrained(variant, arrays, paths) if f"train@{name}" in stale else {}
        seconds, basis = predicted(variant, flops[name], known, params, paths)
        jobs.append(Job(variant, why, seeds, seconds, basis))
    return sorted(jobs, key=lambda job: -job.seconds)


def predicted(
    variant: Variant, flops: int, known: Sequence[pipeline.Record], params: Params, paths: Paths
) -> tuple[float, str]:
    """The seconds that a seed of a variant takes, and what that rests on.

    They are those of the arithmetic (`flops` for one image), times what trainings on record, of the
    `known`, took more than theirs: the variant's last one, or else all.
    """
    seconds = estimated(variant, flops, params, paths)
    own = [of for of in known if of.variant.name == variant.name]
    ratios = [of.seconds / estimated(of.variant, of.flops, params, paths) for of in own or known]
    return median(ratios or [1.0]) * seconds, "its record" if own else "arithmetic"


def estimated(variant: Variant, flops: int, params: Params, paths: Paths) -> float:
    """The seconds that the arithmetic of a seed's training takes, with `flops` for one image.
    Images that are held out count as well.
    """
    dataset = params.dataset(variant.dataset)
    labels = paths.arrays(variant.dataset) / "train_labels.npy"
    try:
        images = len(np.load(labels, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError):  # not prepared yet
        images = dataset.images or GUESSED_IMAGES
    images = min(variant.train_images or images, images)
    steps = math.ceil(images / variant.batch_size)
    return variant.epochs * (3 * images * flops / FLOPS_A_SECOND + STEP_SECONDS * steps)


def _untrained(
    variant: Variant, arrays: Callable[[str], Arrays], paths: Paths
) -> dict[int, Path | None]:
    try:
        found = arrays(variant.dataset)
    except ProjectError:  # not prepared yet
        return dict.fromkeys(variant.seeds)
    folders = {seed: seed_folder(variant, seed, found, paths) for seed in variant.seeds}
    return {seed: path for seed, path in folders.items() if not (path / "result").is_dir()}


def _table(jobs: Sequence[Job]) -> list[str]:
    rows = [("variant", "seeds", "minutes", "by", "why")]
    for job in jobs:
        seeds = f"{len(job.seeds)} of {len(job.variant.seeds)}"
        rows.append((job.variant.name, seeds, f"{job.minutes:,.1f}", job.basis, job.why))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
