"""dvc.yaml against the code: what a stage runs, what it depends on, what it leaves behind."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.__main__ import _way_back
from cnn_ablations.cli import app
from cnn_ablations.config.params import Params, check_studies_are_listed
from cnn_ablations.paths import Paths
from cnn_ablations.training.backend import NUMERIC_LIBRARIES

ROOT = Path(__file__).parents[1]
PACKAGE = "src/cnn_ablations"
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_bytes())
STAGES: dict[str, Any] = PIPELINE["stages"]

# What a stage's work begins in: a module of the package, or notebooks.
ENTRIES: dict[str, str | tuple[str, ...] | None] = {
    "check": "config/params.py",
    "download": None,  # whatever the code does, what comes out has the hashes of params.yaml
    "preprocess": "data/preprocess.py",
    "explore": ("notebooks/dataset.ipynb", "notebooks/own-data.ipynb"),
    "train": "notebooks/train.ipynb",
    "inspect": "notebooks/inspect.ipynb",
    "compare": "notebooks/study.ipynb",
    "convolution": "notebooks/convolution.ipynb",
    "report": "analysis/report.py",
}
# Moves files, shows progress, measures, reports errors: decides nothing that is in an output, but
# for the form that notebooks.py gives to notebooks, which is not worth a training. The values in
# params.yaml, which `config/params.py` reads, are dependencies of their own.
SERVICE = {
    "cli.py",
    "config/params.py",
    "errors.py",
    "faults.py",
    "files.py",
    "notebooks.py",
    "paths.py",
    "progress.py",
    "revision.py",
}
# In these stages the schema only carries values that DVC tracks as parameters.
CARRIED = {"preprocess": {"config/base.py", "config/datasets.py"}}

Imports = Callable[..., set[str]]


def definition(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = STAGES[stage].get("do", STAGES[stage])
    return found


def listed(stage: str, kind: str) -> dict[str, dict[str, Any]]:
    """The paths under `deps`, `outs` or `metrics`, with the options of each."""
    entries = definition(stage).get(kind, [])
    return dict(next(iter(e.items())) if isinstance(e, dict) else (e, {}) for e in entries)


def begins_in(stage: str) -> set[str]:
    entry = ENTRIES[stage] or ()
    return {entry} if isinstance(entry, str) else {*entry}


def decided_by(stage: str, imports: Imports) -> set[str]:
    entries = begins_in(stage)
    files = [(ROOT if e.startswith("notebooks/") else ROOT / PACKAGE) / e for e in entries]
    return imports(files, without=(SERVICE | CARRIED.get(stage, set())) - entries)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_decides_its_outputs_and_no_more(
    stage: str, imports: Imports
) -> None:
    if stage in ("train", "inspect"):  # the file holds a hash of the code, see test_inputs
        assert f"data/inputs/{stage}/${{key}}.json" in listed(stage, "deps")
        return
    decisive = {f"{PACKAGE}/{module}" for module in decided_by(stage, imports)}
    code = {path for path in listed(stage, "deps") if path.startswith("src/")}
    assert {path for path in code if not (ROOT / path).exists()} == set()

    def covers(path: str, module: str) -> bool:
        return module == path or module.startswith(f"{path}/")

    missing = {module for module in decisive if not any(covers(path, module) for path in code)}
    needless = {path for path in code if not any(covers(path, module) for module in decisive)}
    assert (missing, needless) == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_notebook_and_on_no_other(stage: str) -> None:
    notebooks = {path for path in listed(stage, "deps") if path.startswith("notebooks/")}
    assert notebooks == {entry for entry in begins_in(stage) if entry.startswith("notebooks/")}


def test_a_figure_never_makes_a_training_stale(imports: Imports) -> None:
    modules = decided_by("train", imports)
    assert "training/loop.py" in modules
    assert {m for m in modules if m.startswith(("figures/", "analysis/"))} == set()


def test_the_imports_that_the_guard_follows_are_real(imports: Imports) -> None:
    """Those inside functions, of names out of packages, and out of notebooks included."""
    modules = decided_by("train", imports)
    assert {"models/__init__.py", "training/batches.py", "training/backend.py"} <= modules
    assert {"data/arrays.py", "config/base.py", "training/network.py"} <= modules
    assert not modules & SERVICE


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_calls_its_verb_for_each_entry_of_a_section(stage: str) -> None:
    verbs = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert stage in verbs
    if "foreach" in STAGES[stage]:
        assert STAGES[stage]["foreach"] in ("${datasets}", "${variants}", "${studies}")
        assert definition(stage)["cmd"] == f"exec cnn-ablations {stage} ${{key}}"
    else:
        assert definition(stage)["cmd"] == f"exec cnn-ablations {stage}"


def test_every_study_is_listed_and_compared_by_its_own_file(real_params: Params) -> None:
    assert PIPELINE["vars"] == [f"studies/{name}.yaml" for name in real_params.studies]
    check_studies_are_listed(ROOT)
    assert "studies/${key}.yaml" in listed("compare", "deps")
    assert {stage for stage in STAGES if "studies" in listed(stage, "deps")} == {"check", "report"}


def rendered(stage: str, kinds: tuple[str, ...], **values: str) -> set[Path]:
    paths = set()
    for kind in kinds:
        for path in listed(stage, kind):
            for name, value in values.items():
                path = path.replace(f"${{{name}}}", value)
            paths.add(ROOT / path)
    return paths


def test_what_a_training_writes_is_declared(checkout: Paths, real_params: Params) -> None:
    kinds = ("run", "curves", "details", "features", "metrics", "predictions", "weights")
    for variant in real_params.variants.values():
        own = (variant.group, variant.name)
        values = {"key": variant.name, "item.protocol": variant.group}
        written = {getattr(checkout, kind)(*own) for kind in kinds}
        written.add(checkout.notebook(*own, "train"))
        assert rendered("train", ("outs", "metrics"), **values) == written


def test_what_the_data_stages_write_is_declared(checkout: Paths) -> None:
    assert rendered("download", ("outs",), key="digits") == {checkout.raw("digits")}
    assert rendered("preprocess", ("outs",), key="digits") == {checkout.arrays("digits")}
    notebook = checkout.notebook("datasets", "digits")
    assert rendered("explore", ("outs",), key="digits") == {notebook}


@pytest.mark.parametrize("stage", STAGES)
def test_git_holds_the_reports_and_dvc_the_data(stage: str) -> None:
    for path, options in {**listed(stage, "outs"), **listed(stage, "metrics")}.items():
        assert path.startswith(("data/", "reports/"))
        assert options.get("cache", True) == path.startswith("data/")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["{}", "{}@digits", "../dvc.yaml:{}@digits"])
def test_a_stage_that_fails_says_how_git_brings_back_what_dvc_removed(
    stage: str, name: str
) -> None:
    in_git = any(path.startswith("reports/") for path in listed(stage, "outs"))
    assert ("git restore reports" in _way_back(name.format(stage))) == in_git


@pytest.mark.parametrize("stage", STAGES)
def test_measurements_and_scratch_are_nobody_s_business(stage: str) -> None:
    paths = [path for kind in ("deps", "outs", "metrics") for path in listed(stage, kind)]
    assert [path for path in paths if "reports/timings" in path or "scratch" in path] == []


@pytest.mark.parametrize("stage", sorted({"compare", "report"} & set(STAGES)))
def test_a_clone_without_a_cache_can_compare_and_report(stage: str) -> None:
    assert [path for path in listed(stage, "deps") if path.startswith("data/")] == []


def test_a_training_depends_on_the_versions_of_the_numeric_libraries() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = pyproject["project"]["optional-dependencies"]
    pins = dict(pin.split("==") for pin in extras["cpu"])
    assert {name.removesuffix("-cpu") for name in pins} == set(NUMERIC_LIBRARIES)
    depends_on = {"pyproject.toml": ["project.optional-dependencies.cpu"]}
    assert definition("check")["params"] == [depends_on]
    for extra in extras.values():
        assert sorted(pin.rpartition("==")[2] for pin in extra) == sorted(pins.values())
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert {f"{pin} \\" for pin in extras["cpu"]} <= set(lock)
