"""Shows a person how far a training in another process is."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

LINE_SECONDS = 15.0
"""Where there is no terminal, a line this often says enough."""


@contextmanager
def shown(name: str, file: Path, console: Console) -> Iterator[None]:
    """While the body runs, show what the training `name` writes to its progress file.

    On a terminal as one line that is kept up to date, else as a plain line now and then.
    """
    with suppress(OSError):  # the training will say what is wrong with the place
        file.unlink()
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(name, file, console, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def describe(name: str, progress: dict[str, Any]) -> str:
    """One line from the content of a progress file."""
    left = timedelta(seconds=progress["seconds_left"])
    return (
        f"{name}: seed {progress['number']} of {progress['seeds']}, "
        f"epoch {progress['epoch']} of {progress['epochs']}, "
        f"accuracy {100 * progress['accuracy']:.2f} %, {left} left"
    )


def _follow(name: str, file: Path, console: Console, done: threading.Event) -> None:
    shown_text, shown_at = "", 0.0
    with console.status(f"{name}: starting") as status:
        while not done.wait(0.5):
            try:
                text = describe(name, json.loads(file.read_bytes()))
            except OSError:
                continue
            if console.is_terminal:
                status.update(text)
            elif text != shown_text and time.monotonic() - shown_at >= LINE_SECONDS:
                console.print(text, highlight=False, soft_wrap=True)
                shown_text, shown_at = text, time.monotonic()
