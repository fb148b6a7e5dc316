"""Child processes that do not outlive their parent, and processes that wait for one another.

`python -m cnn_ablations.processes COMMAND...` is that command, ended by Linux with its parent.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cnn_ablations.errors import ProjectError

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
        if "DVC_STAGE" in os.environ:
            _die_with_dvc(parent)


def _die_with_dvc(parent: int) -> None:
    """End with DVC, or at once if it is gone, also where a shell stands between.

    DVC and its stages are in one session: a parent of another one collects orphans.
    """
    dvc = _parent_of_shell(parent) or parent
    try:
        if os.getsid(dvc) != os.getsid(0):
            sys.exit(1)
        if dvc != parent:
            threading.Thread(target=_die_with, args=[os.pidfd_open(dvc)], daemon=True).start()
    except ProcessLookupError:
        sys.exit(1)


def _parent_of_shell(shell: int) -> int | None:
    """The process that started `shell`, if it is the one in which DVC runs stages.

    Some shells (bash) become the command they are given, others (dash) wait for its end.
    """
    folder = Path(f"/proc/{shell}")
    try:
        if not folder.joinpath("exe").samefile(os.environ.get("SHELL") or "/bin/sh"):
            return None
        _, _, after_name = folder.joinpath("stat").read_text().rpartition(") ")
        return int(after_name.split()[1])
    except OSError:  # it has ended, and this process is about to, or it is somebody else's
        return None


def _die_with(process: int) -> None:
    """End this process as soon as another has ended, which a file descriptor stands for."""
    select.select([process], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` such that it ends with whoever starts it."""
    return [sys.executable, "-m", "cnn_ablations.processes", *command]


def environment() -> dict[str, str]:
    """This process's environment, with the programs beside this Python found first."""
    programs = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}


def start(
    command: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`; what it writes is appended to `log`.

    It is the head of a process group of its own: a Ctrl-C at the terminal reaches whoever
    called this, who then decides.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            mortal(command),
            cwd=folder,
            env={**environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group as Ctrl-C would, or by force where that takes too long."""
    for signum, seconds in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


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
        raise ProjectError(
            f"cannot write {lock}: {error.strerror}; mend that and run the same command again"
        ) from None
    try:
        yield
    finally:
        held.release()


if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
