"""What the pages show, compiled from params.yaml, the studies and the results that git holds."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from cnn_ablations.analysis.claims import ON_THIS_SEED, VERDICTS
from cnn_ablations.analysis.evidence import interval, measured
from cnn_ablations.analysis.published import RUN_VERDICTS
from cnn_ablations.analysis.results import VariantResult, load_result
from cnn_ablations.analysis.study import (
    StudyTables,
    as_yaml,
    in_use,
    load_tables,
    recipe_and_differences,
    tally,
)
from cnn_ablations.analysis.wording import METRICS
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.config.variants import Variant
from cnn_ablations.paths import Paths

DRAWN = ("accuracy-test", "curves", "published")
"""Figures of a study that its page draws anew, as a chart."""
CAPTIONS = {
    "accuracy-val": "Validation accuracy after training: marks are seeds.",
    "along": "Accuracy against one factor, for the variants that differ in nothing else: every "
    "seed faint, the medians connected.",
    "cost": "Median {metric} against arithmetic: to the left is cheap, up is good.",
    "weights": "The weights of each layer with and without the penalty, in the network that is in "
    "the middle by {metric}. The vertical axis is logarithmic.",
}
"""Of a study's other figures, by how their names begin."""


@dataclass(frozen=True)
class Claim:
    """A statement, its verdict (one of `VERDICTS`), and what was found."""

    statement: str
    verdict: str
    summary: str
    one_seed: bool
    """Whether the verdict is about a single network, and another seed may turn it round."""


@dataclass(frozen=True)
class Row:
    """A variant in the table of all, its accuracies as fractions."""

    name: str
    label: str
    group: str
    dataset: str
    factors: tuple[str, ...]
    """The keys that it sets otherwise than its protocol."""
    differences: str
    """The same with their values, as params.yaml has them."""
    studies: tuple[str, ...]
    verdicts: tuple[str, ...]
    """Of the claims that are about it."""
    metric: str = "test accuracy"
    """What `accuracy` is: balanced, where classes are so unequal that the plain one misleads."""
    accuracy: float | None = None
    """The median; None, as all numbers, where it was not trained yet."""
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...] = ()
    """The accuracy of each."""
    collapsed: tuple[bool, ...] = ()
    """Which of them collapsed."""
    parameters: float | None = None
    flops: float | None = None
    """Of one image."""


@dataclass(frozen=True)
class StudyPage:
    """A study, what was found, and what its page says of it."""

    name: str
    study: Study
    tables: StudyTables
    claims: list[Claim]
    recipe: str
    """The keys of its protocol that are on."""


def trained(params: Params, paths: Paths) -> dict[str, VariantResult]:
    """The results of all variants that were trained.

    Raises ProjectError where one is damaged.
    """
    return {
        name: load_result(paths, variant.group, name)
        for name, variant in params.variants.items()
        if paths.metrics(variant.group, name).is_file()
    }


def study_pages(params: Params, paths: Paths) -> dict[str, StudyPage]:
    """All studies: those that were run before the others, and of these own questions, which follow
    no source, before the rest.

    Raises ProjectError where the tables of one are not whole.
    """
    pages = [_study_page(params, paths, name) for name in params.studies]
    pages.sort(key=lambda page: (not page.tables.was_run, page.study.source != ""))
    return {page.name: page for page in pages}


def _study_page(params: Params, paths: Paths, name: str) -> StudyPage:
    study = params.study(name)
    tables = load_tables(study, paths, name)
    recipe, _ = recipe_and_differences(params, study)
    return StudyPage(
        name=name,
        study=study,
        tables=tables,
        claims=claims_of(tables.claims.drop_duplicates("claim").to_dict("records")),
        recipe=as_yaml(in_use(recipe)),
    )


def claims_of(rows: Iterable[Mapping[Any, Any]]) -> list[Claim]:
    """The claims of rows of `claims_table`."""
    return [
        Claim(
            statement=row["statement"],
            verdict=row["claim_verdict"].removesuffix(ON_THIS_SEED),
            summary=row["claim_summary"],
            one_seed=row["claim_verdict"].endswith(ON_THIS_SEED),
        )
        for row in rows
    ]


