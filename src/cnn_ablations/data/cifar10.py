"""The pickles in which CIFAR-10 is published, read without unpickling them.

https://www.cs.toronto.edu/~kriz/cifar.html describes their content. Python 2 wrote them, always in
the same form: a dictionary of strings, lists and one numpy array, in which nothing refers to
anything before it. So their numbers and strings can be read one after another, nothing is built or
called, and whatever else a pickle can ask for is refused.
"""

import pickletools
from typing import Any

import numpy as np

from cnn_ablations.config.datasets import Order
from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError

MEMBERS = ("batches.meta", *(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
SIDE = 32
ROW = 3 * SIDE * SIDE
"""Bytes of one image: its red, then its green, then its blue pixels."""
CLASSES = 10
SIZE_LIMIT = 2**25
"""Bytes. The largest of the seven files has 31,035,999."""
OPCODE_LIMIT = 100_000
"""The largest number of opcodes in the seven files is 30,098."""


def read_batch(content: bytes, source: str) -> tuple[UInt8s, UInt8s]:
    """Rows (n, 3072) and labels (n,) of a pickled batch; the official ones have n = 10,000.

    `source` is the name of the batch in a message. Raises ProjectError where the content is
    anything but a batch.
    """
    fields = _read_fields(content, source)
    rows, labels = _rows(fields.get("data", [])), fields.get("labels", [])
    if rows is None:
        raise ProjectError(f"{source}: its data are not uint8 rows of {ROW} bytes")
    if len(labels) != len(rows) or not all(
        type(label) is int and 0 <= label < CLASSES for label in labels
    ):
        raise ProjectError(f"{source}: its labels are not {len(rows)} numbers from 0 to 9")
    return rows, np.array(labels, np.uint8)


def read_file_names(content: bytes, source: str) -> list[str]:
    """The file name that each image of a pickled batch once had, in the order of the images.

    `source` is the name of the batch in a message. Raises ProjectError where there is not one name
    for each label.
    """
    fields = _read_fields(content, source)
    names, images = fields.get("filenames", []), len(fields.get("labels", []))
    if len(names) != images or not all(type(name) is str for name in names):
        raise ProjectError(f"{source}: its filenames are not {images} names")
    return names


def read_label_names(content: bytes, source: str) -> list[str]:
    """The class names in the pickle `batches.meta`, in the order of the labels.

    `source` is the name of the pickle in a message. Raises ProjectError where it is anything else.
    """
    names = _read_fields(content, source).get("label_names")
    if not names or not all(type(name) is str for name in names):
        raise ProjectError(f"{source} has no list of label_names")
    return names


def rows_to_images(rows: UInt8s, order: Order = "planes") -> UInt8s:
    """Images (n, 32, 32, 3) from rows (n, 3072).

    The first 1,024 bytes of a row are red, the next green, the last blue; each colour runs row by
    row through the image. Whoever takes them to be in another order gets other images.
    """
    axis = {"planes": 1, "lines": 2, "pixels": 3}[order]
    shape = [SIDE, SIDE]
    shape.insert(axis - 1, 3)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(-1, *shape), axis, -1))


# What the seven files consist of. Opcodes with a value to keep, then those without.
_KEYS = {
    *("batch_label", "labels", "data", "filenames"),
    *("num_cases_per_batch", "label_names", "num_vis"),
}
_VALUES = {"BININT", "BININT1", "BININT2", "BINSTRING", "GLOBAL", "SHORT_BINSTRING"}
_OTHERS = {
    *("APPENDS", "BINPUT", "BUILD", "EMPTY_DICT", "EMPTY_LIST", "LONG_BINPUT", "MARK", "NEWFALSE"),
    *("NONE", "PROTO", "REDUCE", "SETITEMS", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
}


def _read_fields(content: bytes, source: str) -> dict[str, list[Any]]:
    """The numbers and strings that follow each key of the dictionary."""
    fields: dict[str, list[Any]] = {}
    values: list[Any] = []
    try:
        if len(content) > SIZE_LIMIT:
            raise ValueError(f"it has more than {SIZE_LIMIT:,} bytes")
        for number, (opcode, value, place) in enumerate(pickletools.genops(content)):
            if number == OPCODE_LIMIT:
                raise ValueError(f"it has more than {OPCODE_LIMIT:,} opcodes")
            if opcode.name not in _VALUES | _OTHERS:
                raise ValueError(f"it has the opcode {opcode.name} at byte {place:,}")
            if value in _KEYS:
                values = fields[value] = []
            elif opcode.name in _VALUES:
                values.append(value)
    except Exception as error:  # a broken pickle can fail in any way
        raise ProjectError(f"{source} is not a pickle of CIFAR-10 ({error})") from None
    return fields


def _rows(array: list[Any]) -> UInt8s | None:
    """The rows of the array that these values describe; None where they describe another."""
    # fmt: off
    match array:
        case [
            "numpy.core.multiarray _reconstruct", "numpy ndarray", 0, "b",
            1, int(count), int(width), "numpy dtype", "u1", 0, 1, 3, "|", -1, -1, 0, str(pixels),
        ] if width == ROW and len(pixels) == count * width > 0:
            return np.frombuffer(pixels.encode("latin-1"), np.uint8).reshape(count, width)
    # fmt: on
    return None
