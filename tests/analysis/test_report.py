import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cnn_ablations.analysis import tables
from cnn_ablations.analysis.claims import judge
from cnn_ablations.analysis.edges import edges_claim
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import compare_published
from cnn_ablations.analysis.report import (
    StudyTables,
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
    up = {"quantity": "test_accuracy", "of": second, "than": first}
    near = {"quantity": "test_accuracy", "of": first, "than": 0.8, "within": 0.001}
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
            "claims": {
                "up": {"statement": f"{second} wins.", "tests": [up]},
                "down": {"statement": f"{first} wins.", "tests": [{**up, "below": 0}]},
                "near": {"statement": f"{first} reaches 80 %.", "tests": [near]},
            },
        }
    )


STUDIES = {"was-run": study("a", "b"), "to-come": study("c", "d")}
README = """\
# Title

<!-- table:was-run-claims -->
old
<!-- /table -->

<!-- table:studies --><!-- /table -->

the end
"""


@pytest.fixture
def project(paths: Paths, write: Callable[..., None]) -> Paths:
    """A project with two studies, of which one was run and compared."""
    write("a", [0.80, 0.81, 0.82, 0.79, 0.80, 0.81])
    write("b", [0.95, 0.96, 0.94, 0.95, 0.96, 0.95])
    of_run = STUDIES["was-run"]
    results = load_results(paths, "g", of_run.variants)
    evidence = Evidence(of_run, results)
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
    files = ("README.md", "reports/README.md", "reports/claims.md", "reports/comparison.md")
    return {name: (project.root / name).read_text() for name in files}


def test_claims_begin_with_their_counts_and_a_study_not_run_yet_takes_a_line(
    project: Paths,
) -> None:
    claims = report(project)["reports/claims.md"]
    counts = "1 supported, 1 contradicted, 1 undecided, 4 not run yet"
    assert claims.startswith(f"# Claims and verdicts\n\n**Of 7 claims: {counts}.**\n")
    ran, to_come, by_hand = claims.split("\n## ")[1:]
    assert "| **supported** | b wins. | The test accuracy of “B” is 14.67 points above" in ran
    assert "Study [was-run](notebooks/studies/was-run.ipynb); claims by report X. Which?" in ran
    assert to_come == (
        "c against d\n\nStudy `to-come`; claims by report X. Which?\n\n*Not run yet.*\n"
    )
    assert "| **not run yet** | Both kernels" in by_hand


def test_the_comparison_begins_with_its_counts(project: Paths) -> None:
    comparison = report(project)["reports/comparison.md"]
    counts = "1 within seed noise, 1 outside, 2 not run yet"
    assert comparison.startswith(
        f"# Published against reproduced\n\n**Of 4 published runs: {counts}.**\n"
    )
    ran, to_come = comparison.split("\n## ")[1:]
    assert "**1 of 2 published runs is within seed noise; outside: A.**" in ran
    assert "- A single run." in ran
    assert to_come == "c against d\n\nStudy `to-come`; source: report X.\n\n*Not run yet.*\n"
    figures = pd.read_csv(project.root / "reports" / "comparison.csv")
    assert list(figures["study"]) == ["was-run"] * 2 + ["to-come"] * 2
    assert list(figures["run"]) == ["outside", "within seed noise", "not run yet", "not run yet"]
    assert figures["reproduced"].notna().tolist() == [True, True, False, False]


def test_the_overview_lists_what_holds_what_does_not_and_what_is_open(project: Paths) -> None:
    overview = report(project)["reports/README.md"]
    notebook = project.root / "reports" / "notebooks" / "studies" / "was-run.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.touch()
    _, of_report = overview.split("\n## ")
    assert of_report.startswith("Report X\n\nOf 4 published runs: 1 within seed noise, 1 outside,")
    assert "\nStudy to-come (3 claims): *Not run yet.*\n" in of_report
    parts = dict(zip(*[iter(re.split(r"\n\*\*(.*)\*\*\n", of_report)[1:])] * 2, strict=True))
    assert {head: text.strip().split("*")[0] for head, text in parts.items()} == {
        "Holds": "- b wins. ",
        "Does not hold": "- a wins. ",
        "Is open": "- a reaches 80 %. ",
    }
    assert "*The test accuracy of “B” is 14.67 points above that of “A”, surely" in parts["Holds"]
    assert ".* ([was-run](notebooks/studies/was-run.ipynb))" in parts["Is open"]
    links = re.findall(r"\]\(([^)]*)\)", overview)
    assert "notebooks/studies/was-run.ipynb" in links
    assert [link for link in links if not (project.root / "reports" / link).exists()] == []