def variant_rows(
    params: Params, studies: Mapping[str, StudyPage], results: Mapping[str, VariantResult]
) -> list[Row]:
    """All variants in the order of params.yaml."""
    return [_row(variant, studies, results.get(name)) for name, variant in params.variants.items()]


def rows_of(page: StudyPage, rows: Iterable[Row]) -> list[Row]:
    """The variants of a study, in its order and with its labels."""
    of_name = {row.name: row for row in rows}
    return [replace(of_name[name], label=label) for name, label in page.study.labels.items()]


def claims_about(variant: str, page: StudyPage) -> list[Claim]:
    """Those of a study of which a test names the variant."""
    named = zip(page.study.claims.values(), page.claims, strict=True)
    return [
        claim
        for of_study, claim in named
        if any(variant in test.variants for test in of_study.tests)
    ]


def _row(variant: Variant, studies: Mapping[str, StudyPage], result: VariantResult | None) -> Row:
    name = variant.name
    pages = {study: page for study, page in studies.items() if name in page.study.variants}
    verdicts = [claim.verdict for page in pages.values() for claim in claims_about(name, page)]
    row = Row(
        name=name,
        label=next((page.study.labels[name] for page in pages.values()), name),
        group=variant.group,
        dataset=variant.dataset,
        factors=tuple(variant.differences),
        differences=as_yaml({key: variant.settings[key] for key in variant.differences}),
        studies=tuple(pages),
        verdicts=tuple(tally(verdicts, VERDICTS)),
    )
    if result is None:
        return row
    metric = f"{result.main_accuracy}_accuracy"
    sample = measured(result, metric)
    low, high = interval(sample)
    return replace(
        row,
        metric=METRICS[metric],
        accuracy=number(np.median(sample.values)),
        low=number(low),
        high=number(high),
        seeds=tuple(sample.values.round(6).tolist()),
        collapsed=tuple(sample.collapsed.tolist()),
        parameters=result.metrics["parameters"],
        flops=result.metrics["flops"],
    )


def curves(study: Study, results: Mapping[str, VariantResult]) -> list[dict[str, Any]]:
    """The median accuracy over the seeds after each epoch, by variant and split."""
    splits = {"running_train_accuracy": "training", "val_accuracy": "validation"}
    return [
        {"label": label, "split": split, "epoch": epoch, "value": value}
        for name, label in study.labels.items()
        for key, split in splits.items()
        if name in results and key in results[name].curves
        for epoch, value in results[name].curves.groupby("epoch")[key].median().round(4).items()
    ]


def published_points(tables: StudyTables) -> list[dict[str, Any]]:
    """Published accuracies beside ours, of what was run."""
    return [
        {
            "variant": row["variant"],
            "label": f"{row['label']}: {METRICS[row['metric']]}",
            "verdict": row["verdict"],
            **{k: number(row[k]) for k in ("published", "reproduced", "low", "high")},
        }
        for row in tables.published.to_dict("records")
        if row["metric"].endswith("accuracy")
        and not row["metric"].startswith("majority")
        and number(row["reproduced"]) is not None
        and row["verdict"] in RUN_VERDICTS
    ]


def figures(folder: Path, metric: str) -> list[dict[str, Any]]:
    """The SVG files of a study, with their titles as alternative texts.

    `metric` is what the study's accuracies are.
    """
    captions = {start: text.format(metric=metric) for start, text in CAPTIONS.items()}
    return [
        {
            "file": file,
            "alt": unescape("".join(re.findall("<title>(.*?)</title>", file.read_text("utf-8")))),
            "drawn": file.stem in DRAWN,
            "caption": next(
                (captions[start] for start in captions if file.stem.startswith(start)), ""
            ),
        }
        for file in sorted(folder.glob("*.svg"))
    ]


def rates(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """How often verdicts err in simulated studies, and how often they find what is there, each with
    the 95 % interval that the number of studies leaves.

    Args:
        table: with columns `decision`, `situation`, `measure`, `studies` and `happened`.
    """
    low, high = proportion_confint(table["happened"], table["studies"], method="beta")
    rate = table["happened"] / table["studies"]
    return table.assign(rate=rate, low=low, high=high).round(5).to_dict("records")


def number(value: Any) -> float | None:
    """A finite number, rounded for display; None for what is missing."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
