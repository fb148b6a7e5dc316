"""Real processes that are lied to and killed."""

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from filelock import FileLock

from cnn_ablations.paths import Paths

SEED = "CNN_ABLATIONS_FAULT_SEED"
"""Names the variable that decides the random moments; set it to repeat a failure."""
Files = dict[str, bytes]


def pytest_configure() -> None:
    # In the environment, so that the workers of pytest-xdist agree.
    os.environ.setdefault(SEED, str(random.randrange(10**6)))


def pytest_report_header() -> str:
    return f"random moments: {SEED}={os.environ[SEED]}"


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """The source of random moments of one test."""
    return random.Random(f"{os.environ[SEED]} {request.node.name}")


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


@pytest.fixture(scope="session")
def all_ended(wait_for: Callable[..., None]) -> Callable[[Paths], None]:
    """Waits until no process works in a project any more."""
    return lambda paths: wait_for(lambda: not at_work(paths), seconds=30)


@pytest.fixture(scope="session")
def left_of() -> Callable[[Paths], Files]:
    return outputs


@pytest.fixture(scope="session")
def assert_ended_well() -> Callable[[Paths, Files], None]:
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

    return check


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
def undisturbed(
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
