"""A training repeated, beside what is committed: the same bytes, seed noise, or something else.

Where bytes differ, chance may explain it: another CPU rounds otherwise, and after some epochs that
is as good as another seed. So an accuracy of a repeated seed is within seed noise where it lies
in the prediction interval that Student's t draws from the committed seeds that learned; at 95 % it
holds all of a variant's repeated accuracies at once (Bonferroni; Hahn and Meeker, Statistical
Intervals, 1991, section 4.8). It is widened by one test image, the step in which accuracies move:
seeds that agree to the digit would leave no room at all. A repeated seed may stay at chance only
where a committed one did. With fewer than two committed seeds that learned, the scatter between
seeds is unknown, and so is the verdict.

Chance explains values, not form. Other labels, layers, columns or parameters are different whatever
the accuracies. Nor does it explain contradictions: what follows from the committed predictions is
counted again. (Weights, losses and the epochs before the last do not follow: where bits differ,
accuracies alone vouch for them.) And chance leaves nothing as it was: where the predictions, with
the loss to all its digits, are the same, whatever else differs was not made by the same training.
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

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import CONFIDENCE, prediction_interval, within_0_and_1

IDENTICAL, WITHIN, UNKNOWN, DIFFERENT = (
    "bit-identical",
    "within seed noise",
    "unknown",
    "different",
)
WIDE = 0.1
"""An interval of accuracies in which much else but noise would fit."""
_GRAVITY = (IDENTICAL, WITHIN, UNKNOWN, DIFFERENT)

# What a row of a table is about, and what follows from the network alone.
_FORM_COLUMNS = ("seed", "epoch", "layer", "kind", "count", "height", "width")
_FORM_METRICS = ("parameters", "non_trainable_parameters", "flops", "seeds")
SUMMARIES = (".json", ".ipynb")
"""Outputs made from all seeds together: medians, the executed notebook."""


@dataclass(frozen=True)
class Output:
    """One file (or folder, by its hash) as it is committed and as it was made again."""

    name: str
    committed: bytes | None
    """None where it is missing."""
    repeated: bytes
    size: int
    """How many bytes were made again, also where only their hash is compared."""


@dataclass(frozen=True)
class Agreement:
    """A verdict on one output or one accuracy, and what it rests on."""

    subject: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class _Difference:
    detail: str
    by_chance: bool = True


def worst(agreements: Iterable[Agreement]) -> str:
    """The gravest of the verdicts; bit-identical where there are none."""
    return max((f.verdict for f in agreements), key=_GRAVITY.index, default=IDENTICAL)


def of_seeds(name: str, content: bytes, seeds: Sequence[int]) -> bytes:
    """What the file `name`, which is none of the `SUMMARIES`, would hold if only `seeds` had been
    trained: a table whose first column is `seed`, or arrays with a row for each seed.
    """
    if name.endswith(".npz"):
        arrays = _arrays(content)
        rows = np.flatnonzero(np.isin(arrays["seeds"], seeds))
        chosen = {k: a if _shared(k) else a[rows] for k, a in arrays.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **chosen)  # type: ignore[arg-type]
        return buffer.getvalue()
    header, *lines = content.splitlines(keepends=True)
    wanted = {str(seed).encode() for seed in seeds}
    return header + b"".join(line for line in lines if line.partition(b",")[0] in wanted)


def compare_outputs(outputs: Sequence[Output], noise: Sequence[Agreement]) -> list[Agreement]:
    """A verdict on each output; `noise` is what `compare_accuracies` found."""
    differences = {output.name: _difference(output) for output in outputs}
    same = {output.name for output in outputs if output.committed == output.repeated}
    numbers_differ = any(d for name, d in differences.items() if name.endswith(".npz"))
    agreements = []
    for name, difference in differences.items():
        if difference is None:
            agreement = Agreement(name, IDENTICAL, "" if name in same else "packed otherwise")
        elif not difference.by_chance:
            agreement = Agreement(name, DIFFERENT, difference.detail)
        elif not numbers_differ:
            detail = f"{difference.detail}, although the numbers behind it are the same"
            agreement = Agreement(name, DIFFERENT, detail)
        else:
            agreement = Agreement(name, worst(noise), difference.detail)
        agreements.append(agreement)
    return agreements


def compare_accuracies(committed: VariantResult, repeated: VariantResult) -> list[Agreement]:
    """Whether seed noise explains the accuracies of the repeated seeds: a verdict on each split,
    and one on seeds that stayed at chance, where some did.
    """
    agreements = []
    if repeated.collapsed.any():
        agreements.append(
            Agreement(
                "collapsed seeds",
                WITHIN if committed.collapsed.any() else DIFFERENT,
                f"seed {_listed(repeated.seeds[repeated.collapsed])} stayed at chance; "
                f"{committed.collapsed.sum()} of {len(committed.seeds)} committed seeds did",
            )
        )
    metrics = ["train_accuracy", *(f"{split}_accuracy" for split in committed.labels)]
    learned = ~repeated.collapsed
    if not learned.any():
        return agreements
    confidence = 1 - (1 - CONFIDENCE) / (len(repeated.seeds) * len(metrics))
    step = 1 / len(committed.labels["test"])
    for metric in metrics:
        subject = metric.replace("_", " ")
        values = repeated.per_seed(metric)[learned]
        known = committed.per_seed(metric)[~committed.collapsed]
        found = f"{_percent(values.min(), values.max())} repeated"
        if len(known) < 2:
            verdict = UNKNOWN if len(known) else DIFFERENT
            why = f"only {len(known)} of {len(committed.seeds)} committed seeds learned"
            agreements.append(Agreement(subject, verdict, f"{found}; {why}"))
            continue
        low, high = prediction_interval(known, confidence)
        low, high = within_0_and_1((low - step, high + step))
        outside = repeated.seeds[learned][(values < low) | (values > high)]
        detail = f"{found}, {_percent(low, high)} expected"
        if len(outside):
            detail += f"; outside: seed {_listed(outside)}"
        elif high - low > WIDE:
            detail += f", so wide that {len(known)} committed seeds tell little"
        agreements.append(Agreement(subject, DIFFERENT if len(outside) else WITHIN, detail))
    return agreements


def contradictions(result: VariantResult) -> list[Agreement]:
    """Where metrics and curves say otherwise than the predictions and each other, which no training
    makes.
    """
    from sklearn.metrics import f1_score

    splits = ["train", *result.labels]
    accuracies = {f"{split}_accuracy": result.per_seed(f"{split}_accuracy") for split in splits}
    labels, predicted = result.labels["test"], result.predicted["test"]
    f1 = [f1_score(labels, each, average="macro", zero_division=0) for each in predicted]
    counted = {
        "seeds": len(result.seeds),
        "collapsed_seeds": result.collapsed.sum(),
        "test_macro_f1": np.median(f1),
        **{metric: np.median(values) for metric, values in accuracies.items()},
    }
    if "test_balanced_accuracy" in result.metrics:
        of_class = [(predicted == labels)[:, labels == k].mean(axis=1) for k in np.unique(labels)]
        counted["test_balanced_accuracy"] = np.median(np.mean(of_class, axis=0))
    if len(result.seeds) > 1:
        counted |= {f"{metric}_std": np.std(v, ddof=1) for metric, v in accuracies.items()}
    last = result.curves.groupby("seed").last().reindex(result.seeds)
    of_last_epoch = {
        metric: pd.to_numeric(last[metric], errors="coerce")
        for metric in ("running_train_accuracy", "running_train_loss", "val_loss", "test_loss")
        if metric in last
    }
    others = of_last_epoch | {"train_loss": result.train_loss} | result.losses
    counted |= {m: np.median(values) for m, values in others.items() if np.isfinite(values).all()}
    wrong = {
        "metrics": [m for m, value in counted.items() if not _same(result.metrics.get(m), value)],
        "curves": [m for m, v in accuracies.items() if m in last and not _same(last[m], v)],
    }
    return [
        Agreement(
            f"{kind} as committed",
            DIFFERENT,
            f"{_listed(names)}: not what its predictions give",
        )
        for kind, names in wrong.items()
        if names
    ]


def machine_differences(
    recorded: Iterable[Mapping[str, str]], here: Mapping[str, str]
) -> list[str]:
    """What `here` has otherwise than the recorded circumstances, a phrase each; names and lists of
    words only by the words that differ.
    """
    found = []
    for circumstances in recorded:
        for key, now in here.items():
            then = circumstances.get(key, now)
            old = " ".join(word for word in then.split() if word not in now.split())
            new = " ".join(word for word in now.split() if word not in then.split())
            if old and new:
                found.append(f"{key} {new} (recorded: {old})")
            elif old or new:
                found.append(f"{key} with {new}" if new else f"{key} without {old}")
    return list(dict.fromkeys(found))


def _difference(output: Output) -> _Difference | None:
    """How the two differ; None where they are the same bytes."""
    if output.committed is None:
        return _Difference("missing in this checkout", by_chance=False)
    if output.committed == output.repeated:
        return None
    explain = _EXPLAIN.get(PurePath(output.name).suffix)
    if explain is None:
        return _Difference("other bytes, by their hash")
    try:
        return explain(output.committed, output.repeated)
    except Exception:  # whatever a parser meets in a file that somebody else has written
        return _Difference("has another form, or is damaged", by_chance=False)


def _table_difference(committed: bytes, repeated: bytes) -> _Difference:
    old, new = (
        pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        for content in (committed, repeated)
    )
    if list(old) != list(new):
        return _Difference(f"other columns: {_listed(sorted({*old} ^ {*new}))}", by_chance=False)
    form = [column for column in old if column in _FORM_COLUMNS]
    if not old[form].equals(new[form]):
        return _Difference(f"other rows (by {_listed(form)})", by_chance=False)
    return _Difference(_counted(int((old != new).to_numpy().sum()), old.drop(columns=form).size))


def _arrays_difference(committed: bytes, repeated: bytes) -> _Difference | None:
    old, new = _arrays(committed), _arrays(repeated)
    if list(old) != list(new):
        return _Difference(f"other arrays: {_listed(sorted({*old} ^ {*new}))}", by_chance=False)
    form = {name for name in old if _shared(name) or name == "seeds"}
    for name in old:
        before, after = old[name], new[name]
        if (before.dtype, before.shape) != (after.dtype, after.shape) or (
            name in form and not np.array_equal(before, after)
        ):
            return _Difference(f"other {name.replace('_', ' ')}", by_chance=False)
    values = old.keys() - form
    # NaN, the loss of a training that diverged, is equal to NaN here.
    differing = sum(
        int(((old[k] != new[k]) & ~((old[k] != old[k]) & (new[k] != new[k]))).sum()) for k in values
    )
    if not differing:  # only packed otherwise
        return None
    return _Difference(_counted(differing, sum(old[k].size for k in values)))


def _metrics_difference(committed: bytes, repeated: bytes) -> _Difference:
    old, new = json.loads(committed), json.loads(repeated)
    differing = [key for key in {**old, **new} if key not in old or old[key] != new.get(key)]
    form = [key for key in differing if key in _FORM_METRICS or key not in old or key not in new]
    if form:
        return _Difference(f"other {_listed(form)}", by_chance=False)
    return _Difference(_counted(len(differing), len(old)))


def _notebook_difference(committed: bytes, repeated: bytes) -> _Difference:
    old, new = (json.loads(content)["cells"] for content in (committed, repeated))
    if [cell["source"] for cell in old] != [cell["source"] for cell in new]:
        return _Difference("other text, code or parameters", by_chance=False)
    differing = sum(before != after for before, after in zip(old, new, strict=True))
    return _Difference(f"{differing} of {len(old)} cells differ")


_EXPLAIN = {
    ".csv": _table_difference,
    ".npz": _arrays_difference,
    ".json": _metrics_difference,
    ".ipynb": _notebook_difference,
}


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _shared(array: str) -> bool:
    """Whether an array of the predictions describes the data, not one seed in each row."""
    return "label" in array


def _counted(differing: int, of: int) -> str:
    return f"{differing:,} of {of:,} values differ"


def _same(written: Any, counted: Any) -> bool:
    """Whether accuracies are those that were counted, but for the digits that were rounded off."""
    try:
        return bool(np.allclose(np.asarray(written, np.float64), counted, rtol=0, atol=1e-5))
    except (TypeError, ValueError, OverflowError):  # not numbers, or none that fit
        return False


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))


def _percent(low: float, high: float) -> str:
    ends = dict.fromkeys(f"{100 * end:.2f}" for end in (low, high))
    return f"{' to '.join(ends)} %"
