"""SIGKILL at random moments of a training in one process, and going on until it is done."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.paths import Paths

pytestmark = pytest.mark.faults


KILLS = 10
"""In each part."""


@pytest.mark.parametrize("part", range(10))
def test_killed_again_and_again_a_training_ends_in_the_same_bytes(
    part: int,
    make_project: Callable[[Path], Paths],
    train: Callable[..., tuple[int, str]],
    undisturbed: tuple[dict[str, bytes], float],
    survive: Callable[..., None],
    moments: random.Random,
) -> None:
    expected, seconds = undisturbed

    def attempt(paths: Paths) -> bool:
        ended: Any = train(paths, kill_after=moments.uniform(0, seconds))
        assert ended in ((0, ""), (-signal.SIGKILL, ""))
        return bool(ended[0])

    survive(KILLS, make_project, attempt, expected)
