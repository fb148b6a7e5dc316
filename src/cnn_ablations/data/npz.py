"""Images and labels in a file of NumPy's, as `numpy.savez` writes it."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.data.arrays import NAMES as ROLES
from cnn_ablations.errors import ProjectError

SIZE_LIMIT = 2**30
"""Bytes of an array."""
NAMES = (ROLES, ("x_train", "y_train", "x_test", "y_test"), ("images", "labels"))
"""What files call these arrays: all four, or those to draw test images from."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Its arrays by their role: images uint8 (n, height, width, channels), labels uint16 (n,).

    Raises ProjectError where it is no such file, or an array is missing or of another kind.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.file_size > SIZE_LIMIT for member in archive.infolist()):
                raise ValueError(f"an array has more than {SIZE_LIMIT // 2**20} MiB")
        with np.load(path, allow_pickle=False) as file:
            known = next((names for names in NAMES if {*names} <= {*file.files}), None)
            there = ", ".join(file.files)
            arrays = {name: file[name] for name in known or ()}
    except Exception as error:  # what NumPy and zipfile raise depends on how it is broken
        raise ProjectError(f"{path} cannot be read as a file of arrays ({error})") from None
    if known is None:
        raise ProjectError(
            f"{path} must hold x_train, y_train, x_test and y_test, or images and labels, but it "
            f"holds {there}; `numpy.savez` gives arrays other names"
        )
    return {
        role: (_labels if "labels" in role else _images)(arrays[name], f"{path}: '{name}'")
        for role, name in zip(ROLES, known, strict=False)
    }


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
