import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.data.cifar10 import read_batch, read_label_names, rows_to_images
from cnn_ablations.errors import ProjectError

ROWS = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
BATCH: dict[bytes, Any] = {b"data": ROWS, b"labels": [9, 0, 4]}


def pickled(**changes: Any) -> bytes:
    """A batch with other values; None leaves the key out."""
    batch = BATCH | {key.encode(): value for key, value in changes.items()}
    # Protocol 4 is the highest under which numpy writes arrays as it did for Python 2.
    return pickle.dumps({key: v for key, v in batch.items() if v is not None}, protocol=4)


def as_python_2_wrote_it(content: bytes, data: bytes) -> bytes:
    """`dumps(protocol=2)` of a batch whose data stands in as None, with Python 2's opcodes.

    numpy 1 under Python 2 wrote the array as: _reconstruct(ndarray, (0,), 'b'), then its state.
    """
    state = b"(K\x01K\x03M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
    state += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbI00\nT" + len(data).to_bytes(4, "little")
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return content.replace(b"N", start + state + data + b"tb", 1)


def test_reads_a_batch() -> None:
    rows, labels = read_batch(pickled(), "data_batch_1")
    np.testing.assert_array_equal(rows, ROWS)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [9, 0, 4]


def test_reads_a_batch_as_python_2_wrote_it() -> None:
    batch = b"\x80\x02}(U\x04dataNU\x06labels](K\tK\x00K\x04eu."
    rows, labels = read_batch(as_python_2_wrote_it(batch, ROWS.tobytes()), "data_batch_1")
    np.testing.assert_array_equal(rows, ROWS)
    assert labels.tolist() == [9, 0, 4]


def test_reads_label_names_of_either_python() -> None:
    names = [b"airplane", b"automobile"]
    assert read_label_names(pickle.dumps({b"label_names": names}), "x") == [
        "airplane",
        "automobile",
    ]
    python_2 = b"\x80\x02}U\x0blabel_names](U\x08airplaneU\nautomobilees."
    assert read_label_names(python_2, "x") == ["airplane", "automobile"]


def test_a_row_is_red_then_green_then_blue_row_by_row() -> None:
    row = np.arange(3072)
    image = rows_to_images(np.stack([row, row + 1]).astype(np.uint8))
    assert image.shape == (2, 32, 32, 3)
    assert image.flags.c_contiguous
    y, x, colour = np.indices((32, 32, 3))
    np.testing.assert_array_equal(image[0], (1024 * colour + 32 * y + x).astype(np.uint8))
    np.testing.assert_array_equal(image[1], image[0] + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, "data are not uint8 rows of 3072 bytes"),
        ({"data": ROWS.tobytes()}, "data are not"),
        ({"data": ROWS[:, 1:]}, "data are not"),
        ({"data": ROWS[:0], "labels": []}, "data are not"),
        ({"data": ROWS.reshape(-1)}, "data are not"),
        ({"data": ROWS.astype(np.int8)}, "data are not"),
        ({"data": ROWS.astype(float)}, "data are not"),
        ({"data": ROWS.astype(object)}, "data are not"),
        ({"data": np.asfortranarray(ROWS)}, "data are not"),
        ({"labels": None}, "labels are not 3 numbers from 0 to 9"),
        ({"labels": (9, 0, 4)}, "labels are not"),
        ({"labels": [9, 0]}, "labels are not"),
        ({"labels": [9, 0, 10]}, "labels are not"),
        ({"labels": [9, 0, -1]}, "labels are not"),
        ({"labels": [9, 0, True]}, "labels are not"),
        ({"labels": [9, 0, 4.0]}, "labels are not"),
    ],
)
def test_refuses_another_content(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=f"^data_batch_1: its {message}"):
        read_batch(pickled(**changes), "data_batch_1")


def test_refuses_an_array_with_fewer_bytes_than_its_shape() -> None:
    batch = b"\x80\x02}(U\x04dataNU\x06labels](K\tK\x00K\x04eu."
    with pytest.raises(ProjectError, match="data are not"):
        read_batch(as_python_2_wrote_it(batch, ROWS.tobytes()[:-1]), "data_batch_1")


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", pickled()[:-1], pickled()[:40], pickle.dumps([BATCH], 4), b"\x80\x02]}0s."],
)
def test_refuses_what_is_no_pickled_dictionary(content: bytes) -> None:
    with pytest.raises(ProjectError, match=r"^data_batch_1 is not a pickle of CIFAR-10 \(.+\)"):
        read_batch(content, "data_batch_1")
    with pytest.raises(ProjectError, match=r"^batches\.meta is not a pickle of CIFAR-10 \(.+\)"):
        read_label_names(content, "batches.meta")


@pytest.mark.parametrize("names", [None, b"cat", [b"cat", "dog"], {b"cat": 1}])
def test_refuses_other_label_names(names: Any) -> None:
    with pytest.raises(ProjectError, match=r"batches\.meta has no list of label_names"):
        read_label_names(pickle.dumps({b"label_names": names}), "batches.meta")


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_runs_no_code(tmp_path: Path, protocol: int, nested: bool) -> None:
    harm = tmp_path / "harm"
    for evil in (Call(os.mkdir, str(harm)), Call(eval, f"open({str(harm)!r}, 'w')")):
        content = pickle.dumps({"data": [{0: (evil,)}]} if nested else evil, protocol)
        with pytest.raises(ProjectError, match=r"\(it asks for '\w+\.(mkdir|eval)'\)"):
            read_batch(content, "data_batch_1")
        assert not harm.exists()


@pytest.mark.parametrize(
    "name",
    ["numpy\nload", "numpy\nmemmap", "numpy.core.multiarray\nfromfile", "cnn_ablations.x\nndarray"],
)
def test_allows_three_names_of_numpy_only(name: str) -> None:
    with pytest.raises(ProjectError, match="it asks for"):
        read_batch(f"c{name}\n.".encode(), "data_batch_1")


def test_reaches_nothing_through_an_allowed_name() -> None:
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(ProjectError, match=r"it asks for 'numpy\.ndarray\.tofile'"):
        read_batch(dotted, "data_batch_1")


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02]r\0\0\0\2.", b"\x80\x05\x96\0\0\0\x10\0\0\0\0."],
    ids=["memo", "bytearray"],
)
def test_a_few_bytes_allocate_no_gigabytes(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ProjectError, match="is not a pickle of CIFAR-10"):
        read_label_names(content, "batches.meta")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@settings(deadline=None)
@given(st.data())
def test_gives_a_batch_or_a_project_error(data: st.DataObject) -> None:
    content = bytearray(pickled())
    # Most of the bytes are pixels: change those around them.
    places = st.integers(0, 160) | st.integers(len(content) - 40, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    try:
        rows, labels = read_batch(bytes(content[:end]), "x")
        assert rows.shape == (len(labels), 3072)
    except ProjectError:
        pass
