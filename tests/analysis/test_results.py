import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_ablations.analysis.results import load_result, load_results
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


def test_results_are_read_back(paths: Paths, write: Callable[..., None]) -> None:
    write("a", [0.9, 0.1, 0.8], examples=100, epochs=3)
    result = load_results(paths, "g", ["a"])["a"]
    np.testing.assert_allclose(result.per_seed("test_accuracy"), [0.9, 0.1, 0.8])
    np.testing.assert_array_equal(result.collapsed, [False, True, False])
    assert result.correct("val").shape == (3, 100)
    assert result.metrics["collapsed_seeds"] == 1
    assert result.metrics["non_trainable_parameters"] == 0
    assert len(result.curves) == 9
    assert len(result.weights) == 9
    assert len(result.features) == 6
    assert result.train_label_counts.sum() == 1000


def test_training_and_validation_images_together_count_by_their_numbers(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.9, 0.8], examples=100, gap=0.05, images=900)
    together = load_result(paths, "g", "a").per_seed("train_val_accuracy")
    np.testing.assert_allclose(together, [0.95 * 0.9 + 0.9 * 0.1, 0.85 * 0.9 + 0.8 * 0.1])


def test_losses_are_those_of_the_last_epoch_in_the_order_of_the_seeds(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.9, 0.8])
    result = load_result(paths, "g", "a")
    expected = result.curves.query("epoch == 4").set_index("seed")["val_loss"].loc[[0, 1]]
    np.testing.assert_array_equal(result.per_seed("val_loss"), expected)
    np.testing.assert_array_equal(result.per_seed("train_loss"), result.train_loss)


def test_losses_that_were_kept_with_the_predictions_come_first(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.9, 0.8])
    with np.load(paths.predictions("g", "a")) as file:
        arrays = {**file, "test_loss": np.array([0.25, 0.5]), "penalty": np.zeros(2)}
    np.savez_compressed(paths.predictions("g", "a"), **arrays)
    result = load_result(paths, "g", "a")
    assert result.per_seed("test_loss").tolist() == [0.25, 0.5]
    assert set(result.losses) == {"test_loss", "penalty"}
    np.savez_compressed(paths.predictions("g", "a"), **{**arrays, "penalty": np.zeros(3)})
    with pytest.raises(ProjectError, match="penalty is an array"):
        load_result(paths, "g", "a")


def test_a_study_has_no_results_before_all_of_it_was_trained(
    paths: Paths, write: Callable[..., None]
) -> None:
    assert load_results(paths, "g", ["a", "b"]) == {}
    write("a", [0.9])
    assert load_results(paths, "g", ["a", "b"]) == {}
    write("b", [0.8])
    assert [*load_results(paths, "g", ["a", "b"])] == ["a", "b"]


@pytest.mark.parametrize(
    "kind", ["metrics", "details", "curves", "features", "weights", "predictions"]
)
def test_a_missing_or_damaged_file_is_named(
    paths: Paths, write: Callable[..., None], kind: str
) -> None:
    write("a", [0.9])
    path = getattr(paths, kind)("g", "a")
    path.write_bytes(b"")
    with pytest.raises(ProjectError, match=rf"{path.name} cannot be read .* train@a"):
        load_result(paths, "g", "a")
    path.unlink()
    with pytest.raises(ProjectError, match=rf"{path.name} is missing; .*git restore"):
        load_result(paths, "g", "a")


def test_results_from_before_there_were_details_are_read(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.9])
    content = [json.loads(kind("g", "a").read_bytes()) for kind in (paths.metrics, paths.details)]
    paths.metrics("g", "a").write_text(json.dumps(content[0] | content[1]))
    paths.details("g", "a").unlink()
    assert load_result(paths, "g", "a").metrics == content[0] | content[1]


def test_metrics_that_are_a_list_are_named(paths: Paths, write: Callable[..., None]) -> None:
    write("a", [0.9])
    paths.metrics("g", "a").write_bytes(b"[]")
    with pytest.raises(ProjectError, match=r"a\.json cannot be read \(Input should be an object"):
        load_result(paths, "g", "a")


@pytest.fixture
def predictions(paths: Paths, write: Callable[..., None]) -> Path:
    write("a", [0.9, 0.8], examples=20)
    return paths.predictions("g", "a")


@pytest.fixture
def content(predictions: Path) -> bytes:
    return predictions.read_bytes()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("train_accuracy", lambda array: array[:1]),
        ("train_loss", lambda array: array[:1]),
        ("train_loss", lambda array: array.astype(str)),
        ("collapsed", lambda array: array[:1]),
        ("collapsed", lambda array: array.astype(int)),
        ("seeds", lambda array: array[:0]),
        ("seeds", lambda array: array[[0, 0]]),
        ("seeds", lambda array: array[None]),
        ("train_label_counts", lambda array: array[None]),
        ("val_predicted", lambda array: array[:1]),
        ("test_predicted", lambda array: array[:, :1]),
        ("test_predicted", lambda array: array * np.nan),
        ("test_labels", lambda array: array[:0]),
        ("test_labels", lambda array: array[None]),
        ("test_labels", lambda array: array.astype(str)),
    ],
)
def test_arrays_of_another_form_are_named(
    paths: Paths, predictions: Path, name: str, change: Callable[[Any], Any]
) -> None:
    with np.load(predictions, allow_pickle=False) as file:
        arrays = dict(file)
    np.savez_compressed(predictions, **{**arrays, name: change(arrays[name])})
    with pytest.raises(ProjectError, match=r"a\.npz cannot be read \(\w+ is an array .* train@a"):
        load_result(paths, "g", "a")


