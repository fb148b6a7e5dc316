"""Parts a, c and f: images trained a second, by the project and by plain Keras, taking turns.

All that is compared with each other is loaded at the same time and trains epochs in turn, the
order reversed every other round, so that a machine that changes its speed changes it for all. A
turn begins with an epoch that is not timed: whoever had the cores before left them to caches,
clocks and page tables of its own.
Epochs are those of a part of the data set: training, validation and test images in the
proportions of the whole.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peak
from benchmarks.gate import Child
from benchmarks.product import resized
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.prediction import training_images
from cnn_ablations.training.loop import CHECKPOINT_SECONDS

TRAINING_FLOPS = 3
"""Times those of the forward pass: the gradients by the inputs and by the weights cost as much
each (Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1)."""
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True)
class Sample:
    """How much of a variant's data set makes an epoch of a second or more."""

    variant: str
    train_images: int
    test_images: int


SAMPLES = (
    Sample("r1-mnist-base", 10_910, 1_818),  # two batches of 5,000
    Sample("r1-cifar10-stride1", 2_223, 444),  # four of 500
    Sample("r2-1conv-batchnorm", 60_000, 10_000),
    Sample("r4-maxpool", 50_000, 10_000),  # of which it uses 5,000
)


def measure(
    paths: Paths,
    params: Params,
    sample: Sample,
    precision: str,
    *,
    rounds: int,
    seconds: float,
    cores: int,
) -> dict[str, Any]:
    """Let the project and plain Keras train the same in turn.

    Args:
        paths: of the checkout whose arrays to use.
        params: of the checkout.
        sample: what to train.
        precision: of the network.
        rounds: how many times each has its turn.
        seconds: about what a turn takes one thread of the project; at least one epoch.
        cores: how many trainings the project runs at a time, and threads that plain Keras gets.

    Returns:
        `images_per_second` by arrangement and round, and what `derived` makes of them.
    """
    variant = params.variant(sample.variant)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as children:
        arrays = _write_sample(paths, variant, sample, Path(folder))

        def child(module: str, *options: object, of: str = precision) -> Child:
            arguments = [sample.variant, arrays, "--precision", of, *options]
            kernel = module == "benchmarks.product"
            return children.enter_context(Child(module, arguments, kernel=kernel))

        workers = [child("benchmarks.product") for _ in range(cores)]
        # How threads scale is asked of the faithful precision only, and with plain Keras in that
        # precision others are compared.
        faithful = precision == PRECISIONS[0]
        wide = [child("benchmarks.product", "--threads", cores)] * faithful
        plain_1 = child("benchmarks.plain", "--gate", "--threads", 1)
        plain = child("benchmarks.plain", "--gate")
        plain_float32 = [child("benchmarks.plain", "--gate", of=PRECISIONS[0])] * (not faithful)
        matmul = [
            children.enter_context(
                Child("benchmarks.peak", ["--precision", precision], kernel=True)
            )
            for _ in range(cores)
        ]
        # Before all else each of the project's tells about its network.
        told = [worker.answer() for worker in (*workers, *wide)][0]  # noqa: RUF015
        for started in (*workers, *wide, plain_1, plain, *plain_float32, *matmul):
            started.answer()
        epochs = max(1, round(seconds / workers[0].train(1)["seconds"]))
        products = max(1, round(0.5 / matmul[0].train(3)["seconds"] * 3))
        images = training_images(resized(variant), len(load_arrays(arrays).train_labels))

        def rate(*trained: Child) -> Turn:
            return _side_by_side(trained, epochs, images)

        turns: dict[str, Callable[[], Turn]] = {
            "project, 1 thread": lambda: rate(workers[0]),
            "plain, 1 thread": lambda: rate(plain_1),
            "project, workers": lambda: rate(*workers),
            "plain, default": lambda: rate(plain),
            "matmul": lambda: _side_by_side(matmul[:1], products, peak.FLOPS / 1e9),
            "matmul, all cores": lambda: _side_by_side(matmul, products, peak.FLOPS / 1e9),
        }
        if wide:
            turns["project, threads"] = lambda: rate(*wide)
        if plain_float32:
            turns["plain float32, default"] = lambda: rate(*plain_float32)
        rates: dict[str, list[float]] = {name: [] for name in turns}
        phases: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
        for number in range(rounds):
            for name in list(turns) if number % 2 == 0 else reversed(turns):
                measured, answers = turns[name]()
                rates[name].append(measured)
                phases[name].append(_by_epoch(answers[0], epochs))
    return {
        "variant": variant.name,
        "precision": precision,
        "cores": cores,
        "epoch_images": images,
        "epochs_a_turn": epochs,
        **told,
        "images_per_second": rates,
        "epoch_seconds": {
            name: {key: median(turn[key] for turn in phases[name]) for key in phases[name][0]}
            for name in ("project, 1 thread", "plain, 1 thread")
        },
        **derived(rates, told["checkpoint_seconds"], told["forward_flops"], cores),
    }


