"""`make bench`: the project against plain Keras, and against this machine's limits."""

import json
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import memory, overhead, study, throughput
from benchmarks.machine import cores, load, machine
from benchmarks.progress import Clock
from benchmarks.report import SECTIONS, markdown
from cnn_ablations.config.params import load_params
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import Paths, find_project
from cnn_ablations.revision import revision

PARTS = {letter: section for section, letters in SECTIONS.items() for letter in letters}
MEMORY_VARIANTS = ("r4-maxpool", "r1-cifar10-base", "r1-mnist-base", "r2-1conv-none")
# Seconds on two cores, for the estimate of what is left.
SETTING, OVERHEAD, MEMORY, STUDY = 270.0, 180.0, 120.0, 4500.0


def bench(
    only: Annotated[str, typer.Option(help="Of the parts a to f, such as a,d.")] = "a,b,c,d,e,f",
    quick: Annotated[
        bool, typer.Option("--quick", help="Few and short turns, and no report: does it work?")
    ] = False,
) -> None:
    """Measure, and write reports/benchmarks.md and the figures behind it, benchmarks.json.

    What is not asked for stays as it was measured before. A part that fails is named, and the
    others are measured all the same.
    """
    asked = {part.strip() for part in only.split(",")}
    if unknown := asked - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: the parts are a to f")
    chosen = {PARTS[part] for part in asked}
    paths = find_project()
    clock = Clock()
    steps = {name: step for name, step in _steps(paths, quick, clock).items() if name[0] in chosen}
    clock.expect({" ".join(name): seconds for name, (seconds, _) in steps.items()})
    results: dict[str, Any] = {"machine": machine(), "quick": quick, "parts": {}}
    if not quick and asked != set(PARTS):
        results["parts"] = _measured_before(paths)
    for section in sorted(chosen):
        results["parts"][section] = {
            "revision": revision(paths.root),
            "begun": datetime.now(UTC).isoformat(timespec="minutes"),
            "load": [],
            "failed": {},
            "measured": {},
        }
    for name, (_, step) in steps.items():
        clock.begin(" ".join(name))
        part = results["parts"][name[0]]
        part["load"].append(load())
        try:
            part["measured"][" ".join(name[1:])] = step()
        except Exception as error:
            traceback.print_exc()
            part["failed"][" ".join(name[1:])] = f"{type(error).__name__}: {error}"
        if not quick:  # what there is, should the rest be lost
            _write(results, paths)
    print(markdown(results))
    sys.exit(any(part["failed"] for part in results["parts"].values()))


def _report(paths: Paths) -> Path:
    return paths.root / "reports" / "benchmarks.md"


def _measured_before(paths: Paths) -> dict[str, Any]:
    """The parts in benchmarks.json, if there is one. They are not mixed with another machine's."""
    path = _report(paths).with_suffix(".json")
    if not path.exists():
        return {}
    before: dict[str, Any] = json.loads(path.read_bytes())
    if before["machine"] != machine():
        raise typer.BadParameter(f"{path} is of another machine or other versions: measure all")
    return dict(before["parts"])


Step = tuple[float, Callable[[], Any]]


def _steps(paths: Paths, quick: bool, clock: Clock) -> dict[tuple[str, ...], Step]:
    """What is measured, by its name's words: the seconds that it takes, and the measurement."""
    params = load_params(paths.params)
    rounds, turn = (2, 0.5) if quick else (5, 1.5)
    variants = study.VARIANTS[:1] if quick else study.VARIANTS
    seeds = study.SEEDS[:1] if quick else study.SEEDS
    samples = throughput.SAMPLES[2:] if quick else throughput.SAMPLES

    def trained(sample: throughput.Sample, precision: str) -> Callable[[], Any]:
        return lambda: throughput.measure(
            paths, params, sample, precision, rounds=rounds, seconds=turn, cores=cores()
        )

    steps: dict[tuple[str, ...], Step] = {
        ("throughput", sample.variant, precision): (SETTING, trained(sample, precision))
        for precision in throughput.PRECISIONS
        for sample in samples
    }
    steps["overhead", "of a stage"] = (
        OVERHEAD,
        lambda: overhead.measure(paths, rounds=1 if quick else 5, say=clock.say),
    )
    steps["memory", "by variant"] = (
        MEMORY,
        lambda: memory.measure(
            paths, params, variants=MEMORY_VARIANTS[: 1 if quick else None], say=clock.say
        ),
    )
    steps["study", "R2"] = (
        STUDY,
        lambda: study.measure(
            paths, variants=variants, seeds=seeds, rounds=1 if quick else 5, say=clock.say
        ),
    )
    return steps


def _write(results: dict[str, Any], paths: Paths) -> None:
    report, results = _report(paths), _rounded(results)
    write_atomically(report, markdown(results).encode())
    text = json.dumps(results, indent=1)
    write_atomically(report.with_suffix(".json"), (text + "\n").encode())


def _rounded(value: Any) -> Any:
    """Four significant digits are more than a repetition would show again."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    typer.run(bench)
