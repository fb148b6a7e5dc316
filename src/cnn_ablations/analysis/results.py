"""What git holds of trained variants, read back: no run folder and no cache is needed."""

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from cnn_ablations.config.datasets import accuracy_misleads
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import read_json, read_limited
from cnn_ablations.paths import Paths

Floats = NDArray[np.float64]

NAMES = ("seeds", "train_label_counts", "train_accuracy", "train_loss", "collapsed")
"""Of the arrays beside labels and predictions."""
LOSSES = ("val_loss", "test_loss", "penalty")
"""Of arrays that are not there in all results: without validation, or of earlier code."""
METRICS_LIMIT = 2**20
"""Bytes, as are those below: two thousand times what there is."""
TABLE_LIMIT = 2**23
"""Of the longest of this project's tables more than a hundred times."""
LINE_LIMIT = 2**16
"""Of a table: pandas takes a column for each comma, and minutes for millions of them."""
PREDICTIONS_LIMIT = 2**27
"""Once decompressed: ten thousand seeds of ten thousand images."""
TABLES = {
    "curves": ["seed", "epoch"],
    "weights": [
        *("seed", "layer", "kind", "count", "q01", "q25", "median", "q75", "q99"),
        *("near_zero", "min", "max", "histogram"),
    ],
    "features": ["seed", "layer", "detail"],
}
"""The columns that each table must have; others may stand beside them."""
_KEYS = {"seed": int, "epoch": int, "layer": str, "kind": str}
"""The columns that say what a row is about, and their types."""
_TYPES = defaultdict(lambda: float, _KEYS | {"count": int, "histogram": str})
T = TypeVar("T")
Count = Annotated[int, Field(ge=0, le=10**18)]
Number = Count | FiniteFloat | None
MainAccuracy = Literal["test", "test_balanced"]


class _Metrics(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, Number]
    test_accuracy: Number
    test_loss: Number
    parameters: Count
    flops: Count


class _Details(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, Number]
    train_loss: Number
    val_loss: Number


