"""From the results of a variant's seeds to what git keeps of them. Pure functions."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import f1_score, recall_score

from cnn_ablations.data.arrays import Labels
from cnn_ablations.training.cost import LayerCost

COLLAPSE_LEVEL = 0.001
UNEQUAL = 2
"""Where the largest class has more than so many times the images of the smallest, the balanced
accuracy says more than the accuracy."""
NEAR_ZERO = 0.01
BINS = 100
"""Of a layer's histogram."""
QUANTILES = {"q01": 0.01, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99}
WEIGHT_COLUMNS = ["seed", "layer", "kind", "count", "mean", "std", *QUANTILES, "near_zero"]
WEIGHT_COLUMNS += ["min", "max", "histogram"]

Numbers = dict[str, int | float | None]


@dataclass(frozen=True)
class SeedResult:
    """What `train_seed` left of one seed."""

    seed: int
    final: dict[str, float]
    """`penalty`, and accuracy and loss of each split after training."""
    history: pd.DataFrame
    """One row per epoch."""
    predicted: Mapping[str, Labels]
    """The most probable class of each image (n,), for `test` and, where there is one, `val`."""


def read_seed_result(seed: int, folder: Path) -> SeedResult:
    """The result in a folder that `train_seed` returned."""
    predicted = {}
    for split in ("val", "test"):
        path = folder / f"{split}_probabilities.npy"
        if path.is_file():
            probabilities = np.load(path, allow_pickle=False)
            smallest = np.min_scalar_type(probabilities.shape[1] - 1)
            predicted[split] = probabilities.argmax(axis=1).astype(smallest)
    return SeedResult(
        seed=seed,
        final=json.loads((folder / "final.json").read_bytes()),
        history=pd.read_csv(folder / "history.csv"),
        predicted=predicted,
    )


def has_collapsed(predicted: Labels, labels: Labels) -> bool:
    """Whether a network stayed at chance.

    It has, unless its accuracy is above that of its own answers given to the images in random
    order, by a one-sided binomial test at the level 0.001. Where all answers are the same class,
    that is the share of the class.
    """
    classes = 1 + max(labels.max(), predicted.max())
    shares = [np.bincount(array, minlength=classes) / len(labels) for array in (labels, predicted)]
    correct = int((predicted == labels).sum())
    chance = min(float(shares[0] @ shares[1]), 1.0)
    test = binomtest(correct, len(labels), chance, alternative="greater")
    return bool(test.pvalue >= COLLAPSE_LEVEL)


def metrics(
    results: Sequence[SeedResult], labels: Mapping[str, Labels], costs: Sequence[LayerCost]
) -> Numbers:
    """What a person compares of variants, at most a dozen numbers in this order.

    Accuracies and the loss are medians over the seeds, evaluated after training; the loss holds
    the L1 and L2 penalty. The balanced accuracy, which is the mean of the recalls of all classes,
    is there where the test images are not equally many of each class. `None` stands for a split
    that is not there, for the deviation of a single seed, and for a value that is not finite.
    """
    true = labels["test"]
    test = [result.predicted["test"] for result in results]
    collected: Numbers = {"test_accuracy": _median(_finals(results, "test_accuracy"))}
    classes, counts = np.unique(true, return_counts=True)
    if np.ptp(counts):
        # scikit-learn's balanced_accuracy_score is the same, but warns of answers not in `true`.
        recalls = [recall_score(true, p, labels=classes, average="macro") for p in test]
        balanced: Numbers = {"test_balanced_accuracy": _median(recalls)}
        misleading = counts.max() > UNEQUAL * counts.min()
        collected = balanced | collected if misleading else collected | balanced
    return collected | {
        "val_accuracy": _median(_finals(results, "val_accuracy")),
        "train_accuracy": _median(_finals(results, "train_accuracy")),
        "test_accuracy_std": _deviation(_finals(results, "test_accuracy")),
        "test_loss": _median(_finals(results, "test_loss")),
        "seeds": len(results),
        "collapsed_seeds": sum(has_collapsed(predicted, true) for predicted in test),
        "parameters": sum(cost.parameters for cost in costs),
        "flops": sum(cost.flops for cost in costs),
    }


def details(
    results: Sequence[SeedResult], labels: Mapping[str, Labels], costs: Sequence[LayerCost]
) -> Numbers:
    """The other numbers of a variant, made as those of `metrics` are.

    `running_train_*` are Keras's averages over the last epoch while it trained.
    """
    test = [result.predicted["test"] for result in results]
    f1 = [f1_score(labels["test"], p, average="macro", zero_division=0) for p in test]
    last = {
        name: _median([result.history[name].iloc[-1] for result in results])
        for name in ("running_train_accuracy", "running_train_loss")
    }
    return {
        "test_macro_f1": _median(f1),
        "val_accuracy_std": _deviation(_finals(results, "val_accuracy")),
        "train_accuracy_std": _deviation(_finals(results, "train_accuracy")),
        "val_loss": _median(_finals(results, "val_loss")),
        "train_loss": _median(_finals(results, "train_loss")),
        "penalty": _median(_finals(results, "penalty")),
        **last,
        "non_trainable_parameters": sum(cost.non_trainable for cost in costs),
    }


