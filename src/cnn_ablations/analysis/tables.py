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

from cnn_ablations.analysis.claims import ClaimResult
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import PublishedFigure
from cnn_ablations.analysis.wording import METRICS, curve_name, measure, number, points, said_by
from cnn_ablations.config.studies import Study, Test
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
    for name, label in evidence.study.labels.items():
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
            bounds: tuple[float | None, ...] = (None, None)
            if name in evidence.results and split in evidence.results[name].labels:
                bounds = evidence.interval(name, split)
            if split != "train":
                row[f"{split}_low"], row[f"{split}_high"] = bounds
        rows.append(row | {"test_macro_f1": metrics.get("test_macro_f1")})
    return pd.DataFrame(rows)


def published_table(study: Study, figures: Iterable[PublishedFigure]) -> pd.DataFrame:
    """One row a published figure, with ours beside it."""
    rows = [
        {"label": study.labels[f.variant], "difference": f.difference, **vars(f)} for f in figures
    ]
    return pd.DataFrame(rows, columns=PUBLISHED_COLUMNS)


PUBLISHED_COLUMNS = ["variant", "label", "metric", "published", "reproduced", "difference"]
PUBLISHED_COLUMNS += ["low", "high", "seeds", "collapsed", "verdict", "run"]


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
            "claim_summary": result.summary,
            "claim_sentence": result.sentence,
            "claim_p": result.p,
            "claim_outlook": result.outlook,
        }
        for place, judgement in enumerate(result.judgements, 1):
            test = judgement.test
            row = (
                claim
                | vars(judgement)
                | {
                    "test": place,
                    "quantity": test.quantity,
                    "of": " ".join(test.of),
                    "than": " ".join(test.than) if isinstance(test.than, list) else "",
                    "settings": as_yaml(_settings(test)),
                }
            )
            row |= zip(("low", "high"), judgement.interval or (), strict=False)
            row |= zip(("beats", "beats_low", "beats_high"), judgement.beats or (), strict=False)
            rows.append(row)
        if not result.judgements:
            rows.append(claim)
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def _settings(test: Test) -> dict[str, Any]:
    named = {"quantity", "of", "along", *({"than"} if isinstance(test.than, list) else ())}
    return {k: v for k, v in test.model_dump(exclude=named, exclude_none=True).items() if v != []}


CLAIM_COLUMNS = ["claim", "statement", "source", "remark", "claim_verdict", "claim_summary"]
CLAIM_COLUMNS += ["claim_sentence", "claim_p", "claim_outlook", "test", "quantity", "of", "than"]
CLAIM_COLUMNS += ["settings", "verdict", "value", "unit", "low", "high", "p_for", "p_against"]
CLAIM_COLUMNS += ["seeds", "paired", "beats", "beats_low", "beats_high", "outlook", "sentence"]


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Keys and values on one line, as params.yaml would have them."""
    yaml: Any = YAML(typ="safe")
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = True, False, 10_000
    flow = io.StringIO()
    yaml.dump(dict(settings), flow)
    return flow.getvalue().strip().removeprefix("{").removesuffix("}")


def variants_markdown(table: pd.DataFrame) -> str:
    """Accuracies in per cent: the median over seeds and, in brackets, a 95 % interval."""
    shown: dict[str, Iterable[str]] = {
        "variant": table["label"],
        "differs in": _texts(table["differences"], lambda text: f"`{text}`" if text else ABSENT),
        "parameters": _texts(table["parameters"], lambda n: f"{n:,.0f}"),
        "million operations an image": _texts(table["flops"], lambda n: f"{n / 1e6:.2f}"),
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
    shown["seeds"] = [
        ABSENT if pd.isna(n) else f"{n:.0f}{f', {gone:.0f} collapsed' if gone else ''}"
        for n, gone in zip(table["seeds"], table["collapsed_seeds"], strict=True)
    ]
    return _markdown(shown, left=2)


def published_markdown(table: pd.DataFrame) -> str:
    """Accuracies in per cent, losses in nats. A run's verdict stands beside its first figure."""
    rows = table.to_dict("records")
    first = ~table["variant"].duplicated()
    shown = _markdown(
        {
            "variant": table["label"].where(first, ""),
            "the run": table["run"].where(first, ""),
            "figure": [METRICS[row["metric"]] for row in rows],
            "published": [_measure(row, "published") for row in rows],
            "ours": [_measure(row, "reproduced") + _mark(row) for row in rows],
            "difference": [_measure(row, "difference", sign=True) for row in rows],
            "one more run of ours": [_interval(row, _measure) for row in rows],
            "collapsed": [
                f"{row['collapsed']} of {row['seeds']}" if row["seeds"] else ABSENT for row in rows
            ],
        },
        left=3,
    )
    return f"{shown}\n\n{MARK_NOTE}" if any(map(_mark, rows)) else shown


def claims_markdown(table: pd.DataFrame) -> str:
    """One row a claim: its verdict, its statement, and one sentence."""
    claims = table.drop_duplicates("claim")
    sources = claims["source"].astype(object).fillna("")
    return _markdown(
        {
            "verdict": [f"**{verdict}**" for verdict in claims["claim_verdict"]],
            "claim": [
                f"{statement} ({said_by(source)}.)" if source else statement
                for statement, source in zip(claims["statement"], sources, strict=True)
            ],
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
            "claim": tests["claim"].where(~tests["claim"].duplicated(), ""),
            "test": [_test(row) for row in rows],
            "verdict": tests["verdict"],
            "effect": [measure(row["value"], row["unit"]) for row in rows],
            "interval": [
                _interval(row, lambda row, end: number(row[end], row["unit"])) for row in rows
            ],
            # Without an interval, nothing was left to chance.
            "p (it holds)": _texts(tests["p_for"].where(tests["low"].notna()), _p),
            "p (it fails)": _texts(tests["p_against"].where(tests["low"].notna()), _p),
            "seeds": [
                ABSENT
                if pd.isna(row["seeds"])
                else f"{row['seeds']:.0f}{' paired' * row['paired']}"
                for row in rows
            ],
            "one run beats one": [
                ABSENT
                if pd.isna(row["beats"])
                else "{:.0f} % ({:.0f} to {:.0f})".format(
                    *(100 * row[key] for key in ("beats", "beats_low", "beats_high"))
                )
                for row in rows
            ],
        },
        left=3,
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


def _interval(row: Mapping[Any, Any], text: Callable[[Mapping[Any, Any], str], str]) -> str:
    return ABSENT if pd.isna(row["low"]) else f"{text(row, 'low')} to {text(row, 'high')}"


def _measure(row: Mapping[Any, Any], key: str, *, sign: bool = False) -> str:
    value, plus = row[key], "+" if sign else ""
    if pd.isna(value):
        return ABSENT
    scaled, digits = (100 * value, 2) if row["metric"].endswith("accuracy") else (value, 4)
    return f"{scaled:{plus}z.{digits}f}".replace("-", "−")


def _test(row: Mapping[Any, Any]) -> str:
    than, settings = (row[key] if isinstance(row[key], str) else "" for key in ("than", "settings"))
    quantity = METRICS.get(row["quantity"], row["quantity"].replace("_", " "))
    if "epoch:" in settings or "after:" in settings:
        quantity = curve_name(row["quantity"])
    return f"{quantity}: {row['of']}{than and f' against {than}'}{settings and f', `{settings}`'}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
