"""The tables and texts of a made-up study, and what is told of the real ones."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cnn_ablations.analysis import study as texts
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import OUTSIDE, PUBLISHED_COLUMNS, TOO_FEW, WITHIN
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.study import (
    StudyTables,
    answer,
    choices_text,
    claims_markdown,
    in_use,
    load_edges,
    load_tables,
    published_text,
    recipe_and_differences,
    study_tables,
    tally_text,
    variants_along,
    variants_markdown,
)
from cnn_ablations.analysis.wording import Unit, measure
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

STUDY = Study.model_validate(
    {
        "title": "t",
        "group": "g",
        "question": "q",
        "variants": {"a": "None", "b": "x | y"},
        "margin": 0.01,
        "published": {"a": {"val_loss": 0.5, "val_accuracy": 0.95}},
        "explanations": {"a": "a"},  # of b no loss was recorded
        "claims": {
            "up": {
                "statement": "b is better.",
                "source": "X",
                "remark": "By far.",
                "tests": [
                    {"quantity": "test_accuracy", "of": "b", "than": "a"},
                    {"quantity": "flops", "of": "b", "than": "a"},
                ],
            }
        },
    }
)


def shown(tables: StudyTables) -> list[str]:
    return [
        variants_markdown(tables.variants),
        published_text(STUDY, tables),
        claims_markdown(tables.claims),
        texts.tests_text(tables.claims),
    ]


def build(paths: Paths) -> StudyTables:
    evidence = Evidence(STUDY, load_results(paths, "g", STUDY.variants))
    return study_tables(evidence, {"b": {"l2": 0.1, "l2_on": ["conv"]}})


@pytest.fixture
def tables(paths: Paths, write: Callable[..., None]) -> StudyTables:
    write("a", [0.80, 0.81, 0.10], flops=1_000_000)
    write("b", [0.95, 0.96, 0.94], flops=2_500_000, validated=False)
    return build(paths)


def cells(markdown: str) -> list[list[str]]:
    """The rows of a Markdown table below its head."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    head, _, *rows = (line[2:-2].split(" | ") for line in lines)
    assert [len(row) for row in rows] == [len(head)] * len(rows)
    return rows


def test_variants(tables: StudyTables) -> None:
    first, second = cells(variants_markdown(tables.variants))
    assert first[:5] == ["None", "–", "333,333", "1.00", "82.00"]
    assert first[5].startswith("80.00 (")
    assert first[5].count("\u00a0to\u00a0") == 1  # an interval stays on one line
    assert (first[-1], second[-1]) == ("3, 1 collapsed", "3")
    assert second[:2] == ["x \\| y", "`l2: 0.1, l2_on: [conv]`"]
    assert second[5] == "–"
    row = tables.variants.loc[1]
    assert row["test_low"] < row["test_accuracy"] == 0.95 < row["test_high"]


def test_of_very_unequal_classes_the_balanced_accuracy_comes_first(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.80, 0.81], shares=[1, *[5] * 9])
    write("b", [0.95, 0.96])  # whose classes are nearly equal
    evidence = Evidence(STUDY, load_results(paths, "g", STUDY.variants))
    tables = study_tables(evidence)
    tables.write(paths.tables("s"))
    assert shown(load_tables(STUDY, paths, "s")) == shown(tables)
    table = variants_markdown(tables.variants)
    assert table.startswith("| variant | balanced test % | differs in |")
    balanced = tables.variants["test_balanced_accuracy"]
    assert [row[1].split()[0] for row in cells(table)] == [f"{100 * x:.2f}" for x in balanced]
    assert balanced[1] == pytest.approx(0.955, abs=0.001)
    sentence = " A class has 10 to 50 test images, so that plain accuracy says little about"
    assert sentence in texts.headline(evidence, "s", tables.claims)


def test_published(tables: StudyTables) -> None:
    published, _, explanations = published_text(STUDY, tables).partition("\n\nExplanations")
    loss, accuracy = cells(published)
    assert loss[:4] == ["None", "too few seeds to say", "validation loss", "0.5000"]
    # A run's verdict stands beside its first figure only.
    assert accuracy[:6] == ["", "", "validation accuracy", "95.00", "80.00", "−15.00"]
    assert accuracy[-1] == "1 of 3"
    ((explained, by, fits, fitting, figures),) = cells(explanations)
    assert (explained, by, fits, fitting) == ("None", "None", "too few seeds to say", "2 of 2")
    assert figures.endswith("validation accuracy 95.00 / 80.00")


