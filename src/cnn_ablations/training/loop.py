"""One seed of a variant: trained epoch by epoch, resumable after each, the same bits each time.

Keras's `fit` replays one permutation in every epoch, and its own backup neither restores the
generators of dropout and augmentation nor the history. So each epoch here starts from
generators that depend on (seed, epoch) only: a training that goes on from a checkpoint cannot be
told from one that was never interrupted.
"""

import json
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from cnn_ablations.config.variants import Schedule, Variant
from cnn_ablations.data.arrays import Arrays, Labels, UInt8s
from cnn_ablations.data.splits import Subset, split_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.faults import reach
from cnn_ablations.files import json_bytes, remove, sha256_of, write_atomically
from cnn_ablations.training import backend
from cnn_ablations.training.batches import epoch_batches
from cnn_ablations.training.checkpoint import State, load_checkpoint, save_checkpoint
from cnn_ablations.training.evaluation import Evaluation, evaluate, penalty
from cnn_ablations.training.network import build_network
from cnn_ablations.training.optimiser import compile_network, learning_rates

if TYPE_CHECKING:
    import keras

CHECKPOINT_SECONDS = 10.0
"""A checkpoint is written after an epoch when the last is this old: what a kill can lose."""

SUMS = "sha256sums.txt"
"""In a result, the hashes of its other files."""

Batch = tuple[UInt8s, Labels]
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after each epoch with the number of epochs completed and their last metrics."""


def train_seed(
    variant: Variant, seed: int, arrays: Arrays, folder: Path, on_epoch: OnEpoch
) -> Path:
    """Train one seed, or go on with it, or find it done.

    Args:
        variant: what to train.
        seed: determines the initial weights, the order of the images and all random layers.
        arrays: the data set.
        folder: this training's own scratch folder. It holds checkpoints until the result is
            complete; one process at a time works in it, another one waits.
        on_epoch: told of each epoch.

    Returns:
        The folder with the result: `weights.weights.h5`, `history.csv`, `iterations.csv` where
        asked for, `final.json`, `train_predicted.npy`, `{val,test}_probabilities.npy`,
        `timing.json`, which is a measurement, and `sha256sums.txt` of all these. One that does
        not hold what its sums say was damaged: it is trained anew.

    Raises:
        ProjectError: where the folder cannot be written, or the data are too few.
    """
    result = folder / "result"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not _is_intact(result):
                for unfinished in [result, *folder.glob(".*.tmp")]:
                    remove(unfinished)
                backend.configure()
                subsets = split_arrays(arrays, variant)
                trained = _train(variant, seed, arrays, subsets, folder, on_epoch)
                _write_result(variant, *trained, subsets, folder, result)
    except OSError as error:
        raise ProjectError(
            f"{variant.name}, seed {seed}: cannot write to {folder}: {error.strerror}; "
            "mend that and run the same command again, it goes on where it stopped"
        ) from None
    return result


def _train(
    variant: Variant,
    seed: int,
    arrays: Arrays,
    subsets: dict[str, Subset],
    folder: Path,
    on_epoch: OnEpoch,
) -> "tuple[State, keras.Model, dict[str, Evaluation]]":
    """The trained network, how it came there, and its evaluations after the last epoch."""
    import keras

    _forget_peak_memory()
    keras.utils.clear_session()  # layers have the names of a process that trains this seed only
    keras.utils.set_random_seed(int(_derived(seed, 0)[0]))
    model = build_network(variant, arrays.image_shape, len(arrays.classes), arrays.pixel_max)
    train = subsets["train"]
    compile_network(model, variant, train.labels)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.weights, *model.optimizer.variables]
    step = backend.training_step(model, train.images, train.labels, variant.batch_size)
    state = load_checkpoint(folder, variables)

    started = saved = time.monotonic()
    spent_before = state.seconds
    evaluations: dict[str, Evaluation] = {}
    for epoch in range(state.epoch + 1, variant.epochs + 1):
        _seed_generators(model, seed, epoch)
        batches = epoch_batches(train, variant, seed, epoch)
        if isinstance(variant.learning_rate, Schedule):
            batches = _with_rates(batches, model, variant, len(train.labels), epoch)
        accuracy, loss, recorded = _train_epoch(model, step, batches, variant.record_iterations)
        state.iterations += [[epoch, i, *batch] for i, batch in enumerate(recorded, start=1)]
        row = {"epoch": epoch, "running_train_accuracy": accuracy, "running_train_loss": loss}
        with _averaged(model):
            for split in variant.evaluate_each_epoch:
                if split in subsets:
                    evaluations[split] = evaluate(model, subsets[split], variant.evaluate_mirrored)
                    row[f"{split}_accuracy"] = evaluations[split].accuracy
                    row[f"{split}_loss"] = evaluations[split].loss
        state.history.append(row)
        state.epoch = epoch
        now = time.monotonic()
        state.seconds = spent_before + now - started
        if now - saved >= CHECKPOINT_SECONDS and epoch < variant.epochs:
            save_checkpoint(folder, state, variables)
            saved = now
        on_epoch(epoch, row)
        reach("epoch")
    model.optimizer.finalize_variable_values(model.trainable_variables)  # averages, if it has them
    return state, model, evaluations


def _with_rates(
    batches: Iterable[Batch], model: "keras.Model", variant: Variant, images: int, epoch: int
) -> Iterator[Batch]:
    """The batches of an epoch of so many images, each after its learning rate was set."""
    assert isinstance(variant.learning_rate, Schedule)
    number = math.ceil(images / variant.batch_size)
    rates = learning_rates(variant.learning_rate, number, variant.epochs, epoch)
    for batch, rate in zip(batches, rates, strict=True):
        model.optimizer.learning_rate.assign(rate)
        yield batch


@contextmanager
def _averaged(model: "keras.Model") -> Iterator[None]:
    """Give the network the averages of its weights, where its optimiser keeps them."""
    if not model.optimizer.use_ema:
        yield
        return
    trained = [np.asarray(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    for variable, value in zip(model.trainable_variables, trained, strict=True):
        variable.assign(value)


def _train_epoch(
    model: "keras.Model",
    step: Callable[..., Any],
    batches: Iterable[Batch],
    record: bool,
) -> tuple[float, float, list[list[float]]]:
    """Train on each batch of images and labels once.

    To the same bits as Keras's `fit`, which takes up to twice the time: it makes a pipeline of data
    for each epoch, whose threads wait for each other in the deterministic mode.

    Returns:
        Accuracy and loss over the epoch, while the network changed, and those of each batch
        where they are recorded.
    """
    recorded: list[list[float]] = []
    sizes = []
    model.reset_metrics()
    for images, labels in batches:
        step(images, labels)
        if record:
            recorded.append(_metrics(model))
            sizes.append(len(labels))
            model.reset_metrics()
        reach("batch")
    if not record:
        accuracy, loss = _metrics(model)
    else:
        accuracy, loss = np.average(recorded, axis=0, weights=sizes).tolist()
    return accuracy, loss, recorded


def _metrics(model: "keras.Model") -> list[float]:
    """Accuracy and loss over the images since the metrics were last reset."""
    metrics = model.get_metrics_result()
    return [float(metrics["accuracy"]), float(metrics["loss"])]


def _derived(seed: int, epoch: int, index: int = 0) -> NDArray[np.uint32]:
    """Two 32-bit words that any two of (seed, epoch, index) share only by chance."""
    return np.random.SeedSequence([seed, epoch, index]).generate_state(2).astype(np.uint32)


def _seed_generators(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set every source of chance as a function of (seed, epoch) alone."""
    import keras

    keras.utils.set_random_seed(int(_derived(seed, epoch)[0]))
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    for index, state in enumerate(states, start=1):
        state.assign(_derived(seed, epoch, index))


