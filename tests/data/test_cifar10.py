import os
import pickle
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.config.datasets import Cifar10Dataset
from cnn_ablations.config.params import Params
from cnn_ablations.data.cifar10 import (
    SIZE_LIMIT,
    read_batch,
    read_file_names,
    read_label_names,
    rows_to_images,
)
from cnn_ablations.data.verify import verified_members
from cnn_ablations.errors import ProjectError

Pickle = Callable[[Any], bytes]
ROWS = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
BATCH = {
    "batch_label": "training batch 1 of 5",
    "labels": [9, 0, 4],
    "data": ROWS,
    "filenames": ["taxi_s_000001.png", "emu_s_000002.png", "elk_s_000003.png"],
}


def test_reads_a_batch_and_the_names_of_files_and_classes(python_2_pickle: Pickle) -> None:
    content = python_2_pickle(BATCH)
    rows, labels = read_batch(content, "data_batch_1")
    np.testing.assert_array_equal(rows, ROWS)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [9, 0, 4]
    assert read_file_names(content, "data_batch_1") == BATCH["filenames"]
    meta = {"num_cases_per_batch": 10_000, "label_names": ["cat", "dog"], "num_vis": 3072}
    assert read_label_names(python_2_pickle(meta), "x") == ["cat", "dog"]


def test_a_batch_of_the_tests_is_what_python_reads_too(python_2_pickle: Pickle) -> None:
    read = pickle.loads(python_2_pickle(BATCH), encoding="latin-1")
    np.testing.assert_array_equal(read.pop("data"), ROWS)
    assert read == {key: value for key, value in BATCH.items() if key != "data"}


@pytest.mark.real_data
def test_reads_what_python_reads_in_the_real_files(real_params: Params) -> None:
    dataset = real_params.dataset("cifar10")
    assert isinstance(dataset, Cifar10Dataset)
    assert dataset.archive
    archive = Path(os.environ["CNN_ABLATIONS_MIRROR"]) / "cifar10" / dataset.archive
    for name, content in verified_members(archive, dataset.members):
        expected = pickle.loads(content, encoding="latin-1")
        if name == "batches.meta":
            assert read_label_names(content, name) == expected["label_names"]
        else:
            rows, labels = read_batch(content, name)
            np.testing.assert_array_equal(rows, expected["data"])
            np.testing.assert_array_equal(labels, expected["labels"])
            assert read_file_names(content, name) == expected["filenames"]


@pytest.mark.parametrize("names", [None, ["a.png"], ["a.png", "b.png", 3]])
def test_refuses_other_file_names(python_2_pickle: Pickle, names: Any) -> None:
    batch = {key: value for key, value in BATCH.items() if key != "filenames"}
    batch |= {} if names is None else {"filenames": names}
    with pytest.raises(ProjectError, match=r"^data_batch_1: its filenames are not 3 names$"):
        read_file_names(python_2_pickle(batch), "data_batch_1")


Y, X, COLOUR = np.indices((32, 32, 3))


@pytest.mark.parametrize(
    ("order", "place"),
    [
        ("planes", 1024 * COLOUR + 32 * Y + X),
        ("pixels", 96 * Y + 3 * X + COLOUR),
        ("lines", 96 * Y + 32 * COLOUR + X),
    ],
)
def test_bytes_are_taken_in_the_order_that_is_said(order: Any, place: Any) -> None:
    row = np.arange(3072)
    images = rows_to_images(np.stack([row, row + 1]).astype(np.uint8), order)
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, np.stack([place, place + 1]).astype(np.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, "data are not uint8 rows of 3072 bytes"),
        ({"data": ROWS.tobytes().decode("latin-1")}, "data are not"),
        ({"data": ROWS[:, 1:].copy()}, "data are not"),
        ({"data": ROWS[:0], "labels": []}, "data are not"),
        ({"data": ROWS.reshape(-1)}, "data are not"),
        ({"data": ROWS.astype(np.int8)}, "data are not"),
        ({"data": ROWS.astype(float)}, "data are not"),
        ({"data": [ROWS, ROWS]}, "data are not"),
        ({"labels": None}, "labels are not 3 numbers from 0 to 9"),
        ({"labels": ["9", "0", "4"]}, "labels are not"),
        ({"labels": [9, 0]}, "labels are not"),
        ({"labels": [9, 0, 10]}, "labels are not"),
        ({"labels": [9, 0, -1]}, "labels are not"),
    ],
)
def test_refuses_another_content(
    python_2_pickle: Pickle, changes: dict[str, Any], message: str
) -> None:
    batch = {key: value for key, value in (BATCH | changes).items() if value is not None}
    with pytest.raises(ProjectError, match=f"^data_batch_1: its {message}"):
        read_batch(python_2_pickle(batch), "data_batch_1")


def test_refuses_an_array_in_fortrans_order(python_2_pickle: Pickle) -> None:
    batch = python_2_pickle(BATCH | {"data": np.asfortranarray(ROWS)})
    with pytest.raises(ProjectError, match=r"is not .* \(it has the opcode NEWTRUE at byte"):
        read_batch(batch, "data_batch_1")


