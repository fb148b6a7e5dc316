"""Part b: a whole study, by `cnn-ablations repro` and by plain scripts one after another, in turns.

The ten networks of R2's table with two seeds each. The project runs the `train` stages from
empty scratch to the written notebooks; what `inspect` and `compare` show has no counterpart in
the scripts, and is left out.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.checkout import dvc, run, temporary_checkout
from benchmarks.gate import environment
from benchmarks.machine import cores
from benchmarks.plain import RECIPES
from benchmarks.progress import Say
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.paths import Paths

VARIANTS = tuple(name for name in RECIPES if name.startswith("r2-"))
SEEDS = (0, 1)
DATASET = "fashion-mnist"

Half = dict[str, Any]
"""`seconds` of a study, one way, and by variant what was reported of it."""


def measure(
    paths: Paths, *, variants: Sequence[str], seeds: Sequence[int], rounds: int, say: Say
) -> dict[str, Any]:
    """Run a study both ways, so many times, the order reversed every other round.

    Returns:
        `project_seconds` and `plain_seconds` by round, `ratio`, the median of theirs, and by
        variant medians of what each reports of itself: seconds of training and of the whole
        script.
    """
    halves: dict[str, list[Half]] = {"project": [], "plain": []}
    for number in range(rounds):
        for name in list(halves) if number % 2 == 0 else reversed(halves):
            way = _project if name == "project" else _plain
            halves[name].append(way(paths, variants, seeds))
            seconds = halves[name][-1]["seconds"]
            say(f"round {number + 1} of {rounds}: {name}, {seconds:.0f} s")
    return summary(halves, seeds)


def summary(halves: Mapping[str, Sequence[Half]], seeds: Sequence[int]) -> dict[str, Any]:
    """What `measure` returns, of the halves of its rounds."""
    seconds = {name: [half["seconds"] for half in made] for name, made in halves.items()}
    pairs = zip(seconds["plain"], seconds["project"], strict=True)
    return {
        "seeds": list(seeds),
        "cores": cores(),
        "project_seconds": seconds["project"],
        "plain_seconds": seconds["plain"],
        "ratio": median(plain / project for plain, project in pairs),
        "variants": {
            variant: {
                f"{name}_{key}": median(half["variants"][variant][key] for half in made)
                for name, made in halves.items()
                for key in made[0]["variants"][variant]
            }
            for variant in halves["project"][0]["variants"]
        },
    }


def plain(variant: str, arrays: Path, *options: object) -> dict[str, Any]:
    """What a plain script says of itself at its end."""
    command = [sys.executable, "-m", "benchmarks.plain", variant, str(arrays), *map(str, options)]
    output = run(command, Path(__file__).parents[1], environment(kernel=False))
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def _project(paths: Paths, variants: Sequence[str], seeds: Sequence[int]) -> Half:
    changes = {name: {"seeds": list(seeds)} for name in variants}
    with temporary_checkout(paths, [DATASET], changes) as checkout:
        # DVC prepares anew what its cache does not hold, and this checkout's cache is empty.
        prepared = [f"{stage}@{DATASET}" for stage in ("download", "preprocess")]
        dvc(checkout, "commit", "--quiet", "--force", *prepared)
        command = str(Path(sys.executable).parent / "cnn-ablations")
        began = time.monotonic()
        run([command, "repro", *(f"train@{name}" for name in variants)], checkout.root)
        seconds = time.monotonic() - began
        timings = {name: load_timings(checkout.timings("r2", name)) for name in variants}
    return {
        "seconds": seconds,
        "variants": {
            name: {"training_seconds": sum(seed.seconds for seed in recorded.seeds.values())}
            for name, recorded in timings.items()
            if recorded
        },
    }


def _plain(paths: Paths, variants: Sequence[str], seeds: Sequence[int]) -> Half:
    scripts = {}
    for name in variants:
        began = time.monotonic()
        plain(name, paths.arrays(DATASET), "--seeds", *seeds)
        scripts[name] = {"seconds": time.monotonic() - began}
    return {"seconds": sum(s["seconds"] for s in scripts.values()), "variants": scripts}
