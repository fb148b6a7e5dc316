import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cnn_ablations.agreement import (
    DIFFERENT,
    IDENTICAL,
    UNKNOWN,
    WITHIN,
    Finding,
    compare_accuracies,
    compare_outputs,
    contradictions,
    worst,
)
from cnn_ablations.analysis.results import VariantResult, load_result
from cnn_ablations.paths import Paths

NOISE = [Finding("test accuracy", WITHIN)]


def words(value: object) -> str:
    return value if isinstance(value, str) else ""


def csv(**columns: list[Any]) -> bytes:
    return pd.DataFrame(columns).to_csv(index=False).encode()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def notebook(*cells: tuple[str, str]) -> bytes:
    return json.dumps({"cells": [{"source": s, "outputs": [o]} for s, o in cells]}).encode()


CURVES = csv(seed=[0, 0, 1], epoch=[1, 2, 1], val_accuracy=[0.5, 0.75, 0.25])
OTHER_CURVES = csv(seed=[0, 0, 1], epoch=[1, 2, 1], val_accuracy=[0.5, 0.76, 0.26])
PREDICTIONS = {
    "seeds": [0, 1],
    "train_label_counts": [3, 4],
    "test_labels": np.array([0, 1, 1], np.uint8),
    "test_predicted": np.array([[0, 1, 0], [1, 1, 1]], np.uint8),
    "train_loss": [0.5, np.nan],
}
METRICS = {"parameters": 90, "seeds": 2, "collapsed_seeds": 0, "test_accuracy": 0.5}


def verdict(
    name: str, committed: bytes | None, repeated: bytes, noise: list[Finding] = NOISE
) -> tuple[str, str]:
    """Of one output, where the predictions differ."""
    other = {**PREDICTIONS, "train_loss": [0.5, 0.7]}
    outputs = {
        "predictions/other.npz": (npz(**PREDICTIONS), npz(**other)),
        name: (committed, repeated),
    }
    finding = compare_outputs(outputs, noise)[1]
    assert finding.subject == name
    return finding.verdict, finding.detail


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.json", "a.ipynb", "folder"])
def test_the_same_bytes_are_bit_identical(name: str) -> None:
    assert verdict(name, b"same", b"same") == (IDENTICAL, "")


@pytest.mark.parametrize(
    ("name", "committed", "repeated", "detail"),
    [
        ("a.csv", CURVES, OTHER_CURVES, "2 of 3 values differ"),
        (
            "a.npz",
            npz(**PREDICTIONS),
            npz(**{**PREDICTIONS, "test_predicted": np.array([[0, 1, 1], [1, 1, 1]], np.uint8)}),
            "1 of 8 values differ",
        ),
        (
            "a.json",
            json.dumps(METRICS).encode(),
            json.dumps({**METRICS, "test_accuracy": None, "collapsed_seeds": 1}).encode(),
            "2 of 2 values differ",
        ),
        (
            "a.ipynb",
            notebook(("x = 1", ""), ("x", "1")),
            notebook(("x = 1", ""), ("x", "2")),
            "1 of 2 values differ",
        ),
        ("data/runs/a", b"one.dir", b"two.dir", "1 of 1 values differ"),
    ],
    ids=words,
)
def test_values_that_differ_are_as_good_as_the_accuracies(
    name: str, committed: bytes, repeated: bytes, detail: str
) -> None:
    assert verdict(name, committed, repeated) == (WITHIN, detail)
    for other in (UNKNOWN, DIFFERENT):
        noise = [*NOISE, Finding("val accuracy", other)]
        assert verdict(name, committed, repeated, noise) == (other, detail)