def test_refuses_an_array_with_fewer_bytes_than_its_shape(python_2_pickle: Pickle) -> None:
    batch = python_2_pickle(BATCH)
    size = ROWS.size.to_bytes(4, "little")
    assert batch.count(b"T" + size) == 1
    begin, _, end = batch.partition(b"T" + size)
    shorter = begin + b"T" + (ROWS.size - 1).to_bytes(4, "little") + end[1:]
    with pytest.raises(ProjectError, match="data are not"):
        read_batch(shorter, "data_batch_1")


def test_refuses_what_is_no_pickle(python_2_pickle: Pickle) -> None:
    whole = python_2_pickle(BATCH)
    for content in (b"", b"no pickle", whole[:-1], whole[:40], pickle.dumps(BATCH, 4)):
        for read in (read_batch, read_label_names):
            with pytest.raises(ProjectError, match=r"^x is not a pickle of CIFAR-10 \(.+\)$"):
                read(content, "x")


@pytest.mark.parametrize("names", [None, [], 3, ["cat", 1]])
def test_refuses_other_label_names(python_2_pickle: Pickle, names: Any) -> None:
    meta = {"num_vis": 3072} | ({} if names is None else {"label_names": names})
    with pytest.raises(ProjectError, match=r"batches\.meta has no list of label_names"):
        read_label_names(python_2_pickle(meta), "batches.meta")


class Call:
    """A pickle of it calls a function where nobody stops it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


HARM = "../harm"


@pytest.mark.parametrize(
    "content",
    [
        *(
            pickle.dumps(evil, protocol)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
            for call in (Call(os.mkdir, HARM), Call(eval, f"open({HARM!r}, 'w')"))
            for evil in (call, {"data": [{0: (call,)}]})
        ),
        b"cposix\nmkdir\n(S'../harm'\ntR.",
        b"cposix\nmkdir\n(U\x07../harmtR.",
        b"(S'../harm'\niposix\nmkdir\n.",
        b"(cposix\nmkdir\nS'../harm'\no.",
        b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c\x07../harm\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x08os.mkdir\x93\x8c\x07../harm\x85R.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"c__builtin__\n__import__\n(S'os'\ntR.",
        b"\x80\x02\x82\x01.",
        b"P../harm\n.",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ProjectError):
        read_batch(content, "data_batch_1")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_refuses_a_file_larger_than_any_of_the_seven(python_2_pickle: Pickle) -> None:
    batch = python_2_pickle(BATCH | {"batch_label": " " * SIZE_LIMIT})
    with pytest.raises(ProjectError, match="it has more than 33,554,432 bytes"):
        read_batch(batch, "x")


LONG = SIZE_LIMIT - 10
"""As long as an argument can be."""


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02})" + b"2\x86" * 64 + b"K\x01s.",
        b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.",
        b"\x80\x02" + b"}" * 60 * 10**6 + b".",
        b"\x80\x02" + b"}" * LONG + b".",
        b"\x80\x02}(" + b"K\x01" * (LONG // 2) + b"u.",
        b"\x80\x02}(" + b"q\x01" * (LONG // 2) + b"u.",
        b"\x80\x02]" + b"\x94h\0" * 10**6 + b".",
        b"(" * LONG,
        b"]" * LONG,
        b"](K\1e" * (LONG // 5),
        b"\x80\x02]r\0\0\0\2.",
        b"\x80\x02]r\xff\xff\xff\xff.",
        b"\x80\x05\x96\0\0\0\x10\0\0\0\0.",
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
        b"T\xff\xff\xff\x7f.",
        b"I" + b"9" * LONG + b"\n.",
        b"F" + b"9" * LONG + b"\n.",
        b"V" + b"9" * (LONG - 20) + b"\\U0001f600\n.",
        b"S'" + b"\\'" * (LONG // 2) + b"'\n.",
        b"c" + b"a" * LONG + b"\n\n.",
        b"\x8b" + LONG.to_bytes(4, "little") + b"\1" * LONG,
        b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f.",
        b"}q\0(U\x04datah\0U\x06labels]q\1h\1au.",
    ],
    ids=[
        *("doubled 64 times", "deep", "too large", "dictionaries", "numbers", "memo", "references"),
        *("marks", "lists", "lists of one", "far in the memo", "farther", "bytearray", "bytes"),
        *("string", "digits", "float", "character", "escapes", "name", "long number", "frame"),
        "of itself",
    ],
)
def test_a_hostile_pickle_ends_within_bounds(content: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ProjectError) as refused:
        read_batch(content, "x")
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 8 * SIZE_LIMIT
    assert len(str(refused.value)) < 200


@settings(deadline=None)
@given(st.data())
def test_gives_a_batch_or_a_project_error(python_2_pickle: Pickle, data: st.DataObject) -> None:
    content = bytearray(python_2_pickle(BATCH))
    # Most of the bytes are pixels: change those around them.
    places = st.integers(0, 240) | st.integers(len(content) - 40, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    try:
        rows, labels = read_batch(bytes(content[:end]), "x")
        assert rows.shape == (len(labels), 3072)
    except ProjectError:
        pass
