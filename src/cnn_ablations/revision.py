"""Which state of this project's code made a result."""

import subprocess
from pathlib import Path

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


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
