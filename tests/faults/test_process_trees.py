"""Kills in a tree of processes: DVC, the command (papermill works in it), the kernel."""

import random
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from cnn_ablations.paths import Paths

DVC = ("dvc", "repro", "train@tiny-net")
COMMAND = ("cnn-ablations", "train", "tiny-net")
DIED = "the kernel of train.ipynb died"

Files = dict[str, bytes]
Start = Callable[..., "subprocess.Popen[str]"]


def test_killed_alone_each_process_leaves_what_the_next_run_goes_on_from(
    paths: Paths,
    start: Start,
    run: Callable[..., tuple[int, str]],
    wait_for: Callable[..., None],
    undisturbed_tree: tuple[Files, float],
    all_ended: Callable[[Paths], None],
    assert_ended_well: Callable[[Paths, Files], None],
    count: Callable[..., None],
) -> None:
    # The kernel, during the first epoch of the second seed.
    status, said = run(paths.root, *DVC, CNN_ABLATIONS_FAULT="epoch:4")
    assert status != 0
    assert f"error: {DIED}" in said
    all_ended(paths)
    assert outputs_of_the_notebook(paths) == []

    # DVC, while an epoch is computed.
    process = start(paths.root, *DVC)
    wait_for(paths.progress("tiny", "tiny-net").exists, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    all_ended(paths)

    # The command with papermill in it, when half of the notebook is written.
    status, said = run(paths.root, *COMMAND, CNN_ABLATIONS_FAULT="write train.ipynb")
    assert status == -signal.SIGKILL, said
    all_ended(paths)
    assert outputs_of_the_notebook(paths) == [".train.ipynb.tmp"]

    status, said = run(paths.root, *DVC)
    assert status == 0, said
    assert_ended_well(paths, undisturbed_tree[0])
    count(kills_survived=3)


def outputs_of_the_notebook(paths: Paths) -> list[str]:
    return [path.name for path in paths.notebook("tiny", "tiny-net", "train").parent.glob("*")]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "victim"),
    [(DVC, "dvc"), (DVC, "cnn-ablations"), (DVC, "kernel"), (COMMAND, "kernel"), (COMMAND, "")],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}:",
)
def test_killed_at_random_moments_a_tree_ends_in_the_same_bytes(
    command: Sequence[str],
    victim: str,
    make_checkout: Callable[[Path], Paths],
    start: Start,
    undisturbed_tree: tuple[Files, float],
    all_ended: Callable[[Paths], None],
    survive: Callable[..., None],
    moments: random.Random,
) -> None:
    expected, seconds = undisturbed_tree

    def attempt(paths: Paths) -> bool:
        process = start(paths.root, *command)
        # The last part of the time is when it trains.
        ended_before = ended_within(process, moments.triangular(0, seconds, seconds))
        if not ended_before:
            kill(process, victim)
        said, _ = process.communicate()
        assert "Traceback" not in said
        if ended_before:
            assert process.returncode == 0, said
        elif victim == "kernel":
            # It may have been killed when all its work was done.
            assert process.returncode in (0, -signal.SIGKILL) or DIED in said, said
        all_ended(paths)
        return not ended_before

    survive(3, make_checkout, attempt, expected)


def ended_within(process: "subprocess.Popen[str]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill(process: "subprocess.Popen[str]", victim: str) -> None:
    """Kill the process in the tree whose command line has the word; its head if none has."""
    head = psutil.Process(process.pid)
    tree = [head, *head.children(recursive=True)]
    named = [p for p in tree if victim in _command_line(p)] if victim else []
    (named or [head])[-1].kill()


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""
