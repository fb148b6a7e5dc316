"""A tree of processes, DVC, the command (papermill works in it), the kernel: killed, interrupted,
and beside another one.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from cnn_ablations.paths import Paths

DVC = ("dvc", "repro", "train@tiny-net")
COMMAND = ("cnn-ablations", "train", "tiny-net")
DIED = "the kernel of train.ipynb died"
KILLS = 8

Files = dict[str, bytes]
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str]]
EndedWell = Callable[[Paths, Files], None]


def test_killed_alone_each_process_leaves_what_the_next_run_goes_on_from(
    paths: Paths,
    start: Start,
    run: Run,
    wait_for: Callable[..., None],
    undisturbed: tuple[Files, float],
    all_ended: Callable[[Paths], None],
    assert_ended_well: EndedWell,
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
    assert_ended_well(paths, undisturbed[0])


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
    undisturbed: tuple[Files, float],
    all_ended: Callable[[Paths], None],
    assert_ended_well: EndedWell,
    left_of: Callable[[Paths], Files],
    moments: random.Random,
    tmp_path: Path,
) -> None:
    expected, seconds = undisturbed
    kills = projects = 0
    while kills < KILLS:
        projects += 1
        paths, ended = make_checkout(tmp_path / f"project-{projects}"), False
        while not ended:
            process = start(paths.root, *command)
            # The last part of the time is when it trains.
            ended = ended_within(process, moments.triangular(0, seconds, seconds))
            if not ended:
                kill(process, victim)
            said, _ = process.communicate()
            assert "Traceback" not in said
            if ended:
                assert process.returncode == 0, said
            elif victim == "kernel":
                # It may have been killed when all its work was done.
                assert process.returncode in (0, -signal.SIGKILL) or DIED in said, said
            all_ended(paths)
            kills += not ended
            assert left_of(paths).items() <= expected.items()  # each is there whole or not at all
        assert_ended_well(paths, expected)


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


@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "send", "signum"),
    [
        (COMMAND, os.kill, signal.SIGTERM),
        (COMMAND, os.killpg, signal.SIGINT),
        (DVC, os.killpg, signal.SIGINT),
    ],
    ids=["SIGTERM", "Ctrl-C", "Ctrl-C at DVC"],
)
def test_interrupted_at_a_random_moment_the_command_says_so_in_one_line(
    command: Sequence[str],
    send: Callable[[int, int], None],
    signum: signal.Signals,
    paths: Paths,
    start: Start,
    wait_for: Callable[..., None],
    run: Run,
    undisturbed: tuple[Files, float],
    assert_ended_well: EndedWell,
    all_ended: Callable[[Paths], None],
    moments: random.Random,
) -> None:
    expected, seconds = undisturbed
    process = start(paths.root, *command)
    wait_for(paths.scratch("notebooks", "tiny-tiny-net-train.log").exists, process)
    time.sleep(moments.uniform(0, seconds / 2))
    send(process.pid, signum)
    said, _ = process.communicate()
    assert process.returncode > 0, said
    assert "Traceback" not in said
    way_back = "; `git restore reports` brings back what DVC removed" * (command == DVC)
    assert (
        f"\ninterrupted ({signum.name}): run the same command again; a training goes on from "
        f"its last checkpoint{way_back}\n"
    ) in f"\n{said}"
    all_ended(paths)
    status, said = run(paths.root, *COMMAND)
    assert status == 0, said
    assert_ended_well(paths, expected)


@pytest.mark.faults
def test_of_two_runs_of_one_variant_the_second_waits(
    paths: Paths,
    start: Start,
    undisturbed: tuple[Files, float],
    assert_ended_well: EndedWell,
    moments: random.Random,
) -> None:
    first = start(paths.root, *COMMAND)
    time.sleep(moments.uniform(0, 3))
    second = start(paths.root, *COMMAND)
    said = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    notebook = "reports/notebooks/tiny/tiny-net/train.ipynb"
    waits = f"another process is at {notebook}; waiting for its end\n"
    assert sorted(text.count(waits) for text in said) == [0, 1], said
    assert_ended_well(paths, undisturbed[0])
