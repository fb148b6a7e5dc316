"""What the report needs besides; test_committed_results.py compares what it is."""

import json
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from cnn_ablations.analysis.claims import edges_claim
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import OUTSIDE, PUBLISHED_COLUMNS, TOO_FEW, WITHIN
from cnn_ablations.analysis.report import (
    fill_tables,
    report_texts,
    timings_text,
    write_report,
)
from cnn_ablations.analysis.study import study_tables
from cnn_ablations.config.params import Params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


def test_nothing_is_written_where_the_readme_cannot_be_filled(
    paths: Paths, real_params: Params
) -> None:
    (paths.root / "README.md").write_text("<!-- table:z --><!-- /table -->")
    with pytest.raises(ProjectError, match=r"'table:z', but there is no such table; known are: st"):
        write_report(real_params, paths)
    assert [path.name for path in paths.root.iterdir()] == ["README.md"]


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


def test_a_run_outside_is_told_with_how_far_each_explanation_fits(real_params: Params) -> None:
    studies = {name: real_params.study(name) for name in ("r1-cifar10", "quickstart")}
    tables = {name: study_tables(Evidence(study, {})) for name, study in studies.items()}
    run: dict[str, Any] = {**dict.fromkeys(PUBLISHED_COLUMNS), "published": 0.5, "run": OUTSIDE}
    run |= {"variant": "r1-cifar10-base", "label": "base", "metric": "val_accuracy"}
    tried = [
        run | {"explained": "base", "label": label, "low": low, "verdict": verdict}
        for label, low, verdicts in (
            ("near", 0.4, (WITHIN, OUTSIDE)),
            ("alone", None, (TOO_FEW, TOO_FEW)),
        )
        for verdict in verdicts
    ]
    tables["r1-cifar10"] = replace(
        tables["r1-cifar10"],
        published=pd.DataFrame([run, run, run | {"variant": "r1-cifar10-l2", "label": "other"}]),
        explanations=pd.DataFrame(tried),
    )
    text = report_texts(studies, tables, edges_claim(None))["README.md"]
    assert text.count("Outside seed noise") == 1
    assert (
        "\n- [r1-cifar10](notebooks/studies/r1-cifar10.ipynb), “base”: “near” fits 1 of 2 figures "
        "(outside); “alone” cannot be told from a single seed\n"
    ) in text
    assert "“other”: no other network was tried\n" in text


def test_runs_with_too_few_seeds_have_a_price(paths: Paths, real_params: Params) -> None:
    timed(paths, "r4", "r4-40k", 29.0)
    empty = study_tables(Evidence(real_params.study("r4-data-size"), {}))
    rows = [
        {"variant": variant, "run": run, "seeds": 2}
        for variant, run in (("r4-40k", TOO_FEW), ("r4-40k", TOO_FEW), ("r4-20k", OUTSIDE))
    ]
    tables = {"s": replace(empty, published=pd.DataFrame(rows))}
    *_, head, _, row = timings_text(real_params, paths, tables).splitlines()
    assert head == "| study | variant | seeds now | minutes a further seed |"
    assert row == "| s | r4-40k | 2 | 0.5 |"


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
    empty = study_tables(Evidence(real_params.study("quickstart"), {}))
    tables = {"s": replace(empty, claims=claims)}
    *_, head, _, row = timings_text(real_params, paths, tables).splitlines()
    assert head.startswith("| study | claim | seeds now, at least | seeds needed, about | minutes")
    # Eight seeds more at a minute, and nine at two.
    assert row == "| s | open | 1 | 10 | 26 |"
