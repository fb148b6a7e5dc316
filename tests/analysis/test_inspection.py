from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from cnn_ablations.analysis.inspection import (
    Example,
    captions,
    class_report,
    confusions,
    describe,
    describe_confusions,
    describe_iterations,
    describe_missing,
    describe_network,
    final_figures,
    find_examples,
    scores,
    sort_out,
    spread,
)
from cnn_ablations.analysis.results import load_result
from cnn_ablations.analysis.run import Answers, Predictions
from cnn_ablations.paths import Paths

WriteVariant = Callable[..., None]
CLASSES = ["cat", "dog", "frog"]


def answers(
    labels: list[int] | None = None, predicted: list[int] | None = None, confidence: float = 0.625
) -> Answers:
    labels = [0, 0, 1, 1, 2, 2] if labels is None else labels
    predicted = [0, 1, 1, 1, 1, 0] if predicted is None else predicted
    return Answers(
        labels=np.array(labels, np.uint8),
        predicted=np.array(predicted, np.uint8),
        confidence=np.full(len(labels), confidence, np.float32),
    )


def test_final_figures_are_medians_with_the_range_of_seeds(
    paths: Paths, write: WriteVariant
) -> None:
    write("v", [0.8, 0.1, 0.7], gap=0.05, examples=200)
    result = load_result(paths, "g", "v")
    result.metrics.update(train_loss=0.12345, val_loss=2.0, test_loss=None)
    table = final_figures(result)
    assert row(table, "test") == ["70.00 %", "10.00 %", "80.00 %", "∞"]
    assert row(table, "training") == ["75.00 %", "10.00 %", "85.00 %", "0.1235"]


def test_the_summary_tells_collapse_range_and_gap(paths: Paths, write: WriteVariant) -> None:
    write("v", [0.8, 0.1, 0.7], gap=0.05, examples=200, flops=1_200_000)
    text = describe(load_result(paths, "g", "v"))
    assert "Trained 3 times" in text
    assert "median accuracy of **70.00 %** on 200 test images" in text
    assert "between 10.00 % and 80.00 %" in text
    assert "**1 of 3 collapsed** (seed 1)" in text
    assert "5.00 points above that on validation images" in text
    assert "400,000 parameters and needs 1,200,000 floating-point" in text


def test_the_summary_of_one_seed_without_validation(paths: Paths, write: WriteVariant) -> None:
    write("v", [0.8], gap=-0.02, validated=False)
    text = describe(load_result(paths, "g", "v"))
    assert "Trained once, it reaches an accuracy of **80.00 %**" in text
    assert "2.00 points below that on test images" in text
    assert "median" not in text
    assert "collapsed" not in text


def row(table: pd.DataFrame, name: str) -> list[Any]:
    return [table.at[name, column] for column in table]


def opened(collapsed: bool) -> Any:
    return SimpleNamespace(
        variant=SimpleNamespace(seeds=[3, 4]),
        result=SimpleNamespace(collapsed=np.array([False, collapsed])),
        arrays=SimpleNamespace(classes=CLASSES),
    )


def test_the_opened_network_is_introduced_with_its_faults() -> None:
    fine = describe_network(opened(collapsed=False), 4, answers())
    assert fine == "This is the network of **seed 4**, with a test accuracy of 50.00 %."
    assert "**It collapsed**" in describe_network(opened(collapsed=True), 4, answers())
    diverged = describe_network(opened(collapsed=True), 4, answers(confidence=np.nan))
    assert "**It diverged**" in diverged
    assert "counts as cat" in diverged


def test_batches_are_summed_up_by_first_and_last_epoch() -> None:
    iterations = pd.DataFrame(
        {
            "epoch": np.repeat([1, 2], 3),
            "iteration": [1, 2, 3] * 2,
            "accuracy": 0.5,
            "loss": [9.0, 2.0, 1.0, 0.5, 0.25, 0.1],
        }
    )
    text = describe_iterations(iterations)
    assert text.startswith("### Batch by batch\n\n")
    assert "6 batches, 3 in each of 2 epochs" in text
    assert "median loss of a batch is 2, in the last one 0.25" in text


def predictions(labels: list[int], predicted: list[int]) -> Predictions:
    return Predictions(np.array(labels, np.uint8), np.array(predicted, np.uint8))


SPLITS = {
    "train": predictions([0, 0, 0, 1], [0, 0, 0, 0]),
    "val": predictions([1, 1], [1, 1]),
    "test": predictions([0, 0, 1, 1, 1], [0, 1, 1, 1, 0]),
}


