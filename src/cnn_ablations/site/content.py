"""What the pages show, compiled from params.yaml, the studies and the results that git holds."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from cnn_ablations.analysis.claims import ON_THIS_SEED, VERDICTS
from cnn_ablations.analysis.evidence import main_accuracy, measured
from cnn_ablations.analysis.published import RUN_VERDICTS
from cnn_ablations.analysis.results import MainAccuracy, VariantResult, load_result
from cnn_ablations.analysis.study import (
    StudyTables,
    as_yaml,
    in_use,
    load_tables,
    recipe_and_differences,
)
from cnn_ablations.analysis.wording import METRICS
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.paths import Paths

DRAWN = ("accuracy-test", "curves", "published")
"""Figures of a study that its page draws anew, as a chart."""
CAPTIONS = {
    "accuracy-val": "Validation accuracy after training: marks are seeds.",
    "along": "Accuracy against one factor, for the variants that differ in nothing else: every "
    "seed faint, the medians connected.",
    "cost": "Median test accuracy against arithmetic: to the left is cheap, up is good.",
    "weights": "The weights of each layer with and without the penalty, in the network that is in "
    "the middle by test accuracy. The vertical axis is logarithmic.",
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
    """A variant in the table of all. Accuracies are fractions; None is what is not known."""

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
    low: float | None = None
    high: float | None = None
    parameters: int | None = None
    flops: int | None = None
    """Of one image."""
    seeds: int | None = None
    collapsed: int | None = None
    plain_accuracy: float | None = None
    """Where it is not `accuracy`."""


@dataclass(frozen=True)
class StudyPage:
    """A study with its tables, and what its page draws of its results."""

    name: str
    study: Study
    tables: StudyTables
    claims: list[Claim]
    recipe: str
    """The keys of its protocol that are on."""
    results: dict[str, VariantResult] = field(repr=False)

    @property
    def verdicts(self) -> dict[str, int]:
        return counted((claim.verdict for claim in self.claims), VERDICTS)

    def accuracies(self) -> list[dict[str, Any]]:
        """Test accuracies by variant: every seed, whether it collapsed, median and interval."""
        rows = self.tables.variants.set_index("variant").to_dict("index")
        main = self.tables.main
        return [
            {
                "label": label,
                "metric": METRICS[f"{main}_accuracy"],
                "median": number(rows[name][f"{main}_accuracy"]),
                "low": number(rows[name][f"{main}_low"]),
                "high": number(rows[name][f"{main}_high"]),
                "seeds": measured(self.results[name], f"{main}_accuracy").values.round(6).tolist(),
                "collapsed": self.results[name].collapsed.tolist(),
            }
            for name, label in self.study.labels.items()
            if name in self.results
        ]

    def curves(self) -> list[dict[str, Any]]:
        """The median accuracy over the seeds after each epoch, by variant and split."""
        splits = {"running_train_accuracy": "training", "val_accuracy": "validation"}
        return [
            {"label": self.study.labels[name], "split": split, "epoch": epoch, "value": value}
            for name, result in self.results.items()
            for key, split in splits.items()
            if key in result.curves
            for epoch, value in result.curves.groupby("epoch")[key].median().round(4).items()
        ]


def study_page(params: Params, paths: Paths, name: str) -> StudyPage:
    """Raises ProjectError where its tables or the results of its variants are not whole."""
    study = params.study(name)
    tables = load_tables(study, paths, name)
    rows = tables.claims.drop_duplicates("claim").to_dict("records")
    recipe, _ = recipe_and_differences(params, study)
    group, variants = study.group, study.variants if tables.was_run else ()
    return StudyPage(
        name=name,
        study=study,
        tables=tables,
        claims=claims_of(rows),
        recipe=as_yaml(in_use(recipe)),
        results={variant: load_result(paths, group, variant) for variant in variants},
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


def variant_rows(params: Params, paths: Paths, studies: Mapping[str, StudyPage]) -> list[Row]:
    """All variants in the order of params.yaml."""
    return [_row(name, params, paths, studies) for name in params.variants]


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


def _row(name: str, params: Params, paths: Paths, studies: Mapping[str, StudyPage]) -> Row:
    variant = params.variant(name)
    pages = {study: page for study, page in studies.items() if name in page.study.variants}
    # A study that was run has intervals.
    order = sorted(pages.values(), key=lambda page: not page.tables.was_run)
    numbers: dict[Any, Any] = {}
    main: MainAccuracy = "test"
    if order and order[0].tables.was_run:
        (numbers,) = order[0].tables.variants.query("variant == @name").to_dict("records")
        main = order[0].tables.main
    elif paths.metrics(variant.group, name).is_file():
        result = load_result(paths, variant.group, name)
        numbers, main = {**result.metrics}, main_accuracy([result])
    counts = ("parameters", "flops", "seeds", "collapsed_seeds")
    parameters, flops, seeds, collapsed = (
        None if number(numbers.get(key)) is None else int(numbers[key]) for key in counts
    )
    verdicts = [claim.verdict for page in pages.values() for claim in claims_about(name, page)]
    return Row(
        name=name,
        label=order[0].study.labels[name] if order else name,
        group=variant.group,
        dataset=variant.dataset,
        factors=tuple(variant.differences),
        differences=as_yaml({key: variant.settings[key] for key in variant.differences}),
        studies=tuple(pages),
        verdicts=tuple(counted(verdicts, VERDICTS)),
        metric=METRICS[f"{main}_accuracy"],
        accuracy=number(numbers.get(f"{main}_accuracy")),
        low=number(numbers.get(f"{main}_low")),
        high=number(numbers.get(f"{main}_high")),
        parameters=parameters,
        flops=flops,
        seeds=seeds,
        collapsed=collapsed,
        plain_accuracy=number(numbers.get("test_accuracy")) if main != "test" else None,
    )


def picture(rows: Iterable[Row]) -> dict[str, Any] | None:
    """Accuracies and their intervals on one scale of 200 steps; None where nothing is known."""
    known = [row for row in rows if row.accuracy is not None]
    spans = [
        [row.accuracy if end is None else end for end in (row.low, row.accuracy, row.high)]
        for row in known
    ]
    values = [value for span in spans for value in span if value is not None]
    if not values:
        return None
    low, high = min(values), max(values)

    def place(value: float | None) -> float:
        return round(200 * ((value or 0) - low) / (high - low or 1), 1)

    marks = [
        {"label": row.label, "accuracy": row.accuracy}
        | dict(zip(("left", "at", "right"), map(place, span), strict=True))
        for row, span in zip(known, spans, strict=True)
    ]
    return {"low": low, "high": high, "rows": marks}


def published_points(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Published accuracies beside ours, of what was run, by study."""
    return [
        {
            "study": study,
            "variant": row["variant"],
            "label": f"{row['label']}: {METRICS[row['metric']]}",
            "verdict": row["verdict"],
            **{k: number(row[k]) for k in ("published", "reproduced", "low", "high")},
        }
        for study, table in tables.items()
        for row in table.to_dict("records")
        if row["metric"].endswith("accuracy")
        and not row["metric"].startswith("majority")
        and number(row["reproduced"]) is not None
        and row["verdict"] in RUN_VERDICTS
    ]


def figures(folder: Path) -> list[dict[str, Any]]:
    """The SVG files of a study, with their titles as alternative texts."""
    files = sorted(folder.glob("*.svg"))
    titles = [re.search("<title>(.*?)</title>", file.read_text(encoding="utf-8")) for file in files]
    return [
        {
            "file": file,
            "alt": unescape(title[1]) if title else file.stem,
            "drawn": file.stem in DRAWN,
            "caption": next((t for b, t in CAPTIONS.items() if file.stem.startswith(b)), ""),
        }
        for file, title in zip(files, titles, strict=True)
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


def counted(verdicts: Iterable[str], known: Iterable[str]) -> dict[str, int]:
    """How often each of the known verdicts is there, without those that never are."""
    counts = Counter(verdicts)
    return {verdict: counts[verdict] for verdict in known if counts[verdict]}


def number(value: Any) -> float | None:
    """A finite number, rounded for display; None for what is missing."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
