"""A checkout whose trainings are stubs: real processes of DVC and Dask, without Keras."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.paths import Paths

VARIANTS = ("tiny-a", "tiny-b")
FOLDER = "STUB_FOLDER"
"""The variable that names a folder, with what a test asks of trainings and what they did."""

# Takes the place of training/loop.py.
LOOP = f"""
import hashlib, os, time
from collections.abc import Callable
from filelock import FileLock
from cnn_ablations.errors import ProjectError

CHECKPOINT_SECONDS = 10.0
SUMS = "sha256sums.txt"
OnEpoch = Callable[[int, dict[str, float]], None]

def train_seed(variant, seed, arrays, folder, on_epoch):
    result, name = folder / "result", f"{{variant.name}}.seed-{{seed}}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if result.is_dir():
            return result
        with open(os.path.join(os.environ["{FOLDER}"], f"{{name}}.runs"), "a") as runs:
            runs.write(f"{{os.getpid()}}\\n")
        asked = os.path.join(os.environ["{FOLDER}"], f"{{name}}.asked")
        on_epoch(1, {{"running_train_accuracy": 0.5}})
        exec(open(asked).read() if os.path.exists(asked) else "")
        result.mkdir()
        (result / "weights").write_bytes(name.encode())
        sums = hashlib.sha256(name.encode()).hexdigest() + "  weights\\n"
        (result / SUMS).write_text(sums)
    return result
"""
# Takes the place of scheduling/flops.py.
FLOPS = """
def forward_flops(variants, records, params):
    return {variant.name: 1 for variant in variants}
"""
# In place of the command `train`: it looks for its seeds, and writes what the stage declares.
TRAIN = """
import pathlib, sys
sys.path.insert(0, "src")
from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.training.loop import train_seed
from cnn_ablations.training.variant import seed_folder
paths = Paths(pathlib.Path.cwd())
v = load_params(paths.params).variant(sys.argv[1])
own, arrays = (v.group, v.name), load_arrays(paths.arrays(v.dataset))
for seed in v.seeds:
    found = train_seed(v, seed, arrays, seed_folder(v, seed, arrays, paths), lambda *_: None)
    write_atomically(paths.run(*own) / f"seed-{seed}", (found / "weights").read_bytes())
result = json_bytes({"flops": v.epochs})
for kind in ("curves", "details", "features", "metrics", "predictions", "weights"):
    write_atomically(getattr(paths, kind)(*own), result)
write_atomically(paths.notebook(*own, "train"), b"{}")
"""


@pytest.fixture(scope="session")
def stub(
    tmp_path_factory: pytest.TempPathFactory, tiny_document: dict[str, Any], add_dvc: Any
) -> Paths:
    """A checkout with two variants, their data prepared, nothing trained: to copy from."""
    paths = Paths(tmp_path_factory.mktemp("stub") / "checkout")
    paths.root.mkdir()
    add_dvc(paths, "check", "download", "preprocess", "train", "inspect")
    package = paths.root / "src" / "cnn_ablations"
    (package / "training" / "loop.py").write_text(LOOP)
    (package / "scheduling" / "flops.py").write_text(FLOPS)
    kept = yaml.safe_load((paths.root / "dvc.yaml").read_bytes())["stages"]
    kept["train"]["do"]["cmd"] = f"exec {sys.executable} train.py ${{key}}"
    written = "reports/notebooks/${item.protocol}/${key}/inspect.ipynb"
    kept["inspect"]["do"]["cmd"] = f"echo ${{key}} > {written}"
    kept["after"] = {
        "cmd": "cat reports/metrics/tiny/*.json > after.txt",
        "deps": [f"reports/metrics/tiny/{name}.json" for name in VARIANTS],
        "outs": ["after.txt"],
    }
    (paths.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    values = {"protocol": "tiny", "dataset": "digits", "seeds": [0, 1]}
    variants = {name: {**values, "epochs": n} for n, name in enumerate(VARIANTS, start=3)}
    document = {**tiny_document, "variants": variants}
    paths.params.write_text(yaml.safe_dump(document))
    (paths.root / "train.py").write_text(TRAIN)
    (paths.root / "notebooks").mkdir()
    for name in ("train", "inspect"):
        paths.template(name).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--quiet", "preprocess@digits"],
        cwd=paths.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return paths


@pytest.fixture
def stubs(stub: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A copy of `stub` to work in."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    shutil.copytree(stub.root, tmp_path / "checkout")
    return Paths(tmp_path / "checkout")
