"""What a worker of the cluster does: the stages of a variant, or one of its seeds, in a child.

A worker works in the checkout that it was started in: the caller's own, or a clone of it on
another machine that shares DVC's cache with it.
"""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker
from filelock import FileLock

from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import Paths, find_project
from cnn_ablations.processes import start, stop
from cnn_ablations.revision import SOURCES
from cnn_ablations.scheduling.pipeline import put_into_cache
from cnn_ablations.training.backend import circumstances

POLL_SECONDS = 0.5
LOG_CHARACTERS = 20_000
HARDWARE = ("cpu", "device", "processor")
"""Of what a result records of the circumstances; the others are software."""


@dataclass(frozen=True)
class Checkout:
    """A worker's checkout, as the caller has to know it."""

    place: tuple[str, str]
    """Host and root."""
    sources: str
    """A hash of all that decides what its stages do."""
    software: dict[str, str]
    """Versions of Python and of the libraries that compute and write results."""
    sees_cache: bool
    """Whether it sees the mark that the caller left in DVC's cache."""
    sees_scratch: bool
    """Likewise in scratch: then the seeds of one variant can be trained by several workers."""


@dataclass(frozen=True)
class Task:
    """One variant's stages, or one of its seeds."""

    variant: str
    group: str
    dataset: str
    stages: tuple[str, ...]
    seed: int | None
    """Where it is given, only this seed is trained, into scratch, where `train` finds it."""
    place: tuple[str, str]
    """Host and root of the caller's checkout."""
    topic: str
    """Under which the caller listens for progress."""

    @property
    def key(self) -> str:
        return self.variant if self.seed is None else f"{self.variant}.seed-{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    status: int
    """The exit status of the child."""
    seconds: float
    log: str
    """The end of what the child wrote."""
    elsewhere: bool
    """Whether the worker's checkout is another than the caller's."""
    timings: bytes | None
    """The file with the times of the seeds, which neither git nor DVC brings home."""


@dataclass(frozen=True)
class Mark:
    """A file by which a caller's folder is known again."""

    name: str
    """Always the same for a checkout: what a killed caller left, the next one removes."""
    content: str
    """Another each time."""

    @classmethod
    def of(cls, paths: Paths) -> "Mark":
        place = hashlib.sha256("\0".join(here(paths)).encode()).hexdigest()
        return cls(f".{place[:16]}.mark", uuid.uuid4().hex)

    def is_in(self, folder: Path) -> bool:
        file = folder / self.name
        return file.is_file() and file.read_text() == self.content


def checkout(mark: Mark) -> Checkout:
    """The checkout of this process. `mark` lies in the caller's folders."""
    paths = find_project()
    return Checkout(
        place=here(paths),
        sources=sources_hash(paths),
        software=software(),
        sees_cache=mark.is_in(cache_folder(paths)),
        sees_scratch=mark.is_in(paths.scratch()),
    )


def here(paths: Paths) -> tuple[str, str]:
    """What tells this checkout from all others: host and root."""
    return socket.gethostname(), str(paths.root)


def sources_hash(paths: Paths) -> str:
    """A hash over the names and contents of code, templates and parameters."""
    digest = hashlib.sha256()
    for source in SOURCES:
        top = paths.root / source
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(file.parts):
                digest.update(str(file.relative_to(paths.root)).encode() + b"\0")
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def software() -> dict[str, str]:
    """Versions on which the bytes of results depend. Python's own: it writes the archives."""
    return {name: v for name, v in circumstances().items() if name not in HARDWARE}


def cache_folder(paths: Paths) -> Path:
    """DVC's cache, as the checkout is configured."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    answer = subprocess.run(command, cwd=paths.root, capture_output=True, text=True, check=True)
    return paths.root / answer.stdout.strip()


def perform(task: Task) -> Outcome:
    """Run a task to its end, or until the caller does not want it any more."""
    paths = find_project()
    progress = paths.progress(task.group, task.key)
    progress.unlink(missing_ok=True)
    log = log_file(paths, task)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    started = time.monotonic()
    home = here(paths) == task.place
    say = _reporter(task)
    status = 0
    if not home:
        # One of the workers of this clone fetches the data, from the cache where it has them.
        with FileLock(paths.scratch("prepare.lock")):
            status = _child(dvc_repro(f"preprocess@{task.dataset}"), paths, log, progress, say)
    if status == 0 and task.seed is None:
        stages = [f"{stage}@{task.variant}" for stage in task.stages]
        status = _child(dvc_repro("-s", *stages), paths, log, progress, say)
        if not home:  # a training is kept even where its inspection failed
            put_into_cache(paths, stages)
    elif status == 0:
        seed = [sys.executable, "-m", "cnn_ablations.scheduling.seed", task.variant, str(task.seed)]
        status = _child(seed, paths, log, progress, say)
    timings = paths.timings(task.group, task.variant)
    return Outcome(
        status=status,
        seconds=time.monotonic() - started,
        elsewhere=not home,
        log=log.read_text(errors="replace")[-LOG_CHARACTERS:],
        timings=timings.read_bytes() if timings.is_file() else None,
    )


def log_file(paths: Paths, task: Task) -> Path:
    """Where a task's child writes: the same name in every checkout."""
    return paths.scratch("logs", task.group, f"{task.key}.log")


def dvc_repro(*arguments: str) -> list[str]:
    """The command line of a `dvc repro` that waits while another DVC is at work."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments]


def _child(
    command: list[str],
    paths: Paths,
    log: Path,
    progress: Path,
    say: Callable[[Mapping[str, Any]], None],
) -> int:
    process = start(command, paths.root, log, KERNEL_ENVIRONMENT)
    told = b""
    try:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if _unwanted():
                return -signal.SIGINT
            if progress.is_file() and (content := progress.read_bytes()) != told:
                say(json.loads(content))
                told = content
    finally:
        stop(process)


def _unwanted() -> bool:
    """Whether the caller took the task back, or went away."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"


def _reporter(task: Task) -> Callable[[Mapping[str, Any]], None]:
    worker = get_worker()

    def say(progress: Mapping[str, Any]) -> None:
        worker.log_event(task.topic, {"key": task.key, "progress": dict(progress)})

    say({})
    return say
