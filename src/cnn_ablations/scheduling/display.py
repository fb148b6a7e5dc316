"""What a person sees while variants are trained side by side."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cnn_ablations.progress import LINE_SECONDS, describe


@dataclass
class Row:
    """Something that runs."""

    name: str
    predicted: float | None
    """Seconds from its start, before it says itself how far it is."""
    progress: dict[str, Any] = field(default_factory=dict)
    """The content of the file that a training keeps."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        if self.progress:
            return float(self.progress["seconds_left"])
        if self.predicted is None:
            return None
        return max(self.predicted - (time.monotonic() - self.started), 0.0)


class Display:
    """A table that is kept up to date on a terminal, and plain lines elsewhere.

    Use it as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._printed: dict[str, float] = {}
        self._said: set[str] = set()

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def say_once(self, text: str) -> None:
        """A line that stays, unless it was said before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def update(self, rows: Iterable[Row], total: str) -> None:
        """What runs now, and a line about all of it."""
        if self.console.is_terminal:
            self._live.update(table(rows, total), refresh=True)
            return
        now = time.monotonic()
        due = [row for row in rows if now - self._printed.get(row.name, 0.0) >= LINE_SECONDS]
        due = [row for row in due if row.progress]
        for row in due:
            self.say(describe(row.name, row.progress))
            self._printed[row.name] = now
        if due:
            self.say(total)


def table(rows: Iterable[Row], total: str) -> Table:
    """A row for each training, and the line about all of them below."""
    grid = Table(caption=total, caption_justify="left", box=None, pad_edge=False)
    for heading, justify in (
        ("running", "left"),
        ("seed", "right"),
        ("epoch", "right"),
        ("accuracy", "right"),
        ("left", "right"),
    ):
        grid.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        p = row.progress
        cells = (
            (
                f"{p['number']} of {p['seeds']}",
                f"{p['epoch']} of {p['epochs']}",
                f"{100 * p['accuracy']:.2f} %",
            )
            if p
            else ("", "", "")
        )
        # After the last epoch a stage evaluates, writes and inspects.
        left = "finishing" if p and not p["seconds_left"] else duration(row.seconds_left)
        grid.add_row(row.name, *cells, left)
    return grid


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def duration(seconds: float | None) -> str:
    """`1:02:03`, or a question mark where it is unknown."""
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
