import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cnn_ablations.analysis import tables
from cnn_ablations.analysis.claims import judge
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import compare_published
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.wording import Unit, measure
from cnn_ablations.config.studies import Study
from cnn_ablations.paths import Paths

STUDY = Study.model_validate(
    {
        "title": "t",
        "group": "g",
        "question": "q",
        "variants": {"a": "None", "b": "x | y"},
        "margin": 0.01,
        "published": {"a": {"val_loss": 0.5, "val_accuracy": 0.95}},
        "claims": {
            "up": {
                "statement": "b is better.",
                "remark": "by far",
                "tests": [
                    {"quantity": "test_accuracy", "of": "b", "than": "a"},
                    {"quantity": "flops", "of": "b", "than": "a"},
                    {"quantity": "near_zero", "of": "b", "than": "a", "above": -1},
                ],
            }
        },
    }
)


@pytest.fixture
def shown(paths: Paths, write: Callable[..., None]) -> dict[str, pd.DataFrame]:
    write("a", [0.80, 0.81, 0.10], flops=1_000_000)
    write("b", [0.95, 0.96, 0.94], flops=2_500_000, validated=False)
    return build(paths)


def build(paths: Paths) -> dict[str, pd.DataFrame]:
    results = load_results(paths, "g", STUDY.variants)
    evidence = Evidence(STUDY, results)
    return {
        "variants": tables.variants_table(evidence, {"b": {"l2": 0.1, "l2_on": ["conv"]}}),
        "published": tables.published_table(STUDY, compare_published(STUDY, results)),
        "claims": tables.claims_table(judge(evidence)),
    }


def cells(markdown: str, row: int) -> list[str]:
    return [cell.strip() for cell in markdown.splitlines()[row + 2].strip("|").split(" | ")]


def test_variants(shown: dict[str, pd.DataFrame]) -> None:
    markdown = tables.variants_markdown(shown["variants"])
    first, second = cells(markdown, 0), cells(markdown, 1)
    assert first[:4] == ["None", "–", "333,333", "1.00"]
    assert first[5].startswith("80.00 (")
    assert (first[-1], second[-1]) == ("3, 1 collapsed", "3")
    assert second[:2] == ["x \\| y", "`l2: 0.1, l2_on: [conv]`"]
    assert second[5] == "–"
    row = shown["variants"].loc[1]
    assert row["test_low"] < row["test_accuracy"] == 0.95 < row["test_high"]


def test_published(shown: dict[str, pd.DataFrame]) -> None:
    markdown = tables.published_markdown(shown["published"])
    loss, accuracy = cells(markdown, 0), cells(markdown, 1)
    assert loss[:4] == ["None", "too few seeds to say", "validation loss", "0.5000"]
    # A run's verdict stands beside its first figure only.
    assert accuracy[:6] == ["", "", "validation accuracy", "95.00", "80.00", "−15.00"]
    assert accuracy[-1] == "1 of 3"
    assert tables.MARK not in markdown


def test_a_median_that_collapsed_seeds_draw_out_of_its_interval_is_marked(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.80, 0.81, 0.10, 0.10, 0.10])
    write("b", [0.95, 0.96, 0.94])
    markdown = tables.published_markdown(build(paths)["published"])
    assert cells(markdown, 1)[4] == f"10.25{tables.MARK}"
    assert markdown.endswith(f"\n\n{tables.MARK_NOTE}")


def test_a_claim_that_is_not_the_sources_says_whose_it_is() -> None:
    claims = pd.DataFrame({"claim": ["c", "d"], "statement": "S.", "source": ["this project", "X"]})
    claims = claims.assign(claim_verdict="v", claim_sentence="s")
    asked, said = (cells(tables.claims_markdown(claims), row)[1] for row in (0, 1))
    assert (asked, said) == ("S. (Asked by this project.)", "S. (Said by X.)")


