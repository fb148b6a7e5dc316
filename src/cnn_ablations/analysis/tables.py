"""The tables of a study: all numbers as data frames for CSV, the same as Markdown for people.

The Markdown is made from what the CSV holds, so a table read back looks as it did at first.
"""

import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.claims import ClaimResult
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import PublishedFigure
from cnn_ablations.analysis.wording import METRICS, curve_name, measure, points, said_by
from cnn_ablations.config.studies import Study
from cnn_ablations.files import write_atomically

ABSENT = "–"
MARK = "†"
MARK_NOTE = (
    f"{MARK} The median is that of all seeds, so that many collapsed ones draw it out of the "
    "interval, which is that of the seeds that learned, as every published network had."
)


def variants_table(
    evidence: Evidence, differences: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row a variant: how it differs, what it costs, its accuracies with 95 % intervals.

    Args:
        evidence: the study and its results; of a study not run yet, those columns are empty.
        differences: by variant, the keys that it sets otherwise than its protocol.
    """
    rows = []
    for name, label in evidence.study.variants.items():
        row: dict[str, Any] = {
            "variant": name,
            "label": label,
            "differences": as_yaml(differences.get(name, {})),
        }
        metrics = evidence.results[name].metrics if name in evidence.results else {}
        for key in ("parameters", "non_trainable_parameters", "flops", "seeds", "collapsed_seeds"):
            row[key] = metrics.get(key)
        for split in ("train", "val", "test"):
            row[f"{split}_accuracy"] = metrics.get(f"{split}_accuracy")
            if split != "train":
                row[f"{split}_low"], row[f"{split}_high"] = accuracy_interval(evidence, name, split)
        rows.append(row | {"test_macro_f1": metrics.get("test_macro_f1")})
    return pd.DataFrame(rows)


def accuracy_interval(
    evidence: Evidence, variant: str, split: str
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the median accuracy; None where the variant has no such split."""
    if (variant, split) not in evidence.draws:
        return None, None
    estimate = statistics.contrast([evidence.accuracy(variant, f"{split}_accuracy")])
    return statistics.within_0_and_1(statistics.interval(estimate))


def published_table(study: Study, figures: Iterable[PublishedFigure]) -> pd.DataFrame:
    """One row a published figure, with ours beside it."""
    columns = ["variant", "label", "metric", "published", "reproduced", "difference"]
    columns += ["low", "high", "seeds", "collapsed", "within_seed_noise"]
    rows = [
        {"label": study.variants[f.variant], "difference": f.difference, **vars(f)} for f in figures
    ]
    return pd.DataFrame(rows, columns=columns)


def claims_table(claims: Iterable[ClaimResult]) -> pd.DataFrame:
    """One row a test, with its claim's verdict; a single row where a claim was not tested yet."""
    rows = []
    for result in claims:
        claim: dict[str, Any] = {
            "claim": result.name,
            "statement": result.claim.statement,
            "source": result.claim.source,
            "remark": result.claim.remark,
            "claim_verdict": result.verdict,
            "claim_sentence": result.sentence,
        }
        for number, judgement in enumerate(result.judgements, 1):
            test, finding = judgement.test, judgement.finding
            low, high = finding.interval or (None, None)
            rows.append(
                claim
                | {
                    "test": number,
                    "kind": test.kind,
                    "metric": getattr(test, "metric", ""),
                    "variants": " ".join(test.variants),
                    "than": " ".join(getattr(test, "than", [])),
                    "settings": as_yaml(test.model_dump(exclude=_COMMON, exclude_none=True)),
                    "verdict": judgement.verdict,
                    "effect": finding.effect,
                    "unit": finding.unit,
                    "low": low,
                    "high": high,
                    "p": finding.p,
                    "p_holm": judgement.p_holm,
                    "seeds": judgement.seeds,
                    "seeds_to_decide": judgement.seeds_to_decide,
                    "sentence": judgement.sentence,
                }
            )
        if not result.judgements:
            rows.append(claim)
    return pd.DataFrame(rows, columns=_CLAIM_COLUMNS)


_COMMON = {"kind", "metric", "variants", "than"}
_CLAIM_COLUMNS = ["claim", "statement", "source", "remark", "claim_verdict", "claim_sentence"]
_CLAIM_COLUMNS += ["test", "kind", "metric", "variants", "than", "settings", "verdict"]
_CLAIM_COLUMNS += ["effect", "unit"]
_CLAIM_COLUMNS += ["low", "high", "p", "p_holm", "seeds", "seeds_to_decide", "sentence"]


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Keys and values on one line, as params.yaml would have them."""
    yaml: Any = YAML(typ="safe")
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = True, False, 10_000
    flow = io.StringIO()
    yaml.dump(dict(settings), flow)
    return flow.getvalue().strip().removeprefix("{").removesuffix("}")


def variants_markdown(table: pd.DataFrame) -> str:
    """Accuracies in per cent: the median over seeds and, in brackets, its 95 % interval."""
    shown: dict[str, Iterable[str]] = {
        "variant": table["label"],
        "differs in": _texts(table["differences"], lambda text: f"`{text}`" if text else ABSENT),
        "parameters": _texts(table["parameters"], lambda n: f"{n:,.0f}"),
        "MFLOPs": _texts(table["flops"], lambda n: f"{n / 1e6:.2f}"),
        "training %": _texts(table["train_accuracy"], points),
    }
    for split, name in (("val", "validation %"), ("test", "test %")):
        if table[f"{split}_accuracy"].notna().any():
            shown[name] = [
                ABSENT if pd.isna(median) else f"{points(median)} ({points(low)} to {points(high)})"
                for median, low, high in zip(
                    table[f"{split}_accuracy"],
                    table[f"{split}_low"],
                    table[f"{split}_high"],
                    strict=True,
                )
            ]
    shown["seeds"] = _texts(table["seeds"], lambda n: f"{n:.0f}")
    shown["collapsed"] = _texts(table["collapsed_seeds"], lambda n: f"{n:.0f}")
    return _markdown(shown, left=2)


def published_markdown(table: pd.DataFrame) -> str:
    """Accuracies in per cent, losses in nats."""
    rows = table.to_dict("records")
    shown = _markdown(
        {
            "variant": table["label"],
            "figure": [METRICS[row["metric"]] for row in rows],
            "published": [_measure(row, "published") for row in rows],
            "ours": [_measure(row, "reproduced") + _mark(row) for row in rows],
            "difference": [_measure(row, "difference", sign=True) for row in rows],
            "one more run of ours": [
                ABSENT
                if pd.isna(row["low"])
                else f"{_measure(row, 'low')} to {_measure(row, 'high')}"
                for row in rows
            ],
            "collapsed": [
                f"{row['collapsed']} of {row['seeds']}" if row["seeds"] else ABSENT for row in rows
            ],
            "within seed noise": table["within_seed_noise"],
        },
        left=2,
    )
    return f"{shown}\n\n{MARK_NOTE}" if any(map(_mark, rows)) else shown


def claims_markdown(table: pd.DataFrame) -> str:
    """One row a claim: its statement, its verdict, and one sentence."""
    claims = table.drop_duplicates("claim")
    return _markdown(
        {
            "claim": [
                f"{statement} ({said_by(source)}.)" if source else statement
                for statement, source in zip(
                    claims["statement"], claims["source"].astype(object).fillna(""), strict=True
                )
            ],
            "verdict": [f"**{verdict}**" for verdict in claims["claim_verdict"]],
            "what the data say": claims["claim_sentence"],
        },
        left=3,
    )


def judgements_markdown(table: pd.DataFrame) -> str:
    """One row a test, with its numbers."""
    tests = table[table["test"].notna()]
    rows = tests.to_dict("records")
    return _markdown(
        {
            "claim": tests["claim"],
            "test": [_test(row) for row in rows],
            "effect": [measure(row["effect"], row["unit"]) for row in rows],
            "95 % interval": [
                ABSENT
                if pd.isna(row["low"])
                else f"{measure(row['low'], row['unit'])} to {measure(row['high'], row['unit'])}"
                for row in rows
            ],
            "p": _texts(tests["p"], _p),
            "p, Holm": _texts(tests["p_holm"], _p),
            "seeds": _texts(tests["seeds"], lambda n: f"{n:.0f}"),
            "verdict": tests["verdict"],
        },
        left=2,
    )


def write_table(folder: Path, name: str, table: pd.DataFrame, markdown: str) -> None:
    """Write `<name>.csv` and `<name>.md`.

    Raises ProjectError where the folder cannot be written.
    """
    # All digits: what is read back is to be rounded as the same number in a sentence was.
    write_atomically(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_atomically(folder / f"{name}.md", f"{markdown}\n".encode())


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """What `write_table` wrote. Raises FileNotFoundError."""
    # Only an empty cell is missing: a variant may be labelled "None".
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


def _markdown(columns: Mapping[str, Iterable[str]], left: int) -> str:
    """A Markdown table of texts, the first `left` columns to the left, the others to the right."""
    # Not pandas's to_markdown: it pads, so that one longer cell changes every line of a diff.
    rows = list(zip(*columns.values(), strict=True))
    if not rows:
        return ""
    rule = [":--"] * left + ["--:"] * (len(columns) - left)
    lines = [columns, rule, *([_cell(cell, i >= left) for i, cell in enumerate(r)] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(content: object, is_number: bool) -> str:
    """A cell's text; where it is a number, an interval or a p value stays on one line."""
    text = str(content).replace("|", "\\|")
    return re.sub(r" (?=to )|(?<=to) |(?<=[<×]) ", "\u00a0", text) if is_number else text


def _texts(values: pd.Series, text: Callable[[Any], str]) -> list[str]:
    return [ABSENT if pd.isna(value) else text(value) for value in values]


def _mark(row: Mapping[Any, Any]) -> str:
    """What is put behind a median that lies outside of its interval."""
    if pd.isna(row["low"]) or pd.isna(row["reproduced"]):
        return ""
    return "" if row["low"] <= row["reproduced"] <= row["high"] or not row["collapsed"] else MARK


def _measure(row: Mapping[Any, Any], key: str, *, sign: bool = False) -> str:
    value, plus = row[key], "+" if sign else ""
    if pd.isna(value):
        return ABSENT
    scaled, digits = (100 * value, 2) if row["metric"].endswith("accuracy") else (value, 4)
    return f"{scaled:{plus}z.{digits}f}".replace("-", "−")


def _test(row: Mapping[Any, Any]) -> str:
    than, settings = (row[key] if isinstance(row[key], str) else "" for key in ("than", "settings"))
    metric = row["metric"]
    if metric in METRICS:
        metric = curve_name(metric) if "epoch:" in settings else METRICS[metric]
    else:
        metric = ""
    return (
        f"{row['kind'].replace('_', ' ')}: {row['variants']}{than and f' / {than}'}"
        f"{metric and f', {metric}'}{settings and f', `{settings}`'}"
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