@pytest.mark.parametrize(
    ("name", "committed", "repeated", "detail"),
    [
        ("a.csv", CURVES, csv(seed=[0, 0, 1], epoch=[1, 2, 1], val_loss=[1, 1, 1]), "val_accuracy"),
        ("a.csv", CURVES, csv(seed=[0, 0], epoch=[1, 2], val_accuracy=[0.5, 0.7]), "other seed"),
        ("a.csv", csv(layer=["a"], count=[9]), csv(layer=["a"], count=[8]), "other count"),
        ("a.csv", CURVES, b"", "another form"),
        (
            "a.npz",
            npz(**PREDICTIONS),
            npz(**{**PREDICTIONS, "test_labels": np.array([0, 1, 2], np.uint8)}),
            "other test labels",
        ),
        (
            "a.npz",
            npz(**PREDICTIONS),
            npz(**{**PREDICTIONS, "train_label_counts": [4, 3]}),
            "other train label counts",
        ),
        ("a.npz", npz(**PREDICTIONS), npz(**{**PREDICTIONS, "train_loss": [0.5]}), "train loss"),
        ("a.npz", npz(**PREDICTIONS), npz(**PREDICTIONS, val_labels=[1]), "other val_labels"),
        ("a.npz", b"no archive", npz(**PREDICTIONS), "another form"),
        (
            "a.json",
            json.dumps(METRICS).encode(),
            json.dumps({**METRICS, "parameters": 91}).encode(),
            "other parameters",
        ),
        (
            "a.json",
            json.dumps(METRICS).encode(),
            json.dumps({**METRICS, "flops": None}).encode(),
            "other flops",
        ),
        ("a.ipynb", notebook(("x = 1", "")), notebook(("x = 2", "")), "other source"),
        ("a.csv", None, CURVES, "not committed"),
    ],
    ids=words,
)
def test_another_form_is_different_whatever_the_accuracies(
    name: str, committed: bytes | None, repeated: bytes, detail: str
) -> None:
    found, said = verdict(name, committed, repeated)
    assert found == DIFFERENT
    assert detail in said


def test_where_predictions_are_the_same_nothing_else_may_differ() -> None:
    absurd = csv(seed=[0, 0, 1], epoch=[1, 2, 1], val_accuracy=[1e6, 1e6, 1e6])
    outputs: dict[str, tuple[bytes | None, bytes]] = {
        "a.npz": (npz(**PREDICTIONS), npz(**PREDICTIONS)),
        "a.csv": (absurd, CURVES),
        "a.json": (b'{"test_accuracy": 0.5}', b'{"test_accuracy": 0.6}'),
        "data/runs/a": (b"one", b"two"),
    }
    found = compare_outputs(outputs, NOISE)
    assert [finding.verdict for finding in found] == [IDENTICAL, DIFFERENT, DIFFERENT, DIFFERENT]
    assert found[2].detail == "1 of 1 values differ, but the predictions are the same"


def test_the_same_arrays_in_another_file_are_the_same_and_said_to_be_packed_otherwise() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **PREDICTIONS)  # type: ignore[arg-type]
    detail = "the same arrays in other bytes: packed otherwise"
    assert verdict("a.npz", npz(**PREDICTIONS), buffer.getvalue()) == (IDENTICAL, detail)


@pytest.mark.parametrize(("loss", "count"), [([0.6, np.nan], 1), ([0.5, 0.5], 1), ([-0.5, 0.0], 2)])
def test_values_are_compared_by_their_bits(loss: list[float], count: int) -> None:
    arrays = {**PREDICTIONS, "train_loss": loss}
    found, detail = verdict("a.npz", npz(**PREDICTIONS), npz(**arrays))
    assert (found, detail) == (WITHIN, f"{count} of 8 values differ")


@pytest.mark.parametrize("seeds", [[1], [10], [0, 1]])
def test_of_some_seeds_only_their_rows_are_compared(seeds: list[int]) -> None:
    all_seeds = np.array([0, 1, 10])
    chosen = np.isin(all_seeds, seeds)
    values = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)

    def outputs(changed: int) -> dict[str, tuple[bytes | None, bytes]]:
        again = values + np.array([[0], [0], [0]], np.uint8)
        again[all_seeds == changed] += 1
        common = {"train_label_counts": [3, 4], "test_labels": np.array([0, 1, 1], np.uint8)}
        return {
            "a.npz": (
                npz(seeds=all_seeds, test_predicted=values, **common),
                npz(seeds=all_seeds[chosen], test_predicted=again[chosen], **common),
            ),
            "a.csv": (
                csv(seed=all_seeds.tolist(), mean=values[:, 0].tolist()),
                csv(seed=all_seeds[chosen].tolist(), mean=again[chosen, 0].tolist()),
            ),
        }

    same = [Finding("a.npz", IDENTICAL), Finding("a.csv", IDENTICAL)]
    assert compare_outputs(outputs(-1), NOISE, seeds) == same
    found = compare_outputs(outputs(seeds[-1]), NOISE, seeds)
    assert [finding.verdict for finding in found] == [WITHIN, WITHIN]
    found = compare_outputs(outputs(-1), NOISE, [*seeds[1:], 99])
    assert [finding.verdict for finding in found] == [DIFFERENT, DIFFERENT]


