"""A checkout of its own to measure in: the files of this one, its arrays, empty scratch."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cnn_ablations.config.document import read_document
from cnn_ablations.paths import Paths

CONFIG = "[core]\n    analytics = false\n    no_scm = true\n[cache]\n    type = reflink,copy\n"


@contextmanager
def temporary_checkout(
    origin: Paths, datasets: Iterable[str], changes: Mapping[str, Mapping[str, Any]]
) -> Iterator[Paths]:
    """A copy of `origin` as it lies there, its changes included, with a cache of its own.

    Args:
        origin: the checkout to copy: what git tracks, dvc.lock too, so that everything but what
            `changes` touches is as far as it is there.
        datasets: whose raw files and arrays to bring along.
        changes: of variants of params.yaml, by name: keys and values to set.

    Raises:
        OSError: where something is missing, such as arrays that were never prepared.
    """
    with tempfile.TemporaryDirectory(prefix="cnn-ablations-bench-") as folder:
        paths = Paths(Path(folder) / "checkout")
        listed = ["git", "-C", str(origin.root), "ls-files", "-z"]
        tracked = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        for name in filter(None, tracked.split("\0")):
            if (origin.root / name).is_file():
                _copy(origin.root / name, paths.root / name)
        _copy(origin.checked, paths.root / origin.checked.relative_to(origin.root))
        for dataset in datasets:
            for part in (origin.raw(dataset), origin.arrays(dataset)):
                shutil.copytree(part, paths.root / part.relative_to(origin.root))
        (paths.root / ".dvc" / "config").write_text(CONFIG)
        document = read_document(paths.params)
        for variant, values in changes.items():
            document["variants"][variant].update(values)
        paths.params.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        # Whose only input is params.yaml, and whose result is always the same.
        dvc(paths, "repro", "--quiet", "check")
        yield paths


def dvc(paths: Paths, *arguments: str) -> None:
    """Run DVC in a checkout. Raises RuntimeError with its last words where it fails."""
    run([sys.executable, "-m", "dvc", *arguments], paths.root)


def run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command writes to standard output. Raises RuntimeError with its last words."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeError(f"{' '.join(command[:6])} failed: {' '.join(words)}")
    return done.stdout


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
