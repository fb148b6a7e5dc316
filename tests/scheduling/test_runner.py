"""`cnn-ablations repro` as its users meet it: real processes of DVC, Dask and Jupyter."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from cnn_ablations.paths import Paths

PROGRAMS = Path(sys.executable).parent
SLEEP = "time.sleep(600)"
FAIL = "raise ProjectError('tiny-b is asked to fail')"
SECONDS = 300
"""What any of these processes may take, on a machine at work."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program beside this Python in a folder; what is left at the end is killed."""
    started = []

    def start(folder: Path, program: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(PROGRAMS / program), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=SECONDS)


def repro(paths: Paths, start: Start) -> tuple[int, str]:
    process = start(paths.root, "cnn-ablations", "repro", "--workers", "2")
    output, _ = process.communicate(timeout=SECONDS)
    return process.returncode, output


def ask(paths: Paths, variant: str, code: str) -> None:
    asked = paths.scratch(f"{variant}.asked")
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(code)


def runs(paths: Paths, variant: str) -> list[int]:
    """The process numbers of the kernels that trained a variant."""
    file = paths.scratch(f"{variant}.runs")
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(processes: list[psutil.Process]) -> bool:
    """Gone, or zombies where nobody collects orphans."""
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


def test_a_failure_stops_nothing_else_and_what_is_done_is_not_done_again(
    stubs: Paths, start: Start
) -> None:
    ask(stubs, "tiny-b", FAIL)
    status, output = repro(stubs, start)
    assert status == 1
    assert "tiny-b failed; the others go on (data/scratch/logs/tiny/tiny-b.log" in output
    assert "failed: tiny-b, error: tiny-b is asked to fail" in output
    assert stubs.notebook("tiny", "tiny-a", "inspect").exists()
    assert "asked to fail" in stubs.scratch("logs", "tiny", "tiny-b.log").read_text()
    assert not (stubs.root / "after.txt").exists()

    ask(stubs, "tiny-b", "")
    status, output = repro(stubs, start)
    assert status == 0, output
    assert (len(runs(stubs, "tiny-a")), len(runs(stubs, "tiny-b"))) == (1, 2)
    assert (stubs.root / "after.txt").exists()
    assert repro(stubs, start) == (0, "everything is up to date\n")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_no_child_outlives_the_runner(stubs: Paths, start: Start, signum: signal.Signals) -> None:
    ask(stubs, "tiny-a", SLEEP)
    process = start(stubs.root, "cnn-ablations", "repro", "--workers", "2", "inspect@tiny-a")
    wait_for(lambda: runs(stubs, "tiny-a"))
    children = psutil.Process(process.pid).children(recursive=True)
    assert runs(stubs, "tiny-a")[0] in [child.pid for child in children]
    process.send_signal(signum)
    output, _ = process.communicate(timeout=SECONDS)
    if signum == signal.SIGINT:
        assert process.returncode == 1
        assert output.endswith(
            "interrupted (SIGINT): run the same command again and it goes on where it stopped\n"
        )
    wait_for(lambda: ended(children))


def test_two_runners_at_once_do_the_work_once(stubs: Paths, start: Start) -> None:
    processes = [start(stubs.root, "cnn-ablations", "repro", "--workers", "2") for _ in range(2)]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert (len(runs(stubs, "tiny-a")), len(runs(stubs, "tiny-b"))) == (1, 1)
    waited = "another `cnn-ablations repro` is at work here; waiting for its end\n"
    assert f"{waited}everything is up to date\n" in outputs
