"""The IDX format, in which MNIST and Fashion-MNIST are published.

Two zero bytes, a byte for the type of the values, a byte for the number of dimensions, the size of
each dimension as a big-endian 32-bit number, then the values with the last dimension running
fastest (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError

SIZE_LIMIT = 2**28
"""Bytes. A larger array is refused, whatever the header says."""
_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 4


def read_idx(path: Path) -> UInt8s:
    """The array in an IDX file of unsigned bytes, gzipped or not, read-only.

    Raises ProjectError where the file cannot be read or is anything else.
    """
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) != b"\0\0"  # with which an IDX file begins
            file.seek(0)
            with gzip.open(file) if gzipped else file as stream:
                return parse_idx(cast(BinaryIO, stream), path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise ProjectError(f"cannot read {path} as an IDX file ({error})") from None


def parse_idx(stream: BinaryIO, source: str) -> UInt8s:
    """The array that `stream` holds in the IDX format: unsigned bytes, read-only.

    `source` is the name of the stream in a message. No more is read than the header announces and
    SIZE_LIMIT allows. Raises ProjectError where header and content do not agree.
    """
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ProjectError(f"{source} is not an IDX file: it begins with 0x{magic.hex()}")
    kind, dimensions = magic[2:]
    if kind != _UNSIGNED_BYTE or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise ProjectError(
            f"{source} holds values of IDX type 0x{kind:02x} in {dimensions} dimensions, but only "
            f"unsigned bytes (0x08) in 1 to {_MOST_DIMENSIONS} dimensions can be read"
        )
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise ProjectError(f"{source} ends within its header")
    shape = struct.unpack(f">{dimensions}I", header)
    size = math.prod(shape)
    if not 1 <= size <= SIZE_LIMIT:
        raise ProjectError(f"{source} announces {size} values, outside of 1 to {SIZE_LIMIT}")
    content = stream.read(size)
    if len(content) < size or stream.read(1):
        found = f"only {len(content)}" if len(content) < size else "more"
        raise ProjectError(f"{source} announces {size} values, but it holds {found}")
    return np.frombuffer(content, np.uint8).reshape(shape)
