"""The handwritten digits that scikit-learn ships: 1,797 images of 8x8 pixels from 0 to 16."""

import gzip
import importlib.metadata
import zlib
from pathlib import Path

import numpy as np

from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError

FILE = "digits.csv.gz"
IMAGES = 1797
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
            lines = file.read(SIZE_LIMIT).decode().splitlines()
        table = np.array([line.split(",") for line in lines], float)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = f"{error!s:.200}"
        raise ProjectError(f"cannot read {path} as a gzipped table of digits ({reason})") from None
    shape = IMAGES, SIDE * SIDE + 1
    if table.shape != shape or not np.isin(table, range(PIXEL_MAX + 1)).all():
        raise ProjectError(f"{path} is not a table {shape} of numbers from 0 to {PIXEL_MAX}")
    whole = table.astype(np.uint8)
    return whole[:, :-1].reshape(-1, SIDE, SIDE, 1), whole[:, -1]
