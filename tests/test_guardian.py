"""What a killed DVC leaves of dvc.lock, made by hand; `faults/test_killed_dvc.py` kills one."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.guardian import ends_early, guard
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import locked_stages

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))


def entry(name: str, md5: str) -> bytes:
    return (
        f"  {name}:\n    cmd: exec cnn-ablations {name}\n"
        f"    deps:\n    - path: src\n      hash: md5\n      md5: {md5}.dir\n      size: 5\n"
        "      nfiles: 2\n"
        f"    params:\n      params.yaml:\n        key:\n          list:\n          - 1\n"
        f"    outs:\n    - path: out/{name}\n      hash: md5\n      md5: {md5}\n      size: 27\n"
    ).encode()


HEAD = b"schema: '2.0'\nstages:\n"
A, B, C = (entry(name, f"a{number}" * 16) for number, name in enumerate("abc"))
FOLDER = entry("d", "e" * 32 + ".dir") + b"      nfiles: 12\n"
WHOLE = HEAD + A + B


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which DVC has worked, and this process works."""
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / ".dvc" / "tmp"
    temporary.mkdir(parents=True)
    for name in ("lock", "rwlock"):
        (temporary / name).write_text("{}")
    (tmp_path / "dvc.lock").write_bytes(WHOLE)
    (tmp_path / "params.yaml").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("written", [WHOLE, HEAD + FOLDER], ids=["a file", "a folder"])
def test_wherever_the_write_ends_within_a_line_is_seen(written: bytes) -> None:
    # Nothing tells a file that ends with a whole line from one that git wrote.
    lefts = [written[:end] for end in range(len(written)) if written[end - 1 : end] != b"\n"]
    assert all(map(ends_early, lefts))
    assert not ends_early(written)  # undisturbed


@pytest.fixture
def said(repository: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What is said at the beginning of a command in the repository."""

    def guarded() -> str:
        guard()
        return capsys.readouterr().err

    return guarded


def test_a_file_that_ends_early_is_put_back_from_the_copy_which_follows_what_is_whole(
    repository: Path, said: Callable[[], str]
) -> None:
    lock = repository / "dvc.lock"
    for whole in (WHOLE, HEAD + A, WHOLE + C):
        lock.write_bytes(whole)
        assert said() == ""
        for left in (b"", whole[:50], whole[:-1], bytes(2000)):
            lock.write_bytes(left)
            assert "put back dvc.lock" in said()
            assert lock.read_bytes() == whole


def test_without_a_copy_the_way_out_is_named(repository: Path, said: Callable[[], str]) -> None:
    (repository / "dvc.lock").write_bytes(WHOLE[: WHOLE.rindex(b"d5:")])
    assert said() == ""
    assert not (repository / ".dvc" / "tmp" / "dvc.lock").exists()
    with pytest.raises(ProjectError, match=r"`git restore dvc\.lock` mends it"):
        locked_stages(Paths(repository))


@pytest.mark.parametrize("name", ["dvc.lock", "params.yaml"])
def test_conflict_markers_are_left_alone_and_the_way_out_is_named(
    repository: Path, said: Callable[[], str], name: str
) -> None:
    assert said() == ""
    file = repository / name
    content = b"<<<<<<< HEAD\n  a: 1\n=======\n  a: 2\n>>>>>>> branch"
    file.write_bytes(content)
    done = subprocess.run([COMMAND, "plan"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"`git checkout --ours {name}`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert file.read_bytes() == content


@pytest.mark.parametrize("left", ["", '{"read": '])
def test_a_damaged_rwlock_goes(repository: Path, said: Callable[[], str], left: str) -> None:
    rwlock = repository / ".dvc" / "tmp" / "rwlock"
    assert said() == ""
    assert rwlock.exists()
    rwlock.write_text(left)
    assert "removed .dvc/tmp/rwlock" in said()
    assert not rwlock.exists()


def test_while_dvc_writes_nothing_is_touched(repository: Path, said: Callable[[], str]) -> None:
    assert said() == ""
    (repository / "dvc.lock").write_bytes(HEAD)
    with (repository / ".dvc" / "tmp" / "lock").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert said() == ""
        assert (repository / "dvc.lock").read_bytes() == HEAD
    assert said() != ""


def test_where_dvc_never_worked_nothing_is_done(repository: Path, said: Callable[[], str]) -> None:
    shutil.rmtree(repository / ".dvc")
    (repository / "dvc.lock").write_bytes(b"")
    assert said() == ""
    assert {path.name for path in repository.iterdir()} == {"dvc.lock", "params.yaml"}
