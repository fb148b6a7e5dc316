import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cnn_ablations.analysis import study as texts
from cnn_ablations.analysis.published import OUTSIDE, TOO_FEW, TOO_WIDE, WITHIN
from cnn_ablations.analysis.study import (
    choices_text,
    in_use,
    published_text,
    recipe_and_differences,
    study_parameters,
    tally,
    variants_along,
)
from cnn_ablations.analysis.tables import CLAIM_COLUMNS, PUBLISHED_COLUMNS
from cnn_ablations.config.params import Params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

QUICKSTART = {
    "quickstart-none": [0.95, 0.96, 0.955],
    "quickstart-l2": [0.96, 0.965, 0.95],
    "quickstart-dropout": [0.1, 0.95, 0.96],
    "quickstart-batchnorm": [0.98, 0.985, 0.975],
}


def execute(template: Path, parameters: dict[str, Any]) -> list[Any]:
    """Run the code cells of a notebook in this process: it takes a second, a kernel takes ten.

    Returns what cells show, of those that end in an expression.
    """
    namespace: dict[str, Any] = {}
    shown = []
    for cell in json.loads(template.read_text())["cells"]:
        if cell["cell_type"] == "code":
            code = ast.parse("".join(cell["source"]))
            end = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
            exec(compile(code, "cell", "exec"), namespace)
            if isinstance(end, ast.Expr):
                shown.append(eval(compile(ast.Expression(end.value), "cell", "eval"), namespace))
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(parameters) == set(namespace) - {"__builtins__"}
                namespace.update(parameters)
    return shown


def write_quickstart(write: Callable[..., None]) -> None:
    for noise, (name, accuracies) in enumerate(QUICKSTART.items()):
        flops = 600_000 * (1 + noise)
        write(name, accuracies, group="quickstart", noise=noise, flops=flops)


def test_the_parameter_is_the_name_of_a_study(real_params: Params) -> None:
    assert study_parameters(real_params, "quickstart") == {"name": "quickstart", "write": True}
    with pytest.raises(ProjectError, match="there is no study 'r9'"):
        study_parameters(real_params, "r9")


