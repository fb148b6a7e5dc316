"""What a person sees while seeds are trained and other stages run."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cnn_ablations.progress import LINE_SECONDS, describe


class Display:
    """Lines that are kept up to date on a terminal, inside of `live`; elsewhere now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._printed = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def update(self, lines: Iterable[str]) -> None:
        """What runs now."""
        text = "\n".join(lines)
        self.live.update(Text(text), refresh=True)
        if not self.console.is_terminal and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            self.say(text)


@contextmanager
def shown(name: str, file: Path, console: Console) -> Iterator[None]:
    """While the body runs, show what the training `name` writes to its progress file."""
    with suppress(OSError):  # the training will say what is wrong with the place
        file.unlink()
    display, done = Display(console), Event()

    def follow() -> None:
        while not done.wait(0.5):
            with suppress(OSError):
                display.update([describe(name, json.loads(file.read_bytes()))])

    thread = Thread(target=follow, daemon=True)
    with display.live:
        display.update([f"{name} starts"])
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """`1:02:03`."""
    return str(timedelta(seconds=round(seconds)))
