"""DVC killed while it writes the dvc.lock of the whole project."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_ablations.guardian import ends_early
from cnn_ablations.paths import Paths

pytestmark = pytest.mark.faults

DVC = ("dvc", "repro", "--force", "--single-item", "check")
KILLS = 10

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def lock(tmp_path: Path, checkout: Paths) -> Path:
    """The dvc.lock of a copy of this project, of which the stage `check` needs no more."""
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "pyproject.toml"):
        shutil.copy(checkout.root / name, tmp_path)
    for folder in ("src", "studies"):
        shutil.copytree(checkout.root / folder, tmp_path / folder)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = False\n")
    return tmp_path / "dvc.lock"


def test_what_a_kill_leaves_of_the_lock_is_mended_by_the_next_command(
    lock: Path,
    start: Start,
    run: Callable[..., tuple[int, str]],
    wait_for: Callable[..., None],
    all_ended: Callable[[Paths], None],
    moments: random.Random,
) -> None:
    assert run(lock.parent, *DVC)[0] == 0
    undisturbed = lock.read_bytes()

    process = start(lock.parent, *DVC)
    began = wait_for_write(lock, len(undisturbed), process)
    wait_for(lambda: lock.stat().st_size == len(undisturbed), process)
    seconds = time.monotonic() - began
    process.communicate()

    killed = 0
    while killed < KILLS:
        process = start(lock.parent, *DVC)
        wait_for_write(lock, len(undisturbed), process)
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        process.communicate()
        if ends_early(lock.read_bytes()):
            killed += 1
        else:  # it had ended, or stopped after a whole line, which is rare
            lock.write_bytes(undisturbed)
        status, said = run(lock.parent, "cnn-ablations", "check")
        assert status == 0, said
        assert lock.read_bytes() == undisturbed
    all_ended(Paths(lock.parent))


def wait_for_write(lock: Path, size: int, dvc: "subprocess.Popen[str]") -> float:
    """The time when DVC has begun to write."""
    while lock.stat().st_size == size:
        assert dvc.poll() is None
    return time.monotonic()
