"""How far a benchmark is, in lines."""

import time
from collections.abc import Callable
from datetime import timedelta

Say = Callable[[str], None]


class Clock:
    """Says what happens, and about how much time is left."""

    def __init__(self) -> None:
        self._estimates: dict[str, float] = {}
        self._began = 0.0
        self._now = ""

    def expect(self, estimates: dict[str, float]) -> None:
        """Seconds by step."""
        self._estimates = dict(estimates)

    def begin(self, step: str) -> None:
        """The step runs from now on; the one before it has ended."""
        self._estimates.pop(self._now, None)
        self._now, self._began = step, time.monotonic()
        self.say("begins")

    def say(self, text: str) -> None:
        spent = time.monotonic() - self._began
        estimates = dict(self._estimates)
        left = max(estimates.pop(self._now, 0.0) - spent, 0.0) + sum(estimates.values())
        print(f"{self._now}: {text} (about {timedelta(seconds=round(left))} left)", flush=True)
