"""What a Dask worker does: it trains seeds in child processes, which keep TensorFlow loaded.

Workers get the functions of this file by value, and the package's sources as bytes: they run the
code of the checkout that asks, whatever is installed there. So nothing here imports the package.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import get_worker

POLL_SECONDS = 0.5
SEEDS = 20
"""A child trains no more than so many: TensorFlow gives back only part of the memory it took."""

Answer = dict[str, Any]
Files = Mapping[str, Any]
"""The content of each, as bytes or an array of bytes, by name."""


def perform(sources: Files, arrays: Files | None, request: Mapping[str, Any]) -> Answer:
    """Train one seed, or go on with it.

    Args:
        sources: of the package.
        arrays: the files of the data set; None where the worker is in the caller's checkout.
        request: what `trainer.train` takes; a `key` for the seed, and the `topic` under which the
            caller hears of it; the child's `environment`; hashes of `code` and `arrays`; `dataset`.

    Returns:
        The `files` of the result; or why this `worker` is `refused`; or an `error`, with a `log`.

    Raises:
        RuntimeError: where the child was killed, or the caller does not want the seed any more.
    """
    worker = get_worker()
    folder = Path(worker.local_directory)
    code = folder / request["code"]
    write(code, sources)
    # Laid out as a checkout, for the checkpoints too. The workers of one machine share it.
    root = Path(request["root"] or folder.parent / "cnn-ablations" / request["arrays"])
    if arrays:
        write(root / "data" / "arrays" / request["dataset"], arrays)
    thread = threading.current_thread().__dict__  # each keeps a child
    child: Child | None = thread.get("cnn_ablations")
    if child is None or not child.takes(code):  # one that is not kept ends
        child = thread["cnn_ablations"] = Child(code, request["environment"])
    answer: Answer = child.ask({**request, "root": str(root)})
    if "result" not in answer:
        return {**answer, "worker": worker.address}
    result = Path(answer["result"])
    files = {file.name: file.read_bytes() for file in result.iterdir()}
    if arrays:
        shutil.rmtree(result)
    return {"files": files}


def write(folder: Path, files: Files) -> None:
    """Let a folder with these files appear whole, unless it is there. Raises OSError."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        for name, content in files.items():
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_bytes(content)
        building.rename(folder)
    except OSError:
        shutil.rmtree(building, ignore_errors=True)
        if not folder.is_dir():  # else another process was faster
            raise


class Child:
    """A process that trains one seed after another: `python -m cnn_ablations.scheduling.trainer`.

    It ends when it is idle for long, and with this process.
    """

    def __init__(self, code: Path, environment: Mapping[str, str]) -> None:
        search = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
        self.code, self.asked = code, 0
        self.words = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cnn_ablations.scheduling.trainer"],
            cwd=code,
            env={**os.environ, **environment, "PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            bufsize=0,
            start_new_session=True,
        )

    def takes(self, code: Path) -> bool:
        """Whether it can train one more seed with this code."""
        return self.code == code and self.asked < SEEDS and self.process.poll() is None

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
                answer: Answer = json.loads(line) if line else self._end()
                if "progress" not in answer:
                    return answer
                worker.log_event(request["topic"], {**answer, "key": request["key"]})
            task = worker.state.tasks.get(worker.get_current_task())
            if task is None or task.state == "cancelled":
                self.process.kill()
                self.process.wait()
                raise RuntimeError("the caller took it back, or went away")

    def _end(self) -> Answer:
        status = self.process.wait()
        if status > 0:
            self.words.seek(0)
            return {"refused": self.words.read().decode(errors="replace").strip().split("\n")[-1]}
        name = signal.Signals(-status).name if status else "its end"
        raise RuntimeError(f"its process was stopped by {name}, as when memory runs out")
