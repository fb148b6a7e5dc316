"""Named points at which a test can kill the process.

Resuming is only proven by real kills at chosen moments. `CNN_ABLATIONS_FAULT=POINT` or
`POINT:N` makes the process kill itself the N-th time (default 1) that it reaches a point whose
name starts with POINT; without that variable `reach` does nothing. A training reaches `batch`,
`epoch`, `evaluate`, `result`, and `write FILE` half-way through each file it writes atomically.
"""

import os
import signal

_reached = 0


def reach(point: str) -> None:
    """Die by SIGKILL here if the environment asks for it."""
    global _reached
    wanted = os.environ.get("CNN_ABLATIONS_FAULT")
    if not wanted:
        return
    start, _, count = wanted.partition(":")
    _reached += point.startswith(start)
    if _reached == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
