"""The handwritten digits that scikit-learn ships: 1,797 images of 8x8 pixels from 0 to 16."""

import gzip
import hashlib
import importlib.metadata
import zlib
from pathlib import Path

import numpy as np

from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.data.verify import check_sha256
from cnn_ablations.errors import ProjectError

FILE = "digits.csv.gz"
SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
"""Of the unpacked file."""
SIDE = 8
PIXEL_MAX = 16
SIZE_LIMIT = 2**20
"""Bytes, unpacked: the file has 264,712."""
TEST_IMAGES = 360
"""The last fifth of the file, in its order: scikit-learn has no split of its own."""


def bundled_digits() -> bytes:
    """The file as scikit-learn ships it, found without importing it: that takes a second."""
    library = importlib.metadata.distribution("scikit-learn")
    return Path(str(library.locate_file(f"sklearn/datasets/data/{FILE}"))).read_bytes()


def read_digits(path: Path) -> tuple[UInt8s, UInt8s]:
    """Images (1797, 8, 8, 1) and labels (1797,) in the order of the file.

    A line holds 64 pixels and a label. Raises ProjectError where the file is anything else.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(SIZE_LIMIT)
    except (OSError, EOFError, zlib.error) as error:
        raise ProjectError(f"cannot read {path} as a gzipped table of digits ({error})") from None
    check_sha256(hashlib.sha256(content).hexdigest(), SHA256, f"{path}, unpacked,")
    table = np.loadtxt(content.decode().splitlines(), np.uint8, delimiter=",")
    return table[:, :-1].reshape(-1, SIDE, SIDE, 1), table[:, -1]
