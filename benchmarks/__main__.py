"""`make bench`: the project beside plain Keras, ictonyx, and this machine's limits."""

import json
import os
import sys
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.parts import COLUMNS, Job, jobs
from benchmarks.processes import PEER, installed_peer
from benchmarks.report import PARTS, markdown
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import find_project
from cnn_ablations.revision import revision
from cnn_ablations.training.backend import circumstances

NO_PEER = "ictonyx could not be installed, so it is left out."
TAIL = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn())


def bench(
    only: Annotated[str, typer.Option(help="Parts, such as study,kill.")] = ",".join(PARTS),
    quick: Annotated[
        bool, typer.Option("--quick", help="One small turn of each, no report: does it work?")
    ] = False,
) -> None:
    """Measure, and write reports/benchmarks.md and the figures behind it, benchmarks.json.

    What is not asked for stays as it was measured before. What fails is named, and the others are
    measured all the same.
    """
    asked = only.split(",")
    if unknown := sorted(set(asked) - set(PARTS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    paths = find_project()
    page = paths.root / "reports" / "benchmarks.md"
    kept = {} if quick or set(asked) == set(PARTS) else measured_before(page.with_suffix(".json"))
    results: dict[str, Any] = {"machine": machine(), "quick": quick, "parts": kept}
    for part in asked:
        begun = {**revision(paths.root), "begun": datetime.now(UTC).isoformat("T", "minutes")}
        results["parts"][part] = {**begun, "load": [], "failed": {}, "measured": []}
    with ExitStack() as stack:
        peer = None
        if {"study", "kill"} & set(asked):
            try:
                peer = stack.enter_context(installed_peer())
            except RuntimeError as error:
                print(f"{NO_PEER} {error}")
                for part in {"study", "kill"} & set(asked):
                    results["parts"][part]["failed"]["ictonyx"] = NO_PEER
        todo = [job for job in jobs(paths, peer, quick=quick) if job.part in asked]
        progress = stack.enter_context(Progress(*TAIL, console=Console(stderr=True)))
        bar = progress.add_task("", total=sum(job.seconds * job.turns for job in todo))
        for job in todo:
            measure(job, results["parts"][job.part], progress, bar)
            if not quick:  # what there is, should the rest be lost
                write(results, page)
    print(markdown(results))
    sys.exit(any(part["failed"] for part in results["parts"].values()))


def measure(job: Job, part: dict[str, Any], progress: Progress, bar: Any) -> None:
    """Let the ways of a job take turns; what they measure, or why not, goes into `part`."""
    part["load"].append(round(os.getloadavg()[0], 1))
    try:
        with ExitStack() as stack:
            ways = job.ways(stack)
            for turn in range(1, job.turns + 1):
                for way, look in ways.items():
                    text = f"{job.part}: {job.what}, {way}, turn {turn} of {job.turns}"
                    progress.update(bar, description=text)
                    if not progress.console.is_terminal:
                        progress.console.print(text)
                    for figure, value in look().items():
                        record = (job.what, way, turn, figure, float(f"{value:.4g}"))
                        part["measured"].append(dict(zip(COLUMNS, record, strict=True)))
                    progress.advance(bar, job.seconds / len(ways))
    except Exception as error:
        traceback.print_exc()
        part["failed"][job.what] = f"{type(error).__name__}: {error}"


def machine() -> dict[str, str]:
    """The machine and the versions that figures belong to."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {**circumstances("mixed_bfloat16"), "memory": f"{memory:.0f} GiB"}
    cores = str(len(os.sched_getaffinity(0)))
    return {**found, "cores": cores, "dvc": version("dvc"), "peer": PEER[0]}


def measured_before(path: Path) -> dict[str, Any]:
    """The parts in benchmarks.json, if there is one. They are not mixed with another machine's."""
    before: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    if before and before["machine"] != machine():
        raise typer.BadParameter(f"{path} is of another machine or other versions: measure all")
    return dict(before.get("parts", {}))


def write(results: dict[str, Any], page: Path) -> None:
    """The page, and its figures beside it."""
    write_atomically(page, markdown(results).encode())
    text = json.dumps(results, indent=1)
    write_atomically(page.with_suffix(".json"), f"{text}\n".encode())


if __name__ == "__main__":
    typer.run(bench)
