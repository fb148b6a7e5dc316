import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cnn_ablations.training import summary
from cnn_ablations.training.cost import LayerCost
from cnn_ablations.training.summary import SeedResult

COSTS = [
    LayerCost("conv1", "Conv2D", (8, 8, 4), 40, 0, 4608),
    LayerCost("conv1_norm", "BatchNormalization", (8, 8, 4), 16, 8, 0),
    LayerCost("output", "Dense", (10,), 90, 0, 160),
]


def answers(labels: NDArray[np.uint8], correct: int) -> NDArray[np.uint8]:
    """As many correct answers as asked for, spread over the classes; the others are wrong."""
    predicted = (labels + 1) % 10
    chosen = np.random.default_rng(0).permutation(len(labels))[:correct]
    predicted[chosen] = labels[chosen]
    return predicted.astype(np.uint8)


BALANCED = (np.arange(9_000) % 10).astype(np.uint8)


def test_a_network_that_always_names_one_class_has_collapsed() -> None:
    assert summary.has_collapsed(np.zeros(9_000, np.uint8), BALANCED)
    skewed = np.where(np.arange(1_000) < 300, 7, np.arange(1_000) % 7).astype(np.uint8)
    assert summary.has_collapsed(np.full(1_000, 7, np.uint8), skewed)


@pytest.mark.parametrize(
    ("predicted", "collapsed"),
    [
        (np.random.default_rng(1).integers(0, 10, 9_000, np.uint8), True),  # guesses
        (answers(BALANCED, 0), True),
        (answers(BALANCED, 1_080), False),  # 12 %
        (BALANCED, False),
    ],
    ids=["guesses", "below chance", "a bad network that learnt something", "a perfect one"],
)
def test_a_network_that_stays_at_chance_has_collapsed(
    predicted: NDArray[np.uint8], collapsed: bool
) -> None:
    assert summary.has_collapsed(predicted, BALANCED) == collapsed


def test_chance_ends_where_the_binomial_test_says() -> None:
    """On 100 images at 10 %: P(at least 20 right) is 0.00198, P(at least 21) 0.00081."""
    labels = BALANCED[:100]
    assert summary.has_collapsed(answers(labels, 20), labels)
    assert not summary.has_collapsed(answers(labels, 21), labels)


def test_balanced_answers_are_no_collapse_though_naming_one_class_is_right_more_often() -> None:
    labels = np.repeat(np.array([0, 1], np.uint8), [900, 100])
    balanced = labels.copy()
    balanced[:135] = 1  # recalls of 85 %, and an accuracy below the 90 % of always naming 0
    balanced[900:915] = 0
    assert (balanced == labels).mean() == 0.85
    assert not summary.has_collapsed(balanced, labels)
    assert summary.has_collapsed(np.zeros_like(labels), labels)
    assert summary.has_collapsed(np.random.default_rng(0).permutation(balanced), labels)
    assert summary.has_collapsed(np.full_like(labels, 7), labels)  # a class that is not there


LABELS = {"train": BALANCED[:304], "val": BALANCED[:100], "test": BALANCED[:200]}


def result(seed: int, test_correct: int, **final: float) -> SeedResult:
    accuracy = test_correct / 200
    complete = {
        "penalty": 0.25 * seed,
        "train_accuracy": 0.9,
        "train_loss": 0.3,
        "val_accuracy": 0.8,
        "val_loss": 0.6,
        "test_accuracy": accuracy,
        "test_loss": 0.7,
        **final,
    }
    history = pd.DataFrame(
        {
            "epoch": [1, 2],
            "running_train_accuracy": [0.1, 0.1 * seed],
            "running_train_loss": [9.0, 1.0 * seed],
            "val_accuracy": [0.5, 0.8],
        }
    )
    predicted = {"val": answers(LABELS["val"], 80), "test": answers(LABELS["test"], test_correct)}
    return SeedResult(seed, complete, history, predicted)


def numbers(results: Sequence[SeedResult], labels: Any = LABELS) -> dict[str, Any]:
    """Metrics and details together."""
    found = summary.metrics(results, labels, COSTS)
    beside = summary.details(results, labels, COSTS)
    assert not set(found) & set(beside)
    assert len(found) <= 12
    return found | beside


