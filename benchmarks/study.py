"""Part b: a whole study, by `cnn-ablations repro` and by plain scripts one after another.

The ten networks of R2's table with two seeds each. The project runs the `train` stages from
empty scratch to the written notebooks; what `inspect` and `compare` show has no counterpart in
the scripts, and is left out.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.checkout import dvc, run, temporary_checkout
from benchmarks.gate import environment
from benchmarks.plain import RECIPES
from benchmarks.progress import Say
from cnn_ablations.paths import Paths

VARIANTS = tuple(name for name in RECIPES if name.startswith("r2-"))
SEEDS = (0, 1)
DATASET = "fashion-mnist"


def measure(paths: Paths, *, variants: tuple[str, ...], seeds: tuple[int, ...], say: Say) -> Any:
    """Run a study both ways, once.

    Returns:
        `project_seconds`, `plain_seconds`, and by variant what each reports of itself: seconds
        of training and of the whole script, and peak memory.
    """
    changes = {name: {"seeds": list(seeds)} for name in variants}
    with temporary_checkout(paths, [DATASET], changes) as checkout:
        # DVC prepares anew what its cache does not hold, and this checkout's cache is empty.
        prepared = [f"{stage}@{DATASET}" for stage in ("download", "preprocess")]
        dvc(checkout, "commit", "--quiet", "--force", *prepared)
        targets = [f"train@{name}" for name in variants]
        began = time.monotonic()
        run([str(Path(sys.executable).parent / "cnn-ablations"), "repro", *targets], checkout.root)
        project_seconds = time.monotonic() - began
        say(f"the project took {project_seconds:.0f} s")
        recorded = {
            name: json.loads(checkout.timings("r2", name).read_bytes())["seeds"]
            for name in variants
        }
        scripts = {}
        for number, name in enumerate(variants, start=1):
            began = time.monotonic()
            answer = plain(name, checkout.arrays(DATASET), "--seeds", *seeds)
            scripts[name] = {**answer, "seconds": time.monotonic() - began}
            say(f"script {number} of {len(variants)}: {scripts[name]['seconds']:.0f} s")
    plain_seconds = sum(script["seconds"] for script in scripts.values())
    return {
        "seeds": list(seeds),
        "project_seconds": project_seconds,
        "plain_seconds": plain_seconds,
        "ratio": plain_seconds / project_seconds,
        "variants": {
            name: {
                "project_training_seconds": sum(
                    seed["train_seconds"] + seed["evaluate_seconds"]
                    for seed in recorded[name].values()
                ),
                "project_memory_mb": max(s["peak_memory_mb"] for s in recorded[name].values()),
                "plain_seconds": scripts[name]["seconds"],
                "plain_memory_mb": scripts[name]["peak_memory_mb"],
            }
            for name in variants
        },
    }


def plain(variant: str, arrays: Path, *options: object) -> dict[str, Any]:
    """What a plain script says of itself at its end."""
    command = [sys.executable, "-m", "benchmarks.plain", variant, str(arrays), *map(str, options)]
    output = run(command, Path(__file__).parents[1], environment(kernel=False))
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer
