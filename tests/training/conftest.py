"""Trainings in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.paths import Paths

Train = Callable[..., int]
"""`train(paths, seeds, fault="", **changes)`: the status that the training's process ended with.
The changes are keys of the variant that are other than those of `tiny-net`.
"""


@contextmanager
def training_process(hash_seed: int, checkpoint_seconds: float) -> Iterator[Train]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("trainer.py")), str(checkpoint_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONHASHSEED": str(hash_seed),
        },
    ) as process:

        def train(paths: Paths, seeds: Sequence[int], fault: str = "", **changes: Any) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            root, seeds = str(paths.root), list(seeds)
            job = {"root": root, "seeds": seeds, "fault": fault, "changes": changes}
            print(json.dumps(job), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield train


@pytest.fixture(scope="session")
def undisturbed_training(
    make_project: Callable[[Path], Paths], tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Future[Paths]]":
    def run() -> Paths:
        paths = make_project(tmp_path_factory.mktemp("undisturbed"))
        with training_process(hash_seed=1, checkpoint_seconds=10.0) as train:
            assert train(paths, [0, 1]) == 0
        return paths

    with ThreadPoolExecutor() as pool:
        yield pool.submit(run)


@pytest.fixture(scope="session")
def undisturbed(undisturbed_training: "Future[Paths]") -> Paths:
    """A project in which seeds 0 and 1 of `tiny-net` were trained in one go."""
    return undisturbed_training.result()


@pytest.fixture(scope="session")
def train(undisturbed_training: "Future[Paths]") -> Iterator[Train]:
    """Trains seeds in a project. Another program than the one that `undisturbed` comes from, at
    work beside it, which writes a checkpoint after every epoch.
    """
    with training_process(hash_seed=2, checkpoint_seconds=0.0) as train:
        yield train
