import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, read_limited, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    for content in (b"something that is longer", b"content"):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize(
    ("place", "size"),
    [("old", 5000), ("old/file.txt", 1), ("old/folder/file.txt", 1), ("folder", 1)],
    ids=["no room", "a file for a folder", "a file for an upper folder", "a folder for a file"],
)
def test_what_cannot_be_written_is_one_clear_sentence_and_all_stays(
    tmp_path: Path, place: str, size: int, room_for: Any
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    path = tmp_path / place
    full = pytest.raises(ProjectError, match=rf"^cannot write {path}: .*; free space or change")
    with room_for(1000), full:
        write_atomically(path, bytes(size))
    assert (tmp_path / "old").read_bytes() == b"old"
    assert names(tmp_path) == ["folder", "old"]


WRITE = """
import pathlib, sys
from cnn_ablations.files import write_atomically
for content in (b"first", b"second" * 1000):
    write_atomically(pathlib.Path(sys.argv[1]), content)
"""


def write(path: Path, fault: str) -> int:
    environment = {**os.environ, "CNN_ABLATIONS_FAULT": fault}
    return subprocess.run([sys.executable, "-c", WRITE, str(path)], env=environment).returncode


def test_a_kill_half_way_leaves_the_old_file_and_the_next_writer_tidies_up(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    assert write(path, "write file.txt:2") == -signal.SIGKILL
    assert path.read_bytes() == b"first"
    assert write(path, "") == 0
    assert path.read_bytes() == b"second" * 1000
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("write", -signal.SIGKILL),
        ("write file:2", -signal.SIGKILL),
        ("write file.txt:3", 0),
        ("write other", 0),
        ("epoch", 0),
        ("", 0),
    ],
)
def test_a_fault_happens_at_its_point_and_time_only(
    tmp_path: Path, fault: str, status: int
) -> None:
    assert write(tmp_path / "file.txt", fault) == status


@pytest.mark.parametrize(("size", "fits"), [(0, True), (10, True), (11, False)])
def test_a_file_is_read_up_to_a_limit(tmp_path: Path, size: int, fits: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    with nullcontext() if fits else pytest.raises(ValueError, match="larger than 10 bytes"):
        assert read_limited(file, 10) == bytes(size)


@pytest.mark.parametrize("place", [os.devnull, "/dev/zero", "pipe", ".", "missing"])
def test_only_plain_files_are_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for a writer
    wrong, words = (
        (FileNotFoundError, "No such") if place == "missing" else (ValueError, "no plain file")
    )
    with pytest.raises(wrong, match=words):
        read_limited(tmp_path / place, 10)


def test_json_keeps_the_order_and_reads_well() -> None:
    value = {"b": 1, "a": [0.1, None], "ü": "×"}
    text = json_bytes(value)
    assert text.decode() == '{\n  "b": 1,\n  "a": [\n    0.1,\n    null\n  ],\n  "ü": "×"\n}\n'
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"loss": float("nan")})
