"""Which state of this project's code made a result, and what git holds of another state."""

import io
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from cnn_ablations.errors import ProjectError

SOURCES = (
    *("src", "notebooks", "params.yaml", "studies", "dvc.yaml"),
    *("pyproject.toml", "requirements.lock"),
)


def revision(root: Path) -> dict[str, str | bool | None]:
    """The commit checked out in `root`, and whether code or parameters differ from it; both None
    where `root` is no git checkout, or git is not installed.
    """
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *SOURCES)
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def extract(root: Path, revision: str, wanted: Sequence[str], folder: Path) -> None:
    """Write into `folder` what a commit holds of some files and folders, named relative to `root`.

    Raises ProjectError where `root` is no git checkout, or has no such commit.
    """
    if _git(root, "rev-parse", "--git-dir") is None:
        raise ProjectError(
            f"git cannot read {root}: this needs git, and a clone (`git status` there says more)"
        )
    commit = _git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        way = "`git branch --all` and `git log` list what there is"
        if _git(root, "rev-parse", "--is-shallow-repository") == "true":
            way = "this is a shallow clone, and `git fetch --unshallow` gets the rest"
        raise ProjectError(f"there is no revision '{revision}' in {root}: {way}")
    there = (_git(root, "ls-tree", "--name-only", commit, "--", *wanted) or "").splitlines()
    packed = ("-c", "core.autocrlf=false", "archive", "--format=zip", "-0", commit, "--", *there)
    content = _run(root, *packed) if there else None
    if content is None:
        raise ProjectError(f"git holds nothing of this project at '{revision}'; name another")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)


def _git(root: Path, *arguments: str) -> str | None:
    answer = _run(root, *arguments)
    return None if answer is None else answer.decode(errors="replace").strip()


def _run(root: Path, *arguments: str) -> bytes | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, check=False
        )
    except OSError:
        return None
    return answer.stdout if answer.returncode == 0 else None
