"""What a killed DVC leaves of dvc.lock, made by hand; `faults/test_killed_dvc.py` kills one."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from cnn_ablations.errors import ProjectError
from cnn_ablations.guardian import guard, mended, settle
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
A, B, C, D = (entry(name, f"a{number}" * 16) for number, name in enumerate("abcd"))
B2, C2 = entry("b", "f" * 32), entry("c", "f" * 32)
FOLDER = entry("e", "e" * 32 + ".dir") + b"      nfiles: 12\n"
WHOLE = HEAD + A + B + C


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder in which DVC has worked."""
    temporary = tmp_path / ".dvc" / "tmp"
    temporary.mkdir(parents=True)
    for name in ("lock", "rwlock"):
        (temporary / name).write_text("{}")
    (tmp_path / "dvc.lock").write_bytes(WHOLE)
    (tmp_path / "params.yaml").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("in_place", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize(
    "written",
    [WHOLE, HEAD + A + B2 + C, WHOLE + D, WHOLE + FOLDER],
    ids=["the same", "a change", "a new stage", "a new folder"],
)
def test_wherever_the_write_ends_each_stage_is_whole_or_runs_again(
    written: bytes, in_place: bool
) -> None:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    lefts = [written[:length] for length in range(len(written) + 1)]
    if not in_place:  # nothing tells a file that ends with a line from one that git wrote
        lefts = [left for left in lefts if not left.endswith(b"\n")]
    before, after = (yaml.safe_load(text)["stages"] for text in (WHOLE, written))
    for text in {mended(left, WHOLE, in_place=in_place) for left in lefts}:
        stages = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))["stages"]
        assert list(stages)[: len(before)] == list(before)
        for name, found in stages.items():
            whole = [known[name] for known in (before, after) if name in known]
            assert found in whole or hashes(found) != hashes(after[name])
    assert mended(written, WHOLE, in_place=in_place) == written  # undisturbed


def hashes(stage: dict[str, Any]) -> list[str | None]:
    """What DVC looks at to see whether the outputs are those of the stage."""
    return [out.get("md5") for out in stage.get("outs") or []]


def test_stages_that_git_or_somebody_took_away_do_not_come_back() -> None:
    assert mended(HEAD + A, WHOLE) == HEAD + A
    assert mended(HEAD + A, WHOLE, in_place=True) == WHOLE  # DVC takes none away
    assert mended(HEAD + A + C2, WHOLE, in_place=True) == HEAD + A + C2
    assert mended(HEAD + A + C[:-5], WHOLE, in_place=True) == HEAD + A + C


def test_a_file_that_ends_early_is_mended_from_the_copy_which_follows_what_is_whole(
    repository: Path,
) -> None:
    lock = repository / "dvc.lock"
    for whole in (WHOLE, HEAD + A, WHOLE + D):
        lock.write_bytes(whole)
        assert settle(repository) == []
        for left in (b"", whole[:50], whole[:-1], bytes(2000)):
            lock.write_bytes(left)
            (said,) = settle(repository)
            assert "its end was put back" in said
            assert lock.read_bytes() == whole


def test_without_a_copy_the_way_out_is_named(repository: Path) -> None:
    (repository / "dvc.lock").write_bytes(WHOLE[: WHOLE.rindex(b"d5:")])
    assert settle(repository) == []
    assert not (repository / ".dvc" / "tmp" / "dvc.lock").exists()
    with pytest.raises(ProjectError, match=r"`git restore dvc\.lock` mends it"):
        locked_stages(Paths(repository))


@pytest.mark.parametrize("name", ["dvc.lock", "params.yaml"])
def test_conflict_markers_are_left_alone_and_the_way_out_is_named(
    repository: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(repository)
    file = repository / name
    content = b"<<<<<<< HEAD\n  a: 1\n=======\n  a: 2\n>>>>>>> branch"
    file.write_bytes(content)
    assert settle(repository, in_place=True) == []
    done = subprocess.run([COMMAND, "plan"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"`git checkout --ours {name}`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert file.read_bytes() == content


@pytest.mark.parametrize("left", ["", '{"read": '])
def test_a_damaged_rwlock_goes(repository: Path, left: str) -> None:
    rwlock = repository / ".dvc" / "tmp" / "rwlock"
    settle(repository)
    assert rwlock.exists()
    rwlock.write_text(left)
    (said,) = settle(repository)
    assert "rwlock" in said
    assert not rwlock.exists()


def test_while_another_dvc_writes_nothing_is_touched(repository: Path) -> None:
    settle(repository)
    (repository / "dvc.lock").write_bytes(HEAD)
    with (repository / ".dvc" / "tmp" / "lock").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert settle(repository) == []
        assert (repository / "dvc.lock").read_bytes() == HEAD
    assert settle(repository) != []


def test_where_dvc_never_worked_nothing_is_done(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(b"")
    assert settle(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["dvc.lock"]


# The guardian. What stands for DVC runs stages, does something to dvc.lock, and kills itself.

IN_PLACE = "open('dvc.lock', 'w').write(left)"
REPLACED = "open('other', 'w').write(left); os.replace('other', 'dvc.lock')"


def guardians(root: Path) -> list[psutil.Process]:
    words = ["cnn_ablations.guardian", str(root)]
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[2:4] == words]


@pytest.fixture
def killed_dvc(project: Paths, repository: Path, wait_for: Callable[..., None]) -> Any:
    """Runs two stages, then writes the start of dvc.lock and dies; the content of the file after
    the guardian has ended.
    """
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no guardian")
    assert project.root.parent == repository
    (repository / ".dvc").rename(project.root / ".dvc")
    (repository / "dvc.lock").rename(project.root / "dvc.lock")

    def run(write: str, left: str, ends: str = "os.kill(os.getpid(), 9)") -> str:
        dvc = (
            "import os, subprocess\n"
            "for _ in range(2):\n"
            f"    subprocess.run([{COMMAND!r}, 'check'], check=True)\n"
            "open('ready', 'w').close()\n"
            "input()\n"
            f"left = {left!r}\n{write}\n{ends}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", dvc],
            cwd=project.root,
            env={**os.environ, "DVC_STAGE": "check"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_for((project.root / "ready").exists, process)
        (guardian,) = guardians(project.root)
        assert {str(Path(f"/proc/{guardian.pid}/fd/{n}").readlink()) for n in range(3)} == {
            "/dev/null"
        }
        # Until it has opened dvc.lock, and holds its byte.
        wait_for(lambda: any(f.path.endswith("dvc.lock") for f in guardian.open_files()), process)
        said, _ = process.communicate("\n", timeout=60)
        assert said.count("params.yaml is valid") == 2, said
        wait_for(lambda: not guardians(project.root), seconds=10)
        return (project.root / "dvc.lock").read_text()

    return run


def test_a_guardian_puts_back_what_the_kill_of_dvc_cost(killed_dvc: Any) -> None:
    assert killed_dvc(IN_PLACE, (HEAD + A).decode()) == WHOLE.decode()


def test_a_guardian_leaves_alone_what_git_put_in_place_of_the_file(killed_dvc: Any) -> None:
    assert killed_dvc(REPLACED, (HEAD + A).decode()) == (HEAD + A).decode()


def test_there_is_one_guardian_which_holds_no_pipe_and_ends_with_dvc(killed_dvc: Any) -> None:
    whole = (WHOLE + D).decode()
    assert killed_dvc(IN_PLACE, whole, ends="") == whole


def test_a_stage_runs_where_the_system_knows_no_pidfd(
    project: Paths, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "check")
    monkeypatch.chdir(repository)
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    guard()
