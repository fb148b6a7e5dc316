"""What `make setup` sees to before it installs anything, and what others would run. The Pythons of
`make setup` are scripts with a record.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.paths import Paths

PYTHON = """#!/bin/sh
echo "{name} $1 $2" >> record
case "$1 $2" in
  "-c "*"import pip") exit {without_pip} ;;
  "-c "*) exec python3 -c "import sys; sys.version_info = ({version}, 0)
$2" ;;
  "-m venv") mkdir -p .venv/bin && cp new .venv/bin/python ;;
esac
"""


def python(path: Path, name: str, version: str = "3, 12", *, without_pip: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PYTHON.format(name=name, version=version, without_pip=without_pip))
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(checkout: Paths, tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(checkout.root / name, folder)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    python(folder / "new", "new")
    return folder


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def called(folder: Path) -> list[str]:
    """Which Python did what, in one word each."""
    lines = (line.split(" ", 2) for line in (folder / "record").read_text().splitlines())
    return [f"{name} {what.split()[0]}" for name, option, what in lines if option == "-m"]


@pytest.mark.parametrize("version", ["3, 10", "3, 14"])
def test_a_python_without_tensorflow_is_refused(folder: Path, version: str) -> None:
    given = python(folder / "given", "given", version)
    done = make(folder, "setup", f"PYTHON={given}")
    assert done.returncode != 0
    assert "error: Python 3.11, 3.12 or 3.13 is needed, and this is " in done.stderr
    assert "make PYTHON=python3.12" in done.stderr
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize(
    ("left", "made_by"),
    [(None, "new"), ({"version": "3, 14"}, "new"), ({"without_pip": 1}, "new"), ({}, "left")],
    ids=["none", "other Python", "without pip", "a good one"],
)
def test_an_environment_that_is_no_good_is_made_anew(
    folder: Path, left: dict[str, Any] | None, made_by: str
) -> None:
    if left is not None:
        python(folder / ".venv" / "bin" / "python", "left", **left)
    done = make(folder, "setup", f"PYTHON={python(folder / 'given', 'given')}")
    assert (done.returncode, done.stderr) == (0, "")
    pip = [f"{made_by} pip"] * 2
    assert called(folder) == (["given venv", *pip] if made_by == "new" else pip)


def test_a_folder_without_git_is_refused_before_anything_is_installed(folder: Path) -> None:
    shutil.rmtree(folder / ".git")
    done = make(folder, "setup", f"PYTHON={python(folder / 'given', 'given')}")
    assert done.returncode != 0
    assert "error: this folder is not a git repository" in done.stderr
    assert not (folder / "record").exists()


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("quickstart", "cat reports/tables/quickstart/claims.md"),
        ("test-faults", "-m faults tests/faults tests\n"),  # wherever they are
    ],
)
def test_a_target_runs_what_it_promises(folder: Path, target: str, command: str) -> None:
    done = make(folder, "--dry-run", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert command in done.stdout


@pytest.mark.parametrize(("user", "as_root"), [("0", True), ("1000", False)])
def test_jupyter_is_allowed_to_run_as_root_where_root_runs_it(
    folder: Path, user: str, as_root: bool
) -> None:
    (folder / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (folder / "id").chmod(0o755)
    done = make(folder, "--dry-run", "lab", PATH=f"{folder}:{os.environ['PATH']}")
    assert (done.returncode, "--allow-root" in done.stdout) == (0, as_root)
