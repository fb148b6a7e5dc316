import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, read_limited, sha256_of, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["file.txt"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"something that is longer")
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert names(tmp_path) == ["file.txt"]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    with room_for(1000), pytest.raises(ProjectError, match=rf"cannot write {path}: File too large"):
        write_atomically(path, bytes(5000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("place", ["blocked/file.txt", "blocked/folder/file.txt"])
def test_a_file_where_a_folder_should_be_is_one_clear_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "blocked").write_bytes(b"in the way")
    path = tmp_path / place
    with pytest.raises(ProjectError, match=rf"^cannot write {path}: .*; free space or change"):
        write_atomically(path, b"content")
    assert (tmp_path / "blocked").read_bytes() == b"in the way"


def test_a_folder_in_the_place_of_the_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(ProjectError, match="cannot write"):
        write_atomically(tmp_path / "file.txt", b"content")
    assert names(tmp_path) == ["file.txt"]


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


@pytest.mark.parametrize("place", [os.devnull, "/dev/zero", "pipe", "."])
def test_only_plain_files_are_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for a writer
    with pytest.raises(ValueError, match="no plain file"):
        read_limited(tmp_path / place, 10)


def test_a_file_that_is_missing_is_told_from_one_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "none", 10)


def test_json_keeps_the_order_and_reads_well() -> None:
    value = {"b": 1, "a": [0.1, None], "ü": "×"}
    text = json_bytes(value)
    assert text.decode() == '{\n  "b": 1,\n  "a": [\n    0.1,\n    null\n  ],\n  "ü": "×"\n}\n'
    assert json.loads(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_word_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"loss": value})


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"abc")  # the example of FIPS 180-2
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
