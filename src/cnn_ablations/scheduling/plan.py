"""What `repro` would do, before it does it."""

from collections.abc import Sequence

from cnn_ablations.config.params import Params
from cnn_ablations.inputs import write_inputs
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.display import counted, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    VARIANT_STAGES,
    locked_stages,
    needed_stages,
    stale_stages,
)
from cnn_ablations.scheduling.prediction import Job, jobs_of, makespan, predicted


def plan_of(targets: Sequence[str], params: Params, paths: Paths, workers: int) -> str:
    """What is out of date among `targets` and all that they need, why, and for how long.

    Raises ProjectError where DVC cannot tell.
    """
    lock = locked_stages(paths)  # which says more of a damaged file than DVC does
    write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
    stale = stale_stages(paths, targets)
    if not stale:
        return "everything is up to date"
    needed = needed_stages(paths, targets)
    jobs = predicted(jobs_of(stale, needed, params, paths, lock), params, paths)
    data = sorted(
        (stage.name for stage in stale if stage.verb in DATA_STAGES),
        key=lambda name: (DATA_STAGES.index(name.partition("@")[0]), name),
    )
    others = [s.name for s in stale if s.verb not in (*DATA_STAGES, *VARIANT_STAGES)]
    lines = []
    if data:
        lines.append(
            f"data first: {', '.join(data)} (a variant that only misses them runs only if they "
            "come out otherwise)"
        )
    if jobs:
        lines += [*_table(jobs), _summary(jobs, workers)]
    if others:
        lines.append(f"then: {', '.join(others)}")
    return "\n".join(lines)


def _table(jobs: Sequence[Job]) -> list[str]:
    heading = ("variant", "seeds", "MFLOPs", "minutes", "by", "why")
    rows = [heading, *map(_row, jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, str.rjust, str.rjust, str.rjust, str.ljust, str.ljust)
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
        "" if job.flops is None else f"{job.flops / 1e6:,.2f}",
        f"{(job.seconds or 0) / 60:,.1f}",
        job.basis if job.seeds else "",
        "; ".join(job.reasons),
    )


def _summary(jobs: Sequence[Job], workers: int) -> str:
    seconds = [piece for job in jobs for piece in job.pieces or ()]
    seeds = sum(len(job.seeds) for job in jobs)
    return (
        f"{counted(len(jobs), 'variant')}, {counted(seeds, 'seed')} to train: "
        f"{duration(sum(seconds))} one after another, {duration(makespan(seconds, workers))} "
        f"with {counted(workers, 'worker')}"
    )