def test_the_overview_of_this_project_links_what_there_is(checkout: Paths) -> None:
    reports = checkout.root / "reports"
    links = re.findall(r"\]\(([^)]*)\)", (reports / "README.md").read_text())
    assert len(links) > 20
    assert [link for link in links if not (reports / link).exists()] == []


def test_the_readme_shows_the_tables_and_keeps_the_rest(project: Paths) -> None:
    readme = report(project)["README.md"]
    assert readme.startswith("# Title\n\n<!-- table:was-run-claims -->\n\n| verdict |")
    assert readme.endswith("<!-- /table -->\n\nthe end\n")
    assert "old" not in readme
    assert "| to-come | report X | Which? | 2 | *Not run yet.* |" in readme
    assert "| **supported** | b wins. |" in readme


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


@pytest.mark.parametrize("damage", ["unlink", "empty", "older"])
def test_tables_that_are_not_whole_name_their_stage(project: Paths, damage: str) -> None:
    path = project.tables("was-run") / "claims.csv"
    if damage == "unlink":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else path.read_text().replace("quantity", "kind"))
    with pytest.raises(
        ProjectError, match=r"are not whole .*; run `dvc repro -s compare@was-run`$"
    ):
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
    text = (checkout.root / "README.md").read_text(encoding="utf-8")
    known = [f"{name}-claims" for name in real_params.studies]
    fill_tables(text, dict.fromkeys(["studies", *known], ""))


def test_the_list_of_studies_says_which_were_run_and_how_claims_fared(project: Paths) -> None:
    loaded = {name: load_tables(study, project, name) for name, study in STUDIES.items()}
    listed = studies_markdown(STUDIES, loaded, edges_claim(None))
    _, _, ran, to_come, by_hand = listed.splitlines()
    assert "[was-run](reports/notebooks/studies/was-run.ipynb)" in ran
    assert ran.endswith("| 2 | 1 supported, 1 contradicted, 1 undecided |")
    assert "| to-come |" in to_come
    assert to_come.endswith("| *Not run yet.* |")
    assert by_hand.endswith("| – | 1 not run yet |")


def test_the_claim_that_no_study_tests_is_among_the_claims(project: Paths) -> None:
    project.edges.write_text(
        "photograph,kernel,flattest,steepest\na,K1,1,9\nb,K1,1,8\na,K2,1,1\nb,K2,1,3\n"
    )
    claims = report(project)["reports/claims.md"]
    assert "| **contradicted** | Both kernels, K1 and K2, bring out edges, and differ in" in claims
    assert "With K2, the steepest parts of two photographs are 1.0 and 3.0 times" in claims


def test_the_report_module_starts_without_a_numeric_framework() -> None:
    source = Path(tables.__file__).parent
    for module in (
        "claims",
        "evidence",
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


def timed(paths: Paths, group: str, variant: str, *seconds: float) -> None:
    seed = {"evaluate_seconds": 1.0, "peak_memory_mb": 1234}
    seeds = {str(n): seed | {"train_seconds": of_seed} for n, of_seed in enumerate(seconds)}
    file = paths.timings(group, variant)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"seeds": seeds, "provenance": []}))


def test_timings_are_shown_beside_the_published_ones(real_params: Params, paths: Paths) -> None:
    timed(paths, "quickstart", "quickstart-l2", 59.0, 59.0)
    timed(paths, "r4", "r4-40k", 29.0)
    text = timings_text(real_params, paths, {})
    assert "| quickstart-l2 | 2 | 1.00 | – | 2.0 | 1,234 |" in text
    assert "| r4-40k | 1 | 0.50 | 9.00 | 0.5 | 1,234 |" in text
    assert "quickstart-none" not in text
    assert "What would decide" not in text


def test_what_open_claims_need_is_counted_in_seeds_and_minutes(
    project: Paths, real_params: Params
) -> None:
    timed(project, "quickstart", "quickstart-l2", 59.0, 59.0)
    timed(project, "quickstart", "quickstart-none", 119.0)
    tests = [("quickstart-l2", "quickstart-none"), ("quickstart-l2", None)]
    rows = [
        {"claim": claim, "claim_outlook": outlook, "of": of, "than": than}
        for claim, outlook in (("open", 10), ("far", math.inf), ("close", 1000), ("sure", None))
        for of, than in tests
    ]
    tables = {"s": StudyTables(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(rows), was_run=True)}
    *_, head, _, row = timings_text(real_params, project, tables).splitlines()
    assert head.startswith("| study | claim | seeds now, at least | seeds needed, about | minutes")
    # Eight seeds more at a minute, and nine at two.
    assert row == "| s | open | 1 | 10 | 26 |"