def test_a_variant_differs_in_what_its_protocol_does_not_say(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    recipe, differences = recipe_and_differences(real_params, study)
    assert recipe["dataset"] == "fashion-mnist"
    assert recipe["batch_size"] == 100
    assert differences["r2-1conv-none"] == {}
    assert differences["r2-1conv-l2"] == {"l2": 0.01, "l2_on": ["conv"]}


def test_of_a_protocol_only_what_is_on_is_shown(real_params: Params) -> None:
    recipe, _ = recipe_and_differences(real_params, real_params.study("r4-l1"))
    shown = in_use(recipe)
    assert {"l1", "l1_on", "epochs"} <= set(shown)
    assert not {"l2", "l2_on", "batch_norm", "augmentation"} & set(shown)
    assert {"l2", "l2_on", "batch_norm", "augmentation"} <= set(recipe)


def test_the_choices_are_told_with_whose_claims_these_are(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    text = choices_text(study)
    assert text.startswith("The claims are those of report R2, if nothing else is said.")
    assert all(f"\n- {choice}" in text for choice in study.choices)
    assert choices_text(study.model_copy(update={"source": "", "choices": []})) == ""


@pytest.fixture
def template(paths: Paths, checkout: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook, to be executed where this project's parameters are and made-up results."""
    shutil.copy(checkout.params, paths.params)
    shutil.copytree(checkout.root / "studies", paths.root / "studies")
    monkeypatch.chdir(paths.root)
    return checkout.template("study")


def test_the_notebook_writes_tables_and_figures(
    paths: Paths, write: Callable[..., None], template: Path, real_params: Params
) -> None:
    write_quickstart(write)
    parameters = study_parameters(real_params, "quickstart")
    head = execute(template, parameters)[0].data
    title, question, verdicts, facts = head.split("\n\n")
    study = real_params.study("quickstart")
    assert (title, question) == (f"# {study.title}", f"**{study.question}**")
    verdict = r"- \*\*(Supported|Contradicted|Undecided|No difference that matters):\*\*"
    for line, claim in zip(verdicts.splitlines(), study.claims.values(), strict=True):
        assert re.match(rf"{verdict} \*{claim.statement}\* The test accuracy of .*\.$", line)
    assert facts.startswith("From 12 trainings: 4 variants with 3 seeds each. ")
    written = {path.name: path.read_bytes() for path in _files(paths)}
    assert set(written) == {
        "accuracy-test.png",
        "accuracy-val.png",
        "claims.csv",
        "claims.md",
        "cost.png",
        "curves.png",
        "published.csv",
        "published.md",
        "variants.csv",
        "variants.md",
    }
    execute(template, parameters)
    assert {path.name: path.read_bytes() for path in _files(paths)} == written


def test_who_opens_it_by_hand_writes_nothing(
    paths: Paths, write: Callable[..., None], template: Path, real_params: Params
) -> None:
    write_quickstart(write)
    before = sorted(paths.root.rglob("*"))
    execute(template, study_parameters(real_params, "quickstart") | {"write": False})
    assert sorted(paths.root.rglob("*")) == before


def test_factors_and_penalties_have_figures_of_their_own(
    paths: Paths, write: Callable[..., None], template: Path, real_params: Params
) -> None:
    for noise, name in enumerate(real_params.study("r3-mnist").variants):
        write(name, [0.97, 0.975], group="r3-mnist", noise=noise, images=500 * (1 + noise))
    execute(template, study_parameters(real_params, "r3-mnist"))
    written = {path.stem for path in paths.figures("r3-mnist").iterdir()}
    assert {"along-kernel_size", "along-strides", "cost", "weights-r3-mnist-l2"} <= written


def test_variants_stand_by_the_only_key_that_they_set(real_params: Params) -> None:
    study = real_params.study("r4-l1")
    recipe, differences = recipe_and_differences(real_params, study)
    along = variants_along("l1", study, differences, recipe)
    assert along == {
        0.0: "r4-l1-0",
        0.0001: "r4-base",
        0.001: "r4-l1-1e-3",
        0.01: "r4-l1-1e-2",
        0.1: "r4-l1-1e-1",
        1.0: "r4-l1-1",
        10.0: "r4-l1-10",
    }


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([WITHIN, WITHIN], "2 of 2 published runs are within seed noise."),
        (
            [WITHIN, OUTSIDE, OUTSIDE],
            "1 of 3 published runs is within seed noise; outside: label b, label c.",
        ),
        (
            [TOO_FEW, TOO_WIDE, WITHIN, WITHIN],
            "2 of 4 published runs are within seed noise; too much scatter to say: label b; "
            "too few seeds to say: label a.",
        ),
    ],
)
def test_published_runs_are_counted(runs: list[str], sentence: str) -> None:
    # Two figures a run.
    rows = [
        {"variant": variant, "label": f"label {variant}", "run": run}
        for variant, run in zip("abcd", runs, strict=False)
        for _ in range(2)
    ]
    assert tally(pd.DataFrame(rows)) == sentence


def test_why_runs_differ_is_told_where_they_do(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    row = dict.fromkeys(PUBLISHED_COLUMNS) | {"variant": "a", "label": "A", "metric": "val_loss"}
    for run, told in ((OUTSIDE, True), (TOO_FEW, False)):
        table = pd.DataFrame([row | {"published": 0.5, "collapsed": 0, "seeds": 3, "run": run}])
        assert (study.reasons[0] in published_text(study, table)) == told
    assert published_text(study, table[:0]) == ""


def test_how_claims_were_read_is_told_below_the_tests() -> None:
    row = dict.fromkeys(CLAIM_COLUMNS) | {"claim": "c", "remark": "By far."}
    assert texts.tests_text(pd.DataFrame([row])) == (
        "*Not run yet.*\n\nHow claims were read:\n\n- c: By far."
    )


def test_the_notebook_of_a_study_not_run_yet_says_so(
    paths: Paths, template: Path, real_params: Params
) -> None:
    head = execute(template, study_parameters(real_params, "r2-regularisation"))[0].data
    study = real_params.study("r2-regularisation")
    assert f"**{study.question}**\n\n*Not run yet*: `dvc repro compare@r2-regularisation` " in head
    assert head.endswith("\n".join(f"- {claim.statement}" for claim in study.claims.values()))
    assert not paths.figures("r2-regularisation").exists()
    claims = (paths.tables("r2-regularisation") / "claims.md").read_text()
    assert claims.count("**not run yet**") == 7


def _files(paths: Paths) -> list[Path]:
    return [*paths.tables("quickstart").iterdir(), *paths.figures("quickstart").iterdir()]
