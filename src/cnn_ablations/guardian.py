"""What DVC loses when it is killed while it writes, put back.

After each stage DVC writes dvc.lock anew, in place. A kill leaves the beginning of the file, and
DVC goes on from that without a word. So each command keeps a copy of a whole dvc.lock in
.dvc/tmp, and mends one that ends early. A stage also leaves a process that waits until DVC has
ended: `python -m cnn_ablations.guardian ROOT PID`. It knows that nobody else wrote the file.
"""

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import CONFLICT_MARKER, write_atomically
from cnn_ablations.paths import find_project

LOCK_SECONDS = 10
"""How long the guardian waits for another DVC, which hashes or writes at that time."""

_ENTRIES = re.compile(rb"^(?=  [^ ])", re.MULTILINE)
"""Before the name of each stage."""
_ENDS_EARLY = re.compile(
    rb"""(?: \A                                # nothing is written yet
           | [^\n]                             # in the middle of a line
           | :\n | schema:\ '2\.0'\n           # before what a key is for
           | \ (?:path|hash|md5):.*\n          # before the size of a file
           | \.dir\n\ +size:.*\n               # or the number of files in a folder
         )\Z""",
    re.VERBOSE,
)
"""Such a dvc.lock is not whole. Nearly all that a kill leaves are such."""


def mended(now: bytes, kept: bytes, *, in_place: bool = False) -> bytes:
    """What dvc.lock should hold: `now`, unless a kill cut it short.

    Entries that a person or git removed stay away: only what is lost at the end is put back, and
    of a file that ends well only if it was written in place.

    Args:
        now: the content of dvc.lock.
        kept: its content when it was last known to be whole.
        in_place: whether only DVC can have written it since then.
    """
    entries, before = _entries(now), _entries(kept)
    gone = [name not in entries for name in before]
    lost_its_end = in_place and any(gone) and sorted(gone) == gone
    if not ends_early(now) and not lost_its_end:
        return now
    last, _ = entries.popitem()  # some lines of it may be lost
    names = list(before)
    after = [number for number, name in enumerate(names, start=1) if name in entries]
    lost = names[names.index(last) if last in before else max(after, default=0) :]
    return b"".join([*entries.values(), *(before[name] for name in lost)])


def ends_early(lock: bytes) -> bool:
    """Whether dvc.lock ends where DVC never ends it."""
    return bool(_ENDS_EARLY.search(lock[-1000:]))


def _entries(lock: bytes) -> dict[bytes, bytes]:
    """The text of each stage by its first line; what stands before them is the first entry."""
    head, *stages = _ENTRIES.split(lock)
    return {b"": head, **{stage.partition(b"\n")[0]: stage for stage in stages}}


def settle(root: Path, *, in_place: bool = False, wait: bool = False) -> list[str]:
    """Mend dvc.lock and .dvc/tmp/rwlock, or keep a copy of dvc.lock where it is whole.

    Does nothing where DVC never worked in `root`, or where another one writes at this moment and
    `wait` is false. Raises ProjectError where dvc.lock cannot be written.

    Returns:
        What was mended, in a sentence each.
    """
    temporary = root / ".dvc" / "tmp"
    lock, copy, running = root / "dvc.lock", temporary / "dvc.lock", temporary / "rwlock"
    said = []
    with suppress(OSError), (temporary / "lock").open("rb+") as repository:
        fcntl.flock(repository, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        try:
            json.loads(running.read_bytes() if running.is_file() else b"{}")
        except ValueError:
            running.unlink()
            said.append("removed .dvc/tmp/rwlock, which was empty or damaged, as after a kill")
        now = lock.read_bytes()
        if CONFLICT_MARKER.search(now):
            return said
        kept = copy.read_bytes() if copy.is_file() else b""
        whole = mended(now, kept, in_place=in_place) if kept else now
        if whole != now:
            write_atomically(lock, whole)
            said.append("dvc.lock ended early, as after a kill; its end was put back from a copy")
        if whole != kept and not ends_early(whole):
            with suppress(ProjectError):
                write_atomically(copy, whole)
    return said


def guard() -> None:
    """At the beginning of a command: mend what an earlier kill left. In a stage of DVC's also
    leave the guardian that does so after this DVC. Raises ProjectError as `settle` does.
    """
    try:
        root = find_project().root
    except ProjectError:  # the command says so, if it needs one
        return
    for sentence in settle(root):
        print(sentence, file=sys.stderr)
    if "DVC_STAGE" in os.environ and hasattr(os, "pidfd_open"):
        _leave_guardian(root, os.getppid())


def _leave_guardian(root: Path, dvc: int) -> None:
    with suppress(OSError), _guardians(root).open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, dvc)  # else there is one already
        file.close()
        subprocess.Popen(
            [sys.executable, "-m", "cnn_ablations.guardian", str(root), str(dvc)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _guardians(root: Path) -> Path:
    """An empty file. The guardian of process N holds its byte N, so that there is one."""
    return root / ".dvc" / "tmp" / "guardians"


def main(root: Path, dvc: int) -> None:
    """Wait until the process `dvc` has ended, then settle."""
    os.chdir("/")  # so as not to be in the way of whoever removes the checkout
    lock = root / "dvc.lock"
    with suppress(OSError), _guardians(root).open("ab") as file, ExitStack() as stack:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, dvc)
        opened = stack.enter_context(lock.open("rb")) if lock.is_file() else None
        with suppress(ProcessLookupError):
            select.select([os.pidfd_open(dvc)], [], [])
        signal.alarm(LOCK_SECONDS)  # which ends this process
        # Git and most editors put another file in its place.
        in_place = opened is not None and os.path.samestat(os.fstat(opened.fileno()), lock.stat())
        settle(root, in_place=in_place, wait=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
