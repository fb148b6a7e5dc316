import io

import pytest
from rich.console import Console

from cnn_ablations.scheduling.display import Display


@pytest.mark.parametrize("terminal", [True, False])
def test_what_runs_is_kept_up_to_date_or_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    file = io.StringIO()
    display = Display(Console(file=file, width=100, force_terminal=terminal))
    now = [display._printed]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with display.live:
        for second in range(0, 36, 9):
            now[0] += 9
            display.update([f"tiny-a at {second}", "all of it"])
    shown = file.getvalue()
    if terminal:
        assert all(f"tiny-a at {second}" in shown for second in range(0, 36, 9))
    else:
        assert shown == "tiny-a at 9\nall of it\ntiny-a at 27\nall of it\n"