def test_numbers_read_back_are_rounded_as_in_sentences(tmp_path: Path) -> None:
    # Rounded to six digits first, it would be 0.02025, and then 2.02 or 2.03 by chance.
    effect = 0.020250499
    tables.write_table(tmp_path, "t", pd.DataFrame({"effect": [effect]}), "")
    assert tables.read_table(tmp_path, "t")["effect"][0] == effect


def test_claims(shown: dict[str, pd.DataFrame]) -> None:
    claims = shown["claims"]
    assert list(claims["test"]) == [1, 2, 3]
    claim = cells(tables.claims_markdown(claims), 0)
    assert claim[:2] == ["**undecided**", "b is better."]
    accuracy, cost, weights = (cells(tables.judgements_markdown(claims), row) for row in range(3))
    assert accuracy[:4] == ["up", "test accuracy: b against a", "undecided", "15.00 points"]
    assert accuracy[4].count("\u00a0to\u00a0") == 1  # an interval stays on one line
    assert accuracy[-2] == "3"
    assert accuracy[-1].startswith("100 % (")
    assert cost == ["", "flops: b against a", "supported", "×\u00a02.50", *["–"] * 5]
    assert weights[1] == "near zero: b against a, `above: -1.0`"


@pytest.mark.parametrize(
    ("test", "shown_as"),
    [
        (
            {"quantity": "running_train_accuracy", "epoch": 2, "than": "a"},
            "training accuracy: c against a, `epoch: 2`",
        ),
        (
            {"quantity": "val_accuracy", "than": "c", "than_quantity": "test_accuracy"},
            "validation accuracy: c against c, `than_quantity: test_accuracy`",
        ),
        ({"quantity": "gap", "than": 0.1, "within": 0.5}, "gap: c, `than: 0.1, within: 0.5`"),
    ],
)
def test_a_test_is_shown_with_its_settings(
    paths: Paths, write: Callable[..., None], test: dict[str, Any], shown_as: str
) -> None:
    for name in "ac":
        write(name, [0.9, 0.8, 0.7])
    claims = {"early": {"statement": "c is ahead.", "tests": [{"of": "c", **test}]}}
    study = Study.model_validate(
        STUDY.model_dump() | {"variants": ["a", "c"], "published": {}, "claims": claims}
    )
    evidence = Evidence(study, load_results(paths, "g", study.variants))
    table = tables.judgements_markdown(tables.claims_table(judge(evidence)))
    assert cells(table, 0)[1] == shown_as


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-math.inf, "points", "−∞ points"),
        (math.inf, "ratio", "× ∞"),
        (-math.inf, "ratio", "× 0.00"),
        (-0.00001, "points", "0.00 points"),
        (-0.0123, "percent", "−1.23 %"),
        (0.0004, "nats", "0.000 nats"),
        (math.log(2), "ratio", "× 2.00"),
    ],
)
def test_a_number_in_words(value: float, unit: Unit, text: str) -> None:
    assert measure(value, unit) == text


def test_a_table_read_back_looks_the_same(shown: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    for name, show in (
        ("variants", tables.variants_markdown),
        ("published", tables.published_markdown),
        ("claims", tables.claims_markdown),
        ("claims", tables.judgements_markdown),
    ):
        tables.write_table(tmp_path, name, shown[name], show(shown[name]))
        assert show(tables.read_table(tmp_path, name)) == show(shown[name])
        assert (tmp_path / f"{name}.md").read_text() == show(shown[name]) + "\n"


def test_a_study_not_run_yet_has_the_same_tables_without_results(paths: Paths) -> None:
    empty = build(paths)
    assert cells(tables.variants_markdown(empty["variants"]), 1)[0] == "x \\| y"
    assert cells(tables.published_markdown(empty["published"]), 0)[1] == "not run yet"
    assert cells(tables.claims_markdown(empty["claims"]), 0)[0] == "**not run yet**"
    assert tables.judgements_markdown(empty["claims"]) == ""
