from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import correlate2d
from sklearn.metrics import balanced_accuracy_score

from cnn_ablations.analysis.results import load_result
from cnn_ablations.analysis.run import (
    Run,
    accuracies,
    load_run,
    maps_of,
    open_network,
    read_answers,
    read_iterations,
    read_predictions,
)
from cnn_ablations.config.variants import Variant, resolve_variant
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

# Keras's own conversion of TensorFlow's variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WriteVariant = Callable[..., None]
IMAGES = 250
PROTOCOL = {
    "split": {"method": "last", "val": 0.5},
    "pixels": "unit",
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "batch_size": 10,
    "epochs": 4,
    "filters": [3, 2],
    "pooling": [2, 1],
    "seeds": [0, 1, 2],
}


def variant(**changes: object) -> Variant:
    values = {"protocol": "g", "dataset": "small", **changes}
    return resolve_variant("v", values, {"g": PROTOCOL})


@pytest.fixture
def run(paths: Paths, write: WriteVariant) -> Run:
    """A run of three seeds with test accuracies 0.8, 0.1 and 0.7."""
    write("v", [0.8, 0.1, 0.7], examples=IMAGES)
    rng = np.random.default_rng(0)
    write_arrays(
        paths.arrays("small"),
        train_images=np.zeros((4, 6, 6, 1), np.uint8),
        train_labels=np.arange(4, dtype=np.uint8),
        test_images=rng.integers(0, 17, (IMAGES, 6, 6, 1)).astype(np.uint8),
        test_labels=np.arange(IMAGES, dtype=np.uint8) % 10,
        classes=[str(i) for i in range(10)],
        pixel_max=16,
    )
    loaded = load_run(variant(), paths)
    for seed in (0, 1, 2):
        folder = loaded.folder / f"seed-{seed}"
        folder.mkdir(parents=True)
        probabilities = np.full((IMAGES, 10), 0.05, np.float32)
        answers = loaded.result.predicted["test"][seed]
        probabilities[np.arange(IMAGES), answers] = 0.5 + seed / 10
        np.save(folder / "test_probabilities.npy", probabilities)
    return loaded


def test_accuracies_are_those_of_every_seed(run: Run) -> None:
    found = accuracies(run.result)
    assert list(found) == ["train", "val", "test"]
    assert found["test"] == pytest.approx([0.8, 0.1, 0.7])


@pytest.mark.parametrize(
    ("accuracies", "typical"), [([0.8, 0.1, 0.7], 2), ([0.1, 0.1, 0.8, 0.9], 2), ([0.8], 0)]
)
def test_the_typical_seed_is_the_median_or_the_better_one_of_two(
    paths: Paths, write: WriteVariant, accuracies: list[float], typical: int
) -> None:
    write("v", accuracies)
    assert load_result(paths, "g", "v").typical_seed == typical


def test_where_classes_are_unequal_the_balanced_accuracy_comes_first(run: Run) -> None:
    labels = np.array([0] * 6 + [1] * 2, np.uint8)
    said = np.array([[0] * 8, [0] * 3 + [1] * 5, [0] * 7 + [1]], np.uint8)
    result = replace(run.result, labels={"test": labels}, predicted={"test": said})
    assert list(accuracies(result)) == ["test_balanced", "train", "test"]
    found = accuracies(result)["test_balanced"]
    assert found == pytest.approx([balanced_accuracy_score(labels, row) for row in said])
    assert accuracies(result)["test"] == pytest.approx([0.75, 0.625, 0.875])
    assert (run.result.typical_seed, result.typical_seed) == (2, 1)  # of 0.5, 0.75 and 0.75


def test_confidence_is_the_probability_of_the_answer(run: Run) -> None:
    answers = read_answers(run, 2)
    np.testing.assert_array_equal(answers.labels, np.arange(IMAGES) % 10)
    assert (answers.labels == answers.predicted).mean() == pytest.approx(0.7)
    np.testing.assert_allclose(answers.confidence, 0.7)
    assert not answers.diverged


def test_probabilities_that_are_no_numbers_are_a_divergence(run: Run) -> None:
    np.save(run.folder / "seed-1" / "test_probabilities.npy", np.full((IMAGES, 10), np.nan))
    assert read_answers(run, 1).diverged


