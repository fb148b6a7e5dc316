"""What DVC loses when it is killed while it writes, put back at the start of the next command.

After each stage DVC writes dvc.lock anew, in place: a kill leaves the beginning of the file. So
each command, that of each stage as well, keeps a copy of a whole dvc.lock in .dvc/tmp, and puts it
back where dvc.lock ends early. Stages that ended since that copy was taken run again.
"""

import fcntl
import json
import re
import sys
from contextlib import suppress

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import CONFLICT_MARKER, write_atomically
from cnn_ablations.paths import find_project

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


def ends_early(lock: bytes) -> bool:
    """Whether dvc.lock ends where DVC never ends it."""
    return bool(_ENDS_EARLY.search(lock[-1000:]))


def guard() -> None:
    """Mend dvc.lock and .dvc/tmp/rwlock, and say so; keep a copy of dvc.lock where it is whole.

    Does nothing where DVC never worked, or where it writes at this moment. Raises ProjectError
    where a file cannot be written.
    """
    try:
        root = find_project().root
    except ProjectError:  # the command says so, if it needs one
        return
    lock, temporary = root / "dvc.lock", root / ".dvc" / "tmp"
    copy, running = temporary / "dvc.lock", temporary / "rwlock"
    with suppress(OSError), (temporary / "lock").open("rb+") as repository:
        fcntl.flock(repository, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            json.loads(running.read_bytes() if running.is_file() else b"{}")
        except ValueError:
            running.unlink()
            print("removed .dvc/tmp/rwlock, which was damaged, as after a kill", file=sys.stderr)
        now = lock.read_bytes()
        kept = copy.read_bytes() if copy.is_file() else b""
        if CONFLICT_MARKER.search(now):
            return
        if not ends_early(now):
            if now != kept:
                write_atomically(copy, now)
        elif kept:
            write_atomically(lock, kept)
            print("put back dvc.lock, which ended early, as after a kill", file=sys.stderr)
