from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_ablations.analysis.published import (
    OUTSIDE,
    TOO_FEW,
    TOO_WIDE,
    WITHIN,
    PublishedFigure,
    compare_published,
)
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.statistics import prediction_interval
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

ACCURACIES = [0.80, 0.82, 0.81, 0.83, 0.79]


def compared(paths: Paths, figures: dict[str, Any]) -> list[PublishedFigure]:
    study = Study.model_validate(
        {
            "title": "t",
            "group": "g",
            "question": "q",
            "variants": {"a": "A"},
            "margin": 0.01,
            "published": {"a": figures},
        }
    )
    return list(compare_published(study, load_results(paths, "g", study.variants)))


@pytest.mark.parametrize(
    ("published", "verdict"),
    [(0.81, WITHIN), (0.85, WITHIN), (0.87, OUTSIDE), (0.75, OUTSIDE)],
)
def test_seed_noise_is_the_prediction_interval_of_one_run(
    paths: Paths, write: Callable[..., None], published: float, verdict: str
) -> None:
    write("a", ACCURACIES)
    (figure,) = compared(paths, {"val_accuracy": published})
    assert figure.verdict == figure.run == verdict
    assert figure.reproduced == pytest.approx(0.81)
    assert figure.difference == pytest.approx(0.81 - published)
    assert figure.low is not None
    assert figure.low < 0.79 < 0.83 < (figure.high or 0)


def test_collapsed_seeds_count_in_the_median_but_do_not_widen_the_interval(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [*ACCURACIES[:3], 0.1, 0.1, 0.1, 0.1])
    (figure,) = compared(paths, {"test_accuracy": 0.81})
    assert (figure.collapsed, figure.seeds) == (4, 7)
    assert figure.reproduced == pytest.approx(0.1, abs=0.01)
    assert figure.low is not None
    assert figure.low > 0.7
    assert figure.verdict == WITHIN


@pytest.mark.parametrize("accuracies", [[0.8], [0.8, 0.1, 0.1]])
def test_a_single_seed_that_learned_cannot_tell(
    paths: Paths, write: Callable[..., None], accuracies: list[float]
) -> None:
    write("a", accuracies)
    (figure,) = compared(paths, {"test_accuracy": 0.8})
    assert (figure.low, figure.verdict) == (None, TOO_FEW)


def test_where_every_seed_collapsed_a_published_network_that_learned_is_outside(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.1, 0.098, 0.1, 0.095])
    (figure,) = compared(paths, {"test_accuracy": 0.8})
    assert (figure.collapsed, figure.verdict) == (4, OUTSIDE)


def test_no_run_is_expected_beyond_perfection(paths: Paths, write: Callable[..., None]) -> None:
    write("a", [0.97, 0.99, 1.0])
    (figure,) = compared(paths, {"test_accuracy": 0.99})
    assert figure.high == 1
    assert figure.low is not None
    assert 0 < figure.low < 0.97


def test_every_figure_is_compared_with_its_own_counterpart(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", ACCURACIES)
    result = load_results(paths, "g", ["a"])["a"]
    metrics = ["train_loss", "val_loss", "running_train_loss", "running_train_accuracy"]
    for figure in compared(paths, dict.fromkeys(metrics, 0.5)):
        values = result.per_seed(figure.metric)
        if figure.metric.endswith("loss"):
            expected = tuple(np.exp(prediction_interval(np.log(values), 1 - 0.05 / 4)))
        else:
            expected = prediction_interval(values, 1 - 0.05 / 4)  # Bonferroni, of four figures
        assert (figure.low, figure.high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("split", "share"),
    # 41 of 400 images are of class 0; of the 1,000 for training, a tenth is of each.
    [("test", 41 / 400), ("train_val", 141 / 1400)],
)
def test_a_baseline_agrees_where_it_is_the_same(
    paths: Paths, write: Callable[..., None], split: str, share: float
) -> None:
    write("a", [*ACCURACIES, 0.1])
    # Apart in the last digits only, as sums of equal numbers are.
    for published, verdict in (
        (share, WITHIN),
        (share + 1e-12, WITHIN),
        (share + 0.001, OUTSIDE),
    ):
        (figure,) = compared(paths, {f"majority_{split}_accuracy": published})
        assert figure.reproduced == pytest.approx(share)
        assert figure.verdict == verdict


def test_a_study_not_run_yet_shows_what_was_published(paths: Paths) -> None:
    (figure,) = compared(paths, {"test_accuracy": 0.8})
    assert (figure.published, figure.reproduced) == (0.8, None)
    assert figure.difference is None
    assert figure.verdict == figure.run == "not run yet"


def test_what_was_not_recorded_cannot_be_compared(paths: Paths, write: Callable[..., None]) -> None:
    write("a", ACCURACIES, validated=False)
    with pytest.raises(ProjectError, match="recorded no val_loss"):
        compared(paths, {"val_loss": 0.8})


@pytest.mark.parametrize(
    ("accuracies", "metric", "verdict"),
    [
        ([0.9, 0.84, 0.88], "test_accuracy", TOO_FEW),
        ([0.9, 0.84, 0.88] * 2, "test_accuracy", TOO_WIDE),
        ([0.9, 0.88, 0.89, 0.1, 0.1, 0.1], "test_accuracy", WITHIN),
        ([0.9, 0.84, 0.88, 0.1, 0.1, 0.1], "test_accuracy", TOO_FEW),
        ([0.9999, 0.9, 0.5], "val_loss", TOO_FEW),
        ([0.9999, 0.9, 0.5] * 2, "val_loss", TOO_WIDE),
    ],
)
def test_where_almost_anything_would_pass_nothing_is_said(
    paths: Paths,
    write: Callable[..., None],
    accuracies: list[float],
    metric: str,
    verdict: str,
) -> None:
    write("a", accuracies)
    median = {"test_accuracy": 0.88, "val_loss": 0.2}[metric]
    (figure,) = compared(paths, {metric: median})
    assert figure.verdict == verdict
    # Outside of even such an interval is outside.
    (figure,) = compared(paths, {metric: {"test_accuracy": 0.2, "val_loss": 1e9}[metric]})
    assert figure.verdict == OUTSIDE


def test_a_run_is_outside_if_a_figure_is_and_within_if_all_are(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", ACCURACIES)
    good, bad, wide = {"val_accuracy": 0.81}, {"test_accuracy": 0.7}, {"val_loss": 0.2}
    for figures, run in ((good | bad | wide, OUTSIDE), (good | wide, TOO_FEW), (good, WITHIN)):
        found = compared(paths, figures)
        assert {figure.run for figure in found} == {run}
    # With a second figure, each of them may be further off.
    (alone,), (among, _) = (compared(paths, f) for f in (good, good | bad))
    assert (among.low or 0) < (alone.low or 0)
