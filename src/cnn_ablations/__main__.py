"""The command `cnn-ablations`: how it begins and how it ends.

It answers signals before it imports anything that takes long, so that an interruption is one line
from the start.
"""

import logging
import os
import signal
import sys
from types import FrameType

_interrupted = ""
"""What there is to say of an interruption, once there was one."""
_terminal = os.dup(2)
"""While a kernel runs, standard error is kept in a file."""


def main() -> None:
    """Run the command line; a problem that the user can mend is one line and exit status 1."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup
    if not stays:
        signal.signal(signal.SIGHUP, _stop)
    from cnn_ablations.errors import ProjectError
    from cnn_ablations.guardian import guard
    from cnn_ablations.processes import die_with_parent

    if "DVC_STAGE" in os.environ or not stays:
        die_with_parent()
    try:
        _run_the_code_of_the_checkout()
        guard()
        from cnn_ablations.cli import app

        app()
    except ProjectError as error:
        # A kernel that was interrupted as well may end before this process can.
        sys.exit(_interrupted or f"error: {error}{_way_back(os.environ.get('DVC_STAGE', ''))}")
    except OSError as error:  # such as a full disk behind the standard output
        where = f" {error.filename}" if error.filename else ""
        sys.exit(f"error: cannot read or write{where}: {error.strerror or error}")


def _run_the_code_of_the_checkout() -> None:
    """Start this process anew with the code of the checkout that it works in, where another one's
    runs. Its kernels and children inherit what leads there.
    """
    from cnn_ablations.paths import other_source, project_root

    root = project_root()
    source = str(other_source(root) or "") if root else ""
    search = os.environ.get("PYTHONPATH", "")
    if source and search.partition(os.pathsep)[0] != source:  # else Python is told to ignore it
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, search]))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _way_back(stage: str) -> str:
    """How to get back what DVC removed before it ran `stage`: its outputs, where git holds them."""
    verb = stage.rpartition(":")[2].partition("@")[0]  # ../dvc.yaml:train@VARIANT
    if verb in ("", "check", "download", "preprocess"):
        return ""
    return "; `git restore reports` brings back what DVC removed"


def _stop(signum: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = (
        f"interrupted ({signal.Signals(signum).name}): run the same command again; a training "
        f"goes on from its last checkpoint{_way_back(os.environ.get('DVC_STAGE', ''))}"
    )
    # The kernel ends as well, which the tasks that wait for it would otherwise tell at length.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame:  # Python loses an exception that is raised at some moments of an import
        os.write(_terminal, f"{_interrupted}\n".encode())
        os._exit(1)
    sys.exit(_interrupted)


if __name__ == "__main__":
    main()
