"""Child processes that do not outlive their parent, and processes that wait for one another.

`python -m cnn_ablations.processes COMMAND...` is that command, ended by Linux with its parent.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cnn_ablations.files import cannot_write

GRACE_SECONDS = 10.0
"""What a child has to end in once it was asked to."""


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent.

    Without it a killed DVC leaves its stage running, and the next `dvc repro` meets it.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig, parent = 1, os.getppid()
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it went before it was asked for
            sys.exit(1)
        # DVC and its stages are in one session: a parent of another one collects orphans.
        if "DVC_STAGE" in os.environ and os.getsid(parent) != os.getsid(0):
            sys.exit(1)


def mortal(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` such that it ends with whoever starts it."""
    return [sys.executable, "-m", "cnn_ablations.processes", *command]


def environment() -> dict[str, str]:
    """This process's environment, with the programs beside this Python found first."""
    programs = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}


def start(command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`; what it writes is appended to `log`.

    It is the head of a process group of its own: a Ctrl-C at the terminal reaches whoever
    called this, who then decides.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            mortal(command),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """End processes and their groups as Ctrl-C would, or by force where that takes too long."""
    for signum, seconds in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGKILL, None)):
        running = [process for process in processes if process.poll() is None]
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signum)
        end = time.monotonic() + (seconds or 0)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()) if seconds else None)


@contextmanager
def alone(lock: Path, busy: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold `lock`, a file; where another process has it, `say` that it is `busy` and wait.

    Raises ProjectError where the file cannot be written.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=False)
        except Timeout:
            say(f"{busy}; waiting for its end")
            held.acquire()
    except OSError as error:
        raise cannot_write(lock, error) from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Send what this process and its children write to file descriptor 2 into a file.

    A kernel inherits the descriptor, and TensorFlow greets its reader there, whatever the log
    level.
    """
    terminal = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
