import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.progress import reporter
from cnn_ablations.training.network import build_network
from cnn_ablations.training.variant import Trained, named_weights, train_variant

NET = ("tiny", "tiny-net")
METRICS = ("accuracy", "loss")


@pytest.fixture(scope="session")
def finished(
    keras: ModuleType, make_project: Callable[[Path], Paths], tmp_path_factory: Any
) -> tuple[Paths, Variant, Trained]:
    """A variant with two seeds, trained in this process."""
    paths = make_project(tmp_path_factory.mktemp("finished"))
    variant = load_params(paths.params).variant("tiny-net")
    small = {"seeds": [3, 1], "epochs": 2, "evaluate_each_epoch": ["val"]}
    variant = Variant.model_validate({**variant.model_dump(), **small})
    return paths, variant, train_variant(variant, paths)


Finished = tuple[Paths, Variant, Trained]


def test_the_metrics_are_flat_and_in_their_order(finished: Finished) -> None:
    paths, _, trained = finished
    metrics = json.loads(paths.metrics(*NET).read_bytes())
    assert metrics == trained.metrics
    assert list(metrics) == [
        *("test_accuracy", "test_balanced_accuracy", "val_accuracy", "train_accuracy"),
        *("test_accuracy_std", "test_loss", "seeds", "collapsed_seeds", "parameters", "flops"),
    ]
    details = json.loads(paths.details(*NET).read_bytes())
    assert details == trained.details
    assert list(details) == [
        *("test_macro_f1", "val_accuracy_std", "train_accuracy_std", "val_loss", "train_loss"),
        *("penalty", "running_train_accuracy", "running_train_loss", "non_trainable_parameters"),
    ]
    # conv 3·3·1·4 + 4, norm 4·4; flatten 4·4·4 → dense 64·8 + 8, norm 4·8; output 8·10 + 10.
    assert metrics["parameters"] == 40 + 16 + 520 + 32 + 90
    assert details["non_trainable_parameters"] == 8 + 16
    assert metrics["flops"] == 2 * (64 * 36 + 512 + 80)
    assert metrics["seeds"] == 2