def _forget_peak_memory() -> None:
    """Let the peak begin anew, where Linux can: a process may have trained another seed before."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _sums(folder: Path) -> bytes:
    """The SHA-256 of each file in a folder, as the command sha256sum writes them."""
    paths = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256_of(path)}  {path.name}\n" for path in paths).encode()


def _is_intact(result: Path) -> bool:
    """Whether a result is there, with the bytes it was written with."""
    try:
        return (result / SUMS).read_bytes() == _sums(result)
    except OSError:  # there is no result, or something else has its name, or that of a file of it
        return False


def _ask_for_room(folder: Path, size: int) -> None:
    """Raise the OSError of a disk that has no room for a file of weights of `size` bytes.

    On a full disk HDF5 raises errors of several kinds, fills the terminal, or crashes.
    """
    place = folder / "room"
    try:
        place.write_bytes(bytes(size + 2**20))  # which is more than it needs for its structure
    finally:
        place.unlink(missing_ok=True)


def _write_result(
    variant: Variant,
    state: State,
    model: "keras.Model",
    evaluations: dict[str, Evaluation],
    subsets: dict[str, Subset],
    folder: Path,
    result: Path,
) -> None:
    """Evaluate the trained network and make `result` appear, complete, in one step."""
    import keras

    started = time.monotonic()
    building = folder / "result.tmp"
    remove(building)
    building.mkdir()
    final: dict[str, float] = {"penalty": penalty(model)}
    for split, subset in subsets.items():
        evaluation = evaluations.get(split) or evaluate(model, subset, variant.evaluate_mirrored)
        final[f"{split}_accuracy"] = evaluation.accuracy
        final[f"{split}_loss"] = evaluation.loss
        if split == "train":
            np.save(building / "train_predicted.npy", evaluation.predicted)
        else:
            np.save(building / f"{split}_probabilities.npy", evaluation.probabilities)
    # A model around the same layers that has no optimiser, whose variables would triple the file.
    bare = keras.Model(model.inputs, model.outputs)
    _ask_for_room(building, 4 * bare.count_params())
    bare.save_weights(building / "weights.weights.h5")
    pd.DataFrame(state.history).to_csv(building / "history.csv", index=False)
    if state.iterations:
        columns = ["epoch", "iteration", "accuracy", "loss"]
        iterations = pd.DataFrame(state.iterations, columns=columns)
        iterations = iterations.astype({"epoch": int, "iteration": int})
        iterations.to_csv(building / "iterations.csv", index=False)
    (building / "final.json").write_text(json.dumps(final))
    timing = {
        "train_seconds": round(state.seconds, 2),
        "evaluate_seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "provenance": backend.circumstances(variant.precision),
    }
    write_atomically(building / "timing.json", json_bytes(timing))
    write_atomically(building / SUMS, _sums(building))
    reach("result")
    building.replace(result)
    for checkpoint in folder.glob("epoch-*.npz"):
        checkpoint.unlink()