def derived(
    rates: Mapping[str, list[float]], checkpoint_seconds: float, flops: int, cores: int
) -> dict[str, float]:
    """The ratios of the aims: medians over rounds, each of figures of the same round.

    The project writes a checkpoint in every `CHECKPOINT_SECONDS` at most. None fell into these
    turns, so its rates against plain Keras are divided by 1 + checkpoint_seconds /
    CHECKPOINT_SECONDS: that is all that checkpoints can cost.
    """
    saving = 1 + checkpoint_seconds / CHECKPOINT_SECONDS

    def ratio(above: str, below: str) -> float:
        return median(a / b for a, b in zip(rates[above], rates[below], strict=True))

    found = {
        "thread_for_thread": ratio("project, 1 thread", "plain, 1 thread") / saving,
        "machine": ratio("project, workers", "plain, default") / saving,
        "scaling": ratio("project, workers", "project, 1 thread") / cores,
        "gflops": TRAINING_FLOPS * flops * median(rates["project, 1 thread"]) / 1e9,
        "matmul_gflops": median(rates["matmul"]),
        "matmul_scaling": ratio("matmul, all cores", "matmul") / cores,
        "share_of_peak": TRAINING_FLOPS * flops * ratio("project, 1 thread", "matmul") / 1e9,
    }
    if "project, threads" in rates:
        found["workers_against_threads"] = ratio("project, workers", "project, threads")
    if "plain float32, default" in rates:
        found["machine_against_float32"] = (
            ratio("project, workers", "plain float32, default") / saving
        )
    return found


Turn = tuple[float, list[dict[str, Any]]]
"""What was done a second, and what each child says of it."""


def _side_by_side(children: Sequence[Child], epochs: int, each: float) -> Turn:
    """Let children go on at the same time by so many epochs, in each of which `each` is done."""
    for number in (1, epochs):
        for child in children:
            child.ask(number)
        answers = [child.answer() for child in children]
    slowest = max(answer["seconds"] for answer in answers)
    return len(children) * epochs * each / slowest, answers


def _by_epoch(answer: Mapping[str, Any], epochs: int) -> dict[str, float]:
    """Seconds of an epoch: the `total`, by phase, and the `rest` that is in no phase."""
    phases = {name: seconds / epochs for name, seconds in answer["phases"].items()}
    total = answer["seconds"] / epochs
    return {"total": total, **phases, "rest": total - sum(phases.values())}


def _write_sample(paths: Paths, variant: Variant, sample: Sample, folder: Path) -> Path:
    arrays = load_arrays(paths.arrays(variant.dataset))
    write_arrays(
        folder / variant.dataset,
        train_images=arrays.train_images[: sample.train_images],
        train_labels=arrays.train_labels[: sample.train_images],
        test_images=arrays.test_images[: sample.test_images],
        test_labels=arrays.test_labels[: sample.test_images],
        classes=arrays.classes,
        pixel_max=arrays.pixel_max,
    )
    return folder / variant.dataset
