import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths


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


@pytest.fixture
def template(paths: Paths, checkout: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook, to be executed where this project's parameters are and made-up results."""
    shutil.copy(checkout.params, paths.params)
    shutil.copytree(checkout.root / "studies", paths.root / "studies")
    monkeypatch.chdir(paths.root)
    return checkout.template("study")


def test_the_notebook_writes_tables_and_figures_unless_it_is_opened_by_hand(
    paths: Paths, write: Callable[..., None], template: Path, real_params: Params
) -> None:
    study = real_params.study("r3-mnist")
    for noise, name in enumerate(study.variants):
        accuracies = [0.97, 0.975, 0.1] if noise == 3 else [0.97, 0.975]
        write(name, accuracies, group="r3-mnist", noise=noise, flops=600_000 * (1 + noise))
    before = sorted(paths.root.rglob("*"))
    execute(template, {"name": "r3-mnist", "write": False})
    assert sorted(paths.root.rglob("*")) == before
    head = execute(template, {"name": "r3-mnist", "write": True})[0].data
    title, question, verdicts, facts = head.split("\n\n")
    assert (title, question) == (f"# {study.title}", f"**{study.question}**")
    verdict = r"- \*\*(Supported|Contradicted|Undecided|No difference that matters):\*\*"
    for line, claim in zip(verdicts.splitlines(), study.claims.values(), strict=True):
        assert re.match(rf"{verdict} \*{re.escape(claim.statement)}\* .*\.$", line)
    assert facts.startswith("From 17 trainings of 8 variants, tested on 400 images. ")
    folders = (paths.tables("r3-mnist"), paths.figures("r3-mnist"))
    assert {path.name for folder in folders for path in folder.iterdir()} == {
        "accuracy-test.svg",
        "accuracy-val.svg",
        "along-kernel_size.svg",
        "along-strides.svg",
        "claims.csv",
        "claims.md",
        "cost.svg",
        "curves.svg",
        "published.csv",
        "published.svg",
        "variants.csv",
        "weights-r3-mnist-l2.svg",
    }


def test_the_notebook_of_a_study_not_run_yet_says_so(
    paths: Paths, template: Path, real_params: Params
) -> None:
    head = execute(template, {"name": "r2-regularisation", "write": True})[0].data
    study = real_params.study("r2-regularisation")
    assert f"**{study.question}**\n\n*Not run yet*: `dvc repro compare@r2-regularisation` " in head
    assert head.endswith("\n".join(f"- {claim.statement}" for claim in study.claims.values()))
    assert not paths.figures("r2-regularisation").exists()
    claims = (paths.tables("r2-regularisation") / "claims.md").read_text()
    assert claims.count("**not run yet**") == 7