def test_metrics_predictions_and_run_agree(finished: Finished) -> None:
    paths, variant, _ = finished
    metrics = json.loads(paths.metrics(*NET).read_bytes())
    with np.load(paths.predictions(*NET), allow_pickle=False) as predictions:
        assert predictions["seeds"].tolist() == [3, 1]
        assert predictions["seeds"].dtype == np.int64
        accuracies = []
        for row, seed in enumerate((3, 1)):
            run = paths.run(*NET) / f"seed-{seed}"
            final = json.loads((run / "final.json").read_bytes())
            for split in ("val", "test"):
                predicted = predictions[f"{split}_predicted"][row]
                assert predicted.dtype == np.uint8
                accuracy = (predicted == predictions[f"{split}_labels"]).mean()
                assert accuracy == pytest.approx(final[f"{split}_accuracy"])
                probabilities = np.load(run / f"{split}_probabilities.npy")
                np.testing.assert_array_equal(predicted, probabilities.argmax(axis=1))
            assert predictions["train_accuracy"][row] == final["train_accuracy"]
            assert predictions["train_loss"][row] == final["train_loss"]
            accuracies.append(final["test_accuracy"])
        subsets = split_arrays(load_arrays(paths.arrays("digits")), variant)
        np.testing.assert_array_equal(predictions["val_labels"], subsets["val"].labels)
        np.testing.assert_array_equal(predictions["test_labels"], subsets["test"].labels)
    assert metrics["test_accuracy"] == pytest.approx(np.median(accuracies), abs=1e-6)
    assert metrics["test_accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)


def test_curves_have_a_row_for_each_seed_and_epoch(finished: Finished) -> None:
    paths, _, _ = finished
    curves = pd.read_csv(paths.curves(*NET))
    measured = [f"{split}_{what}" for split in ("running_train", "val") for what in METRICS]
    assert curves.columns.tolist() == ["seed", "epoch", *measured]
    assert curves[["seed", "epoch"]].to_numpy().tolist() == [[3, 1], [3, 2], [1, 1], [1, 2]]


def test_weight_summaries_are_those_of_the_saved_networks(finished: Finished) -> None:
    paths, variant, _ = finished
    table = pd.read_csv(paths.weights(*NET))
    assert table[["seed", "layer", "kind"]].to_numpy().tolist() == [
        [seed, layer, kind]
        for seed in (3, 1)
        for layer in ("conv1", "dense1", "output")
        for kind in ("weights", "biases")
    ]
    model = build_network(variant, (8, 8, 1), 10, 16)
    model.load_weights(paths.run(*NET) / "seed-1" / "weights.weights.h5")
    kernel = np.asarray(model.get_layer("dense1").kernel)
    row = table[(table.seed == 1) & (table.layer == "dense1") & (table.kind == "weights")].iloc[0]
    assert row["count"] == kernel.size
    assert row["mean"] == pytest.approx(kernel.mean(), abs=1e-5)


def test_feature_maps_are_summed_up_by_seed_and_convolution(finished: Finished) -> None:
    paths, _, _ = finished
    table = pd.read_csv(paths.features(*NET))
    assert table[["seed", "layer", "height", "width"]].to_numpy().tolist() == [
        [3, "conv1", 8, 8],
        [1, "conv1", 8, 8],
    ]
    assert table["detail"].between(0.05, 1.2).all()


def test_saved_weights_give_the_saved_answers(finished: Finished) -> None:
    paths, variant, _ = finished
    run = paths.run(*NET) / "seed-3"
    model = build_network(variant, (8, 8, 1), 10, 16)
    model.load_weights(run / "weights.weights.h5")
    logits = model.predict(load_arrays(paths.arrays("digits")).test_images, verbose=0)
    probabilities = np.load(run / "test_probabilities.npy")
    np.testing.assert_array_equal(logits.argmax(axis=1), probabilities.argmax(axis=1))


def test_the_run_folder_holds_no_measurement_and_the_timings_do(finished: Finished) -> None:
    paths, _, _ = finished
    assert [path for path in paths.run(*NET).rglob("*") if "timing" in path.name] == []
    timings = json.loads(paths.timings(*NET).read_bytes())
    assert list(timings["seeds"]) == ["3", "1"]
    for measured in timings["seeds"].values():
        assert set(measured) == {"train_seconds", "evaluate_seconds", "peak_memory_mb"}
        assert measured["train_seconds"] > 0
    assert len(timings["provenance"]) == 1
    assert timings["provenance"][0]["backend"] == "tensorflow"
    assert set(timings["revision"]) == {"commit", "modified"}


def test_the_notebook_is_told_what_it_shows(finished: Finished) -> None:
    _, _, trained = finished
    assert trained.images == {"train": 240, "val": 60, "test": 100}
    assert [layer.name for layer in trained.layers][-3:] == [
        "dense1_norm",
        "dense1_dropout",
        "output",
    ]
    assert [result.seed for result in trained.seeds] == [3, 1]
    assert sum(layer.parameters for layer in trained.layers) == trained.metrics["parameters"]


def test_the_progress_is_that_of_the_last_epoch(finished: Finished) -> None:
    paths, _, trained = finished
    progress = json.loads(paths.progress(*NET).read_bytes())
    assert progress.pop("seconds_left") == 0
    accuracy = trained.seeds[1].history["val_accuracy"].iloc[-1]
    assert progress.pop("accuracy") == pytest.approx(accuracy)
    assert progress == {"seed": 1, "number": 2, "seeds": 2, "epoch": 2, "epochs": 2}


def test_the_time_left_counts_the_epochs_of_all_seeds_without_a_result(
    tiny_variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ahead = [tmp_path / name for name in ("a", "b")]
    report = reporter(tiny_variant, 0, tmp_path / "progress.json", ahead)

    def told() -> dict[str, Any]:
        content: dict[str, Any] = json.loads((tmp_path / "progress.json").read_bytes())
        return content

    now = 140.0  # the first epoch compiles
    report(1, {"running_train_accuracy": 0.5})
    assert told()["accuracy"] == 0.5
    assert told()["seconds_left"] is None
    (ahead[1] / "result").mkdir(parents=True)  # by somebody else
    now = 150.0
    report(2, {"running_train_accuracy": 0.5})
    assert told()["seconds_left"] == (1 + 3) * 10


def unnamed_net(inputs: Any, classes: int, **_: Any) -> Any:
    from keras import layers

    return layers.Dense(classes)(layers.Dense(3)(layers.Flatten()(inputs)))


def test_layers_without_names_are_called_the_same_whether_seeds_were_trained_or_found(
    keras: ModuleType, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_ablations.training.network.build_function", lambda _: unnamed_net)
    variant = load_params(project.params).variant("tiny-net")
    variant = variant.model_copy(update={"epochs": 1, "augmentation": None})
    train_variant(variant, project)
    trained = project.weights(*NET).read_bytes()
    assert b",dense," in trained
    train_variant(variant, project)
    assert project.weights(*NET).read_bytes() == trained


FIND_DONE = """
import sys
from pathlib import Path
from cnn_ablations.config.variants import Variant
from cnn_ablations.paths import Paths
from cnn_ablations.training.variant import train_variant
train_variant(Variant.model_validate_json(sys.argv[2]), Paths(Path(sys.argv[1])))
import keras
print(keras.backend.backend())
"""


def test_where_all_seeds_are_found_a_user_s_own_settings_of_keras_have_no_part_either(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, variant, _ = finished
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    command = [sys.executable, "-c", FIND_DONE, str(paths.root), variant.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["tensorflow"], done.stderr


def test_named_weights_are_kernels_and_biases_in_order(keras: ModuleType) -> None:
    from keras import layers

    inside = keras.Sequential([keras.Input((2, 2, 2)), layers.Dense(3, name="c")], name="part")
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(2, 3, name="a")(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    model = keras.Model(inputs, inside(layers.Dense(2, name="b")(x)))
    named = named_weights(model)
    assert [(layer, kind, array.shape) for layer, kind, array in named] == [
        ("a", "weights", (3, 3, 1, 2)),
        ("a", "biases", (2,)),
        ("b", "weights", (2, 2)),
        ("b", "biases", (2,)),
        ("part/c", "weights", (2, 3)),
        ("part/c", "biases", (3,)),
    ]


def test_pixels_that_were_changed_train_nothing(tiny_variant: Variant, project: Paths) -> None:
    file = project.arrays("digits") / "train_images.npy"
    content = bytearray(file.read_bytes())
    content[-100] ^= 8
    file.write_bytes(content)
    with pytest.raises(ProjectError, match=r"train_images\.npy was changed since it was written"):
        train_variant(tiny_variant, project)
    assert not project.scratch("seeds").exists()


def test_a_training_by_hand_writes_no_report_and_no_run(finished: Finished) -> None:
    paths, variant, trained = finished
    written = [paths.root / "reports", paths.root / "data" / "runs"]
    aside = [folder.rename(folder.with_name(f"{folder.name}.aside")) for folder in written]
    try:
        assert train_variant(variant, paths, keep=False).metrics == trained.metrics
        assert not [folder for folder in written if folder.exists()]
    finally:
        for folder, before in zip(written, aside, strict=True):
            before.rename(folder)


@pytest.mark.parametrize("place", ["data/runs", "reports/metrics"])
def test_outputs_that_cannot_be_written_are_named_and_nothing_is_trained_twice(
    finished: Finished, place: str
) -> None:
    paths, variant, trained = finished
    blocked = paths.root / place
    aside = blocked.rename(paths.root / "aside")
    blocked.write_text("a file where a folder should be")
    try:
        with pytest.raises(ProjectError, match=rf"cannot write.*{place}"):
            train_variant(variant, paths)
    finally:
        blocked.unlink()
        aside.rename(blocked)
    assert train_variant(variant, paths).metrics == trained.metrics