def test_predictions_are_of_one_seed_and_of_every_split(run: Run) -> None:
    np.save(run.folder / "seed-2" / "train_predicted.npy", np.array([0, 3], np.uint8))
    found = read_predictions(run, 2)
    assert list(found) == ["train", "val", "test"]
    assert found["train"].labels.tolist() == [0, 1]
    assert found["train"].predicted.tolist() == [0, 3]
    for split in ("val", "test"):
        np.testing.assert_array_equal(found[split].labels, np.arange(IMAGES) % 10)
        assert (found[split].labels == found[split].predicted).mean() == pytest.approx(0.7)


def test_iterations_are_those_of_the_seed(run: Run) -> None:
    table = pd.DataFrame({"epoch": [1, 1], "iteration": [1, 2], "accuracy": 0.5, "loss": [2.0, 1]})
    table.to_csv(run.folder / "seed-1" / "iterations.csv", index=False)
    pd.testing.assert_frame_equal(read_iterations(run, 1), table)
    with pytest.raises(ProjectError, match=r"iterations\.csv is missing; run `dvc repro"):
        read_iterations(run, 0)


def test_a_run_of_other_seeds_is_refused(run: Run, paths: Paths) -> None:
    with pytest.raises(ProjectError, match=r"is of the seeds \[0, 1, 2\], not \[0, 5\]"):
        load_run(variant(seeds=[0, 5]), paths)


@pytest.mark.parametrize(
    ("split", "part"),
    [
        ({"method": "last", "val": 0.5}, "test"),
        ({"method": "train_test_split", "held_out": 0.5, "random_state": 0}, "train"),
    ],
)
def test_test_images_from_files_have_their_names(
    run: Run, paths: Paths, split: dict[str, object], part: str
) -> None:
    numbered = {p: np.arange(n, dtype=np.uint8) for p, n in (("train", 8), ("test", IMAGES))}
    images = {f"{p}_images": v[:, None, None, None] for p, v in numbered.items()}
    labels = {f"{p}_labels": v % 10 for p, v in numbered.items()}
    files = {f"{p}_files": [f"{p}/a/{i}.png" for i in v] for p, v in numbered.items()}
    classes = [str(i) for i in range(10)]
    arrays: dict[str, Any] = {**images, **labels, "classes": classes, "pixel_max": 255}
    write_arrays(paths.arrays("small"), **arrays | files)
    loaded = load_run(variant(split=split), paths)
    shown = loaded.subsets["test"].images[:].ravel()
    assert loaded.files == [f"{part}/a/{i}.png" for i in shown]
    batches = {name: [n.rpartition("/")[2] for n in names] for name, names in files.items()}
    for without in ({}, batches):
        write_arrays(paths.arrays("small"), **arrays | without)
        assert load_run(variant(split=split), paths).files is None


def test_what_is_missing_is_named_with_the_way_out(run: Run, paths: Paths) -> None:
    with pytest.raises(ProjectError, match="has no seed 7"):
        read_answers(run, 7)
    (run.folder / "seed-0" / "test_probabilities.npy").unlink()
    with pytest.raises(ProjectError, match=r"test_probabilities\.npy is missing; run `dvc repro"):
        read_answers(run, 0)
    with pytest.raises(ProjectError, match="has no seed 7"):
        read_predictions(run, 7)
    with pytest.raises(ProjectError, match=r"train_predicted\.npy is missing; run `dvc repro"):
        read_predictions(run, 0)
    with pytest.raises(ProjectError, match=r"weights\.weights\.h5 is missing; run `dvc repro"):
        open_network(run, 0)
    paths.curves("g", "v").unlink()
    with pytest.raises(ProjectError, match=r"v\.csv is missing"):
        load_run(variant(), paths)


def test_the_opened_network_is_the_trained_one_and_shows_its_maps(run: Run) -> None:
    from cnn_ablations.training.backend import configure
    from cnn_ablations.training.network import build_network

    configure()
    trained = build_network(run.variant, (6, 6, 1), 10, 16)
    trained.save_weights(run.folder / "seed-2" / "weights.weights.h5")
    network = open_network(run, 2)
    maps = maps_of(network, run.subsets["test"].images[0])

    kernels, biases = trained.get_layer("conv1").get_weights()
    image = run.subsets["test"].images[0][:, :, 0] / 16
    assert {name: m.shape for name, m in maps.items()} == {"conv1": (6, 6, 3), "conv2": (3, 3, 2)}
    for channel in range(3):
        response = correlate2d(image, kernels[:, :, 0, channel], mode="same") + biases[channel]
        np.testing.assert_allclose(maps["conv1"][..., channel], np.maximum(response, 0), atol=1e-5)

    other = replace(run, variant=variant(filters=[3, 4]))
    with pytest.raises(ProjectError, match="does not hold the weights of v"):
        open_network(other, 2)
