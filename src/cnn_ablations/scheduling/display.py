"""What a person sees while seeds are trained and other stages run side by side."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cnn_ablations.progress import LINE_SECONDS, describe


@dataclass
class Row:
    """Something that runs."""

    name: str
    predicted: float | None
    """Seconds from its start, before it says itself how far it is."""
    progress: dict[str, Any] = field(default_factory=dict)
    """What a training says of itself."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        if self.progress:
            return float(self.progress["seconds_left"])
        if self.predicted is None:
            return None
        return max(self.predicted - (time.monotonic() - self.started), 0.0)

    def __str__(self) -> str:
        if self.progress:
            return describe(self.name, self.progress)
        return f"{self.name}: {duration(self.seconds_left)} left"


class Display:
    """Lines that are kept up to date on a terminal, and come now and then elsewhere.

    Use it as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._printed = time.monotonic()

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def update(self, rows: Iterable[Row], total: str) -> None:
        """What runs now, and a line about all of it."""
        text = "\n".join([*map(str, rows), total])
        if self.console.is_terminal:
            self._live.update(Text(text), refresh=True)
        elif time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            self.say(text)


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def duration(seconds: float | None) -> str:
    """`1:02:03`, or a question mark where it is unknown."""
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
