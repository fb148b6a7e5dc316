"""The state of the code that is recorded with results, and files of other states."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.revision import extract, revision

Git = Callable[..., str]


@pytest.fixture
def checkout(tmp_path: Path, git: Git) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_text("1\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path, git: Git) -> None:
    assert revision(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "modified": False}


@pytest.mark.parametrize(
    ("file", "modified"),
    [("src/code.py", True), ("src/new.py", True), ("new.json", False), ("README.md", False)],
)
def test_code_that_is_changed_or_new_counts_as_modified_results_and_documents_do_not(
    checkout: Path, file: str, modified: bool
) -> None:
    (checkout / file).write_text("2\n")
    assert revision(checkout)["modified"] is modified


def test_outside_git_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) == {"commit": None, "modified": None}
    monkeypatch.setenv("PATH", "")
    assert revision(tmp_path) == {"commit": None, "modified": None}


def test_files_of_a_commit_are_extracted_whatever_lies_about(
    checkout: Path, git: Git, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (checkout / "src" / "code.py").write_text("2\n")
    folder = tmp_path_factory.mktemp("there")
    extract(checkout, "HEAD", ["src", "notebooks"], folder)
    assert [file.read_text() for file in folder.rglob("*.py")] == ["1\n"]
    assert [file.name for file in folder.iterdir()] == ["src"]


def test_a_project_in_a_folder_of_a_repository_has_its_own_paths(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("there")
    extract(checkout / "src", "HEAD", ["code.py"], folder)
    assert (folder / "code.py").read_text() == "1\n"


def test_what_git_cannot_give_is_said(
    checkout: Path, git: Git, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("there")
    for unknown in ("nothing", "--all", ""):
        with pytest.raises(ProjectError, match=rf"there is no revision '{unknown}'.*git branch"):
            extract(checkout, unknown, ["src"], folder)
    with pytest.raises(ProjectError, match="holds nothing of this project at 'HEAD'"):
        extract(checkout, "HEAD", ["notebooks"], folder)
    (checkout / "README.md").write_text("other words\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "second")
    shallow = folder / "shallow"
    git(folder, "clone", "--quiet", "--depth", "1", f"file://{checkout}", str(shallow))
    with pytest.raises(ProjectError, match=r"'HEAD~1'.*shallow clone.*--unshallow"):
        extract(shallow, "HEAD~1", ["src"], folder)


def test_a_folder_that_is_no_git_checkout_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ProjectError, match="needs git, and a clone"):
        extract(tmp_path, "HEAD", ["src"], tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ProjectError, match="needs git, and a clone"):
        extract(tmp_path, "HEAD", ["src"], tmp_path)
