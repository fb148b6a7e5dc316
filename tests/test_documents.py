"""What README and docs tell people to type works in a fresh clone, or here is why nobody tries."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_ablations.processes import environment

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_TYPED = {
    "make quickstart": "CI types it, and it takes minutes",
    "make test": "this is it",
    ". *activate": "the tests' environment is active",
    "dvc repro *@*": "trains; the tests of the pipeline run stages of tiny networks",
    "dvc exp run *": "trains",
    "cnn-ablations repro*": "trains; tests/scheduling runs it with tiny networks",
    "cnn-ablations verify *": "trains; tests/test_verification.py runs it with tiny networks",
    "cnn-ablations predict *": "needs weights, which git has not; see tests/test_prediction.py",
    "cnn-ablations export *": "needs weights, which git has not; see tests/test_export.py",
    "dask *": "waits for a network; tests/scheduling starts both",
    "pip install *": "needs a network, or hardware that is not here",
    "python3* -m venv *": "what follows needs a network",
}


def blocks() -> Iterator[tuple[str, list[str]]]:
    """The commands of each block of a document, without their comments."""
    for document in DOCUMENTS:
        for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.M | re.S):
            lines = [re.sub(r"(^|\s\s+)#.*", "", line).strip() for line in block.splitlines()]
            yield document.name, [line for line in lines if line]


def is_typed(command: str) -> bool:
    return not any(fnmatchcase(command, pattern) for pattern in NOT_TYPED)


def test_no_reason_is_given_for_what_nobody_is_told_to_type() -> None:
    told = [command for _, commands in blocks() for command in commands]
    unused = [p for p in NOT_TYPED if not any(fnmatchcase(c, p) for c in told)]
    assert unused == []
    assert sum(map(is_typed, told)) > 15


def test_no_dashboard_of_a_cluster_is_open_to_the_network() -> None:
    told = [command for _, commands in blocks() for command in commands]
    started = [command for command in told if re.match("dask (scheduler|worker) ", command)]
    assert len(started) == 2
    assert [c for c in started if "--dashboard-address 127.0.0.1:" not in c] == []


def test_the_readme_is_short_and_says_how_to_ask_before_it_lists_studies() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    assert text.index("## Ask your own question") < text.index("<!-- table:studies -->")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this checkout as it is, changes included, with another branch."""
    clone = tmp_path_factory.mktemp("documents") / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (["add", "-A"], ["commit", "-qm", "as it is", "--allow-empty"]):
        subprocess.run([*git, *arguments], cwd=clone, check=True)
    for branch in ("main", "my-branch"):
        subprocess.run(["git", "branch", "--force", branch], cwd=clone, capture_output=True)
    return clone


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a folder of images."""
    home, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    for label in ("rose", "tulip"):
        (home / "flowers" / label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(home / "flowers" / label / f"{number}.png")
    return home


TYPED = [(name, [c for c in commands if is_typed(c)]) for name, commands in blocks()]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("document", "commands"),
    [pytest.param(name, cs, id=f"{name}: {cs[0]}") for name, cs in TYPED if cs],
)
def test_what_people_are_told_to_type_works(
    document: str, commands: list[str], clone: Path, home: Path
) -> None:
    with_home = {**environment(), "HOME": str(home), "DVC_NO_ANALYTICS": "1"}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=clone, env=with_home, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    for arguments in (["checkout", "-q", "."], ["clean", "-qfd"]):
        subprocess.run(["git", *arguments], cwd=clone, check=True)