def test_metrics_are_medians_and_deviations_over_seeds() -> None:
    found = numbers([result(1, 100), result(2, 180), result(6, 190)])
    assert found["parameters"] == 146
    assert found["non_trainable_parameters"] == 8
    assert found["flops"] == 4768
    assert found["seeds"] == 3
    assert found["collapsed_seeds"] == 0
    assert found["test_accuracy"] == 0.9
    spread = np.std([0.5, 0.9, 0.95], ddof=1)
    assert found["test_accuracy_std"] == pytest.approx(spread, abs=1e-6)
    assert found["train_accuracy_std"] == 0
    assert (found["val_loss"], found["test_loss"]) == (0.6, 0.7)
    assert found["penalty"] == 0.5
    assert found["running_train_accuracy"] == 0.2
    assert found["running_train_loss"] == 2.0


def test_a_median_is_not_fooled_by_a_seed_that_collapsed_and_says_so() -> None:
    found = numbers([result(1, 20), result(2, 180), result(3, 180)])
    assert found["test_accuracy"] == 0.9
    assert found["collapsed_seeds"] == 1


def test_macro_f1_is_the_median_of_each_seed_s_mean_over_classes() -> None:
    labels = {"test": np.array([0, 0, 1, 2], np.uint8)}
    # Class 0: precision and recall 1/2; class 1: 1/2 and 1; class 2: nothing, which counts as 0.
    predicted = {"test": np.array([0, 1, 1, 0], np.uint8)}
    one = SeedResult(1, result(1, 0).final, result(1, 0).history, predicted)
    assert numbers([one], labels)["test_macro_f1"] == pytest.approx(
        (1 / 2 + 2 / 3 + 0) / 3, abs=1e-6
    )


def test_balanced_accuracy_is_there_where_classes_are_unequal() -> None:
    labels = {"test": np.array([0, 0, 0, 1], np.uint8)}
    seeds = [
        SeedResult(seed, result(1, 0).final, result(1, 0).history, {"test": np.array(p, np.uint8)})
        for seed, p in enumerate(([0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 1, 1]))
    ]
    found = numbers(seeds, labels)
    # Recalls: 1 and 0, the same (2 is no class of these images), 2/3 and 1.
    assert found["test_balanced_accuracy"] == 0.5
    assert list(found)[:2] == ["test_balanced_accuracy", "test_accuracy"]
    less = {"test": np.array([0, 0, 1, 1, 1], np.uint8)}
    one = SeedResult(0, result(1, 0).final, result(1, 0).history, less)
    assert list(numbers([one], less))[:2] == ["test_accuracy", "test_balanced_accuracy"]
    assert numbers([seeds[2]], labels)["test_balanced_accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert "test_balanced_accuracy" not in numbers([result(1, 180)])


def test_one_seed_has_no_deviation_and_six_decimals() -> None:
    found = numbers([result(1, 180, train_loss=1 / 3)])
    assert [found[f"{split}_accuracy_std"] for split in ("train", "val", "test")] == [None] * 3
    assert found["train_loss"] == 0.333333


def test_a_diverged_seed_counts_as_the_worst_and_does_not_blank_the_median() -> None:
    losses = [result(seed, 180, test_loss=loss) for seed, loss in enumerate([0.3, 0.4, math.nan])]
    assert numbers(losses)["test_loss"] == 0.4
    assert numbers([losses[0], losses[2], losses[2]])["test_loss"] is None


def test_a_split_that_is_not_there_is_null() -> None:
    results = []
    for seed in (1, 2):
        full = result(seed, 180)
        final = {name: v for name, v in full.final.items() if not name.startswith("val_")}
        results.append(SeedResult(seed, final, full.history, {"test": full.predicted["test"]}))
    found = numbers(results)
    assert found["val_accuracy"] is found["val_loss"] is found["val_accuracy_std"] is None
    assert found["test_accuracy"] == 0.9
    assert "val_labels" not in summary.predictions(results, LABELS)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_is_not_finite_is_null(loss: float) -> None:
    found = numbers([result(1, 20, test_loss=loss, penalty=loss)])
    assert found["test_loss"] is None
    assert found["penalty"] is None
    json.dumps(found, allow_nan=False)


def test_curves_are_the_histories_below_each_other() -> None:
    curves = summary.curves([result(4, 180), result(2, 180)])
    running = ("running_train_accuracy", "running_train_loss")
    assert curves.columns.tolist() == ["seed", "epoch", *running, "val_accuracy"]
    assert curves[["seed", "epoch"]].to_numpy().tolist() == [[4, 1], [4, 2], [2, 1], [2, 2]]
    assert curves["running_train_loss"].tolist() == [9.0, 4.0, 9.0, 2.0]


def test_predictions_keep_what_studies_need() -> None:
    results = [result(4, 180, train_accuracy=0.95), result(2, 20, train_loss=math.nan)]
    kept = summary.predictions(results, LABELS)
    assert kept["seeds"].tolist() == [4, 2]
    assert kept["test_predicted"].shape == (2, 200)
    assert kept["val_predicted"].dtype == kept["val_labels"].dtype == np.uint8
    np.testing.assert_array_equal(kept["test_predicted"][0], results[0].predicted["test"])
    np.testing.assert_array_equal(kept["test_labels"], LABELS["test"])
    assert kept["train_accuracy"].tolist() == [0.95, 0.9]
    assert kept["train_loss"][0] == 0.3
    assert math.isnan(kept["train_loss"][1])
    assert kept["train_label_counts"].tolist() == np.bincount(LABELS["train"]).tolist()
    assert kept["collapsed"].tolist() == [False, True]
    assert kept["collapsed"].dtype == bool


def test_weights_are_summed_up_by_layer_and_kind() -> None:
    weights = np.linspace(-1, 1, 201, dtype=np.float32).reshape(3, 67)
    biases = np.array([0.0, 0.009, 0.011, -1.0], np.float32)
    table = summary.weight_summary(3, [("a", "weights", weights), ("a", "biases", biases)])
    assert table.columns.tolist() == [
        *("seed", "layer", "kind", "count", "mean", "std", "q01", "q25", "median", "q75", "q99"),
        *("near_zero", "min", "max", "histogram"),
    ]
    first, second = table.to_dict("records")
    assert [first[name] for name in ("seed", "layer", "kind", "count")] == [3, "a", "weights", 201]
    assert first["mean"] == pytest.approx(0, abs=1e-6)
    assert first["std"] == pytest.approx(np.linspace(-1, 1, 201).std(), abs=1e-6)
    quantiles = [first[name] for name in ("q01", "q25", "median", "q75", "q99")]
    assert quantiles == pytest.approx([-0.98, -0.5, 0, 0.5, 0.98], abs=1e-6)
    assert (second["kind"], second["count"], second["near_zero"]) == ("biases", 4, 0.5)
    assert (first["min"], first["max"]) == (-1, 1)
    counts = [int(count) for count in first["histogram"].split()]
    assert len(counts) == 100
    assert sum(counts) == 201
    assert max(counts) <= 3


def test_a_network_that_diverged_has_a_histogram_without_values() -> None:
    table = summary.weight_summary(0, [("a", "weights", np.full(3, np.nan, np.float32))])
    assert sum(map(int, table["histogram"][0].split())) == 0


def detail(maps: NDArray[np.floating], image_width: int) -> float:
    of_layer = {"conv1": maps.astype(np.float32)}
    return float(summary.feature_summary(0, of_layer.items(), image_width)["detail"][0])


def test_the_detail_of_noise_is_1_13_and_falls_with_the_size_of_its_maps() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 32, 32, 4))
    assert detail(noise, 32) == pytest.approx(2 / np.sqrt(np.pi), abs=0.02)
    assert detail(noise, 64) == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)


