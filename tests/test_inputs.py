"""What decides a variant's stages, and what DVC makes of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.config.params import Params, load_params
from cnn_ablations.inputs import INSPECT_CODE, SUMMARY_CODE, write_inputs
from cnn_ablations.models import model_names
from cnn_ablations.paths import Paths
from cnn_ablations.processes import environment
from cnn_ablations.scheduling.pipeline import VARIANT_STAGES, stale_stages, verb
from cnn_ablations.training.fingerprint import CODE

ROOT = Path(__file__).parents[1]
# Moves files, shows progress, checks parameters, reports errors; the values that the schema lets
# through are in the variant.
NOT_DECIDING = {
    "analysis/timings.py",
    "config/base.py",
    "config/bounds.py",
    "config/datasets.py",
    "config/document.py",
    "config/labels.py",
    "config/params.py",
    "config/studies.py",
    "config/variants.py",
    "errors.py",
    "faults.py",
    "files.py",
    "models/__init__.py",
    "paths.py",
    "progress.py",
    "revision.py",
    "training/fingerprint.py",
    *(f"models/{model}.py" for model in model_names()),
}


@pytest.mark.parametrize(
    ("notebook", "code"),
    [("train", (*CODE, *SUMMARY_CODE)), ("inspect", (*CODE, *SUMMARY_CODE, *INSPECT_CODE))],
)
def test_the_hashed_code_is_what_the_notebook_runs(
    imports: Callable[..., set[str]], notebook: str, code: tuple[str, ...]
) -> None:
    used = imports([ROOT / "notebooks" / f"{notebook}.ipynb"])
    assert used - NOT_DECIDING <= set(code)
    assert set(code) - used <= {"layers.py"}  # which models import


def files(paths: Paths) -> dict[str, Any]:
    return {
        path.relative_to(paths.inputs()).as_posix(): (json.loads(path.read_bytes()), path.stat())
        for path in paths.inputs().rglob("*.json")
    }


def test_each_variant_has_a_file_a_stage_that_is_left_alone_while_it_is_right(
    project: Paths, document: dict[str, Any]
) -> None:
    document["variants"]["other"] = {**document["variants"]["tiny-net"], "epochs": 7}
    project.params.write_text(yaml.safe_dump(document))
    write_inputs(load_params(project.params), project)
    before = files(project)
    assert {*before} == {
        f"{stage}/{name}.json" for stage in ("train", "inspect") for name in ("tiny-net", "other")
    }
    assert before["train/other.json"][0]["variant"]["epochs"] == 7

    del document["variants"]["other"]
    document["protocols"]["tiny"]["epochs"] = 4
    document["datasets"]["digits"]["example_classes"] = ["3"]
    project.params.write_text(yaml.safe_dump(document))
    write_inputs(load_params(project.params), project)
    after = files(project)
    assert {*after} == {"train/tiny-net.json", "inspect/tiny-net.json"}
    assert after["train/tiny-net.json"][0]["variant"]["epochs"] == 4
    assert after["inspect/tiny-net.json"][0]["example_classes"] == ["3"]
    write_inputs(load_params(project.params), project)
    assert files(project) == after


class Checkout:
    """A project of its own, with DVC and a copy of the code, whose trainings are on record."""

    def __init__(self, paths: Paths, document: dict[str, Any]) -> None:
        self.paths, self.package = paths, paths.root / "src" / "cnn_ablations"
        shutil.copytree(ROOT / "notebooks", paths.root / "notebooks")
        self.write(document)

    def write(self, document: dict[str, Any]) -> None:
        self.paths.params.write_text(yaml.safe_dump(document))

    def run(self, *arguments: str) -> None:
        """A module with its arguments."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.paths.root,
            env={**environment(), "PYTHONPATH": str(self.package.parent)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def stale(self) -> set[str]:
        """The trainings and inspections that are out of date, once `check` was run."""
        self.run("cnn_ablations", "check")
        return {name for name in stale_stages(self.paths, []) if verb(name) in VARIANT_STAGES}


@pytest.fixture
def checkout_of(paths: Paths, add_dvc: Callable[..., None]) -> Callable[[dict[str, Any]], Checkout]:
    def make(document: dict[str, Any]) -> Checkout:
        add_dvc(paths, "check", "download", "preprocess", "train", "inspect")
        checkout = Checkout(paths, document)
        params: Params = load_params(checkout.paths.params)
        checkout.run("dvc", "repro", "--quiet", "preprocess@digits")
        for variant in params.variants.values():
            own = (variant.group, variant.name)
            (checkout.paths.run(*own)).mkdir(parents=True)
            (checkout.paths.run(*own) / "seed").write_text(variant.name)
            for place in ("curves", "details", "features", "metrics", "predictions", "weights"):
                file = getattr(checkout.paths, place)(*own)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("{}")
            for notebook in ("train", "inspect"):
                file = checkout.paths.notebook(*own, notebook)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("{}")
        checkout.run("dvc", "commit", "--force", "--quiet")
        return checkout

    return make


def test_dvc_sees_what_a_change_makes_stale(
    tiny_document: dict[str, Any], checkout_of: Callable[[dict[str, Any]], Checkout]
) -> None:
    net = {"protocol": "tiny", "dataset": "digits"}
    res = {**net, "model": "res_net", "width": 4, "blocks": 1}
    document = {
        **tiny_document,
        "variants": {"net": net, "wide": {**net, "filters": [8]}, "res": res},
    }
    checkout = checkout_of(document)
    assert checkout.stale() == set()

    def append(file: str) -> None:
        with (checkout.package / file).open("a") as lines:
            lines.write("\n")

    # A new model, a new variant of it, a comment in a schema, a claim's statistics.
    (checkout.package / "models" / "new_net.py").write_text(
        "def new_net(inputs, classes, *, width: int = 3):\n    return inputs\n"
    )
    document["variants"] = {**document["variants"], "new": {**net, "model": "new_net"}}
    checkout.write(document)
    append("config/variants.py")
    append("analysis/claims.py")
    assert checkout.stale() == {"train@new", "inspect@new"}
    del document["variants"]["new"]
    checkout.write(document)

    append("figures/curves.py")
    inspections = {f"inspect@{name}" for name in ("net", "wide", "res")}
    assert checkout.stale() == inspections

    append("models/res_net.py")
    assert checkout.stale() == {*inspections, "train@res"}

    document["variants"]["wide"] = {**net, "filters": [9]}
    checkout.write(document)
    assert checkout.stale() == {*inspections, "train@res", "train@wide"}

    document["protocols"] = {"tiny": {**document["protocols"]["tiny"], "filters": [5]}}
    checkout.write(document)  # the others have filters of their own, or none
    assert checkout.stale() == {*inspections, "train@res", "train@wide", "train@net"}
