"""What `repro` would do, before it does it."""

from collections.abc import Sequence

from cnn_ablations.config.params import Params
from cnn_ablations.inputs import write_inputs
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.display import counted, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    VARIANT_STAGES,
    behind,
    locked_stages,
    needed_stages,
    stale_stages,
)
from cnn_ablations.scheduling.prediction import STAGE_SECONDS, Job, jobs_of, makespan, predicted

ROWS = 20
"""Variants that fit a screen."""


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
    trained = [job.seed_seconds or 0.0 for job in jobs for _ in job.seeds]
    seconds = [*trained, *[STAGE_SECONDS] * len(stages)]
    lines.append(
        f"{counted(len(jobs), 'variant')}, {counted(len(trained), 'seed')} to train: about "
        f"{duration(sum(seconds))} one after another, {duration(makespan(seconds, workers))} "
        f"with {counted(workers, 'worker')}"
    )
    return "\n".join(lines)


def _table(jobs: Sequence[Job]) -> list[str]:
    rows = [("variant", "seeds", "minutes", "by", "why"), *map(_row, jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, str.rjust, str.rjust, str.ljust, str.ljust)
    return [
        "  ".join(
            pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _row(job: Job) -> tuple[str, ...]:
    return (
        job.variant.name,
        f"{len(job.seeds)} of {len(job.variant.seeds)}",
        f"{job.seconds / 60:,.1f}",
        job.basis,
        "; ".join(job.reasons),
    )
