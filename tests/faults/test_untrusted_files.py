"""Hostile files, given to the command as a user would: each ends in one clear line, no code of the
file's is run, nothing is written beside the project, and time and memory stay within bounds.

One or two of the worst for each reader: the readers' own tests have the others.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.data import digits
from cnn_ablations.paths import Paths

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
SECONDS = 5.0
"""Of processor time, so that a machine at work changes no verdict."""
MEGABYTES = 500

# A process's peak memory counts what forked it, and pytest may be large.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
said = process.stdout.read().decode()
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), said,
                  usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
Refused = Callable[..., None]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "project").mkdir()
    return Paths(tmp_path / "project")


@pytest.fixture
def refused(paths: Paths, tmp_path: Path) -> Refused:
    """Runs a verb and checks how it ends: in one line with these words."""

    def run(*arguments: str, words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, COMMAND, *arguments],
            cwd=paths.root,
            capture_output=True,
            check=True,
            timeout=120,
        )
        status, said, seconds, kilobytes = json.loads(done.stdout)
        *progress, line = said.splitlines()
        assert (status, line[:7]) == (1, "error: "), said
        assert re.search(words, line)
        assert [text for text in progress if not text.startswith(("fetching ", "failed: "))] == []
        assert {path.name for path in tmp_path.iterdir()} <= {"project", "mirror"}
        assert seconds < SECONDS
        assert kilobytes / 1024 < MEGABYTES

    return run


def describe(paths: Paths, **described: Any) -> None:
    """Write a params.yaml whose data set `d` is this."""
    common = {"title": "", "image_shape": [2, 2, 1], "classes": ["a", "b"], "citation": ""}
    paths.params.write_text(yaml.safe_dump({"datasets": {"d": common | described}}))


def put(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Write files. Returns their hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


ZEROS = gzip.compress(bytes(2**24), 1)
"""Where one gzipped file ends another may begin: so many bombs can be built of this one."""
GIGABYTE = ZEROS * 64
IDX = b"\0\0\x08\3" + struct.pack(">3I", 1, 2, 2)


def test_params(paths: Paths, refused: Refused) -> None:
    paths.params.write_text("variants: !!python/object/apply:os.mkdir [../harm]")
    refused("check", words="python/object/apply")


def test_digits(paths: Paths, refused: Refused) -> None:
    put(paths.raw("d"), {digits.FILE: GIGABYTE})
    describe(paths, format="digits")
    refused("preprocess", "d", words=digits.FILE)


@pytest.mark.parametrize("is_listed", [True, False])
def test_idx(paths: Paths, refused: Refused, tmp_path: Path, is_listed: bool) -> None:
    """What is not what params.yaml says is not even unzipped."""
    names = [f"{part}_{kind}" for part in ("train", "test") for kind in ("images", "labels")]
    files = dict.fromkeys(names, gzip.compress(IDX) + GIGABYTE * 4)
    hashes = put(paths.raw("d"), files)
    put(tmp_path / "mirror", files)
    listed = {
        name: {"name": name, "sha256": hashes[name] if is_listed else "0" * 64} for name in names
    }
    describe(paths, format="idx", urls=["../mirror"], files=listed)
    words = "announces 4 values, but it holds more" if is_listed else "has the sha256"
    refused("preprocess", "d", words=words)


class Call:
    """A pickle of it calls a function where nobody stops it."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("../harm",)


MEMBERS = ["batches.meta", *(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Call(), 0), pickle.dumps(Call()), b"\x80\x02})" + b"2\x86" * 64 + b"K\x01s."],
    ids=["old call", "call", "doubled 64 times"],
)
def test_pickles(
    paths: Paths, refused: Refused, python_2_pickle: Callable[[Any], bytes], content: bytes
) -> None:
    meta = {"batches.meta": python_2_pickle({"label_names": ["a", "b"]})}
    listed = put(paths.raw("d"), dict.fromkeys(MEMBERS, content) | meta)
    describe(paths, format="cifar10", urls=["../mirror"], archive="a", members=listed)
    refused("preprocess", "d", words=r"data_batch_1(: its (data|labels)| is not a pickle)")


def test_archives(paths: Paths, refused: Refused, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../../harm"))
    put(tmp_path / "mirror", {"a": gzip.compress(buffer.getvalue())})
    listed = dict.fromkeys(MEMBERS, "0" * 64)
    describe(paths, format="cifar10", urls=["../mirror"], archive="a", members=listed)
    refused("download", "d", words="not a plain file")
    assert not paths.raw("d").exists()
