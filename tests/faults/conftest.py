"""Real processes that are lied to, starved and killed. What was counted is summed up at the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from filelock import FileLock

from cnn_ablations.paths import Paths

SEED = "CNN_ABLATIONS_FAULT_SEED"
"""Names the variable that decides the random moments; set it to repeat a failure."""
Files = dict[str, bytes]
Train = Callable[..., tuple[int, str]]
"""`train(paths, kill_after=None)`: the status of a training's process, the problem it reported."""


def pytest_configure() -> None:
    # In the environment, so that the workers of pytest-xdist agree.
    os.environ.setdefault(SEED, str(random.randrange(10**6)))


def pytest_report_header() -> str:
    return f"random moments: {SEED}={os.environ[SEED]}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, number in report.user_properties:
            counts[name] += number
    if counts:
        terminalreporter.section(f"counts, with {SEED}={os.environ[SEED]}")
        for name, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:15,}  {name}")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Counts something for the summary, if the test passes: `count(kills=3, bytes_compared=9)`."""

    def add(**numbers: int) -> None:
        request.node.user_properties += [
            (name.replace("_", " "), number) for name, number in numbers.items()
        ]

    return add


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """The source of random moments of one test."""
    return random.Random(f"{os.environ[SEED]} {request.node.name}")


# What a training leaves


def outputs(paths: Paths) -> Files:
    """All that training a variant leaves for others, but for measurements and unfinished files."""
    files = [paths.root / "dvc.lock"]
    for folder in (paths.root / "data" / "runs", paths.root / "reports"):
        files += sorted(folder.rglob("*"))
    named = {path.relative_to(paths.root).as_posix(): path for path in files if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in named.items()
        if ".tmp" not in name and "timings" not in name
    }


def at_work(paths: Paths) -> list[str]:
    """The command lines of the processes that work in a project."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(paths.root):
                found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def assert_ended_well(count: Callable[..., None]) -> Callable[[Paths, Files], None]:
    """Compares a project, in which a training has come to its end, with what it should hold."""

    def check(paths: Paths, expected: Files) -> None:
        found = outputs(paths)
        if "dvc.lock" not in found:  # it was trained without DVC
            expected = {name: expected[name] for name in expected if name != "dvc.lock"}
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        assert [path for path in paths.root.rglob("*.tmp") if ".dvc" not in path.parts] == []
        for lock in paths.scratch().rglob("lock"):
            with FileLock(lock, timeout=0):
                pass
        assert at_work(paths) == []
        count(bytes_compared=sum(map(len, found.values())))

    return check


@pytest.fixture
def survive(
    tmp_path: Path,
    count: Callable[..., None],
    assert_ended_well: Callable[[Paths, Files], None],
) -> Callable[..., None]:
    """Runs trainings to their end in project after project, until so many kills were survived.

    `attempt` runs a training, and says whether it was killed. What a kill leaves in the place of an
    output is that output, whole.
    """

    def run(
        kills: int,
        make: Callable[[Path], Paths],
        attempt: Callable[[Paths], bool],
        expected: Files,
    ) -> None:
        killed = projects = 0
        while killed < kills:
            projects += 1
            paths = make(tmp_path / f"project-{projects}")
            while attempt(paths):
                killed += 1
                assert outputs(paths).items() <= expected.items()
            assert_ended_well(paths, expected)
        count(kills_survived=killed)

    return run


# Trainings in processes of their own


@contextmanager
def training_process(*prefix: str) -> Iterator[Train]:
    with subprocess.Popen(
        [*prefix, sys.executable, str(Path(__file__).with_name("trainer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ) as process:

        def train(paths: Paths, kill_after: float | None = None) -> tuple[int, str]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(paths.root, file=process.stdin, flush=True)
            child = int(process.stdout.readline())
            if kill_after is not None:
                time.sleep(kill_after)
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            status, problem = json.loads(process.stdout.readline())
            return status, problem

        yield train


@pytest.fixture(scope="session")
def start_trainer() -> Callable[..., Any]:
    """A context in which trainings run in processes of their own, after a command's prefix."""
    return training_process


@pytest.fixture(scope="module")
def train() -> Iterator[Train]:
    with training_process() as train:
        yield train


@pytest.fixture(scope="module")
def undisturbed(
    train: Train, make_project: Callable[[Path], Paths], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Files, float]:
    """What an undisturbed training leaves, and the seconds that it takes."""
    paths = make_project(tmp_path_factory.mktemp("undisturbed") / "project")
    started = time.monotonic()
    assert train(paths) == (0, "")
    return outputs(paths), time.monotonic() - started


# Trees of processes: DVC, the command with papermill in it, the kernel


@pytest.fixture(scope="session")
def make_checkout(
    make_project: Callable[[Path], Paths], checkout: Paths
) -> Callable[[Path], Paths]:
    """Fills a folder with a project that trains by `dvc repro`, with a checkpoint every epoch."""
    template = json.loads(checkout.template("train").read_bytes())
    every_epoch = "from cnn_ablations.training import loop\n\nloop.CHECKPOINT_SECONDS = 0.0"
    cell = {"cell_type": "code", "id": "every-epoch", "metadata": {}, "source": every_epoch}
    template["cells"].insert(2, {**cell, "execution_count": None, "outputs": []})
    stage = yaml.safe_load((checkout.root / "dvc.yaml").read_bytes())["stages"]["train"]
    stage["do"]["deps"] = [path for path in stage["do"]["deps"] if "/inputs/" not in path]

    def make(root: Path) -> Paths:
        paths = make_project(root)
        paths.template("train").parent.mkdir()
        paths.template("train").write_text(json.dumps(template))
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text(
            "[core]\n"
            "    no_scm = True\n"
            "    analytics = False\n"
            f"    site_cache_dir = {root / '.dvc' / 'site'}\n"
        )
        return paths

    return make


@pytest.fixture
def paths(tmp_path: Path, make_checkout: Callable[[Path], Paths]) -> Paths:
    """A project that trains by `dvc repro`, to work in."""
    return make_checkout(tmp_path / "project")


@pytest.fixture(scope="module")
def run(start: Callable[..., "subprocess.Popen[str]"]) -> Callable[..., tuple[int, str]]:
    """Runs a command in a folder: its status and what it said."""

    def run(folder: Path, *command: str, **variables: str) -> tuple[int, str]:
        process = start(folder, *command, **variables)
        said, _ = process.communicate()
        return process.returncode, said

    return run


@pytest.fixture(scope="module")
def undisturbed_tree(
    make_checkout: Callable[[Path], Paths],
    run: Callable[..., tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Files, float]:
    """What an undisturbed `dvc repro` leaves, and the seconds that it takes."""
    paths = make_checkout(tmp_path_factory.mktemp("undisturbed") / "project")
    started = time.monotonic()
    status, said = run(paths.root, "dvc", "repro", "train@tiny-net")
    assert status == 0, said
    return outputs(paths), time.monotonic() - started


@pytest.fixture(scope="session")
def all_ended(wait_for: Callable[..., None]) -> Callable[[Paths], None]:
    """Waits until no process works in a project any more."""
    return lambda paths: wait_for(lambda: not at_work(paths), seconds=30)
