"""A training repeated, beside what is committed: the same bytes, seed noise, or something else.

Where bytes differ, chance may explain it: another CPU rounds otherwise, and after some epochs that
is as good as another seed. So an accuracy of a repeated seed is within seed noise where it lies
in the prediction interval that Student's t draws from the committed seeds that learned; at 95 % it
holds all of a variant's repeated accuracies at once (Bonferroni; Hahn and Meeker, Statistical
Intervals, 1991, section 4.8). It is widened by one test image, the step in which accuracies move.
A repeated seed may stay at chance only where a committed one did. With fewer than two committed
seeds that learned, the scatter between seeds is unknown, and so is the verdict.

Chance explains values, not form: other labels, layers, columns or parameters are different. Nor
does it explain contradictions: what follows from the committed predictions is counted again. And it
leaves nothing as it was: where the predictions, with the loss to all its digits, are the same,
whatever else differs was not made by the same training.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.analysis.results import LOSSES, VariantResult
from cnn_ablations.analysis.statistics import CONFIDENCE, prediction_interval, within_0_and_1
from cnn_ablations.training.summary import SeedResult, details, metrics

_GRAVITY = ("bit-identical", "within seed noise", "unknown", "different")
IDENTICAL, WITHIN, UNKNOWN, DIFFERENT = _GRAVITY
WIDE = 0.1
"""An interval of accuracies in which much else but noise would fit."""
_COSTS = ("parameters", "non_trainable_parameters", "flops")
_FORM = {*_COSTS, "seeds", "seed", "epoch", "layer", "kind", "count", "height", "width", "source"}
"""What a row is about, what follows from the network alone, and the text of a notebook."""


@dataclass(frozen=True)
class Finding:
    """A verdict on one output or one accuracy, and what it rests on."""

    subject: str
    verdict: str
    detail: str = ""


def worst(findings: Iterable[Finding]) -> str:
    """The gravest of the verdicts; bit-identical where there are none."""
    return max((f.verdict for f in findings), key=_GRAVITY.index, default=IDENTICAL)


def compare_outputs(
    outputs: Mapping[str, tuple[bytes | None, bytes]],
    noise: Iterable[Finding],
    seeds: Sequence[int] | None = None,
) -> list[Finding]:
    """A verdict on each output, from its name and its content as it is committed (None where it is
    not) and as it was made again.

    `noise` is what `compare_accuracies` found. Where only some `seeds` were trained again, the
    tables and arrays that are committed are looked at as if they held no others.
    """
    found = {name: _compared(name, *contents, seeds) for name, contents in outputs.items()}
    moved = any(v != IDENTICAL for name, (v, _) in found.items() if name.endswith(".npz"))
    excuse, but = (worst(noise), "") if moved else (DIFFERENT, ", but the predictions are the same")
    return [
        Finding(name, excuse, detail + but) if verdict == WITHIN else Finding(name, verdict, detail)
        for name, (verdict, detail) in found.items()
    ]


def _compared(
    name: str, committed: bytes | None, repeated: bytes, seeds: Sequence[int] | None
) -> tuple[str, str]:
    """A verdict and its detail: within seed noise where chance may be why."""
    if committed is None:
        return DIFFERENT, "not committed"
    if committed == repeated:
        return IDENTICAL, ""
    differing = size = 0
    try:
        old, new = _columns(name, committed, seeds), _columns(name, repeated)
        if list(old) != list(new):
            return DIFFERENT, f"other {_listed(sorted(old.keys() ^ new.keys())) or 'order'}"
        for key, then in old.items():
            now, form = new[key], key in _FORM or "label" in key
            alike = (then.dtype, then.shape) == (now.dtype, now.shape)
            different = int((_bits(then) != _bits(now)).sum()) if alike else 0
            if not alike or (form and different):
                return DIFFERENT, f"other {key.replace('_', ' ')}"
            differing, size = differing + different, size + then.size * (not form)
    except Exception:  # whatever a parser meets in a file that somebody else has written
        return DIFFERENT, "has another form, or is damaged"
    if not differing and (seeds or name.endswith(".npz")):
        return IDENTICAL, "" if seeds else "the same arrays in other bytes: packed otherwise"
    return WITHIN, f"{differing:,} of {size:,} values differ"


def _columns(
    name: str, content: bytes, seeds: Sequence[int] | None = None
) -> dict[str, NDArray[Any]]:
    """What a file holds, an array a column or key, each with its rows for `seeds` or all."""
    match PurePath(name).suffix:
        case ".npz":
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                columns = dict(file)
        case ".csv":
            table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
            columns = {str(key): table[key].to_numpy(object) for key in table}
        case ".json":
            columns = {k: np.array([v], object) for k, v in json.loads(content).items()}
        case ".ipynb":
            cells = json.loads(content)["cells"]
            columns = {
                "source": np.array(["".join(c.pop("source")) for c in cells]),
                "cells": np.array(cells, object),
            }
        case _:
            columns = {"hash": np.array([content], object)}
    if seeds:
        trained = columns.get("seed", columns.get("seeds"))
        rows = np.isin(np.asarray(trained).astype(str), [str(seed) for seed in seeds])
        columns = {k: a if "label" in k else a[rows] for k, a in columns.items()}
    return columns


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """So that a loss that is not a number, of a training that diverged, is equal to itself."""
    return array if array.dtype == object else array.view(f"V{array.itemsize}")


def compare_accuracies(committed: VariantResult, repeated: VariantResult) -> list[Finding]:
    """Whether seed noise explains the accuracies of the repeated seeds: a verdict on each split,
    and one on seeds that stayed at chance, where some did.
    """
    findings = []
    learned, of = ~repeated.collapsed, len(committed.seeds)
    if not learned.all():
        collapsed = int(committed.collapsed.sum())
        detail = f"seed {_listed(repeated.seeds[~learned])} stayed at chance; {collapsed} of {of}"
        verdict = WITHIN if collapsed else DIFFERENT
        findings.append(Finding("collapsed seeds", verdict, f"{detail} committed seeds did"))
    accuracies = [f"{split}_accuracy" for split in ("train", *committed.labels)]
    confidence = 1 - (1 - CONFIDENCE) / (len(learned) * len(accuracies))
    step = 1 / len(committed.labels["test"])
    for metric in accuracies if learned.any() else []:
        values = repeated.per_seed(metric)[learned]
        known = committed.per_seed(metric)[~committed.collapsed]
        detail = f"{_percent(values.min(), values.max())} repeated"
        if len(known) < 2:
            verdict = UNKNOWN if len(known) else DIFFERENT
            detail += f"; only {len(known)} of {of} committed seeds learned"
        else:
            low, high = prediction_interval(known, confidence)
            low, high = within_0_and_1((low - step, high + step))
            outside = repeated.seeds[learned][(values < low) | (values > high)]
            verdict = DIFFERENT if len(outside) else WITHIN
            detail += f", {_percent(low, high)} expected"
            if len(outside):
                detail += f"; outside: seed {_listed(outside)}"
            elif high - low > WIDE:
                detail += f", so wide that {len(known)} committed seeds tell little"
        findings.append(Finding(metric.replace("_", " "), verdict, detail))
    return findings


def contradictions(result: VariantResult) -> list[Finding]:
    """Where metrics and curves say otherwise than the predictions and each other, which no training
    makes.
    """
    accuracies = [f"{split}_accuracy" for split in ("train", *result.labels)]
    finals = {m: result.per_seed(m) for m in (*accuracies, "train_loss", *result.losses)}
    running = ["running_train_accuracy", "running_train_loss"]
    last = result.curves.groupby("seed").tail(1).set_index("seed")
    last = last.reindex(result.seeds, columns=[*accuracies, *running])
    last = last.apply(pd.to_numeric, errors="coerce")
    seeds = [
        SeedResult(
            seed=seed,
            final={name: values[row] for name, values in finals.items()},
            history=last.iloc[[row]],
            predicted={split: answers[row] for split, answers in result.predicted.items()},
        )
        for row, seed in enumerate(result.seeds)
    ]
    counted = metrics(seeds, result.labels, []) | details(seeds, result.labels, [])
    of_others = {*_COSTS, *LOSSES} - {*result.losses}
    names = [name for name in counted if name in result.metrics and name not in of_others]
    wrong = {
        "metrics": [n for n in names if not _same(result.metrics[n], counted[n])],
        "curves": [n for n in accuracies if n in result.curves and not _same(last[n], finals[n])],
    }
    return [
        Finding(f"{kind} as committed", DIFFERENT, f"{_listed(names)}: not what its answers give")
        for kind, names in wrong.items()
        if names
    ]


def _same(written: Any, counted: Any) -> bool:
    """Whether numbers are those that were counted, but for the digits that were rounded off."""
    if written is None or counted is None:
        return written is counted
    return bool(np.allclose(np.asarray(written, np.float64), counted, rtol=0, atol=1e-5))


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))


def _percent(low: float, high: float) -> str:
    return f"{' to '.join(dict.fromkeys(f'{100 * end:.2f}' for end in (low, high)))} %"
