"""Commands to measure, a checkout of its own to run them in, and ictonyx in a folder of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from cnn_ablations.config.document import read_document
from cnn_ablations.paths import Paths

ROOT = Path(__file__).parents[1]
CONFIG = "[core]\n    analytics = false\n    no_scm = true\n[cache]\n    type = reflink,copy\n"
PEER = ("ictonyx==0.5.0", "seaborn==0.13.2")  # what they need besides, the project has


def python(*arguments: object, core: int | None = None) -> list[str]:
    """The command line of this Python, on one core where it is given."""
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    return [*pinned, sys.executable, *map(str, arguments)]


def start(command: Sequence[str], folder: Path = ROOT, peer: Path = ROOT) -> Any:
    """The process of a command that finds the code of `folder`, and ictonyx in `peer`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_NUM_", "TF_NUM_"))}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, (folder / "src", folder, peer)))
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=kept, **pipes)


def finish(process: Any) -> list[dict[str, Any]]:
    """The lines of JSON that it writes. Raises RuntimeError with its last words if it fails."""
    said, complained = process.communicate()
    if process.returncode:
        words = " ".join((complained or said).strip().splitlines()[-3:])
        raise RuntimeError(f"{' '.join(process.args)[:100]} failed: {words}")
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def held(process: Any) -> float:
    """The most MiB that a process and its children held until it ended, shared memory by parts."""
    most = 0
    while process.poll() is None:
        with suppress(psutil.Error):  # one of them has just ended
            parent = psutil.Process(process.pid)
            family = (parent, *parent.children(recursive=True))
            most = max(most, sum(each.memory_full_info().pss for each in family))
        time.sleep(0.5)
    return most / 2**20


def kill(process: Any, seconds: float) -> None:
    """End a process by force after so many seconds, and wait until its children are gone, too."""
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
        raise RuntimeError(f"{' '.join(process.args)[:100]} ended before it was to be killed")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in psutil.wait_procs(children, timeout=10)[1]:
        child.kill()
    process.communicate()


def install_peer(folder: str) -> Path:
    """Install ictonyx into a folder. Raises RuntimeError where that fails."""
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder)
    finish(start(python("-m", "pip", "install", *options, *PEER)))
    return Path(folder)


@contextmanager
def checkout(origin: Paths, changes: Mapping[str, Mapping[str, Any]]) -> Iterator[Paths]:
    """What git tracks of `origin`, as it lies there, with changed variants, and digits prepared."""
    with tempfile.TemporaryDirectory(prefix="cnn-ablations-bench-") as folder:
        paths = Paths(Path(folder) / "checkout")
        listed = ["git", "-C", str(origin.root), "ls-files", "-z"]
        tracked = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        names = [name for name in tracked.split("\0") if (origin.root / name).is_file()]
        paths.root.mkdir()
        subprocess.run(["cp", "-p", "--parents", *names, paths.root], cwd=origin.root, check=True)
        (paths.root / ".dvc" / "config").write_text(CONFIG)
        document = read_document(paths.params)
        for variant, values in changes.items():
            document["variants"][variant].update(values)
        paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
        finish(start(python("-m", "dvc", "repro", "--quiet", "preprocess@digits"), paths.root))
        yield paths
