"""The state of the code that is recorded with results."""

import subprocess
from pathlib import Path

import pytest

from cnn_ablations.revision import revision


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_text("1\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert revision(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "modified": False}


def test_changed_code_and_new_code_count_as_modified(checkout: Path) -> None:
    (checkout / "src" / "new.py").write_text("2\n")
    assert revision(checkout)["modified"] is True
    (checkout / "src" / "new.py").unlink()
    (checkout / "src" / "code.py").write_text("2\n")
    assert revision(checkout)["modified"] is True


def test_results_and_documents_do_not(checkout: Path) -> None:
    (checkout / "reports").mkdir()
    (checkout / "reports" / "result.json").write_text("{}\n")
    (checkout / "README.md").write_text("other words\n")
    assert revision(checkout)["modified"] is False


def test_outside_git_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) == {"commit": None, "modified": None}
    monkeypatch.setenv("PATH", "")
    assert revision(tmp_path) == {"commit": None, "modified": None}
