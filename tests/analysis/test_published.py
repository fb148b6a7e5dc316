from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cnn_ablations.analysis.published import (
    OUTSIDE,
    TOO_FEW,
    TOO_WIDE,
    WITHIN,
    compare_explanations,
    compare_published,
)
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.statistics import prediction_interval
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

ACCURACIES = [0.80, 0.82, 0.81, 0.83, 0.79]
Compared = Callable[..., pd.DataFrame]


@pytest.fixture
def compared(paths: Paths, write: Callable[..., None]) -> Compared:
    """A table of published figures beside those of seeds with these accuracies."""

    def compare(
        accuracies: Sequence[float], figures: dict[str, float], **options: Any
    ) -> pd.DataFrame:
        if accuracies:
            write("a", accuracies, **options)
        of_study = {"variants": {"a": "A"}, "published": {"a": figures}, "margin": 0.01}
        study = Study.model_validate({"title": "t", "group": "g", "question": "q"} | of_study)
        return compare_published(study, load_results(paths, "g", study.variants))

    return compare


@pytest.mark.parametrize(
    ("accuracies", "metric", "published", "verdict"),
    [
        (ACCURACIES, "val_accuracy", 0.85, WITHIN),
        (ACCURACIES, "val_accuracy", 0.87, OUTSIDE),
        (ACCURACIES, "val_accuracy", 0.75, OUTSIDE),
        # A single seed that learned cannot tell; where none did, one that learned is outside.
        ([0.8], "test_accuracy", 0.8, TOO_FEW),
        ([0.8, 0.1, 0.1], "test_accuracy", 0.8, TOO_FEW),
        ([0.1, 0.098, 0.1, 0.095], "test_accuracy", 0.8, OUTSIDE),
        # Where almost anything would pass, nothing is said; outside of even that is outside.
        ([0.9, 0.84, 0.88], "test_accuracy", 0.88, TOO_FEW),
        ([0.9, 0.84, 0.88], "test_accuracy", 0.2, OUTSIDE),
        ([0.9, 0.84, 0.88] * 2, "test_accuracy", 0.88, TOO_WIDE),
        ([0.9, 0.88, 0.89, 0.1, 0.1, 0.1], "test_accuracy", 0.88, WITHIN),
        ([0.9, 0.84, 0.88, 0.1, 0.1, 0.1], "test_accuracy", 0.88, TOO_FEW),
        ([0.9999, 0.9, 0.5], "val_loss", 0.2, TOO_FEW),
        ([0.9999, 0.9, 0.5] * 2, "val_loss", 0.2, TOO_WIDE),
        ([0.9999, 0.9, 0.5] * 2, "val_loss", 1e9, OUTSIDE),
        (ACCURACIES, "test_balanced_accuracy", 0.8, WITHIN),
        # Of 400 test images 41 are of the most common class: sums differ in their last digits.
        (ACCURACIES, "majority_test_accuracy", 41 / 400 + 1e-12, WITHIN),
        (ACCURACIES, "majority_train_val_accuracy", 141 / 1400 + 0.001, OUTSIDE),
        ([], "test_accuracy", 0.8, "not run yet"),
    ],
)
def test_a_published_run_is_held_against_one_more_of_ours(
    compared: Compared, accuracies: list[float], metric: str, published: float, verdict: str
) -> None:
    (row,) = compared(accuracies, {metric: published}).to_dict("records")
    assert (row["verdict"], row["run"]) == (verdict, verdict)


def test_an_explanation_is_held_against_what_was_published_of_another_variant(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", ACCURACIES)
    write("b", [accuracy - 0.2 for accuracy in ACCURACIES])
    of_study = {"variants": {"a": "A", "b": "B"}, "published": {"a": {"test_accuracy": 0.61}}}
    of_study |= {"explanations": {"a": "b"}, "margin": 0.01}
    study = Study.model_validate({"title": "t", "group": "g", "question": "q"} | of_study)
    results = load_results(paths, "g", study.variants)
    (row,) = compare_published(study, results).to_dict("records")
    assert (row["variant"], row["verdict"]) == ("a", OUTSIDE)
    (row,) = compare_explanations(study, results).to_dict("records")
    assert (row["explained"], row["variant"], row["label"]) == ("A", "b", "B")
    assert (row["published"], row["run"]) == (0.61, WITHIN)
    assert row["reproduced"] == pytest.approx(0.61, abs=0.01)


def test_collapsed_seeds_count_in_the_median_but_do_not_widen_the_interval(
    compared: Compared,
) -> None:
    (row,) = compared([0.97, 0.99, 1.0, *[0.1] * 4], {"test_accuracy": 0.99}).to_dict("records")
    assert (row["collapsed"], row["seeds"]) == (4, 7)
    assert row["reproduced"] == pytest.approx(0.1, abs=0.01)
    assert row["difference"] == pytest.approx(row["reproduced"] - 0.99)
    assert 0.7 < row["low"] < 0.97
    assert row["high"] == 1  # no run is expected beyond perfection


def test_every_figure_is_compared_with_its_own_counterpart(
    compared: Compared, paths: Paths
) -> None:
    metrics = ["train_loss", "val_loss", "running_train_loss", "running_train_accuracy"]
    table = compared(ACCURACIES, dict.fromkeys(metrics, 0.5))
    result = load_results(paths, "g", ["a"])["a"]
    for row in table.to_dict("records"):
        values = result.per_seed(row["metric"])
        loss = row["metric"].endswith("loss")
        expected = prediction_interval(np.log(values) if loss else values, 1 - 0.05 / 4)
        assert (row["low"], row["high"]) == pytest.approx(np.exp(expected) if loss else expected)


def test_what_was_not_recorded_cannot_be_compared(compared: Compared) -> None:
    with pytest.raises(ProjectError, match="recorded no val_loss"):
        compared(ACCURACIES, {"val_loss": 0.8}, validated=False)


def test_a_run_is_outside_if_a_figure_is_and_within_if_all_are(compared: Compared) -> None:
    good, bad, wide = {"val_accuracy": 0.81}, {"test_accuracy": 0.7}, {"val_loss": 0.2}
    for figures, run in ((good | bad | wide, OUTSIDE), (good | wide, TOO_FEW), (good, WITHIN)):
        assert set(compared(ACCURACIES, figures)["run"]) == {run}
    # With a second figure, each of them may be further off.
    alone, among = (compared(ACCURACIES, figures)["low"][0] for figures in (good, good | bad))
    assert among < alone
