import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.report import fill_tables, timings_text, write_report
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.study import study_tables
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


def study(first: str, second: str) -> Study:
    up = {"quantity": "test_accuracy", "of": second, "than": first}
    near = {"quantity": "test_accuracy", "of": first, "than": 0.8, "within": 0.001}
    return Study.model_validate(
        {
            "title": f"{first} against {second}",
            "group": "g",
            "question": "Which?",
            "source": "report R4",
            "variants": {first: first.upper(), second: second.upper()},
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


STUDIES = {"to-come": study("c", "d"), "was-run": study("a", "b")}
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
    """A project with two studies, of which one was run and compared, and the convolution."""
    write("a", [0.80, 0.81, 0.82, 0.79, 0.80, 0.81])
    write("b", [0.95, 0.96, 0.94, 0.95, 0.96, 0.95])
    of_run = STUDIES["was-run"]
    study_tables(Evidence(of_run, load_results(paths, "g", of_run.variants))).write(
        paths.tables("was-run")
    )
    paths.edges.write_text(
        "photograph,kernel,flattest,steepest\na,K1,1,9\nb,K1,1,8\na,K2,1,1\nb,K2,1,3\n"
    )
    (paths.root / "README.md").write_text(README)
    return paths


def report(project: Paths) -> dict[str, str]:
    write_report(Params({}, {}, {}, STUDIES), project)
    files = ("README.md", "reports/README.md", "reports/claims.md", "reports/comparison.md")
    texts = {name: (project.root / name).read_text() for name in files}
    for text in texts.values():
        assert "\n\n\n" not in text
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
    return texts


def test_claims_begin_with_their_counts_and_a_study_not_run_yet_takes_a_line(
    project: Paths,
) -> None:
    claims = report(project)["reports/claims.md"]
    counts = "1 supported, 2 contradicted, 1 undecided, 3 not run yet"
    assert claims.startswith(f"# Claims and verdicts\n\n**Of 7 claims: {counts}.**\n")
    to_come, ran, by_hand = claims.split("\n## ")[1:]
    assert "| **supported** | b wins. | The test accuracy of “B” is 14.67 points above" in ran
    assert "Study [was-run](notebooks/studies/was-run.ipynb); claims by report R4. Which?" in ran
    assert "\n\nThe tests behind them:\n\n| claim | verdict | what was found |" in ran
    assert (
        to_come == "c against d\n\nStudy to-come; claims by report R4. Which?\n\n*Not run yet.*\n"
    )
    assert "| **contradicted** | Both kernels, K1 and K2, bring out edges" in by_hand
    assert "With K2, the steepest parts of two photographs are 1.0 and 3.0 times" in by_hand


def test_the_comparison_begins_with_its_counts(project: Paths) -> None:
    comparison = report(project)["reports/comparison.md"]
    counts = "1 within seed noise, 1 outside, 2 not run yet"
    assert comparison.startswith(
        f"# Published against reproduced\n\n**Of 4 published runs: {counts}.**\n"
    )
    to_come, ran = comparison.split("\n## ")[1:]
    assert "**Of 2 published runs: 1 within seed noise, 1 outside.**" in ran
    assert "- A single run." in ran
    assert to_come == "c against d\n\nStudy to-come; source: report R4.\n\n*Not run yet.*\n"


def test_the_overview_lists_what_holds_what_does_not_and_what_is_open(project: Paths) -> None:
    overview = report(project)["reports/README.md"]
    for notebook in ("studies/was-run", "convolution"):
        file = project.root / "reports" / "notebooks" / f"{notebook}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    _, of_report = overview.split("\n## ")
    assert of_report.startswith("Report R4\n\nOf 4 published runs: 1 within seed noise, 1 outside,")
    assert "\nStudy to-come (3 claims): *Not run yet.*\n" in of_report
    parts = dict(zip(*[iter(re.split(r"\n\*\*(.*)\*\*\n", of_report)[1:])] * 2, strict=True))
    assert {head: re.findall("^- (.*?) \\*", text, re.M) for head, text in parts.items()} == {
        "Holds": ["b wins."],
        "Does not hold": [
            "a wins.",
            "Both kernels, K1 and K2, bring out edges, and differ in how strongly.",
        ],
        "Is open": ["a reaches 80 %."],
    }
    assert "*The test accuracy of “B” is 14.67 points above that of “A”, surely" in parts["Holds"]
    links = re.findall(r"\]\(([^)]*)\)", overview)
    assert {"notebooks/studies/was-run.ipynb", "notebooks/convolution.ipynb"} <= {*links}
    assert [link for link in links if not (project.root / "reports" / link).exists()] == []


def test_the_readme_shows_the_tables_and_keeps_the_rest(project: Paths) -> None:
    first = report(project)
    readme, before = first["README.md"], (project.root / "README.md").stat().st_mtime_ns
    assert readme.startswith("# Title\n\n<!-- table:was-run-claims -->\n\n| verdict |")
    assert readme.endswith("<!-- /table -->\n\nthe end\n")
    assert "old" not in readme
    assert "| **supported** | b wins. |" in readme
    _, _, to_come, ran, by_hand = readme.split("studies -->")[1].strip().splitlines()[:5]
    assert to_come == "| to-come | report R4 | Which? | 2 | *Not run yet.* |"
    assert ran.startswith("| [was-run](reports/notebooks/studies/was-run.ipynb) | report R4 |")
    assert ran.endswith("| 2 | 1 supported, 1 contradicted, 1 undecided |")
    assert by_hand.endswith("| – | 1 contradicted |")
    assert report(project) == first
    assert (project.root / "README.md").stat().st_mtime_ns == before


def test_nothing_is_written_where_the_readme_cannot_be_filled(project: Paths) -> None:
    (project.root / "README.md").write_text("<!-- table:z --><!-- /table -->")
    with pytest.raises(ProjectError, match=r"'table:z', but there is no such table; known are: st"):
        report(project)
    assert not (project.root / "reports" / "claims.md").exists()


def test_filling_replaces_what_is_between_the_markers() -> None:
    text = "a <!-- table:x -->1<!-- /table --> b <!-- table:y -->\n\n2\n<!-- /table --> c"
    filled = fill_tables(text, {"x": "X", "y": "Y"})
    assert filled == (
        "a <!-- table:x -->\n\nX\n\n<!-- /table --> b <!-- table:y -->\n\nY\n\n<!-- /table --> c"
    )
    assert fill_tables(filled, {"x": "X", "y": "Y"}) == filled
    # What is not closed swallows nothing.
    assert fill_tables(f"<!-- table:x --> kept {text}", {"x": "X", "y": "Y"}).count("kept") == 1


def test_the_markers_of_this_projects_readme_can_be_filled(
    checkout: Paths, real_params: Params
) -> None:
    text = (checkout.root / "README.md").read_text(encoding="utf-8")
    known = [f"{name}-claims" for name in real_params.studies]
    filled = fill_tables(text, dict.fromkeys(["studies", *known], ""))
    assert filled.count("-->\n\n\n\n<!-- /table -->") == text.count("<!-- table:")


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
    paths: Paths, real_params: Params
) -> None:
    timed(paths, "quickstart", "quickstart-l2", 59.0, 59.0)
    timed(paths, "quickstart", "quickstart-none", 119.0)
    claims = pd.DataFrame(
        [
            {"claim": claim, "claim_outlook": outlook, "of": "quickstart-l2", "than": than}
            for claim, outlook in (("open", 10), ("far", math.inf), ("close", 1000), ("sure", None))
            for than in ("quickstart-none", None)
        ]
    )
    tables = {"s": replace(study_tables(Evidence(study("a", "b"), {})), claims=claims)}
    *_, head, _, row = timings_text(real_params, paths, tables).splitlines()
    assert head.startswith("| study | claim | seeds now, at least | seeds needed, about | minutes")
    # Eight seeds more at a minute, and nine at two.
    assert row == "| s | open | 1 | 10 | 26 |"
