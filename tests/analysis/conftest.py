"""Synthetic results in the formats that `train` writes, for groups that were never trained."""

import gc
import json
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import recall_score

from cnn_ablations.paths import Paths
from cnn_ablations.training.summary import weight_summary

CHANCE = 0.1
NORMAL = np.random.default_rng(0).normal(0, 0.1, 2000)
WriteVariant = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> None:
    """statsmodels collects garbage each time that it corrects p values: a third of a second where
    TensorFlow is loaded, unless what there is by now is passed over.
    """
    gc.collect()
    gc.freeze()


def write_variant(
    paths: Paths,
    group: str,
    name: str,
    accuracies: Sequence[float],
    *,
    examples: int = 400,
    gap: float = 0.02,
    flops: int = 600_000,
    epochs: int = 4,
    validated: bool = True,
    noise: int = 0,
    images: int = 1000,
    weights: Callable[[int], NDArray[np.float64]] = lambda seed: NORMAL,
    detail: Sequence[float] = (0.8, 0.4),
    shares: Sequence[int] = (1,) * 10,
) -> None:
    """Results of one seed for each accuracy; one of at most 0.1 is a seed that collapsed.

    Seeds and variants find the same examples hard, as real networks do. `gap` is what training
    accuracy is above validation accuracy, `noise` picks other random answers; `images` is the
    number of training images, `weights` gives the kernel of each seed's only convolution that has
    weights, `detail` that of its feature maps, layer by layer; `shares` is how often each class is
    there.
    """
    splits = ("val", "test") if validated else ("test",)
    rng = np.random.default_rng([len(accuracies), noise])
    shared = np.random.default_rng(7)
    collapsed = np.array([accuracy <= CHANCE for accuracy in accuracies])
    arrays: dict[str, NDArray[np.generic]] = {"seeds": np.arange(len(accuracies))}
    for split in splits:
        by_share = np.repeat(np.arange(10, dtype=np.uint8), shares)
        labels = by_share[np.arange(examples, dtype=np.uint8) % len(by_share)]
        difficulty = shared.random(examples)
        predicted = np.zeros((len(accuracies), examples), dtype=np.uint8)
        for row, accuracy in zip(predicted, accuracies, strict=True):
            if accuracy > CHANCE:
                hardest = np.argsort(difficulty + 0.1 * rng.random(examples))
                wrong = hardest[round(accuracy * examples) :]
                row[:] = labels
                row[wrong] = (labels[wrong] + 1) % 10
        arrays |= {f"{split}_labels": labels, f"{split}_predicted": predicted}
    reached = (arrays["test_predicted"] == arrays["test_labels"]).mean(axis=1)
    train = np.where(collapsed, reached, np.minimum(reached + gap, 1.0))
    loss = -np.log(train)
    counts = np.full(10, images // 10)
    arrays |= {"train_accuracy": train, "train_loss": loss, "collapsed": collapsed}
    arrays |= {"train_label_counts": counts}

    curves = pd.DataFrame(
        [
            {
                "seed": seed,
                "epoch": epoch,
                "running_train_accuracy": of_train * (1 - 0.3 / epoch**2),
                "running_train_loss": -np.log(of_train) + 0.5 / epoch,
                "val_accuracy": accuracy * (1 - 0.2 / epoch**2 + 0.2 / epochs**2),
                "val_loss": -np.log(accuracy) + 0.2 / epoch,
            }
            for seed, (accuracy, of_train) in enumerate(zip(reached, train, strict=True))
            for epoch in range(1, epochs + 1)
        ]
    )
    if not validated:
        curves = curves.drop(columns=["val_accuracy", "val_loss"])
    summaries = pd.concat(
        [
            weight_summary(
                seed,
                [
                    ("conv1", "weights", weights(seed).astype(np.float32)),
                    ("conv1", "biases", np.zeros(16, np.float32)),
                    ("output", "weights", NORMAL.astype(np.float32)[:100]),
                ],
            )
            for seed in range(len(accuracies))
        ]
    )
    features = pd.DataFrame(
        [
            {"seed": seed, "layer": f"conv{i}", "height": 8, "width": 8, "detail": of_layer}
            for seed in range(len(accuracies))
            for i, of_layer in enumerate(detail, 1)
        ]
    )
    metrics = {
        "test_accuracy": float(np.median(reached)),
        "val_accuracy": float(np.median(reached)) if validated else None,
        "train_accuracy": float(np.median(train)),
        "test_loss": 0.5,
        "seeds": len(accuracies),
        "collapsed_seeds": int(collapsed.sum()),
        "parameters": flops // 3,
        "flops": flops,
    }
    if len({*shares}) > 1:
        recalls = [
            recall_score(arrays["test_labels"], of_seed, average="macro")
            for of_seed in arrays["test_predicted"]
        ]
        metrics["test_balanced_accuracy"] = float(np.median(recalls))
    details = {
        "test_macro_f1": float(np.median(reached)),
        "val_loss": 0.5 if validated else None,
        "train_loss": float(np.median(loss)),
        "non_trainable_parameters": 0,
    }
    texts = {
        paths.metrics(group, name): json.dumps(metrics),
        paths.details(group, name): json.dumps(details),
        paths.curves(group, name): curves.to_csv(index=False),
        paths.weights(group, name): summaries.to_csv(index=False),
        paths.features(group, name): features.to_csv(index=False),
        paths.predictions(group, name): "",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    np.savez(paths.predictions(group, name), **arrays)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def write_into() -> WriteVariant:
    """`write_variant`, for what several tests share."""
    return write_variant


@pytest.fixture
def write(paths: Paths) -> WriteVariant:
    """`write_variant` into the project, into group "g" unless told otherwise."""
    return lambda name, accuracies, *, group="g", **options: write_variant(
        paths, group, name, accuracies, **options
    )
