import contextlib
import gzip
import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.data.idx import parse_idx, read_idx
from cnn_ablations.errors import ProjectError


def header(*shape: int, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@given(arrays(np.uint8, array_shapes(max_dims=4)))
def test_reads_what_the_format_describes(array: UInt8s) -> None:
    read = parse_idx(io.BytesIO(header(*array.shape) + array.tobytes()), "x")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_a_file_that_is_gzipped_or_not(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "labels"
    path.write_bytes(pack(header(3) + b"\7\0\2"))
    assert read_idx(path).tolist() == [7, 0, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with 0x$"),
        (b"\0\0\x08", "not an IDX file"),
        (header(2, magic=b"\0\1\x08") + b"ab", "not an IDX file: it begins with 0x00010801"),
        (header(2, magic=b"\0\0\x0d") + b"ab", "type 0x0d in 1 dimension.* only unsigned bytes"),
        (header() + b"a", "in 0 dimensions"),
        (header(1, 1, 1, 1, 1) + b"a", "in 5 dimensions"),
        (header(2, 3)[:-1], "ends within its header"),
        (header(2, 3) + b"abcde", "announces 6 values, but it holds only 5"),
        (header(2, 3) + b"abcdefg", "announces 6 values, but it holds more"),
        (header(0, 3), "announces 0 values"),
        (header(2**31, 2**31, 2**31), "announces 9903520314283042199192993792 values"),
    ],
)
def test_refuses_a_header_that_lies(content: bytes, message: str) -> None:
    with pytest.raises(ProjectError, match=f"^images .*{message}"):
        parse_idx(io.BytesIO(content), "images")


@given(st.binary() | st.builds(bytes.__add__, st.just(b"\0\0\x08"), st.binary()))
def test_gives_an_array_or_a_project_error(content: bytes) -> None:
    with contextlib.suppress(ProjectError):
        assert parse_idx(io.BytesIO(content), "x").size


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"plain text",
        gzip.compress(header(9) + b"123456789")[:-9],  # truncated
        gzip.compress(header(9) + b"123456789")[:-8] + bytes(8),  # wrong checksum
        gzip.compress(header(9) + b"123456789") + b"trailing",
        gzip.compress(b"")[:10] + b"\xff\xff\xff",
    ],
)
def test_refuses_a_missing_or_damaged_gzip(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "images.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProjectError, match=r"cannot read .*images\.gz as an IDX file \(.+\)"):
        read_idx(path)


def test_unpacks_no_more_than_the_header_announces(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    zeros = gzip.compress(bytes(2**24), 1)
    path.write_bytes(gzip.compress(header(4) + b"abcd") + zeros * 64)
    tracemalloc.start()
    with pytest.raises(ProjectError, match="announces 4 values, but it holds more"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
