import io
from typing import Any

import pytest
from rich.console import Console

from cnn_ablations.scheduling.display import Display, Row, duration

PROGRESS: dict[str, Any] = {
    "seed": 7,
    "number": 2,
    "seeds": 3,
    "epoch": 4,
    "epochs": 5,
    "accuracy": 0.91234,
    "seconds_left": 61,
}
LINE = "tiny-a: seed 2 of 3, epoch 4 of 5, accuracy 91.23 %, 0:01:01 left"


@pytest.mark.parametrize("terminal", [True, False])
def test_each_that_runs_has_a_line_and_all_of_it_the_last(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    file = io.StringIO()
    screen = Console(file=file, width=100, force_terminal=terminal)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Display(screen) as display:
        for _ in range(4):
            now[0] += 9
            display.update([Row("tiny-a", None, PROGRESS), Row("tiny-b", None)], "all of it")
    shown = file.getvalue()
    assert shown.count(LINE) >= 4 if terminal else shown.count(LINE) == 2
    if not terminal:
        assert shown.splitlines() == 2 * [LINE, "tiny-b: ? left", "all of it"]


def test_time_left_is_what_was_predicted_until_the_training_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert Row("tiny-a", 90.0, started=100.0).seconds_left == 60
    assert Row("tiny-a", 20.0, started=100.0).seconds_left == 0
    assert Row("tiny-a", 90.0, PROGRESS, started=100.0).seconds_left == 61
    assert (duration(3661.4), duration(None)) == ("1:01:01", "?")
