"""The same bytes whatever happens on the way. Most trainings run in processes of their own."""

import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from cnn_ablations.config.params import Params, load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.data.splits import Images, Subset
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import remove
from cnn_ablations.models import factor_types
from cnn_ablations.paths import Paths
from cnn_ablations.training import backend
from cnn_ablations.training.batches import epoch_batches
from cnn_ablations.training.loop import _seed_generators, _train_epoch, _with_rates, train_seed
from cnn_ablations.training.network import build_network
from cnn_ablations.training.optimiser import compile_network
from cnn_ablations.training.variant import seed_folder

Files = dict[str, bytes]
Train = Callable[..., int]
KILLED = -signal.SIGKILL
METRICS = ("accuracy", "loss")
RES_NET = {
    **{name: default for name, (_, default) in factor_types("res_net").items()},
    **{"stages": 2, "blocks": 1, "width": 4},
}


def files(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outputs(paths: Paths) -> Files:
    """All that training a variant leaves for others, but for measurements."""
    found = {**files(paths.root / "data" / "runs"), **files(paths.root / "reports")}
    return {name: content for name, content in found.items() if not name.startswith("timings/")}


def scratch(paths: Paths, seed: int) -> Path:
    variant = load_params(paths.params).variant("tiny-net")
    return seed_folder(variant, seed, load_arrays(paths.arrays("digits")), paths)


class Grown(NamedTuple):
    paths: Paths
    """A project in which seed 1 was trained, then seeds 0 and 1 were asked for."""
    first: Files
    """Its outputs after the first time."""
    stats: dict[str, Any]
    """Which files the result of seed 1 was after the first time, and of when."""


def stats(paths: Paths) -> dict[str, Any]:
    found = {path.name: path.stat() for path in (scratch(paths, 1) / "result").iterdir()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.fixture(scope="session")
def grown(
    train: Train, make_project: Callable[[Path], Paths], tmp_path_factory: pytest.TempPathFactory
) -> Grown:
    paths = make_project(tmp_path_factory.mktemp("grown"))
    assert train(paths, [1]) == 0
    before = Grown(paths, outputs(paths), stats(paths))
    assert train(paths, [0, 1]) == 0
    return before


def test_a_seed_trained_second_equals_the_same_seed_alone(undisturbed: Paths, grown: Grown) -> None:
    alone = {name: content for name, content in grown.first.items() if "seed-1/" in name}
    together = outputs(undisturbed).items()
    assert alone == {name: content for name, content in together if "seed-1/" in name}
    assert len(alone) == 7
    assert "tiny/tiny-net/seed-1/weights.weights.h5" in alone


def test_from_empty_scratch_another_process_ends_in_the_same_bytes(
    undisturbed: Paths, grown: Grown
) -> None:
    assert outputs(grown.paths) == outputs(undisturbed)
    for seed in (0, 1):
        ours, theirs = (files(scratch(paths, seed)) for paths in (grown.paths, undisturbed))
        for measured in ("result/timing.json", "result/sha256sums.txt"):
            assert ours.pop(measured) != theirs.pop(measured)
        assert ours == theirs


def test_a_further_seed_trains_that_seed_only(grown: Grown) -> None:
    assert stats(grown.paths) == grown.stats
    assert len(list(grown.paths.scratch("seeds").iterdir())) == 2


def test_a_seed_that_is_not_asked_for_any_more_leaves_the_outputs(
    train: Train, grown: Grown
) -> None:
    both = outputs(grown.paths)
    assert train(grown.paths, [1]) == 0
    assert outputs(grown.paths) == grown.first
    assert train(grown.paths, [0, 1]) == 0
    assert outputs(grown.paths) == both


def test_one_process_waits_while_another_is_at_the_same_seed(train: Train, grown: Grown) -> None:
    with ThreadPoolExecutor() as pool:
        with FileLock(scratch(grown.paths, 1) / "lock"):
            other = pool.submit(train, grown.paths, [0, 1])
            time.sleep(2)
            assert not other.done()
        assert other.result() == 0


# An epoch has eight batches and ends with the evaluation of one split; after the last epoch two
# more are evaluated.
@pytest.mark.parametrize(
    "faults",
    [
        ["batch:3"],
        ["batch:12", "write epoch-", "epoch", "epoch", "evaluate:2", "result"],
        ["write epoch-:2", "write timing.json", "write tiny-net.json:2", "write tiny-net.npz"],
    ],
    ids=["at once", "again and again", "while writing"],
)
def test_killed_training_goes_on_and_ends_in_the_same_bytes(
    train: Train, grown: Grown, project: Paths, faults: Sequence[str]
) -> None:
    for fault in faults:
        assert train(project, [1], fault) == KILLED
        if fault in ("evaluate:2", "result"):  # no epoch is done twice from here on
            assert list(scratch(project, 1).glob("epoch-*.npz"))
    assert train(project, [1]) == 0
    assert outputs(project) == grown.first
    left_behind = files(project.root).keys()
    assert [name for name in left_behind if ".tmp" in name or "epoch-" in name] == []


def test_a_kill_loses_no_epoch_with_a_checkpoint_and_a_damaged_one_is_passed_over(
    train: Train, grown: Grown, project: Paths
) -> None:
    def epochs_done() -> int:
        return int(json.loads(project.progress("tiny", "tiny-net").read_bytes())["epoch"])

    assert train(project, [1], "epoch:2") == KILLED
    assert epochs_done() == 2
    _, newer = sorted(scratch(project, 1).glob("epoch-*.npz"))
    content = bytearray(newer.read_bytes())
    content[len(content) // 2] ^= 1
    newer.write_bytes(content)

    assert train(project, [1], "epoch:1") == KILLED
    assert epochs_done() == 2
    assert train(project, [1], "epoch:1") == KILLED
    assert epochs_done() == 3
    assert train(project, [1]) == 0
    assert outputs(project) == grown.first


# All keys that add to the state of a training, or to what depends on the epoch.
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {
        "optimizer": "sgd",
        **{"momentum": 0.9, "nesterov": True, "label_smoothing": 0.1, "class_weights": "balanced"},
        "learning_rate": {"peak": 0.1, "warm_up": 1.5, "decay": "linear"},
        "augmentation": {"mirror": "random", "crop": 2},
    },
    "adamw": {
        **{"optimizer": "adamw", "weight_decay": 0.1, "learning_rate": 0.01},
        **{"weight_average": 0.9, "evaluate_mirrored": True},
        "augmentation": {"mirror": "alternating", "cutout": 3},
        "split": {"method": "stratified", "val": 0.2, "random_state": 0},
    },
    "res_net": {
        **{"model": "res_net", "factors": RES_NET, "optimizer": "sgd", "momentum": 0.9},
        "learning_rate": {"peak": 0.1, "decay": {"after": [1, 2], "factor": 0.5}},
        "augmentation": None,
    },
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_each_key_of_the_recipe_survives_a_kill(
    train: Train, make_project: Callable[[Path], Paths], tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes = {"record_iterations": False, **changes}
    undisturbed, killed = make_project(tmp_path / "undisturbed"), make_project(tmp_path / "killed")
    assert train(undisturbed, [0], **changes) == 0
    assert train(killed, [0], "epoch:2", **changes) == KILLED
    assert len(list(killed.scratch("seeds").glob("*/epoch-*.npz"))) == 2
    assert train(killed, [0], **changes) == 0
    assert outputs(killed) == outputs(undisturbed)


@pytest.fixture
def arrays(project: Paths) -> Arrays:
    return load_arrays(project.arrays("digits"))


def variant_of(tiny: Variant, **changes: Any) -> Variant:
    """A network without chance but in its initial weights and the order of the images."""
    plain = {"batch_norm": False, "conv_dropout": 0.0, "dense_dropout": 0.0}
    factors = {**tiny.factors, **plain, **changes.pop("factors", {})}
    settings = {"factors": factors, "augmentation": None, "optimizer": "sgd", "epochs": 2}
    return Variant.model_validate({**tiny.model_dump(), **settings, **changes})


def trained(variant: Variant, arrays: Arrays, folder: Path, seed: int = 0) -> Path:
    return train_seed(variant, seed, arrays, folder, lambda epoch, row: None)


IMAGE, LABEL = np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.uint8)
NO_STEP = 1e-30  # less than float32 can subtract from a weight


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    recorded = variant_of(tiny_variant, learning_rate=NO_STEP)
    result = trained(recorded, arrays, tmp_path / "recorded")
    iterations = pd.read_csv(result / "iterations.csv")
    assert iterations["iteration"].tolist() == [*range(1, 9), *range(1, 9)]
    first, second = (rows["loss"].to_numpy() for _, rows in iterations.groupby("epoch"))
    assert not np.allclose(first, second)
    assert not np.allclose(np.sort(first), np.sort(second))

    sizes = [32] * 7 + [16]
    final = json.loads((result / "final.json").read_bytes())
    for losses in (first, second):
        assert np.average(losses, weights=sizes) == pytest.approx(final["train_loss"], rel=1e-5)

    # Recording changes neither the training nor what Keras says about an epoch.
    unrecorded = variant_of(tiny_variant, learning_rate=NO_STEP, record_iterations=False)
    other = trained(unrecorded, arrays, tmp_path / "unrecorded")
    assert not (other / "iterations.csv").exists()
    pd.testing.assert_frame_equal(
        pd.read_csv(other / "history.csv"), pd.read_csv(result / "history.csv"), rtol=1e-5
    )


def test_a_schedule_sets_the_learning_rate_of_each_batch(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    changes = {"epochs": 3, "batch_size": 100}  # three batches of 240 images
    falling = {"peak": 0.5, "warm_up": 1, "decay": "linear"}
    variant = variant_of(tiny_variant, learning_rate=falling, **changes)
    assigned: list[float] = []
    rate = SimpleNamespace(assign=assigned.append)
    model: Any = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=rate))
    for epoch in (1, 2, 3):
        batches = [(IMAGE, LABEL)] * 3
        assert list(_with_rates(batches, model, variant, 240, epoch)) == batches
    expected = [1 / 3, 2 / 3, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert assigned == pytest.approx(0.5 * np.array(expected))

    weights = []
    for folder, learning_rate in (("falling", falling), ("still", 0.5)):
        changed = variant_of(tiny_variant, learning_rate=learning_rate, **changes)
        result = trained(changed, arrays, tmp_path / folder)
        weights.append((result / "weights.weights.h5").read_bytes())
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    "chance", [{"factors": {"conv_dropout": 0.5}}, {"augmentation": {"shift": 0.3}}]
)
def test_every_epoch_draws_anew(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path, chance: dict[str, Any]
) -> None:
    variant = variant_of(tiny_variant, learning_rate=NO_STEP, batch_size=240, **chance)
    history = pd.read_csv(trained(variant, arrays, tmp_path / "scratch") / "history.csv")
    first, second = history["running_train_loss"]
    assert abs(first - second) > 1e-3
    first, second = history["val_loss"]
    assert first == second


def test_what_a_training_leaves(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    variant = variant_of(tiny_variant, evaluate_each_epoch=["val", "test"], optimizer="adam")
    folder = tmp_path / "scratch"
    result = train_seed(variant, 0, arrays, folder, lambda *line: told.append(line))

    assert {path.name for path in result.iterdir()} == {
        *("final.json", "history.csv", "iterations.csv", "sha256sums.txt", "timing.json"),
        *("test_probabilities.npy", "train_predicted.npy", "val_probabilities.npy"),
        "weights.weights.h5",
    }
    history = pd.read_csv(result / "history.csv")
    measured = [f"{split}_{what}" for split in ("running_train", "val", "test") for what in METRICS]
    assert history.columns.tolist() == ["epoch", *measured]
    assert [epoch for epoch, _ in told] == [1, 2]
    assert [row for _, row in told] == history.to_dict("records")
    final = json.loads((result / "final.json").read_bytes())
    last = history.iloc[-1]
    for name in ("val_accuracy", "val_loss", "test_accuracy", "test_loss"):
        assert final[name] == last[name]
    assert set(final) == {
        "penalty",
        *(f"{split}_{what}" for split in ("train", "val", "test") for what in METRICS),
    }

    probabilities = np.load(result / "test_probabilities.npy")
    assert probabilities.shape == (100, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    accuracy = (probabilities.argmax(axis=1) == arrays.test_labels).mean()
    assert accuracy == pytest.approx(final["test_accuracy"])
    assert np.load(result / "val_probabilities.npy").shape == (60, 10)
    answers = np.load(result / "train_predicted.npy")
    assert (answers == arrays.train_labels[:240]).mean() == pytest.approx(final["train_accuracy"])

    with h5py.File(result / "weights.weights.h5") as weights:
        assert "optimizer" not in weights  # its variables would triple the file

    # Found done, it is not trained again.
    again = train_seed(variant, 0, arrays, folder, lambda *line: told.append(line))
    assert again == result
    assert len(told) == 2


def damaged(content: bytes) -> Iterator[bytes]:
    """One bit flipped in the middle; the second half lost; all lost."""
    half = len(content) // 2
    yield content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    yield content[:half]
    yield b""


def test_a_damaged_result_is_trained_anew_and_ends_in_the_same_bytes(
    keras: ModuleType,
    tiny_variant: Variant,
    arrays: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant = variant_of(tiny_variant, epochs=1)
    result = trained(variant, arrays, tmp_path)
    before = files(result)

    def train(*args: Any) -> None:
        raise AssertionError("trained anew")

    with monkeypatch.context() as patch:
        patch.setattr("cnn_ablations.training.loop._train", train)
        trained(variant, arrays, tmp_path)
        for name, content in before.items():
            for worse in (*damaged(content), None):
                for each, intact in before.items():
                    result.mkdir(exist_ok=True)
                    (result / each).write_bytes(intact)
                (result / name).unlink() if worse is None else (result / name).write_bytes(worse)
                with pytest.raises(AssertionError, match="trained anew"):
                    trained(variant, arrays, tmp_path)
    after = files(trained(variant, arrays, tmp_path))
    assert after.keys() == before.keys()
    measured = {"timing.json", "sha256sums.txt"}
    assert {name for name in after if after[name] != before[name]} <= measured


@pytest.mark.parametrize("name", ["result", "result/final.json", "result.tmp", ".final.json.tmp"])
def test_a_folder_or_file_where_another_belongs_is_no_dead_end(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path, name: str
) -> None:
    variant = variant_of(tiny_variant, epochs=1)
    expected = files(trained(variant, arrays, tmp_path))
    in_the_way = tmp_path / name
    remove(in_the_way)
    if name == "result":
        in_the_way.write_text("a file where a folder should be")
    else:
        (in_the_way / "folder").mkdir(parents=True)
        (tmp_path / "result" / "sha256sums.txt").unlink()
    again = files(trained(variant, arrays, tmp_path))
    assert again["weights.weights.h5"] == expected["weights.weights.h5"]
    assert again.keys() == expected.keys()


def test_a_retrained_variant_has_no_validation_and_another_seed_other_weights(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    variant = variant_of(tiny_variant, train_on="train+val", epochs=1)
    result = trained(variant, arrays, tmp_path / "0")
    final = json.loads((result / "final.json").read_bytes())
    assert not any(name.startswith("val_") for name in final)
    assert not (result / "val_probabilities.npy").exists()
    assert len(np.load(result / "train_predicted.npy")) == 300

    other = trained(variant, arrays, tmp_path / "1", seed=1)
    weights = "weights.weights.h5"
    assert (other / weights).read_bytes() != (result / weights).read_bytes()


def test_there_may_be_more_classes_than_a_byte_can_number(
    keras: ModuleType, tiny_variant: Variant, tmp_path: Path
) -> None:
    labels = np.tile(np.array([3, 200, 299], np.uint16), 80)
    images = np.zeros((240, 8, 8, 1), np.uint8)
    for number, label in enumerate((3, 200, 299)):
        images[labels == label, number] = 16
    write_arrays(
        tmp_path / "many",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=[str(label) for label in range(300)],
        pixel_max=16,
    )
    variant = variant_of(tiny_variant, optimizer="adam", epochs=15)
    result = trained(variant, load_arrays(tmp_path / "many"), tmp_path / "scratch")
    predicted = np.load(result / "train_predicted.npy")
    assert predicted.dtype == np.uint16
    np.testing.assert_array_equal(predicted, labels[: len(predicted)])
    assert np.load(result / "test_probabilities.npy").shape == (240, 300)


def test_a_checkpoint_is_written_after_the_epoch_in_which_ten_seconds_have_passed(
    keras: ModuleType,
    tiny_variant: Variant,
    arrays: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(step=4)  # since the last look at the clock, once an epoch
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    saved: list[int] = []
    monkeypatch.setattr("cnn_ablations.training.loop.time", clock)
    monkeypatch.setattr(
        "cnn_ablations.training.loop.save_checkpoint",
        lambda folder, state, variables: saved.append(state.epoch),
    )
    trained(variant_of(tiny_variant, epochs=8, batch_size=240), arrays, tmp_path / "scratch")
    assert saved == [3, 6]


def test_a_training_that_diverges_comes_to_its_end(
    keras: ModuleType, tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    variant = variant_of(tiny_variant, learning_rate=1e6, factors={"l2": 1e6})
    result = trained(variant, arrays, tmp_path / "scratch")
    assert np.isnan(json.loads((result / "final.json").read_bytes())["test_loss"])
    assert pd.read_csv(result / "history.csv")["val_loss"].isna().all()


@pytest.mark.parametrize("size", [5_000, 30_000, 100_000])  # HDF5 would crash or not, as it likes
def test_without_room_a_training_says_so_and_goes_on_later(
    keras: ModuleType,
    tiny_variant: Variant,
    arrays: Arrays,
    tmp_path: Path,
    size: int,
    room_for: Callable[[int], Any],
) -> None:
    variant = variant_of(tiny_variant, epochs=1, factors={"dense": [2000]})
    folder = tmp_path / "scratch"
    message = rf"^tiny-net, seed 0: cannot write to {folder}: [^\n]+; mend that and run [^\n]+$"
    with room_for(size), pytest.raises(ProjectError, match=message):
        trained(variant, arrays, folder)
    assert not (folder / "result").exists()
    assert (trained(variant, arrays, folder) / "weights.weights.h5").stat().st_size > 100_000
    assert not (folder / "result.tmp").exists()


def test_scratch_that_cannot_be_written_is_named(
    tiny_variant: Variant, arrays: Arrays, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(ProjectError, match="blocked"):
        trained(tiny_variant, arrays, tmp_path / "blocked" / "seed")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("r2-1conv-batchnorm", 28),  # whose bits depend on whether the size of batches is known
        ("r3-cifar10-base", 32),  # augmented, with dropout and a falling learning rate
        ("r2-1conv-batchnorm-bfloat16", 28),
    ],
)
@pytest.mark.parametrize("rest", [0, 30], ids=["batches of one size", "a smaller last batch"])
def test_an_epoch_ends_in_the_bits_of_keras_s_own_loop(
    name: str, size: int, rest: int, real_params: Params
) -> None:
    import keras

    backend.configure()
    variant = real_params.variant(name).model_copy(update={"record_iterations": False})
    images, channels = 2 * variant.batch_size + rest, 3 if size == 32 else 1
    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(images, size, size, channels), dtype=np.uint8)
    labels = generator.integers(10, size=images, dtype=np.uint8)
    subset = Subset(Images(pixels, np.arange(images)), labels, "train")

    def network() -> Any:
        keras.utils.set_random_seed(0)
        model = build_network(variant, pixels.shape[1:], 10, 255)
        compile_network(model, variant, labels)
        model.optimizer.build(model.trainable_variables)
        return model

    ours, keras_s = network(), network()
    step = backend.training_step(ours, subset.images, subset.labels, variant.batch_size)
    for epoch in (1, 2):
        _seed_generators(ours, 0, epoch)
        batches = list(epoch_batches(subset, variant, 0, epoch))
        accuracy, loss, _ = _train_epoch(ours, step, batches, record=False)
        _seed_generators(keras_s, 0, epoch)
        data = [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
        fitted = keras_s.fit(*data, batch_size=variant.batch_size, shuffle=False, verbose=0)
        assert fitted.history == {"accuracy": [accuracy], "loss": [loss]}
    for ours_then, keras_then in zip(
        [*ours.weights, *ours.optimizer.variables],
        [*keras_s.weights, *keras_s.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(ours_then, keras_then)