def test_claims_and_their_tests(tables: StudyTables) -> None:
    ((verdict, claim, found, p),) = cells(claims_markdown(tables.claims))
    assert (verdict, claim, p) == ("**undecided**", "b is better. (A claim of X.)", "–")
    assert found.startswith(
        "1 of 2 comparisons holds; the less sure: The median test accuracy of “"
    )
    accuracy, cost = cells(texts.tests_text(tables.claims))
    assert accuracy[:2] == ["up", "undecided"]
    assert accuracy[2].startswith("The median test accuracy of “x \\| y” is 15.00 points above")
    assert accuracy[5] == "3"
    assert accuracy[6].startswith("100 % (")
    assert cost[2] == ("The arithmetic for an image of “x \\| y” is 2.50 times that of “None”.")
    assert [*cost[:2], *cost[3:]] == ["", "supported", *["–"] * 4]
    assert texts.tests_text(tables.claims).endswith("\n\nHow claims were read:\n\n- up: By far.")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-0.00001, "points", "0.00 points"),
        (-0.0123, "percent", "−1.23 %"),
        (0.0004, "nats", "0.000 nats"),
        (np.log(2), "ratio", "× 2.00"),
    ],
)
def test_a_number_in_words(value: float, unit: Unit, text: str) -> None:
    assert measure(value, unit) == text


def test_a_table_read_back_looks_the_same(tables: StudyTables, paths: Paths) -> None:
    tables.variants.loc[0, "test_accuracy"] = 0.020250499  # 2.03 or 2.02, were it rounded twice
    tables.write(paths.tables("s"))
    again = load_tables(STUDY, paths, "s")
    assert again.was_run
    assert shown(again) == shown(tables)
    assert again.variants["test_accuracy"][0] == 0.020250499
    path = "reports/notebooks/studies/s.ipynb"
    found, last = answer(STUDY, paths, "s").splitlines()
    assert found.startswith("undecided: b is better. 1 of 2 comparisons holds; the less sure: The ")
    assert last == f"{path} says why"
    text = (paths.tables("s") / "claims.md").read_text()
    assert text == claims_markdown(tables.claims) + "\n"


def test_a_study_not_run_yet_has_the_same_tables_without_results(paths: Paths) -> None:
    empty = load_tables(STUDY, paths, "s")
    assert not empty.was_run
    assert [row[0] for row in cells(variants_markdown(empty.variants))] == ["None", "x \\| y"]
    assert cells(published_text(STUDY, empty).partition("\n\nExpl")[0])[0][1] == "not run yet"
    assert cells(claims_markdown(empty.claims))[0][0] == "**not run yet**"
    assert texts.tests_text(empty.claims) == "How claims were read:\n\n- up: By far."


def test_a_table_that_is_missing_names_its_stage(tables: StudyTables, paths: Paths) -> None:
    tables.write(paths.tables("s"))
    (paths.tables("s") / "claims.csv").unlink()
    with pytest.raises(ProjectError, match=r"reports/tables/s.*run `dvc repro -s compare@s`"):
        load_tables(STUDY, paths, "s")


@pytest.mark.parametrize(
    ("table", "pattern", "new"),
    [
        ("claims", r"(?s).*", ""),
        ("claims", "quantity", "kind"),
        ("claims", r"\n(?=up)", "\n<<<<<<< HEAD\n"),
        ("claims", r"\n(?=up)", "\n=======\n"),
        ("claims", r"The arithmetic.*", ""),
        ("claims", r"\n\Z", "\n" + 30 * ","),  # of this pandas says two lines
        ("claims", r"X,By far\.,undecided,", "X,By far.,perhaps,"),
        ("claims", ",supported,", ",perhaps,"),
        ("claims", r",3\.0,", ",three,"),
        ("claims", "3.0,False,[^,]*", "3.0,False,often"),
        ("variants", ",0.95,", ",much,"),
        ("variants", r"(?s)\n.*", "\n"),
        ("variants", r"\nb,", "\n>>>>>>> theirs\nb,"),
        ("published", "val_loss", "loss"),
        ("published", "too few seeds to say\n", "perhaps\n"),
        ("explanations", "val_loss", ""),
    ],
)
def test_a_damaged_table_is_named_with_its_stage(
    tables: StudyTables, paths: Paths, table: str, pattern: str, new: str
) -> None:
    tables.write(paths.tables("s"))
    path = paths.tables("s") / f"{table}.csv"
    text = path.read_text()
    damaged = re.sub(pattern, new, text, count=1)
    assert damaged != text
    path.write_text(damaged)
    sentence = rf"reports/tables/s/{table}\.csv is not whole .*; run `dvc repro -s compare@s`"
    with pytest.raises(ProjectError, match=rf"^.*{sentence}$"):
        load_tables(STUDY, paths, "s")


