import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cnn_ablations.analysis import tables
from cnn_ablations.analysis.claims import judge
from cnn_ablations.analysis.edges import edges_claim
from cnn_ablations.analysis.evidence import gather
from cnn_ablations.analysis.published import compare_published
from cnn_ablations.analysis.report import (
    fill_tables,
    load_tables,
    studies_markdown,
    timings_text,
    write_report,
)
from cnn_ablations.analysis.results import load_results
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


def study(*variants: str) -> Study:
    first, second = variants
    test = {"kind": "higher", "metric": "test_accuracy", "variants": [second], "than": [first]}
    return Study.model_validate(
        {
            "title": f"{first} against {second}",
            "group": "g",
            "question": "Which?",
            "source": "report X",
            "variants": {name: name.upper() for name in variants},
            "margin": 0.01,
            "published": {first: {"test_accuracy": 0.85}, second: {"test_accuracy": 0.95}},
            "reasons": ["A single run."],
            "claims": {"up": {"statement": f"{second} wins.", "tests": [test]}},
        }
    )


STUDIES = {"was-run": study("a", "b"), "to-come": study("c", "d")}
README = """\
# Title

<!-- table:was-run -->
old
<!-- /table -->

<!-- table:to-come --><!-- /table -->

<!-- table:claims -->
<!-- /table -->

the end
"""


@pytest.fixture
def project(paths: Paths, write: Callable[..., None]) -> Paths:
    """A project with two studies, of which one was run and compared."""
    write("a", [0.80, 0.81, 0.82, 0.79, 0.80, 0.81])
    write("b", [0.95, 0.96, 0.94, 0.95, 0.96, 0.95])
    of_run = STUDIES["was-run"]
    results = load_results(paths, "g", of_run.variants)
    evidence = gather(of_run, results)
    for name, table, show in (
        ("variants", tables.variants_table(evidence, {}), tables.variants_markdown),
        (
            "published",
            tables.published_table(of_run, compare_published(of_run, results)),
            tables.published_markdown,
        ),
        ("claims", tables.claims_table(judge(evidence)), tables.claims_markdown),
    ):
        tables.write_table(paths.tables("was-run"), name, table, show(table))
    (paths.root / "README.md").write_text(README)
    return paths


def report(project: Paths) -> dict[str, str]:
    write_report(Params({}, {}, {}, STUDIES), project)
    files = ("README.md", "reports/claims.md", "reports/comparison.md", "reports/comparison.csv")
    return {name: (project.root / name).read_text() for name in files}


def test_every_study_is_in_every_report(project: Paths) -> None:
    texts = report(project)
    claims = texts["reports/claims.md"]
    assert "| b wins. | **supported** |" in claims
    assert "| d wins. | **not run yet** |" in claims
    comparison = texts["reports/comparison.md"]
    ran, to_come = comparison.split("## c against d")
    assert "**1 of 2 published figures is within seed noise; 1 is not (A).**" in ran
    assert "- A single run." in ran
    assert "Not run yet." in to_come
    assert "0 of 0" not in comparison
    assert "A single run." not in to_come
    figures = pd.read_csv(project.root / "reports" / "comparison.csv")
    assert list(figures["study"]) == ["was-run"] * 2 + ["to-come"] * 2
    assert list(figures["within_seed_noise"]) == ["no", "yes", "not run yet", "not run yet"]
    assert figures["reproduced"].notna().tolist() == [True, True, False, False]


def test_the_readme_shows_the_tables_and_keeps_the_rest(project: Paths) -> None:
    readme = report(project)["README.md"]
    assert readme.startswith("# Title\n\n<!-- table:was-run -->\n\n| variant |")
    assert readme.endswith("<!-- /table -->\n\nthe end\n")
    assert "old" not in readme
    assert "| A | – |" in readme
    assert "*Not run yet.*" in readme
    assert "| b wins. | **supported** |" in readme


def test_the_report_is_idempotent(project: Paths) -> None:
    first = report(project)
    before = (project.root / "README.md").stat().st_mtime_ns
    assert report(project) == first
    assert (project.root / "README.md").stat().st_mtime_ns == before


def test_a_missing_readme_is_named_before_anything_is_written(project: Paths) -> None:
    (project.root / "README.md").unlink()
    with pytest.raises(ProjectError, match=r"README\.md is missing"):
        report(project)
    assert not (project.root / "reports" / "claims.md").exists()