@pytest.mark.parametrize("name", ["test_labels", "test_predicted", "seeds", "collapsed"])
def test_an_array_that_is_missing_is_named(paths: Paths, predictions: Path, name: str) -> None:
    with np.load(predictions, allow_pickle=False) as file:
        arrays = {key: array for key, array in file.items() if key != name}
    np.savez_compressed(predictions, **arrays)
    with pytest.raises(ProjectError, match=rf"a\.npz cannot be read \(.*{name}"):
        load_result(paths, "g", "a")


def test_an_array_that_nobody_asked_for_is_named(paths: Paths, predictions: Path) -> None:
    with np.load(predictions, allow_pickle=False) as file:
        np.savez_compressed(predictions, **file, more=np.array([1]))
    with pytest.raises(ProjectError, match=r"a\.npz cannot be read \(it has 'more' besides\)"):
        load_result(paths, "g", "a")


@pytest.mark.parametrize(
    ("kind", "written", "changed", "words"),
    [
        ("metrics", '"flops": 600000', '"flops": 1e999', "flops.*finite"),
        ("metrics", '"flops": 600000', '"flops": "many"', "flops.*valid integer"),
        ("metrics", '"flops": 600000', '"flops": null', "flops.*valid integer"),
        ("metrics", '"flops": 600000', '"flop": 600000', "flops: Field required"),
        ("metrics", '"test_loss": 0.5', '"test_loss": [0.5]', "test_loss.*valid integer"),
        ("metrics", '"seeds": 1', '"seeds": "one"', "seeds.*valid integer"),
        ("details", '"train_loss"', '"loss"', "train_loss: Field required"),
        ("details", '"train_loss"', '"train_loss": {}, "loss"', "train_loss.*valid integer"),
        ("curves", "\n0,2,", "\n0,two,", "'two'"),
        ("curves", "\n0,2,", "\n0,1,", "one row for each seed and epoch"),
        ("curves", "\n0,2,", "\n0,2,high", "'high0"),
        ("curves", "\n0,2,", "\n3,2,", "not of the seeds 0"),
        ("curves", "epoch", "epic", "no column 'epoch'"),
        ("weights", "near_zero", "nearly", "no column 'near_zero'"),
        ("weights", "0,conv1,biases,16,", "0,conv1,biases,some,", "'some'"),
        ("weights", "0,conv1,biases,", "0,,biases,", "one row for each seed and layer and kind"),
        ("weights", " 0 ", " zero ", "'histogram' must hold numbers"),
        ("features", "0,conv1,8,8,", "0,conv1,8,8,little", "'little0.8'"),
        ("features", "detail", "details", "no column 'detail'"),
        ("curves", "seed", "seed" + "," * 70_000, "a line of more than 65,536 bytes"),
        ("curves", "seed", "seed\n" + "1\n" * 2**22, "larger than 8,388,608 bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_no_training_writes_is_named(
    paths: Paths, write: Callable[..., None], kind: str, written: str, changed: str, words: str
) -> None:
    write("a", [0.9])
    path = getattr(paths, kind)("g", "a")
    content = path.read_text()
    assert written in content
    path.write_text(content.replace(written, changed, 1))
    with pytest.raises(ProjectError, match=rf"{path.name} cannot be read \(.*{words}.* train@a"):
        load_result(paths, "g", "a")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each starts from `content`
@given(st.data())
def test_predictions_with_bytes_changed_are_read_or_named(
    paths: Paths, predictions: Path, content: bytes, data: st.DataObject
) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    predictions.write_bytes(changed)
    with suppress(ProjectError):
        load_result(paths, "g", "a")


def test_metrics_too_deep_and_predictions_that_would_fill_the_memory_are_refused(
    paths: Paths, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a", [0.9], examples=10_000)
    predictions = paths.predictions("g", "a")
    with np.load(predictions, allow_pickle=False) as file:
        np.savez_compressed(predictions, **file)
    size = predictions.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr("cnn_ablations.analysis.results.PREDICTIONS_LIMIT", size)
        with pytest.raises(ProjectError, match=r"a\.npz cannot be read \(it would grow to \d"):
            load_result(paths, "g", "a")
    paths.metrics("g", "a").write_bytes(b"[" * 100_000)
    with pytest.raises(ProjectError, match=r"a\.json cannot be read .* train@a"):
        load_result(paths, "g", "a")


def test_what_a_variant_did_not_record_is_an_error(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("a", [0.9], validated=False)
    result = load_result(paths, "g", "a")
    with pytest.raises(ProjectError, match="variant 'a' has no val split"):
        result.correct("val")
    with pytest.raises(ProjectError, match="variant 'a' recorded no val_loss"):
        result.per_seed("val_loss")