def results(accuracies: list[float]) -> VariantResult:
    """Of seeds with these accuracies on 400 images; one of 0.1 stayed at chance."""
    reached, labels = np.array(accuracies), np.zeros(400, np.uint8)
    predicted = np.array([np.arange(400) >= round(400 * a) for a in accuracies], np.uint8)
    empty = pd.DataFrame()
    return VariantResult(
        name="net",
        metrics={},
        curves=empty,
        weights=empty,
        features=empty,
        seeds=np.arange(len(accuracies)),
        labels={"val": labels, "test": labels},
        predicted={"val": predicted, "test": predicted},
        train_label_counts=np.array([400]),
        train_accuracy=reached,
        train_loss=reached,
        losses={},
        collapsed=reached <= 0.1,
    )


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.verdict for finding in findings}


COMMITTED = [0.79, 0.80, 0.81, 0.80]


def test_accuracies_among_those_of_the_seeds_are_seed_noise() -> None:
    found = compare_accuracies(results(COMMITTED), results([0.785]))
    assert verdicts(found) == {
        "train accuracy": WITHIN,
        "val accuracy": WITHIN,
        "test accuracy": WITHIN,
    }
    assert found[2].detail.startswith("78.50 % repeated, 75.")
    assert found[2].detail.endswith(" % expected")


def test_accuracies_far_from_those_of_the_seeds_are_different() -> None:
    found = compare_accuracies(results(COMMITTED), results([0.80, 0.5]))
    assert set(verdicts(found).values()) == {DIFFERENT}
    assert "50.00 to 80.00 % repeated" in found[2].detail
    assert found[2].detail.endswith("outside: seed 1")


def test_the_interval_holds_all_repeated_seeds_at_once() -> None:
    """0.83 is too far for one seed, but not for one of ten."""
    committed = results([0.79, 0.80, 0.81, 0.80] * 3)
    assert worst(compare_accuracies(committed, results([0.835]))) == DIFFERENT
    assert worst(compare_accuracies(committed, results([0.835] + [0.80] * 29))) == WITHIN


def test_seeds_that_agree_to_the_digit_leave_room_for_one_image() -> None:
    committed = results([0.80, 0.80, 0.80])
    assert worst(compare_accuracies(committed, results([0.8025]))) == WITHIN
    assert worst(compare_accuracies(committed, results([0.81]))) == DIFFERENT


def test_an_interval_that_proves_little_says_so() -> None:
    wide, narrow = results([0.7, 0.8, 0.9]), results([0.80, 0.801, 0.802])
    tell_little = "so wide that 3 committed seeds tell little"
    assert all(tell_little in f.detail for f in compare_accuracies(wide, results([0.8])))
    assert not any(tell_little in f.detail for f in compare_accuracies(narrow, results([0.801])))


def test_a_repeated_seed_may_collapse_only_where_a_committed_one_did() -> None:
    learned = results(COMMITTED)
    found = compare_accuracies(learned, results([0.1, 0.80]))
    assert verdicts(found)["collapsed seeds"] == DIFFERENT
    assert verdicts(found)["test accuracy"] == WITHIN
    assert found[0].detail == "seed 0 stayed at chance; 0 of 4 committed seeds did"

    mixed = results([*COMMITTED, 0.1])
    assert verdicts(compare_accuracies(mixed, results([0.1]))) == {"collapsed seeds": WITHIN}


def test_collapsed_seeds_do_not_widen_the_interval() -> None:
    mixed = results([*COMMITTED, 0.1])
    assert worst(compare_accuracies(mixed, results([0.5]))) == DIFFERENT


def test_the_scatter_of_one_seed_is_unknown() -> None:
    found = compare_accuracies(results([0.80, 0.1]), results([0.80]))
    assert set(verdicts(found).values()) == {UNKNOWN}
    assert found[0].detail.endswith("only 1 of 2 committed seeds learned")


def test_a_seed_that_learned_where_none_did_is_different() -> None:
    assert worst(compare_accuracies(results([0.1, 0.1]), results([0.80]))) == DIFFERENT


def test_the_gravest_verdict_counts() -> None:
    for expected, found in (
        (IDENTICAL, []),
        (WITHIN, [IDENTICAL, WITHIN]),
        (UNKNOWN, [UNKNOWN, WITHIN]),
        (DIFFERENT, [UNKNOWN, DIFFERENT, IDENTICAL]),
    ):
        assert worst(Finding("", each) for each in found) == expected


def committed_variants() -> list[Path]:
    return sorted((Path(__file__).parents[1] / "reports" / "metrics").glob("*/*.json"))


@pytest.mark.parametrize("path", committed_variants(), ids=lambda path: path.stem)
def test_committed_metrics_and_curves_do_not_contradict_their_predictions(
    checkout: Paths, path: Path
) -> None:
    assert contradictions(load_result(checkout, path.parent.name, path.stem)) == []
