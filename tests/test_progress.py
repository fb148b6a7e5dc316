import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cnn_ablations import progress
from cnn_ablations.files import json_bytes, write_atomically

LINE = {
    "seed": 7,
    "number": 2,
    "seeds": 3,
    "epoch": 4,
    "epochs": 12,
    "accuracy": 0.98765,
    "seconds_left": 3725,
}


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def text(console: Console) -> str:
    file: Any = console.file
    return str(file.getvalue())


def test_a_line_says_where_a_training_is() -> None:
    assert progress.describe("net", LINE) == (
        "net: seed 2 of 3, epoch 4 of 12, accuracy 98.77 %, 1:02:05 left"
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_written_while_the_body_runs_is_shown_without_a_terminal_rarely(
    tmp_path: Path, terminal: bool, wait_for: Callable[..., None]
) -> None:
    file, out = tmp_path / "net.json", console(terminal)
    write_atomically(file, json_bytes({**LINE, "epoch": 3}))  # of an older training
    with progress.shown("net", file, out):
        assert not file.exists()
        write_atomically(file, json_bytes(LINE))
        wait_for(lambda: "epoch 4 of 12" in text(out))
        write_atomically(file, json_bytes({**LINE, "epoch": 5}))
        time.sleep(1.2)
    assert terminal or text(out).count("\n") == 1
    assert ("epoch 5 of 12" in text(out)) == terminal
    assert "epoch 3 of 12" not in text(out)


def test_a_failure_in_the_body_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), progress.shown("net", tmp_path / "net.json", console()):
        raise ZeroDivisionError


def test_a_place_that_cannot_be_read_is_the_body_s_matter(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with progress.shown("net", tmp_path / "blocked" / "net.json", console()):
        time.sleep(0.7)
