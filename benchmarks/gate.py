"""Stopping a training between epochs, so that several can take turns on the same cores.

A child trains one epoch to warm up, then as many as it is asked for, again and again. Each line
it writes is the JSON of what the epochs took; each line it reads is how many come next.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_ablations.notebooks import KERNEL_ENVIRONMENT

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Gate:
    """The child's side: call it after each epoch."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        """Seconds since the gate was last opened, by what they were spent on."""
        self._left = 1
        self._opened = time.monotonic()

    def spend(self, phase: str, seconds: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def __call__(self) -> None:
        """Report and wait, where no epoch is left to do. Ends the process with its parent."""
        self._left -= 1
        if self._left:
            return
        seconds = time.monotonic() - self._opened
        print(json.dumps({"seconds": seconds, "phases": self.phases}), flush=True)
        asked = sys.stdin.readline()
        if not asked.strip():
            os._exit(0)  # in the midst of a training, on which nothing depends
        self.phases.clear()
        self._left = int(asked)
        self._opened = time.monotonic()


class Child:
    """The parent's side. Use it as a context manager: it ends the child."""

    def __init__(self, module: str, arguments: Sequence[object], *, kernel: bool) -> None:
        self.module = module
        self._words = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env=environment(kernel=kernel),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def ask(self, epochs: int) -> None:
        """Let it go on; `answer` tells when it is done."""
        assert self._process.stdin
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the epochs took. Raises RuntimeError, with its last words, where it ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._words.seek(0)
        last = self._words.read().decode(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"{self.module} ended: {' '.join(last)}")

    def train(self, epochs: int) -> dict[str, Any]:
        """`ask` and `answer`."""
        self.ask(epochs)
        return self.answer()


def environment(*, kernel: bool) -> Mapping[str, str]:
    """The variables of a child: those the pipeline's kernels get, or no word about threads."""
    inherited = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    return {**inherited, **KERNEL_ENVIRONMENT} if kernel else inherited


def peak_memory_mb() -> int:
    """The most memory that this process ever had resident, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
