"""A checkout whose trainings are stubs: real processes of DVC and of Jupyter, without Keras."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.paths import Paths

ROOT = Path(__file__).parents[2]
VARIANTS = ("tiny-a", "tiny-b")

# Counts its runs, does what a test asks of this variant, and writes what the stage declares.
TRAIN = """
import os, pathlib, time
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
v, paths = Variant.model_validate(variant), Paths(pathlib.Path.cwd())
own = (v.group, v.name)
with paths.scratch(f"{v.name}.runs").open("a") as runs:
    runs.write(f"{os.getpid()}\\n")
asked = paths.scratch(f"{v.name}.asked")
exec(asked.read_text() if asked.is_file() else "")
result = json_bytes({"flops": v.epochs})
write_atomically(paths.run(*own) / "weights", result)
for kind in ("curves", "details", "features", "metrics", "predictions", "weights"):
    write_atomically(getattr(paths, kind)(*own), result)
measured = {"train_seconds": 1.0, "evaluate_seconds": 0.5, "peak_memory_mb": 1}
write_atomically(paths.timings(*own), json_bytes({"seeds": {str(s): measured for s in v.seeds}}))
"""


@pytest.fixture(scope="session")
def stub(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_document: dict[str, Any],
    write_template: Callable[..., None],
) -> Paths:
    """A checkout with two variants, their data prepared, nothing trained: to copy from."""
    paths = Paths(tmp_path_factory.mktemp("stub") / "checkout")
    shutil.copytree(ROOT / "src", paths.root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".dvcignore"):
        shutil.copy(ROOT / name, paths.root)
    (paths.root / "studies").mkdir()
    (paths.root / ".dvc").mkdir()
    (paths.root / ".dvc" / "config").write_text("[core]\nanalytics = false\nno_scm = true\n")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_bytes())["stages"]
    kept = {name: stages[name] for name in ("check", "download", "preprocess", "train", "inspect")}
    written = "reports/notebooks/${item.protocol}/${key}/inspect.ipynb"
    kept["inspect"]["do"]["cmd"] = f"echo ${{key}} > {written}"
    kept["after"] = {
        "cmd": "cat reports/metrics/tiny/*.json > after.txt",
        "deps": [f"reports/metrics/tiny/{name}.json" for name in VARIANTS],
        "outs": ["after.txt"],
    }
    (paths.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    values = {"protocol": "tiny", "dataset": "digits", "seeds": [0]}
    document = {**tiny_document, "variants": {name: dict(values) for name in VARIANTS}}
    paths.params.write_text(yaml.safe_dump(document))
    write_template(paths.template("train"), "variant = None", TRAIN)
    paths.template("inspect").write_text("{}")
    dvc_repro(paths, "preprocess@digits")
    return paths


@pytest.fixture
def stubs(stub: Paths, tmp_path: Path) -> Paths:
    """A copy of `stub` to work in."""
    shutil.copytree(stub.root, tmp_path / "checkout")
    return Paths(tmp_path / "checkout")


def dvc_repro(paths: Paths, *arguments: str) -> None:
    """What plain DVC does, to prepare and to compare."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", *arguments],
        cwd=paths.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
