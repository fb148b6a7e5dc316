"""Malicious and broken files, given to the command as a user would: each ends in one clear line.

All kinds are in the readers' own tests; here a few of each show the whole: no code of the file's is
run, nothing is written beside the project, and time and memory stay within bounds.
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
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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

Count = Callable[..., None]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "project").mkdir()
    return Paths(tmp_path / "project")


@pytest.fixture
def refused(paths: Paths, tmp_path: Path, count: Count) -> Callable[..., None]:
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
        count(malicious_or_broken_files=1)

    return run


# params.yaml


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"variants: !!python/object/apply:os.mkdir [../harm]", "python/object/apply"),
        (b"variants: !!python/object/new:os.mkdir [../harm]", "python/object/new"),
        (b"variants: !!python/name:os.mkdir ''", "python/name"),
        (b"variants: !!python/module:os ''", "python/module"),
        (b"variants: !<tag:yaml.org,2002:python/tuple> [1]", "python/tuple"),
        (b"%TAG ! tag:yaml.org,2002:python/\n---\nvariants: !name:os.mkdir ''", "python/name"),
        (b"variants: !secret {}", "!secret"),
        (b"variants: {a: {epochs: 1, epochs: 2}}", "duplicate key"),
        (b"variants: !!timestamp soon", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"variants: {a: [}", "not valid YAML"),
        (b"", "must be a mapping"),
        (b"variants: {../../harm: {}}", "names are lower-case letters"),
    ],
    ids=[
        *("apply", "new", "name", "module", "tuple", "tag shorthand", "own tag"),
        *("key twice", "no date", "not text"),
        *("broken", "empty", "a path as a name"),
    ],
)
def test_params(paths: Paths, refused: Any, content: bytes, words: str) -> None:
    paths.params.write_bytes(content)
    refused("check", words=words)


# Results and dvc.lock, as a stranger's branch has them


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def array_with_header(header: bytes) -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("metrics", b"[" * 10**6, "quickstart-none.json cannot be read"),
        ("metrics", b'{"seeds": 1e999}', "quickstart-none.json cannot be read"),
        ("metrics", b'{"flops": 1' + b"0" * 400 + b"}", "quickstart-none.json cannot be read"),
        ("metrics", 3 * 10**7, "larger than 1,048,576 bytes"),
        ("metrics", "/dev/zero", "quickstart-none.json is missing"),
        ("curves", 3 * 10**7, "larger than 8,388,608 bytes"),
        ("curves", b"seed" + b"," * 8 * 10**6, "a line of more than 65,536 bytes"),
        ("predictions", zipped(seeds__npy=bytes(9 * 10**8)), "grow to 900,000,000 bytes"),
        ("predictions", zipped(seeds__npy=array_with_header(b" " * 10**8)), "cannot be read"),
        ("predictions", zipped(seeds__npy=array_with_header(b" " * 20_000)), "cannot be read"),
        ("predictions", zipped(README__txt=b""), "'README.txt' besides"),
        ("predictions", zipped(own__npy=array_with_header(b"{'descr': '|O'}")), "'own' besides"),
        ("lock", b"stages: !!timestamp soon", "dvc.lock cannot be read"),
        ("lock", b"stages: {train@quickstart-none: 5}", "dvc.lock cannot be read"),
    ],
    ids=[
        *("deep", "infinite", "long number", "30 MB", "endless", "curves of 30 MB", "columns"),
        *("bomb", "long header", "header", "no array", "objects", "no date", "no stage"),
    ],
)
def test_results(
    paths: Paths, checkout: Paths, refused: Any, kind: str, content: Any, words: str
) -> None:
    own = ("quickstart", "quickstart-none")
    for needed in (
        checkout.params,
        *(getattr(checkout, k)(*own) for k in ("metrics", "curves", "predictions", "weights")),
        checkout.details(*own),
        checkout.features(*own),
    ):
        if not needed.is_file():  # details, of which the committed results may have none yet
            continue
        copy = paths.root / needed.relative_to(checkout.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(needed.read_bytes())
    file = paths.root / "dvc.lock" if kind == "lock" else getattr(paths, kind)(*own)
    file.unlink(missing_ok=True)
    if isinstance(content, str):
        file.symlink_to(content)
    elif isinstance(content, int):
        with file.open("wb") as sparse:
            sparse.truncate(content)
    else:
        file.write_bytes(content)
    stranger = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*stranger, "commit", "-qm", "results"]):
        subprocess.run(["git", *arguments], cwd=paths.root, check=True)
    refused("verify", own[1], words=words)


# Data sets


def describe(paths: Paths, **described: Any) -> None:
    """Write a params.yaml whose data set `d` is this."""
    common = {"title": "", "image_shape": [2, 2, 1], "classes": ["a", "b"], "citation": ""}
    document = {"datasets": {"d": common | described}}
    for section in ("protocols", "variants"):
        document[section] = {}
    paths.params.write_text(yaml.safe_dump(document))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def header(*shape: int) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


ZEROS = gzip.compress(bytes(2**24), 1)
"""Where one gzipped file ends another may begin: so many bombs can be built of this one."""
GIGABYTE = ZEROS * 64


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>404</html>", "as an IDX file"),
        (gzip.compress(header(2**28, 2, 2)), "announces 1073741824 values"),
        (gzip.compress(header(1, 2, 2)) + GIGABYTE * 4, "announces 4 values, but it holds more"),
        (gzip.compress(header(2**26, 2, 2)) + ZEROS * 16, "has 67108864 images and labels of"),
    ],
    ids=["web page", "2^30 values", "gzip bomb", "as much as is read"],
)
def test_idx(paths: Paths, refused: Any, content: bytes, words: str) -> None:
    names = [f"{part}_{kind}" for part in ("train", "test") for kind in ("images", "labels")]
    files = dict.fromkeys(names, gzip.compress(header(1) + b"\0")) | {"train_images": content}
    put(paths.raw("d"), files)
    listed = {name: {"name": name, "sha256": sha256(file)} for name, file in files.items()}
    describe(paths, format="idx", urls=["../mirror"], files=listed)
    refused("preprocess", "d", words=words)


@pytest.mark.parametrize("content", [b"", GIGABYTE], ids=["empty", "gzip bomb"])
def test_digits(paths: Paths, refused: Any, content: bytes) -> None:
    put(paths.raw("d"), {digits.FILE: content})
    describe(paths, format="digits")
    refused("preprocess", "d", words=digits.FILE)


class Call:
    """A pickle of it calls a function where nobody stops it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        *(pickle.dumps(Call(os.mkdir, "../harm"), p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
        b"\x80\x02})" + b"2\x86" * 64 + b"K\x01s.",
        b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.",
        b"}" * 6 * 10**7,
        {"data": np.zeros((1, 3072), np.uint8), "labels": [99]},
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_pickles(
    paths: Paths, refused: Any, python_2_pickle: Callable[[Any], bytes], content: Any
) -> None:
    if isinstance(content, dict):
        content = python_2_pickle(content)
    members = {f"data_batch_{number}": content for number in range(1, 6)}
    members["batches.meta"] = python_2_pickle({"label_names": ["a", "b"]})
    members["test_batch"] = content
    put(paths.raw("d"), members)
    listed = {name: sha256(member) for name, member in members.items()}
    describe(paths, format="cifar10", urls=["../mirror"], archive="a", members=listed)
    refused("preprocess", "d", words=r"data_batch_1(: its (data|labels)| is not a pickle)")


def entry(
    name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def announcing(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo("readme")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


MEMBERS = {
    name: name.encode() * 100
    for name in ("batches.meta", *(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
}
GOOD = [entry(f"cifar-10-batches-py/{name}", content) for name, content in MEMBERS.items()]


def archive(tricky: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for info, content in (*GOOD, tricky):
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive(entry("x", b"", tarfile.SYMTYPE, link="../../harm")), "not a plain file"),
        (archive(entry("../../../harm", b"x")), "not a plain file"),
        (archive(entry("else/test_batch", MEMBERS["test_batch"])), "holds test_batch twice"),
        (b"<html>404</html>", "not a gzipped tar"),
        (gzip.compress(announcing(8 * 2**30, tarfile.XHDTYPE)), "unpacks to more than"),
        ((gzip.compress(announcing(2**25)) + ZEROS + ZEROS) * 9, "unpacks to more than"),
    ],
    ids=["symbolic link", "climbing", "twice", "web page", "huge header", "gzip bomb"],
)
def test_archives(paths: Paths, refused: Any, tmp_path: Path, content: bytes, words: str) -> None:
    put(tmp_path / "mirror", {"a": content})
    listed = {name: sha256(member) for name, member in MEMBERS.items()}
    describe(paths, format="cifar10", urls=["../mirror"], archive="a", members=listed)
    refused("download", "d", words=words)
    assert not paths.raw("d").exists()


def test_the_hash_comes_first(paths: Paths, refused: Any, tmp_path: Path) -> None:
    """What is not what params.yaml says is not even unzipped."""
    content = gzip.compress(header(1, 2, 2)) + GIGABYTE * 4
    files = {
        f"{part}_{kind}": content for part in ("train", "test") for kind in ("images", "labels")
    }
    listed = {name: {"name": name, "sha256": "0" * 64} for name in files}
    describe(paths, format="idx", urls=["../mirror"], files=listed)
    put(tmp_path / "mirror", files)
    refused("download", "d", words="has the sha256")
    put(paths.raw("d"), files)
    refused("preprocess", "d", words="has the sha256")
