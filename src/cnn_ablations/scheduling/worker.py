"""What a Dask worker does: it trains seeds in child processes, which keep TensorFlow loaded.

Workers get these functions by value and the package's sources as an archive: they run the code of
the checkout that asks, whatever is installed there. So nothing here imports the package.
"""

import hashlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from distributed import Worker, get_worker

POLL_SECONDS = 0.5
LOG_BYTES = 20_000
SEEDS = 20
"""A child trains no more than so many: TensorFlow gives back only part of the memory it took."""

Answer = dict[str, Any]


def perform(sources: bytes, request: Mapping[str, Any]) -> Answer:
    """Train one seed, or go on with it.

    Args:
        sources: an archive of the package.
        request: what `trainer.train` takes, and `key`, the seed's, `topic`, under which the caller
            listens for progress, `environment` for the child, `root` of the caller's checkout where
            this is its machine, else the hash `arrays` under which the worker keeps the data set.

    Returns:
        One of `files`, the content of each by name; `needs`, where the worker lacks the arrays;
        `refused`, why this worker would compute other bytes; or `error` with a `log`.

    Raises:
        RuntimeError: where the child was killed, or the caller does not want the seed any more.
    """
    worker = get_worker()
    root = Path(request["root"] or store(worker, request["arrays"]))
    if not (_arrays(root, request["variant"]["dataset"]) / "meta.json").is_file():
        return {"needs": "arrays"}
    children = worker.__dict__.setdefault("cnn_ablations", {})
    idle = children.setdefault(hashlib.sha256(sources).hexdigest(), [])
    idle[:] = [child for child in idle if child.process.poll() is None]
    child = idle.pop() if idle else Child(worker, sources, request["environment"])
    try:
        answer = child.ask({**request, "root": str(root)}, _reporter(worker, request))
    except BaseException:
        child.stop()
        raise
    if child.asked < SEEDS:
        idle.append(child)
    else:
        child.stop()
    if "result" in answer:
        result = Path(answer["result"])
        answer = {"files": {file.name: file.read_bytes() for file in result.iterdir()}}
        if not request["root"]:
            for file in result.iterdir():
                file.unlink()
            result.rmdir()
    return answer


class Child:
    """A process that trains one seed after another: `python -m cnn_ablations.scheduling.trainer`.

    It ends when it is idle for long, and when this process ends, which has the other end of its
    standard input.
    """

    def __init__(self, worker: Worker, sources: bytes, environment: Mapping[str, str]) -> None:
        folder = Path(worker.local_directory, hashlib.sha256(sources).hexdigest())
        if not folder.is_dir():
            building = Path(tempfile.mkdtemp(dir=worker.local_directory))
            ZipFile(io.BytesIO(sources)).extractall(building)
            with suppress(OSError):  # another thread was faster
                building.rename(folder)
        search = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self.asked = 0
        self.words = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cnn_ablations.scheduling.trainer"],
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            bufsize=0,
            start_new_session=True,
        )

    def ask(self, request: Mapping[str, Any], say: Callable[[Any], None]) -> Answer:
        """Its answer to a request; `say` is told of its progress before. Raises as `perform`."""
        assert self.process.stdin
        assert self.process.stdout
        self.asked += 1
        with suppress(BrokenPipeError):  # then it says nothing either
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        while True:
            if select.select([self.process.stdout], [], [], POLL_SECONDS)[0]:
                answer: Answer = json.loads(self.process.stdout.readline() or "null")
                if answer is None:
                    return self._end()
                if "progress" not in answer:
                    return answer
                say(answer["progress"])
            if _unwanted():
                raise RuntimeError("it is not wanted any more")

    def stop(self) -> None:
        """End it at once: a training goes on from its last checkpoint."""
        self.process.kill()
        self.process.wait()

    def _end(self) -> Answer:
        status = self.process.wait()
        if status <= 0:
            name = signal.Signals(-status).name if status else "its end"
            raise RuntimeError(f"its process was stopped by {name}, as when memory runs out")
        self.words.seek(0)
        log = self.words.read()[-LOG_BYTES:].decode(errors="replace")
        return {"refused": (log.strip().splitlines() or ["no word"])[-1]}


def store(worker: Worker, arrays: str) -> Path:
    """Where a worker keeps a data set by the hash of its arrays, and checkpoints of its trainings:
    laid out as a checkout. The workers of one machine share it.
    """
    return Path(worker.local_directory).parent / "cnn-ablations" / arrays


def has_arrays(arrays: str, dataset: str, dask_worker: Worker) -> bool:
    """Whether a worker has all arrays of a data set."""
    return (_arrays(store(dask_worker, arrays), dataset) / "meta.json").is_file()


def receive(
    arrays: str, dataset: str, name: str, part: bytes, begins: bool, ends: bool, dask_worker: Worker
) -> None:
    """Take the next part of a file of a data set. The file appears once it is whole."""
    file = _arrays(store(dask_worker, arrays), dataset) / name
    partial = file.with_name(f".{name}.{Path(dask_worker.local_directory).name}.tmp")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb" if begins else "ab") as opened:
        opened.write(part)
    if ends:
        partial.replace(file)


def _arrays(root: Path, dataset: str) -> Path:
    return root / "data" / "arrays" / dataset


def _reporter(worker: Worker, request: Mapping[str, Any]) -> Callable[[Any], None]:
    return lambda progress: worker.log_event(
        request["topic"], {"key": request["key"], "progress": progress}
    )


def _unwanted() -> bool:
    """Whether the caller took the task back, or went away."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"