def test_scores_of_every_split_stand_beside_a_constant_answer() -> None:
    table = scores(SPLITS, ["cat", "dog"])
    assert list(table.index) == ["training", "validation", "training and validation", "test"]
    assert row(table, "training") == ["4", "75.00 %", "42.86 %", "75.00 %", "cat"]
    assert row(table, "validation") == ["2", "100.00 %", "100.00 %", "100.00 %", "dog"]
    assert row(table, "training and validation")[:2] == ["6", "83.33 %"]
    assert row(table, "training and validation")[3:] == ["50.00 %", "all equal"]
    assert row(table, "test") == ["5", "60.00 %", "58.33 %", "60.00 %", "dog"]


def test_scores_without_validation_are_of_two_splits() -> None:
    table = scores({"train": SPLITS["train"], "test": SPLITS["test"]}, ["cat", "dog"])
    assert list(table.index) == ["training", "test"]


def test_the_report_agrees_with_its_definitions() -> None:
    given = answers()
    table = class_report({"train": SPLITS["train"], "test": given}, CLASSES)
    assert list(table) == [
        f"{split} {name}"
        for split in ("training", "test")
        for name in ("precision", "recall", "F1", "images")
    ]
    table = table.map(lambda text: text.replace("\N{NO-BREAK SPACE}", " "))
    assert row(table, "cat") == [
        *("75.00 %", "100.00 %", "85.71 %", "3"),
        *("50.00 %", "50.00 %", "50.00 %", "2"),
    ]
    assert row(table, "dog")[4:] == ["50.00 %", "100.00 %", "66.67 %", "2"]
    assert row(table, "frog")[4:] == ["–", "0.00 %", "0.00 %", "2"]
    macro = f1_score(given.labels, given.predicted, average="macro", zero_division=0)
    assert table.loc["mean or total", "test F1"] == f"{100 * macro:.2f} %"
    assert table.loc["mean or total", "test images"] == "6"


def test_a_class_without_images_does_not_lower_the_means() -> None:
    given = predictions([0, 0, 1, 1], [0, 1, 1, 1])
    table = class_report({"test": given}, CLASSES)
    assert row(table, "frog") == ["–", "–", "–", "0"]
    means = [text.replace("\N{NO-BREAK SPACE}", " ") for text in row(table, "mean or total")]
    assert means == ["83.33 %", "75.00 %", "73.33 %", "4"]
    assert row(scores({"train": given, "test": given}, CLASSES), "test")[2] == "73.33 %"


def test_confusions_count_true_classes_in_rows() -> None:
    counts = confusions(answers(), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 1, 0]]
    text = describe_confusions(np.array([[3, 0, 0], [1, 1, 0], [0, 2, 1]]), CLASSES)
    assert "recognises *frog* least: 33.33 %" in text
    assert "take *frog* for *dog*: 2 of 3 images" in text


def test_a_class_without_images_is_not_the_weakest() -> None:
    text = describe_confusions(np.array([[0, 0], [1, 9]]), ["cat", "dog"])
    assert "recognises *dog* least: 90.00 %" in text


def test_no_mistake_is_said() -> None:
    assert describe_confusions(np.diag([2, 3]), ["cat", "dog"]) == (
        "It makes no mistake on the test images."
    )


def test_few_layers_stand_for_those_of_a_deep_network() -> None:
    assert spread([]) == []
    assert spread(["a", "b", "c"]) == ["a", "b", "c"]
    assert spread([str(i) for i in range(19)], most=4) == ["0", "6", "12", "18"]


def test_what_is_right_and_wrong_is_in_the_order_of_the_file() -> None:
    assert [indices.tolist() for indices in sort_out(answers())] == [[0, 2, 3], [1, 4, 5]]


@pytest.mark.parametrize(
    ("wanted", "found", "missing"),
    [
        (["dog"], [(2, "dog", True), (1, "dog", False)], ""),
        (["cat", "dog"], [(0, "cat", True), (5, "cat", False), (2, "dog", True)], ""),
        (["frog"], [], "It never answers *frog*."),
    ],
)
def test_examples_are_the_first_that_are_taken_for_a_class(
    wanted: list[str], found: list[tuple[int, str, bool]], missing: str
) -> None:
    examples = find_examples(answers(), wanted, CLASSES)
    assert examples[: len(found)] == found
    assert len(examples) == (2 * len(wanted) if found else 0)
    assert describe_missing(examples, wanted) == missing


def test_which_example_is_missing_is_said() -> None:
    found = [Example(0, "cat", right=True), Example(1, "dog", right=False)]
    assert describe_missing(found, ["cat", "dog"]) == (
        "It takes nothing else for *cat*. It recognises no *dog*."
    )


def test_captions_name_the_answer_how_sure_it_is_and_the_truth() -> None:
    assert captions(answers(), np.array([0, 4]), CLASSES) == ["cat (62 %)", "dog (62 %)\nis frog"]
    assert captions(answers(confidence=np.nan), np.array([1]), CLASSES) == ["dog\nis cat"]
