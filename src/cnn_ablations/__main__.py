"""The command `cnn-ablations`: how it begins and how it ends.

It answers signals before it imports anything that takes long, so that an interruption is one line
from the start.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line; a problem that the user can mend is one line and exit status 1."""
    _answer_signals(_leave)
    from cnn_ablations.processes import die_with_parent

    die_with_parent()
    from cnn_ablations.cli import app
    from cnn_ablations.errors import ProjectError

    _answer_signals(_stop)
    try:
        app()
    except ProjectError as error:
        sys.exit(f"error: {error}{_way_back(os.environ.get('DVC_STAGE', ''))}")


def _answer_signals(answer: Callable[[int, object], None]) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, answer)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup, say, has it ignored
        signal.signal(signal.SIGHUP, answer)


def _way_back(stage: str) -> str:
    """How to get back what DVC removed before it ran `stage`: its outputs, where git holds them."""
    verb = stage.rpartition(":")[2].partition("@")[0]  # ../dvc.yaml:train@VARIANT
    if verb in ("", "check", "download", "preprocess"):
        return ""
    return "; `git restore reports` brings back what DVC removed"


def _interrupted(signum: int) -> str:
    return (
        f"interrupted ({signal.Signals(signum).name}): run the same command again; a training "
        f"goes on from its last checkpoint{_way_back(os.environ.get('DVC_STAGE', ''))}"
    )


def _leave(signum: int, frame: object) -> None:
    # Nothing is under way, and Python loses an exception in the middle of some imports.
    os.write(sys.stderr.fileno(), f"{_interrupted(signum)}\n".encode())
    os._exit(1)


def _stop(signum: int, frame: object) -> None:
    # The kernel ends as well, which the tasks that wait for it would otherwise tell at length.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.exit(_interrupted(signum))


if __name__ == "__main__":
    main()
