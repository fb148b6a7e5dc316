"""Which checkout a command works in, and whose code runs there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import PACKAGE, Paths, find_project

MAIN = "from cnn_ablations.__main__ import main; main()"


@pytest.fixture
def worktree(project: Paths) -> Paths:
    """A project with code of its own, whose `check` says so."""
    shutil.copytree(
        PACKAGE, project.root / "src" / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    code = project.root / "src" / PACKAGE.name / "cli.py"
    code.write_text(code.read_text().replace("params.yaml is valid: ", "worktree: "))
    return project


@pytest.mark.parametrize("command", [["-m", "cnn_ablations"], ["-c", MAIN]], ids=["module", "call"])
def test_the_code_of_the_checkout_runs_whatever_is_installed(
    worktree: Paths, command: list[str]
) -> None:
    inside = worktree.root / "notebooks"
    inside.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, *command, "check"], cwd=inside, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("worktree: ")


def test_its_kernels_run_that_code_too(
    worktree: Paths, write_template: Callable[..., None]
) -> None:
    write_template(
        worktree.template("dataset"),
        "name = ''\ndataset = None",
        "from cnn_ablations.paths import PACKAGE, find_project\n"
        "assert PACKAGE.is_relative_to(find_project().root)",
    )
    command = [sys.executable, "-m", "cnn_ablations", "explore", "digits"]
    done = subprocess.run(command, cwd=worktree.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_where_only_other_code_can_run_nothing_runs(worktree: Paths) -> None:
    """In a kernel started by hand, say, or with a Python that ignores the environment."""
    with pytest.raises(ProjectError, match=rf"set PYTHONPATH={worktree.root}/src and start anew$"):
        find_project(worktree.root / "data")
    found = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {MAIN}"
    command = [sys.executable, "-I", "-c", found, "check"]
    done = subprocess.run(command, cwd=worktree.root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {worktree.root} has code of its own, but that in ")
    assert done.stderr.count("\n") == 1


def test_a_project_without_code_of_its_own_takes_what_is_installed(project: Paths) -> None:
    assert find_project(project.root) == project
    (project.root / "src").mkdir()
    assert find_project(project.root) == project


def test_a_link_to_the_code_that_runs_is_that_code(project: Paths) -> None:
    (project.root / "src").symlink_to(PACKAGE.parent)
    assert find_project(project.root) == project


def test_a_deleted_working_directory_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f'cd "{folder}"; rmdir "{folder}"; exec "{sys.executable}" -c "{MAIN}" check'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr == "error: the working directory is gone; change to a checkout\n"