def test_a_slope_has_less_detail_than_stripes() -> None:
    slope = np.broadcast_to(np.arange(16.0).reshape(1, 1, 16, 1), (1, 16, 16, 1))
    assert detail(slope, 16) < 0.2 < detail(slope % 2, 16)


def test_flat_maps_and_single_pixels_have_no_detail_to_speak_of() -> None:
    stripes = np.arange(16).reshape(1, 1, 16, 1) % 2 * np.ones((1, 16, 16, 1))
    flat = np.zeros((1, 16, 16, 3))
    assert detail(np.concatenate([stripes, flat], axis=3), 16) == detail(stripes, 16)
    assert math.isnan(detail(flat, 16))
    assert math.isnan(detail(np.ones((2, 1, 1, 3)), 16))


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_a_seed_s_result_is_read_with_classes_as_small_as_their_number_allows(
    tmp_path: Path, classes: int, dtype: type
) -> None:
    full = result(5, 180)
    (tmp_path / "final.json").write_text(json.dumps(full.final))
    full.history.to_csv(tmp_path / "history.csv", index=False)
    np.save(tmp_path / "test_probabilities.npy", np.eye(classes, dtype=np.float32)[[classes - 1]])
    read = summary.read_seed_result(5, tmp_path)
    assert (read.seed, read.final) == (5, full.final)
    pd.testing.assert_frame_equal(read.history, full.history)
    assert {split: p.tolist() for split, p in read.predicted.items()} == {"test": [classes - 1]}
    assert read.predicted["test"].dtype == dtype
