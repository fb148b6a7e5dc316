from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from cnn_ablations.analysis.inspection import (
    captions,
    class_report,
    confusions,
    describe,
    describe_classes,
    describe_confusions,
    describe_iterations,
    describe_missing,
    describe_network,
    final_figures,
    find_examples,
    frequent_mistakes,
    scores,
    sort_out,
    spread,
)
from cnn_ablations.analysis.results import VariantResult, load_result
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


def test_balanced_accuracy_comes_first_where_accuracy_misleads(
    paths: Paths, write: WriteVariant
) -> None:
    write("v", [0.8, 0.7, 0.6], examples=200, gap=0.0)
    result = load_result(paths, "g", "v")
    labels = np.array([0] * 160 + [1] * 30 + [2] * 10, np.uint8)
    answers = np.stack([np.where(labels == 2, 0, labels), labels, np.zeros_like(labels)])
    text = describe(
        replace(result, labels={"test": labels, "val": labels}, predicted={"test": answers})
    )
    assert "reaches a median balanced accuracy of **66.67 %** on 200 test images" in text
    assert "between 33.33 % and 100.00 %" in text
    assert "always giving the same answer would reach 33.33 %" in text
    assert "Plain accuracy, the share of all images, is **95.00 %**" in text
    assert "a class has 10 to 160 test images" in text
    assert text.index("66.67 %") < text.index("95.00 %")


def test_where_accuracy_misleads_the_balanced_one_is_a_row_and_introduces_the_network(
    paths: Paths, write: WriteVariant
) -> None:
    write("v", [0.8], examples=200)
    result = load_result(paths, "g", "v")
    labels = np.array([0] * 160 + [1] * 40, np.uint8)
    unequal = replace(result, labels={"test": labels}, predicted={"test": 0 * labels[None]})
    table = final_figures(unequal)
    assert list(table.index) == ["test, balanced", "training", "test"]
    assert row(table, "test, balanced") == ["50.00 %", "50.00 %", "50.00 %", "–"]
    text = describe_network(opened(unequal), 0, answers())
    assert text == "This is the network of **seed 0**, with a balanced test accuracy of 50.00 %."


def row(table: pd.DataFrame, name: str) -> list[Any]:
    return [table.at[name, column] for column in table]


def opened(result: VariantResult) -> Any:
    return SimpleNamespace(
        variant=SimpleNamespace(seeds=result.seeds.tolist()),
        result=result,
        arrays=SimpleNamespace(classes=CLASSES),
    )


def test_the_opened_network_is_introduced_with_its_faults(
    paths: Paths, write: WriteVariant
) -> None:
    write("v", [0.8, 0.1])
    run = opened(load_result(paths, "g", "v"))
    fine = describe_network(run, 0, answers())
    assert fine == "This is the network of **seed 0**, with a test accuracy of 80.00 %."
    assert "**It collapsed**" in describe_network(run, 1, answers())
    diverged = describe_network(run, 1, answers(confidence=np.nan))
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


def test_scores_of_unequal_classes_begin_with_the_balanced_accuracy() -> None:
    test = predictions([0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1, 0, 1])
    table = scores({"train": SPLITS["train"], "test": test}, ["cat", "dog"])
    assert row(table, "training")[:3] == ["50.00 %", "4", "75.00 %"]
    assert row(table, "test")[:3] == ["66.67 %", "8", "75.00 %"]


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


@pytest.fixture
def many() -> Predictions:
    """Of forty classes, of which class n is mistaken for class n + 1 in n of forty images."""
    labels = np.repeat(np.arange(40), 40)
    mistaken = np.tile(np.arange(40), 40) < labels
    return Predictions(labels.astype(np.uint8), ((labels + mistaken) % 40).astype(np.uint8))


NAMES = [f"class {i}" for i in range(40)]


def test_of_many_classes_those_recognised_least_and_best_are_shown(many: Predictions) -> None:
    table = class_report({"train": SPLITS["train"], "test": many}, NAMES)
    worst, best = range(39, 29, -1), range(4, -1, -1)
    assert [*table.index] == [*(f"class {i}" for i in (*worst, *best)), "mean or total"]
    assert table.at["class 39", "test recall"] == "2.50\N{NO-BREAK SPACE}%"
    assert table.at["mean or total", "test images"] == "1,600"
    text = describe_classes(many, 40)
    assert "Of 40 classes these are the 10 that it recognises least" in text
    assert "at most 26.88 %, of another quarter at least 75.62 %" in text


def test_of_many_classes_the_most_frequent_mistakes_are_shown(many: Predictions) -> None:
    counts = {"train": confusions(SPLITS["train"], 40), "test": confusions(many, 40)}
    table = frequent_mistakes(counts, NAMES)
    assert [*table.index] == [f"class {i}" for i in range(39, 24, -1)]
    assert row(table, "class 38") == [
        *("class 39", "38 of 40", "95.00\N{NO-BREAK SPACE}%"),
        *("0 of 0", "0.00\N{NO-BREAK SPACE}%"),
    ]
    assert "The table has the most frequent mistakes" in describe_confusions(counts["test"], NAMES)


def test_fewer_mistakes_make_fewer_rows() -> None:
    counts = np.diag([4, 3, 2]) + np.array([[0, 1, 0], [0, 0, 0], [0, 2, 0]])
    table = frequent_mistakes({"train": counts, "test": counts}, ["cat", "dog", "tree_frog"])
    assert [*table.index] == ["tree_\N{ZERO WIDTH SPACE}frog", "cat"]
    assert [*table["test images"]] == ["2 of 4", "1 of 5"]


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
    text = describe_confusions(np.diag([2, 3]), ["cat", "dog"])
    assert text.startswith("It makes no mistake on the test images. Each row is a true class")


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
        (["frog"], [], "It recognises no *frog*. It takes nothing else for *frog*."),
    ],
)
def test_examples_are_the_first_that_are_taken_for_a_class(
    wanted: list[str], found: list[tuple[int, str, bool]], missing: str
) -> None:
    examples = find_examples(answers(), wanted, CLASSES)
    assert examples[: len(found)] == found
    assert len(examples) == (2 * len(wanted) if found else 0)
    assert describe_missing(examples, wanted) == missing


def test_captions_name_the_answer_how_sure_it_is_and_the_truth() -> None:
    sure = "(62\N{NO-BREAK SPACE}%)"
    assert captions(answers(), [0, 4], CLASSES) == [f"cat {sure}", f"dog {sure}\nis frog"]
    assert captions(answers(confidence=np.nan), [1], CLASSES) == ["dog\nis cat"]


def test_captions_of_wrong_answers_name_the_file_in_the_folder_of_its_class() -> None:
    files = ["cat/0.png", "test/cat/far/1.png", "", "", "frog/frog.png", "test/frog/5.png"]
    given = answers(confidence=np.nan)
    assert captions(given, [0, 1, 4, 5], CLASSES, files) == [
        "cat",
        "dog\nis cat\nfar/1.png",
        "dog\nis frog\nfrog.png",
        "cat\nis frog\n5.png",
    ]