@dataclass(frozen=True)
class VariantResult:
    """All seeds of one trained variant."""

    name: str
    metrics: dict[str, Number]
    """Those that git holds as metrics, and the details beside them."""
    curves: pd.DataFrame
    """One row per seed and epoch."""
    weights: pd.DataFrame
    """One row per seed, layer and kind (weights or biases)."""
    features: pd.DataFrame
    """One row per seed and convolution."""
    seeds: NDArray[np.int64]
    """(seeds,)."""
    labels: dict[str, NDArray[np.unsignedinteger[Any]]]
    """The true classes (examples,) of `test` and, where there is one, `val`."""
    predicted: dict[str, NDArray[np.unsignedinteger[Any]]]
    """The predicted classes (seeds, examples) of the same splits."""
    train_label_counts: NDArray[np.int64]
    """How many training images each class has, (classes,)."""
    train_accuracy: Floats
    """(seeds,), evaluated after training, as is the loss."""
    train_loss: Floats
    losses: dict[str, Floats]
    """(seeds,), of `LOSSES` those that are there."""
    collapsed: NDArray[np.bool_]
    """(seeds,), whether the network stayed at chance."""

    def correct(self, split: str) -> NDArray[np.bool_]:
        """Which answers are right, (seeds, examples).

        Raises ProjectError where the variant was trained without this split.
        """
        if split not in self.predicted:
            raise ProjectError(
                f"variant '{self.name}' has no {split} split; take it out of the study's tests "
                f"and figures that are about {split}_accuracy"
            )
        right: NDArray[np.bool_] = self.predicted[split] == self.labels[split]
        return right

    @property
    def main_accuracy(self) -> MainAccuracy:
        """Which accuracy on the test images comes first: `test_balanced` where classes are so
        unequal that plain accuracy misleads.
        """
        counts = np.bincount(self.labels["test"])
        return "test_balanced" if accuracy_misleads(counts) else "test"

    @property
    def typical_seed(self) -> int:
        """The seed in the middle when all are ordered by their main accuracy; of two the better.

        A median, unlike a mean, is the result of a network that exists, also where some seeds
        collapsed; and nobody can pick a fine one by hand.
        """
        order = np.argsort(self.per_seed(f"{self.main_accuracy}_accuracy"), kind="stable")
        return int(self.seeds[order[len(order) // 2]])

    def histograms(self, seed: int) -> dict[str, tuple[Floats, Floats]]:
        """Of the weights (without biases) of one network by layer: counts (bins,) and the edges
        of the bins (bins + 1,).
        """
        weights = self.weights[(self.weights["seed"] == seed) & (self.weights["kind"] == "weights")]
        histograms = {}
        for row in weights.to_dict("records"):
            counts = np.array(row["histogram"].split(), dtype=np.float64)
            edges = np.linspace(row["min"], row["max"], len(counts) + 1)
            histograms[str(row["layer"])] = (counts, edges)
        return histograms

    def per_seed(self, metric: str) -> Floats:
        """An accuracy or loss after training (or Keras's running average in the last epoch) of
        each seed, (seeds,); of `majority_*` the same for all: what always answering with the most
        common class gives.

        Raises ProjectError where the variant did not record it.
        """
        if metric in ("train_accuracy", "train_loss"):
            values: Floats = getattr(self, metric)
        elif metric in ("val_accuracy", "test_accuracy"):
            values = self.correct(metric.removesuffix("_accuracy")).mean(axis=1)
        elif metric == "test_balanced_accuracy":
            values = balanced_accuracy(self.labels["test"], self.predicted["test"])
        elif metric.startswith("majority_"):
            counts = self._label_counts(metric.removeprefix("majority_").removesuffix("_accuracy"))
            values = np.full(len(self.seeds), counts.max() / counts.sum())
        elif metric == "train_val_accuracy":
            images, val = int(self.train_label_counts.sum()), self.correct("val")
            right = self.train_accuracy * images + val.sum(axis=1)
            values = right / (images + val.shape[1])
        elif metric in self.losses:
            values = self.losses[metric]
        elif metric in self.curves:
            last = self.curves.groupby("seed")[metric].last()
            values = last.reindex(self.seeds).to_numpy(dtype=np.float64)
        else:
            raise ProjectError(
                f"variant '{self.name}' recorded no {metric}; take it out of the study's published "
                "figures or evaluate that split after each epoch"
            )
        return values

    def _label_counts(self, split: str) -> NDArray[np.int64]:
        """How many images of `val`, `test` or `train_val` each class has, (classes,)."""
        self.correct(split.removeprefix("train_"))  # raises where there is no such split
        labels = self.labels[split.removeprefix("train_")]
        counts = np.bincount(labels, minlength=len(self.train_label_counts))
        return counts + self.train_label_counts if split == "train_val" else counts


def balanced_accuracy(labels: NDArray[Any], predicted: NDArray[Any]) -> Floats:
    """The mean of the recalls of the classes that have images.

    Args:
        labels: (examples,).
        predicted: (..., examples).

    Returns:
        (...,), such as one for each seed.
    """
    right = predicted == labels
    recalls = [right[..., labels == label].mean(axis=-1) for label in np.unique(labels)]
    return np.asarray(np.mean(recalls, axis=0))


def load_results(paths: Paths, group: str, variants: Iterable[str]) -> dict[str, VariantResult]:
    """The results of the variants of a study; none at all where one of them was not trained yet:
    a study is compared when it is whole.

    Raises ProjectError, naming the stage that makes it, where a file is missing or damaged.
    """
    names = list(variants)
    if not all(paths.metrics(group, name).is_file() for name in names):
        return {}
    return {name: load_result(paths, group, name) for name in names}


def load_result(paths: Paths, group: str, variant: str) -> VariantResult:
    """The result of one variant.

    Raises ProjectError, naming the stage that makes it, where a file is missing or damaged.
    """

    def read(path: Path, parse: Callable[[Path], T]) -> T:
        again = f"run `dvc repro train@{variant}` (or `git restore {path.relative_to(paths.root)}`)"
        try:
            return parse(path)
        except FileNotFoundError:
            raise ProjectError(f"{path} is missing; {again}") from None
        except Exception as error:  # a damaged archive or header is met in many ways
            why = " ".join(str(error).split())[:300]
            raise ProjectError(f"{path} cannot be read ({why}); {again}") from None

    arrays = read(paths.predictions(group, variant), _arrays)
    metrics = read(paths.metrics(group, variant), partial(_numbers, form=_Metrics))
    if "train_loss" not in metrics:  # as it is in results from before there were details
        metrics |= read(paths.details(group, variant), partial(_numbers, form=_Details))
    tables: dict[str, Any] = {
        kind: read(
            getattr(paths, kind)(group, variant),
            partial(_table, columns=columns, seeds=arrays["seeds"]),
        )
        for kind, columns in TABLES.items()
    }
    return VariantResult(name=variant, metrics=metrics, **tables, **arrays)


def _numbers(path: Path, form: type[BaseModel]) -> dict[str, Number]:
    return read_json(path, METRICS_LIMIT, TypeAdapter(form)).model_dump()


def _table(path: Path, columns: Iterable[str], seeds: NDArray[np.int64]) -> pd.DataFrame:
    content = read_limited(path, TABLE_LIMIT)
    if max(map(len, content.splitlines()), default=0) > LINE_LIMIT:
        raise ValueError(f"it has a line of more than {LINE_LIMIT:,} bytes")
    table = pd.read_csv(io.BytesIO(content), dtype=_TYPES)
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"it has no column {missing[0]!r}")
    keys = [name for name in columns if name in _KEYS]
    if table.duplicated(keys).any() or table[keys].isna().any(axis=None):
        raise ValueError(f"it must have one row for each {' and '.join(keys)}")
    if len(table) and {*table["seed"]} != {*seeds}:
        raise ValueError(f"it is not of the seeds {', '.join(map(str, seeds))}")
    if "histogram" in table and not table["histogram"].str.fullmatch(r"\d+( \d+)*", na=False).all():
        raise ValueError("its column 'histogram' must hold numbers and spaces")
    return table


def _arrays(path: Path) -> dict[str, Any]:
    content = io.BytesIO(read_limited(path, PREDICTIONS_LIMIT))
    with zipfile.ZipFile(content) as members:
        size = sum(member.file_size for member in members.infolist())
    if size > PREDICTIONS_LIMIT:
        raise ValueError(f"it would grow to {size:,} bytes")
    with np.load(content, allow_pickle=False) as file:
        splits = ["val", "test"] if "val_labels" in file else ["test"]
        of_splits = [f"{split}_{kind}" for split in splits for kind in ("labels", "predicted")]
        losses = [name for name in LOSSES if name in file]
        if unknown := {*file.files} - {*NAMES, *losses, *of_splits}:
            raise ValueError(f"it has {sorted(unknown)[0]!r} besides")
        arrays = {name: file[name] for name in (*NAMES, *losses, *of_splits)}
    seeds = arrays["seeds"].shape
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "seeds": ("i", np.unique(arrays["seeds"]).shape),
        "train_label_counts": ("i", (arrays["train_label_counts"].size,)),
        "train_accuracy": ("f", seeds),
        "train_loss": ("f", seeds),
        "collapsed": ("b", seeds),
    }
    forms |= dict.fromkeys(losses, ("f", seeds))
    for split in splits:
        examples = (arrays[f"{split}_labels"].size,)
        forms |= {f"{split}_labels": ("u", examples), f"{split}_predicted": ("u", seeds + examples)}
    for name, (kind, shape) in forms.items():
        array = arrays[name]
        if array.dtype.kind != kind or array.shape != shape or not array.size:
            raise ValueError(f"{name} is an array {array.shape} of {array.dtype}")
    return {
        "labels": {split: arrays[f"{split}_labels"] for split in splits},
        "predicted": {split: arrays[f"{split}_predicted"] for split in splits},
        "losses": {name: arrays[name] for name in losses},
    } | {name: arrays[name] for name in NAMES}
