"""`make bench`: the project beside plain Keras, ictonyx, and this machine's limits."""

import json
import os
import sys
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.parts import COLUMNS, Job, jobs
from benchmarks.processes import PEER, install_peer
from benchmarks.report import PARTS, markdown
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import find_project
from cnn_ablations.revision import revision
from cnn_ablations.training.backend import circumstances


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
    page, figures = (paths.root / "reports" / f"benchmarks.{end}" for end in ("md", "json"))
    results: dict[str, Any] = {"machine": machine(), "without": [], "parts": {}}
    if not quick and set(asked) != set(PARTS) and figures.exists():
        before = json.loads(figures.read_bytes())
        if before["machine"] != results["machine"]:
            raise typer.BadParameter(f"{figures} is of another machine or versions: measure all")
        results["parts"] = before["parts"]
    for part in asked:
        begun = {**revision(paths.root), "begun": datetime.now(UTC).isoformat("T", "minutes")}
        results["parts"][part] = {**begun, "load": [], "failed": {}, "measured": []}
    with ExitStack() as stack:
        try:
            peer: Path | None = install_peer(stack.enter_context(TemporaryDirectory()))
        except RuntimeError as error:
            peer, results["without"] = None, [f"ictonyx: it cannot be installed: {error}"]
        todo = [job for job in jobs(paths, peer, quick=quick) if job.part in asked]
        progress = stack.enter_context(Progress(console=Console(stderr=True)))
        bar = progress.add_task("", total=sum(job.seconds * job.turns for job in todo))
        for job in todo:
            measure(job, results["parts"][job.part], progress, bar)
            if not quick:  # what there is, should the rest be lost
                write_atomically(page, markdown(results).encode())
                write_atomically(figures, f"{json.dumps(results, indent=1)}\n".encode())
    print(markdown(results))
    sys.exit(any(part["failed"] for part in results["parts"].values()))


def measure(job: Job, part: dict[str, Any], progress: Progress, bar: Any) -> None:
    """Let the ways of a job take turns; what they measure, or why not, goes into `part`."""
    part["load"].append(round(os.getloadavg()[0], 1))
    try:
        for turn in range(1, job.turns + 1):
            for way, look in job.ways.items():
                progress.console.print(f"{job.part}, {job.what}, turn {turn}: {way}")
                for figure, value in look().items():
                    record = (job.what, way, turn, figure, float(f"{value:.4g}"))
                    part["measured"].append(dict(zip(COLUMNS, record, strict=True)))
                progress.advance(bar, job.seconds / len(job.ways))
    except Exception as error:
        traceback.print_exc()
        part["failed"][job.what] = f"{type(error).__name__}: {error}"


def machine() -> dict[str, str]:
    """The machine and the versions that figures belong to."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {"cores": str(len(os.sched_getaffinity(0))), "memory": f"{memory:.0f} GiB"}
    return {**circumstances("mixed_bfloat16"), **found, "dvc": version("dvc"), "peer": PEER[0]}


if __name__ == "__main__":
    typer.run(bench)
