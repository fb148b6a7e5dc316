"""Too little of what a training needs: room, permission, memory, time, or a place to itself."""

import os
import random
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from cnn_ablations.paths import Paths

pytestmark = pytest.mark.faults

COMMAND = ("cnn-ablations", "train", "tiny-net")
DVC = ("dvc", "repro", "train@tiny-net")
Files = dict[str, bytes]
Train = Callable[..., tuple[int, str]]
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str]]
EndedWell = Callable[[Paths, Files], None]
Count = Callable[..., None]


# Room


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Callable[[int], object]]:
    """A file system of its own in the place of a folder. Yields what gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount one")
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}k", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("part", range(6))
def test_on_a_full_disk_a_training_says_so_and_goes_on_later(
    part: int,
    project: Paths,
    train: Train,
    undisturbed: tuple[Files, float],
    assert_ended_well: EndedWell,
    moments: random.Random,
    count: Count,
) -> None:
    """Little by little it gets more room: what it cannot write next is another file each time."""
    place = ("data/scratch", "data/runs", "reports")[part % 3]
    size, refusals = 4, 0
    with small_disk(project.root / place, size) as resize:
        while (ended := train(project)) != (0, ""):
            status, problem = ended
            assert status == 1
            assert "No space left on device" in problem
            assert "Traceback" not in problem
            refusals += 1
            size += moments.randrange(4, 60, 4)
            resize(size)
        assert refusals
        assert_ended_well(project, undisturbed[0])
    count(faults_tried=refusals)


@pytest.mark.parametrize("place", ["data/scratch/notebooks", "reports/notebooks/tiny/tiny-net"])
def test_without_room_for_its_notebook_the_command_says_so(
    place: str,
    paths: Paths,
    run: Run,
    undisturbed_tree: tuple[Files, float],
    assert_ended_well: EndedWell,
    count: Count,
) -> None:
    with small_disk(paths.root / place, 20) as resize:
        status, said = run(paths.root, *COMMAND)
        assert status == 1
        assert re.fullmatch(r"error: cannot write .*: No space left on device; .*", last(said))
        assert "Traceback" not in said
        resize(10_000)
        status, said = run(paths.root, *COMMAND)
        assert status == 0, said
        assert_ended_well(paths, undisturbed_tree[0])
    count(faults_tried=1)


def last(said: str) -> str:
    return said.splitlines()[-1]


# Permission


def as_others() -> list[str]:
    """A prefix under which the user's own permissions count: root has them all otherwise."""
    if os.getuid():
        return []
    prefix = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root may write anywhere, and setpriv cannot take that away")
    return prefix


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    before = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(before)


@pytest.fixture(scope="module")
def train_as_others(start_trainer: Callable[..., Any]) -> Iterator[Train]:
    with start_trainer(*as_others()) as train:
        yield train


def test_a_folder_that_is_read_only_is_named(
    project: Paths,
    train_as_others: Train,
    undisturbed: tuple[Files, float],
    assert_ended_well: EndedWell,
    count: Count,
) -> None:
    places = ["data/scratch", "data/scratch/seeds", "data/runs", "data/runs/tiny"]
    places += [f"reports/{kind}/tiny" for kind in ("metrics", "curves", "predictions", "weights")]
    for place in places:
        with read_only(project.root / place):
            status, problem = train_as_others(project)
            assert status == 1
            assert place in problem
            assert "Permission denied" in problem
    assert train_as_others(project) == (0, "")
    assert_ended_well(project, undisturbed[0])
    count(faults_tried=len(places))


@pytest.mark.parametrize("place", ["data/scratch", "reports/notebooks/tiny/tiny-net"])
def test_a_notebook_that_cannot_be_written_is_named(
    place: str,
    paths: Paths,
    run: Run,
    count: Count,
) -> None:
    with read_only(paths.root / place):
        status, said = run(paths.root, *as_others(), *COMMAND)
    assert status == 1
    assert re.fullmatch(rf"error: cannot write .*{place}.*: Permission denied; .*", last(said))
    assert "Traceback" not in said
    count(faults_tried=1)


# Memory


def test_out_of_memory_the_kernel_is_reported_dead_and_the_next_run_goes_on(
    paths: Paths,
    start: Start,
    wait_for: Callable[..., None],
    run: Run,
    undisturbed_tree: tuple[Files, float],
    assert_ended_well: EndedWell,
    all_ended: Callable[[Paths], None],
    count: Count,
) -> None:
    process = start(paths.root, *COMMAND)
    wait_for(paths.progress("tiny", "tiny-net").exists, process)
    (kernel,) = psutil.Process(process.pid).children()
    resource.prlimit(kernel.pid, resource.RLIMIT_AS, (2**20, 2**20))
    said, _ = process.communicate()
    assert process.returncode == 1
    assert last(said).startswith("error: the kernel of train.ipynb died")
    assert "it was killed or ran out of memory; run the same command again" in last(said)
    all_ended(paths)
    status, said = run(paths.root, *COMMAND)
    assert status == 0, said
    assert_ended_well(paths, undisturbed_tree[0])
    count(faults_tried=1)


# A place to itself


def test_of_two_runs_of_one_variant_the_second_waits(
    paths: Paths,
    start: Start,
    undisturbed_tree: tuple[Files, float],
    assert_ended_well: EndedWell,
    moments: random.Random,
    count: Count,
) -> None:
    first = start(paths.root, *COMMAND)
    time.sleep(moments.uniform(0, 3))
    second = start(paths.root, *COMMAND)
    said = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    notebook = "reports/notebooks/tiny/tiny-net/train.ipynb"
    waited = [
        text.count(f"another process is at {notebook}; waiting for its end\n") for text in said
    ]
    assert sorted(waited) == [0, 1], said
    assert_ended_well(paths, undisturbed_tree[0])
    count(faults_tried=1)


# Time


def test_beside_others_on_busy_processors_a_training_ends_in_the_same_bytes(
    make_project: Callable[[Path], Paths],
    start_trainer: Callable[..., Any],
    undisturbed: tuple[Files, float],
    assert_ended_well: EndedWell,
    tmp_path: Path,
    count: Count,
) -> None:
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        trainers = [stack.enter_context(start_trainer()) for _ in range(2)]
        projects = [make_project(tmp_path / str(number)) for number in range(2)]
        with ThreadPoolExecutor() as pool:
            pairs = zip(trainers, projects, strict=True)
            ended = [pool.submit(train, paths) for train, paths in pairs]
            assert [future.result() for future in ended] == [(0, "")] * 2
    for paths in projects:
        assert_ended_well(paths, undisturbed[0])
    count(faults_tried=1)


# Patience


def test_interrupted_at_random_moments_the_command_says_so_in_one_line(
    paths: Paths,
    start: Start,
    wait_for: Callable[..., None],
    run: Run,
    undisturbed_tree: tuple[Files, float],
    assert_ended_well: EndedWell,
    all_ended: Callable[[Paths], None],
    moments: random.Random,
    count: Count,
) -> None:
    """By SIGTERM to the command, and by Ctrl-C, which goes to all in the foreground."""
    expected, seconds = undisturbed_tree
    log = paths.scratch("notebooks", "tiny-tiny-net-train.log")
    interruptions = [
        (COMMAND, os.kill, signal.SIGTERM),
        (COMMAND, os.killpg, signal.SIGINT),
        (DVC, os.killpg, signal.SIGINT),
    ] * 2
    for command, send, signum in interruptions:
        log.unlink(missing_ok=True)
        process = start(paths.root, *command)
        wait_for(log.exists, process)
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
    count(faults_tried=len(interruptions))
