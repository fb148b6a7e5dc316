import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.scheduling import display
from cnn_ablations.scheduling.display import Display, shown


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def text(console: Console) -> str:
    file: Any = console.file
    return str(file.getvalue())


@pytest.mark.parametrize("terminal", [True, False])
def test_what_runs_is_kept_up_to_date_or_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    file = io.StringIO()
    seen = Display(Console(file=file, width=100, force_terminal=terminal))
    now = [seen._printed]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with seen.live:
        for second in range(0, 36, 9):
            now[0] += 9
            seen.update([f"tiny-a at {second}", "all of it"])
    shown = file.getvalue()
    if terminal:
        assert all(f"tiny-a at {second}" in shown for second in range(0, 36, 9))
    else:
        assert shown == "tiny-a at 9\nall of it\ntiny-a at 27\nall of it\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_written_while_the_body_runs_is_shown_without_a_terminal_rarely(
    tmp_path: Path,
    place: dict[str, Any],
    terminal: bool,
    wait_for: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "LINE_SECONDS", 1.0)
    file, out = tmp_path / "net.json", console(terminal)
    began = time.monotonic()
    write_atomically(file, json_bytes({**place, "epoch": 3}))  # of an older training
    with shown("net", file, out):
        assert not file.exists()
        write_atomically(file, json_bytes(place))
        wait_for(lambda: "epoch 4 of 12" in text(out))
        write_atomically(file, json_bytes({**place, "epoch": 5}))
        wait_for(lambda: "epoch 5 of 12" in text(out))
    assert terminal or 2 <= text(out).count("\n") <= time.monotonic() - began
    assert "epoch 3 of 12" not in text(out)


def test_what_is_said_keeps_its_brackets() -> None:
    Display(out := console()).say("more [mirror] than [8, 16]")
    assert text(out) == "more [mirror] than [8, 16]\n"


def test_a_failure_in_the_body_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), shown("net", tmp_path / "net.json", console()):
        raise ZeroDivisionError


def test_a_place_that_cannot_be_read_is_the_body_s_matter(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with shown("net", tmp_path / "blocked" / "net.json", console()):
        time.sleep(0.7)
