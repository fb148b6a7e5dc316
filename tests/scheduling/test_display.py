import io
from typing import Any

import pytest
from rich.console import Console

from cnn_ablations.scheduling.display import Display, Row, duration, table

PROGRESS: dict[str, Any] = {
    "seed": 7,
    "number": 2,
    "seeds": 3,
    "epoch": 4,
    "epochs": 5,
    "accuracy": 0.91234,
    "seconds_left": 61,
}


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_table_has_a_row_for_each_training_and_a_line_about_all() -> None:
    screen = console()
    screen.print(table([Row("tiny-a", 90.0, PROGRESS), Row("tiny-b", None)], "1 of 3 done"))
    lines = written(screen).splitlines()
    assert lines[1].split() == ["tiny-a", "2", "of", "3", "4", "of", "5", "91.23", "%", "0:01:01"]
    assert lines[2].split() == ["tiny-b", "?"]
    assert lines[3].strip() == "1 of 3 done"


def test_after_the_last_epoch_a_row_is_finishing() -> None:
    screen = console()
    screen.print(table([Row("tiny-a", 90.0, {**PROGRESS, "seconds_left": 0})], "1 of 3 done"))
    assert "finishing" in written(screen)


def test_where_there_is_no_terminal_a_row_is_a_plain_line_now_and_then() -> None:
    screen = console()
    with Display(screen) as display:
        for _ in range(3):
            display.update([Row("tiny-a", None, PROGRESS), Row("tiny-b", None)], "all of it")
        display.say_once("wait")
        display.say_once("wait")
    assert written(screen).splitlines() == [
        "tiny-a: seed 2 of 3, epoch 4 of 5, accuracy 91.23 %, 0:01:01 left",
        "all of it",
        "wait",
    ]


def test_time_left_is_what_was_predicted_until_the_training_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert Row("tiny-a", 90.0, started=100.0).seconds_left == 60
    assert Row("tiny-a", 20.0, started=100.0).seconds_left == 0
    assert Row("tiny-a", 90.0, PROGRESS, started=100.0).seconds_left == 61
    assert (duration(3661.4), duration(None)) == ("1:01:01", "?")