@pytest.mark.parametrize(
    "row", ["a.jpg,K1,1,<", "a.jpg,K1,1", "=======", "a.jpg,K1,1,2,3,4\na.jpg", ""]
)
def test_a_damaged_table_of_the_convolution_is_named_with_its_stage(paths: Paths, row: str) -> None:
    assert load_edges(paths)["claim_verdict"].tolist() == ["not run yet"]
    paths.edges.parent.mkdir(parents=True)
    head = "photograph,kernel,flattest,steepest\n"
    paths.edges.write_text(f"{head}a.jpg,K1,1,2\n")
    assert load_edges(paths)["claim_verdict"].tolist() == ["supported"]
    for text in (head + row, row):
        paths.edges.write_text(text)
        with pytest.raises(
            ProjectError, match=r"convolution\.csv .*run `dvc repro -s convolution`"
        ):
            load_edges(paths)


def test_a_variant_differs_in_what_its_protocol_does_not_say(real_params: Params) -> None:
    recipe, differences = recipe_and_differences(
        real_params, real_params.study("r2-regularisation")
    )
    assert (recipe["dataset"], recipe["batch_size"]) == ("fashion-mnist", 100)
    assert differences["r2-1conv-none"] == {}
    assert differences["r2-1conv-l2"] == {"l2": 0.01, "l2_on": ["conv"]}
    recipe, differences = recipe_and_differences(real_params, real_params.study("r3-cifar10"))
    assert recipe["dataset"] == "cifar10"
    assert differences["r3-cifar10-base"] == {}
    assert differences["r3-cifar10-on-mnist"] == {"dataset": "mnist", "augmentation": None}


def test_of_a_protocol_only_what_is_on_is_shown(real_params: Params) -> None:
    recipe, _ = recipe_and_differences(real_params, real_params.study("r4-l1"))
    off = {"l2", "l2_on", "batch_norm", "augmentation", "seeds"}
    assert off <= set(recipe)
    assert {"l1", "l1_on", "epochs"} <= set(in_use(recipe)) <= set(recipe) - off


def test_variants_stand_by_the_only_key_that_they_set(real_params: Params) -> None:
    study = real_params.study("r4-l1")
    recipe, differences = recipe_and_differences(real_params, study)
    along = variants_along("l1", study, differences, recipe)
    assert list(along) == [0, 0.0001, 0.001, 0.01, 0.1, 1, 10]
    assert (along[0], along[0.0001], along[10]) == ("r4-l1-0", "r4-base", "r4-l1-10")


def test_the_choices_are_told_with_whose_claims_these_are(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    text = choices_text(study)
    assert text.startswith("The claims are those of report R2, if nothing else is said.")
    assert all(f"\n- {choice}" in text for choice in study.choices)
    assert choices_text(study.model_copy(update={"source": "", "choices": []})) == ""


def test_verdicts_are_counted_in_a_given_order() -> None:
    verdicts = ["b", "a on this seed", "b"]
    assert tally_text(verdicts, "abc") == "1 a, 2 b (1 of them on one seed)"
    assert tally_text(verdicts, "abc", "claim") == "3 claims: 1 a, 2 b (1 of them on one seed)"
    assert tally_text(["b"], "abc", "claim") == "1 claim: 1 b"


def test_why_runs_differ_is_told_where_they_do(real_params: Params) -> None:
    study = real_params.study("r2-regularisation")
    empty = study_tables(Evidence(study, {}))
    row: dict[str, Any] = dict.fromkeys(PUBLISHED_COLUMNS)
    row |= {"variant": "a", "label": "A", "metric": "val_loss", "collapsed": 0, "seeds": 3}
    for run, told in ((OUTSIDE, True), (TOO_FEW, True), (WITHIN, False)):
        published = pd.DataFrame([row | {"published": 0.5, "run": run}] * 2)
        text = published_text(study, replace(empty, published=published))
        assert text.startswith(f"**Of 1 published run: 1 {run}.**\n\n| variant |")
        assert (study.reasons[0] in text) == told
    none = study.model_copy(update={"published": {}})
    assert published_text(none, study_tables(Evidence(none, {}))) == ""
