import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths


@pytest.fixture
def template(paths: Paths, checkout: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook, to be executed where this project's parameters are and made-up results."""
    shutil.copy(checkout.params, paths.params)
    shutil.copytree(checkout.root / "studies", paths.root / "studies")
    monkeypatch.chdir(paths.root)
    return checkout.template("study")


def test_a_notebook_that_is_opened_by_hand_writes_nothing_and_begins_with_the_answer(
    paths: Paths, write: Any, template: Path, real_params: Params, run_cells: Any
) -> None:
    study = real_params.study("r3-mnist")
    for noise, name in enumerate(study.variants):
        accuracies = [0.97, 0.975, 0.1] if noise == 3 else [0.97, 0.975]
        write(name, accuracies, group="r3-mnist", noise=noise, flops=600_000 * (1 + noise))
    before = sorted(paths.root.rglob("*"))
    head = run_cells(template, name="r3-mnist", write=False)[1][0].data
    assert sorted(paths.root.rglob("*")) == before
    title, question, verdicts, facts = head.split("\n\n")
    assert (title, question) == (f"# {study.title}", f"**{study.question}**")
    verdict = r"- \*\*(Supported|Contradicted|Undecided|No difference that matters):\*\*"
    for line, claim in zip(verdicts.splitlines(), study.claims.values(), strict=True):
        assert re.match(rf"{verdict} \*{re.escape(claim.statement)}\* .*\.$", line)
    variants = len(study.variants)
    trainings = f"From {2 * variants + 1} trainings of {variants} variants"
    assert facts.startswith(f"{trainings}, tested on 400 images. ")


def test_of_very_unequal_classes_the_figures_show_the_balanced_accuracy(
    paths: Paths, write: Any, template: Path, real_params: Params, run_cells: Any
) -> None:
    study = real_params.study("r3-mnist")
    for noise, name in enumerate(study.variants):
        options = {"flops": 600_000 * (1 + noise), "shares": [1, *[5] * 9]}
        write(name, [0.97, 0.975], group="r3-mnist", noise=noise, **options)
    run_cells(template, name="r3-mnist", write=True)
    for figure in ("accuracy-test", "along-strides", "cost"):
        text = (paths.figures("r3-mnist") / f"{figure}.svg").read_text()
        assert "alanced test" in text


def test_the_notebook_of_a_study_not_run_yet_says_so(
    paths: Paths, template: Path, real_params: Params, run_cells: Any
) -> None:
    head = run_cells(template, name="r2-regularisation", write=True)[1][0].data
    study = real_params.study("r2-regularisation")
    command = "`cnn-ablations repro compare@r2-regularisation`"
    assert f"**{study.question}**\n\n*Not run yet*: {command} trains" in head
    assert head.endswith("\n".join(f"- {claim.statement}" for claim in study.claims.values()))
    assert not paths.figures("r2-regularisation").exists()
    claims = (paths.tables("r2-regularisation") / "claims.md").read_text()
    assert claims.count("**not run yet**") == 7
