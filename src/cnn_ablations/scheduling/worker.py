"""What a Dask worker does: it trains seeds in child processes, which keep TensorFlow loaded.

Workers get these functions by value, and the package's sources as an archive: they run the code of
the checkout that asks, whatever is installed there. So nothing here imports the package.
"""

import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from distributed import Worker, get_worker

POLL_SECONDS = 0.5
SEEDS = 20
"""A child trains no more than so many: TensorFlow gives back only part of the memory it took."""

Answer = dict[str, Any]
Place = tuple[str, str]
"""The hash of a data set's arrays, and its name."""


def perform(sources: bytes, request: Mapping[str, Any]) -> Answer:
    """Train one seed, or go on with it.

    Args:
        sources: an archive of the package.
        request: what `trainer.train` takes, and the seed's `key`, the `topic` under which the
            caller listens for progress, `environment` for the child, and the `place` of the arrays.
            `root` is empty where the worker is not in the caller's checkout.

    Returns:
        One of `files`, the content of each by name; `needs`, where the worker lacks the arrays;
        `refused`, why this worker would compute other bytes; or `error` with a `log`.

    Raises:
        RuntimeError: where the child was killed, or the caller does not want the seed any more.
    """
    worker = get_worker()
    root = Path(request["root"] or _store(worker, request["place"]))
    if not (root / "data" / "arrays" / request["place"][1] / "meta.json").is_file():
        return {"needs": "arrays"}
    children = worker.__dict__.setdefault("cnn_ablations", {})
    idle = children.setdefault(hashlib.sha256(sources).hexdigest(), [])
    idle[:] = [child for child in idle if child.process.poll() is None]
    child = idle.pop() if idle else Child(worker, sources, request["environment"])
    last = True
    try:
        answer = child.ask({**request, "root": str(root)})
        last = child.asked == SEEDS
    finally:
        if last:
            child.process.kill()
            child.process.wait()
        else:
            idle.append(child)
    if "result" not in answer:
        return answer
    result = Path(answer["result"])
    files = {file.name: file.read_bytes() for file in result.iterdir()}
    if not request["root"]:
        shutil.rmtree(result)
    return {"files": files}


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

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Its answer to a request. Raises as `perform`."""
        worker = get_worker()
        assert self.process.stdin
        assert self.process.stdout
        self.asked += 1
        with suppress(BrokenPipeError):  # then it says nothing either
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        while True:
            if select.select([self.process.stdout], [], [], POLL_SECONDS)[0]:
                line = self.process.stdout.readline()
                if not line:
                    return self._end()
                answer: Answer = json.loads(line)
                if "progress" not in answer:
                    return answer
                worker.log_event(request["topic"], {**answer, "key": request["key"]})
            task = worker.state.tasks.get(worker.get_current_task())
            if task is None or task.state == "cancelled":
                raise RuntimeError("the caller took it back, or went away")

    def _end(self) -> Answer:
        status = self.process.wait()
        if status > 0:
            self.words.seek(0)
            return {"refused": self.words.read().decode(errors="replace").strip().split("\n")[-1]}
        name = signal.Signals(-status).name if status else "its end"
        raise RuntimeError(f"its process was stopped by {name}, as when memory runs out")


def has_arrays(place: Place, dask_worker: Worker) -> bool:
    """Whether a worker has all arrays of a data set."""
    return (_store(dask_worker, place) / "data" / "arrays" / place[1] / "meta.json").is_file()


def receive(
    place: Place, name: str, begin: int, part: bytes, ends: bool, dask_worker: Worker
) -> None:
    """Take the next part of a file of a data set. The file appears once it is whole."""
    file = _store(dask_worker, place) / "data" / "arrays" / place[1] / name
    partial = file.with_name(f".{name}.{Path(dask_worker.local_directory).name}.tmp")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab" if begin else "wb") as opened:
        opened.write(part)
    if ends:
        partial.replace(file)


def _store(worker: Worker, place: Place) -> Path:
    """Where a worker keeps a data set, and the checkpoints of its trainings: laid out as a
    checkout. The workers of one machine share it.
    """
    return Path(worker.local_directory).parent / "cnn-ablations" / place[0]
