import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cnn_ablations.analysis.claims import judge
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.study import (
    choices_text,
    headline,
    recipe_and_differences,
    study_parameters,
    tally,
    variants_along,
)
from cnn_ablations.analysis.tables import claims_table
from cnn_ablations.config.params import Params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

QUICKSTART = {
    "quickstart-none": [0.95, 0.96, 0.955],
    "quickstart-l2": [0.96, 0.965, 0.95],
    "quickstart-dropout": [0.1, 0.95, 0.96],
    "quickstart-batchnorm": [0.98, 0.985, 0.975],
}


def execute(template: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells of a notebook in this process: it takes a second, a kernel takes ten."""
    namespace: dict[str, Any] = {}
    for cell in json.loads(template.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(parameters) == set(namespace) - {"__builtins__"}
                namespace.update(parameters)
    return namespace


def write_quickstart(write: Callable[..., None]) -> None:
    for noise, (name, accuracies) in enumerate(QUICKSTART.items()):
        flops = 600_000 * (1 + noise)
        write(name, accuracies, group="quickstart", noise=noise, flops=flops)


def test_the_parameter_is_the_name_of_a_study(real_params: Params) -> None:
    parameters = study_parameters(real_params, "r2-regularisation")
    assert parameters == {"name": "r2-regularisation", "write": True}
    with pytest.raises(ProjectError, match="there is no study 'r9'"):
        study_parameters(real_params, "r9")


@pytest.mark.parametrize(
    ("flops", "images", "measure"),
    [
        ((1000, 1000), (100, 100), None),
        ((1000, 3000), (100, 100), "flops"),
        ((1000, 1000), (100, 300), "training_flops"),
        ((1000, 3000), (100, 300), "training_flops"),
    ],
)
def test_cost_is_that_of_an_image_where_trainings_see_equally_many(
    paths: Paths,
    write: Callable[..., None],
    real_params: Params,
    flops: tuple[int, int],
    images: tuple[int, int],
    measure: str | None,
) -> None:
    for name, of_image, seen in zip("ab", flops, images, strict=True):
        write(name, [0.8, 0.9], flops=of_image, images=seen)
    evidence = Evidence(real_params.study("quickstart"), load_results(paths, "g", "ab"))
    assert evidence.cost_measure() == measure


def test_a_study_not_run_yet_has_no_cost(real_params: Params) -> None:
    assert Evidence(real_params.study("quickstart"), {}).cost_measure() is None


def test_a_variant_differs_in_what_its_protocol_does_not_say(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    recipe, differences = recipe_and_differences(real_params, study)
    assert recipe["dataset"] == "fashion-mnist"
    assert recipe["batch_size"] == 100
    assert differences["r2-1conv-none"] == {}
    assert differences["r2-1conv-l2"] == {"l2": 0.01, "l2_on": ["conv"]}


def test_the_head_asks_and_answers(
    paths: Paths, write: Callable[..., None], real_params: Params
) -> None:
    write_quickstart(write)
    study = real_params.study("quickstart")
    results = load_results(paths, "quickstart", study.variants)
    verdicts = judge(Evidence(study, results))
    lines = headline(study, "quickstart", claims_table(verdicts)).splitlines()
    assert lines[0] == f"# {study.title}"
    assert study.question in lines[2]
    shown = zip(lines[4:], verdicts, strict=True)
    for line, of_claim in shown:
        verdict = of_claim.verdict[0].upper() + of_claim.verdict[1:]
        assert line == f"- **{verdict}.** {of_claim.claim.statement} *{of_claim.summary}*"
    not_run = headline(study, "x", claims_table(judge(Evidence(study, {}))))
    assert "*Not run yet*: `dvc repro compare@x`" in not_run


def test_whose_claims_and_choices_they_are_is_told(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    text = choices_text(study)
    assert "The claims are those of report R2" in text
    assert all(choice in text for choice in study.choices)
    assert choices_text(real_params.study("quickstart")) == ""


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
    execute(template, {**parameters, "write": False})
    assert not paths.tables("quickstart").exists()  # by hand, nothing in reports/ changes
    assert not paths.figures("quickstart").exists()
    execute(template, parameters)
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


def test_published_runs_are_counted() -> None:
    published = pd.DataFrame(
        {
            "variant": ["a", "a", "b", "c"],
            "label": ["A", "A", "B", "C"],
            "run": ["within seed noise", "within seed noise", "outside", "too few seeds to say"],
        }
    )
    assert tally(published) == (
        "1 of 3 published runs is within seed noise; outside: B; too few seeds to say: C."
    )


def test_the_notebook_of_a_study_not_run_yet_says_so(
    paths: Paths, template: Path, real_params: Params
) -> None:
    execute(template, study_parameters(real_params, "r2-regularisation"))
    assert not paths.figures("r2-regularisation").exists()
    claims = (paths.tables("r2-regularisation") / "claims.md").read_text()
    assert claims.count("**not run yet**") == 7


def _files(paths: Paths) -> list[Path]:
    return [*paths.tables("quickstart").iterdir(), *paths.figures("quickstart").iterdir()]