def curves(results: Sequence[SeedResult]) -> pd.DataFrame:
    """The histories of all seeds below each other, with a column `seed` in front."""
    frames = [result.history.assign(seed=result.seed) for result in results]
    table = pd.concat(frames, ignore_index=True).round(6)
    return table[["seed", *(column for column in table.columns if column != "seed")]]


def predictions(
    results: Sequence[SeedResult], labels: Mapping[str, Labels]
) -> dict[str, NDArray[Any]]:
    """What is kept of each answer, and of each seed besides.

    Returns:
        True labels (n,) and predicted labels (seeds, n) of `test` and `val`, how many training
        images each class has, and per seed the accuracy on training images, the loss of each
        split, the penalty, and whether it collapsed.
    """
    classes = 1 + max(int(of_split.max()) for of_split in labels.values())
    arrays: dict[str, NDArray[Any]] = {
        "seeds": np.array([result.seed for result in results]),
        "train_label_counts": np.bincount(labels["train"], minlength=classes),
    }
    for split in results[0].predicted:
        arrays[f"{split}_labels"] = labels[split]
        arrays[f"{split}_predicted"] = np.stack([result.predicted[split] for result in results])
    kept = ("train_accuracy", "train_loss", "val_loss", "test_loss", "penalty")
    for name in (name for name in kept if name in results[0].final):
        arrays[name] = np.array([result.final[name] for result in results])
    arrays["collapsed"] = np.array(
        [has_collapsed(result.predicted["test"], labels["test"]) for result in results]
    )
    return arrays


def weight_summary(
    seed: int, weights: Sequence[tuple[str, str, NDArray[np.float32]]]
) -> pd.DataFrame:
    """One row per layer and kind (`weights` or `biases`) of a trained network.

    `near_zero` is the share of values smaller than 0.01 in size; `histogram` has the numbers of
    values in 100 bins of equal width from `min` to `max`, separated by spaces.
    """
    rows = []
    for layer, kind, array in weights:
        values = array.astype(np.float64).ravel()
        quantiles = np.quantile(values, list(QUANTILES.values()))
        finite = values[np.isfinite(values)]
        histogram, edges = np.histogram(finite, BINS)
        rows.append(
            {
                "seed": seed,
                "layer": layer,
                "kind": kind,
                "count": values.size,
                "mean": values.mean(),
                "std": values.std(),
                **dict(zip(QUANTILES, quantiles, strict=True)),
                "near_zero": (np.abs(values) < NEAR_ZERO).mean(),
                "min": edges[0],
                "max": edges[-1],
                "histogram": " ".join(map(str, histogram)),
            }
        )
    return pd.DataFrame(rows, columns=WEIGHT_COLUMNS).round(6)


def feature_summary(
    seed: int, maps: Iterable[tuple[str, NDArray[np.float32]]], image_width: int
) -> pd.DataFrame:
    """One row per convolution of a trained network: how large and how detailed its maps are.

    `detail` is how much a map changes from one image pixel to the next: the mean difference of
    neighbouring values, in units of the map's standard deviation, per step of a map, divided by
    the pixels that such a step spans in the image. White noise at the image's size has 1.13 (two
    over the square root of pi), a smooth slope next to nothing. Maps that are flat have no detail
    to speak of and are left out; a layer that has no other maps has none at all (NaN).

    Args:
        seed: of the network.
        maps: the name of each convolution, in order, and (images, height, width, channels).
        image_width: in pixels.
    """
    rows = []
    for layer, of_layer in maps:
        values = of_layer.astype(np.float64)
        height, width = values.shape[1:3]
        # A map of one pixel has no neighbours: it shows nothing of where something is.
        steps = [np.abs(np.diff(values, axis=axis)) for axis in (1, 2) if values.shape[axis] > 1]
        change = sum(step.mean(axis=(1, 2)) for step in steps) / max(len(steps), 1)
        spread = values.std(axis=(1, 2))
        shown = spread > 0
        contrast = np.divide(change, spread, out=np.full(spread.shape, np.nan), where=shown)
        detail = contrast[shown].mean() * width / image_width if shown.any() else np.nan
        rows.append(
            {"seed": seed, "layer": layer, "height": height, "width": width, "detail": detail}
        )
    return pd.DataFrame(rows, columns=["seed", "layer", "height", "width", "detail"]).round(6)


def _finals(results: Sequence[SeedResult], name: str) -> list[float]:
    return [result.final.get(name, math.nan) for result in results]


def _deviation(values: Sequence[float]) -> float | None:
    return _rounded(np.std(values, ddof=1)) if len(values) > 1 else None


def _median(values: Sequence[float]) -> float | None:
    # A loss that is not a number is worse than any that is: it counts, and does not blank the rest.
    return _rounded(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))


def _rounded(value: float | np.floating[Any]) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
