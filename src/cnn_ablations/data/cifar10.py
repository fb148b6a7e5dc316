"""The pickles in which CIFAR-10 is published, read without trusting them.

https://www.cs.toronto.edu/~kriz/cifar.html describes their content.
"""

import io
import pickle
from typing import Any

import numpy as np

from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError

SIDE = 32
ROW = 3 * SIDE * SIDE
"""Bytes of one image: its red, then its green, then its blue pixels."""
CLASSES = 10


def read_batch(content: bytes, source: str) -> tuple[UInt8s, UInt8s]:
    """Rows (n, 3072) and labels (n,) of a pickled batch; the official ones have n = 10,000.

    `source` is the name of the batch in a message. Raises ProjectError where the pickle is anything
    but a batch, or asks for anything but a numpy array.
    """
    batch = _load(content, source)
    rows, labels = _rows(batch.get(b"data")), batch.get(b"labels")
    if rows is None:
        raise ProjectError(f"{source}: its data are not uint8 rows of {ROW} bytes")
    if (
        not isinstance(labels, list)
        or len(labels) != len(rows)
        or not all(type(label) is int and 0 <= label < CLASSES for label in labels)
    ):
        raise ProjectError(f"{source}: its labels are not {len(rows)} numbers from 0 to 9")
    return rows, np.array(labels, np.uint8)


def read_label_names(content: bytes, source: str) -> list[str]:
    """The class names in the pickle `batches.meta`, in the order of the labels.

    `source` is the name of the pickle in a message. Raises ProjectError where it is anything else.
    """
    names = _load(content, source).get(b"label_names")
    if not isinstance(names, list) or not all(type(name) is bytes for name in names):
        raise ProjectError(f"{source} has no list of label_names")
    return [name.decode("ascii", "replace") for name in names]


def rows_to_images(rows: UInt8s) -> UInt8s:
    """Images (n, 32, 32, 3) from rows (n, 3072).

    The first 1,024 bytes of a row are red, the next green, the last blue; each colour runs row by
    row through the image.
    """
    planes = rows.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(np.moveaxis(planes, 1, -1))


class _StandIn:
    """Takes the place of numpy's names while a pickle is read: it notes what it is given.

    numpy's own are not safe to hand to a hostile pickle: the state of a dtype can declare plain
    bytes to be pointers to Python objects.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


_NUMPY_NAMES = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),  # its place before numpy 2
    ("numpy._core.multiarray", "_reconstruct"),
}


# Python's unpickler, not C's: there a few bytes can have a memo of gigabytes allocated.
class _Unpickler(pickle._Unpickler):
    # The one opcode that allocates what it announces before reading it. CIFAR-10 has none.
    dispatch = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> type[_StandIn]:
        if (module, name) not in _NUMPY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'!r:.200}")
        return _StandIn


def _load(content: bytes, source: str) -> dict[Any, Any]:
    try:
        # Python 2 wrote them: its strings are bytes.
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a broken pickle can fail in any way
        reason = str(error) or type(error).__name__
        raise ProjectError(f"{source} is not a pickle of CIFAR-10 ({reason})") from None
    if not isinstance(value, dict):
        raise ProjectError(f"{source} is not a pickle of CIFAR-10 (it holds no dictionary)")
    return value


def _rows(array: Any) -> UInt8s | None:
    """The rows that the stand-in of an array noted; None where they are anything else."""
    match array:
        case _StandIn(
            state=(
                1,  # the version of the state
                (int(count), int(width)),
                _StandIn(arguments=("u1" | b"u1", *_)),
                False,  # not in Fortran's order
                bytes(values),
            )
        ) if count > 0 and width == ROW and len(values) == count * width:
            return np.frombuffer(values, np.uint8).reshape(count, width)
    return None
