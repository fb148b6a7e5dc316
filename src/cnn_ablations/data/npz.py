"""Images and labels in a file of NumPy's, as `numpy.savez` writes it."""

import math
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cnn_ablations.config.datasets import Role
from cnn_ablations.errors import ProjectError

SIZE_LIMIT = 2**30
"""Bytes of an array."""


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a file. Raises ProjectError where it is none of NumPy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise ProjectError(f"cannot read {path} as a file of arrays ({error})") from None


def read_npz(path: Path, names: Mapping[Role, str]) -> dict[Role, NDArray[Any]]:
    """Arrays of the file by their role, given their names by their role.

    Images are uint8 (n, height, width, channels), labels uint16 (n,). Raises ProjectError where an
    array is missing or of another kind.
    """
    arrays = {}
    for role, name in names.items():
        source = f"{path.name}: the array '{name}'"
        try:
            with zipfile.ZipFile(path) as archive:
                member = archive.getinfo(f"{name}.npy")
                if member.file_size > SIZE_LIMIT:
                    raise ProjectError(f"{source} has more than {SIZE_LIMIT // 2**20} MiB")
                array = _parsed(archive.read(member))
        except KeyError:
            known = ", ".join(array_names(path))
            raise ProjectError(f"{source} is missing; there are: {known}") from None
        except ProjectError:
            raise
        except Exception as error:  # what NumPy and zipfile raise depends on how it is broken
            raise ProjectError(f"{source} cannot be read ({error})") from None
        arrays[role] = _labels(array, source) if "labels" in role else _images(array, source)
    return arrays


def _parsed(content: bytes) -> NDArray[Any]:
    """A .npy file's array, once its header announces no more than there is."""
    stream = BytesIO(content)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, fortran_order, kind = read_header[npy.read_magic(stream)](stream)
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(content) - stream.tell():
        raise ValueError(f"it is not an array {shape} of {kind}")
    flat = np.frombuffer(content, kind, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _images(array: NDArray[Any], source: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or not array.size:
        raise ProjectError(
            f"{source} is {array.dtype} {array.shape}, but images are uint8 (number, height, "
            "width) or (number, height, width, channels), from 0 to 255"
        )
    return array[..., np.newaxis] if array.ndim == 3 else array


def _labels(array: NDArray[Any], source: str) -> NDArray[np.uint16]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype.kind not in "iu" or flat.ndim != 1 or not flat.size:
        raise ProjectError(
            f"{source} is {array.dtype} {array.shape}, but labels are whole numbers (number,)"
        )
    if flat.min() < 0 or flat.max() >= 2**16 - 1:
        raise ProjectError(f"{source} has labels from {flat.min()} to {flat.max()}, not from 0 on")
    return flat.astype(np.uint16)