@pytest.mark.parametrize("damage", ["unlink", "empty"])
def test_tables_that_are_not_whole_name_their_stage(project: Paths, damage: str) -> None:
    path = project.tables("was-run") / "claims.csv"
    path.unlink() if damage == "unlink" else path.write_text("")
    with pytest.raises(ProjectError, match="dvc repro compare@was-run"):
        report(project)


def test_filling_replaces_what_is_between_the_markers() -> None:
    text = "a <!-- table:x -->1<!-- /table --> b <!-- table:y -->\n\n2\n<!-- /table --> c"
    filled = fill_tables(text, {"x": "X", "y": "Y"})
    assert filled == (
        "a <!-- table:x -->\n\nX\n\n<!-- /table --> b <!-- table:y -->\n\nY\n\n<!-- /table --> c"
    )
    assert fill_tables(filled, {"x": "X", "y": "Y"}) == filled
    assert fill_tables("no marker", {}) == "no marker"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table:z --><!-- /table -->", "'table:z', but there is no such table; known are: x"),
        ("<!-- table:x -->", "not closed"),
        ("<!-- table:x --> <!-- table:x --><!-- /table -->", "'table:x' is not closed"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_named(text: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        fill_tables(text, {"x": "X"})


def test_the_markers_of_this_projects_readme_can_be_filled(
    checkout: Paths, real_params: Params
) -> None:
    known = {
        f"{name}{part}" for name in real_params.studies for part in ("", "-claims", "-published")
    }
    text = (checkout.root / "README.md").read_text(encoding="utf-8")
    fill_tables(text, dict.fromkeys({*known, "studies", "claims"}, ""))


def test_the_list_of_studies_says_which_were_run_and_how_claims_fared(project: Paths) -> None:
    loaded = {name: load_tables(study, project, name) for name, study in STUDIES.items()}
    listed = studies_markdown(STUDIES, loaded, edges_claim(None))
    _, _, ran, to_come, by_hand = listed.splitlines()
    assert "[was-run](reports/notebooks/studies/was-run.ipynb)" in ran
    assert "1 supported" in ran
    assert "| to-come |" in to_come
    assert to_come.endswith("| *Not run yet.* |")
    assert by_hand.endswith("| – | 1 not run yet |")


def test_the_claim_that_no_study_tests_is_among_the_claims(project: Paths) -> None:
    project.edges.write_text(
        "photograph,kernel,flattest,steepest\na,K1,1,9\nb,K1,1,8\na,K2,1,1\nb,K2,1,3\n"
    )
    claims = report(project)["reports/claims.md"]
    assert "differ in how strongly. | **contradicted** | With K1, " in claims
    assert "With K2, the steepest parts of two photographs are 1.0 and 3.0 times" in claims


def test_the_report_module_starts_without_a_numeric_framework() -> None:
    source = Path(tables.__file__).parent
    for module in (
        "claims",
        "evidence",
        "findings",
        "published",
        "report",
        "results",
        "statistics",
        "study",
        "tables",
    ):
        text = (source / f"{module}.py").read_text()
        assert "import keras" not in text
        assert "import tensorflow" not in text


def test_missing_tables_of_a_trained_study_are_an_error(
    paths: Paths, write: Callable[..., None]
) -> None:
    assert not load_tables(study("a", "b"), paths, "s").was_run
    write("a", [0.8, 0.9])
    write("b", [0.8, 0.9])
    with pytest.raises(ProjectError, match=r"dvc repro -s compare@s"):
        load_tables(study("a", "b"), paths, "s")


def test_timings_are_shown_for_trained_variants(real_params: Params, paths: Paths) -> None:
    measured = {"train_seconds": 59.0, "evaluate_seconds": 1.0, "peak_memory_mb": 1234}
    file = paths.timings("quickstart", "quickstart-l2")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"seeds": {"0": measured, "1": measured}, "provenance": []}))
    text = timings_text(real_params, paths)
    assert "| quickstart-l2 | 2 | 1.00 | – | 2.0 | 1,234 |" in text
    assert "quickstart-none" not in text


def test_published_minutes_stand_beside_ours(real_params: Params, paths: Paths) -> None:
    measured = {"train_seconds": 29.0, "evaluate_seconds": 1.0, "peak_memory_mb": 1234}
    file = paths.timings("r4", "r4-40k")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"seeds": {"0": measured}, "provenance": []}))
    assert "| r4-40k | 1 | 0.50 | 9.00 | 0.5 | 1,234 |" in timings_text(real_params, paths)
