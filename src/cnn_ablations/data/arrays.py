"""A data set as arrays on disk: written once, then opened memory-mapped by everything else."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt, ValidationError

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, read_limited, sha256_of, write_atomically

UInt8s = NDArray[np.uint8]
Labels = NDArray[np.uint8] | NDArray[np.uint16]
NAMES = ("train_images", "train_labels", "test_images", "test_labels")
META = "meta.json"
META_LIMIT = 2**20
"""Bytes."""


@dataclass(frozen=True)
class Arrays:
    """Images as uint8 (n, height, width, channels) and labels as uint8 (n,), memory-mapped."""

    train_images: UInt8s
    train_labels: UInt8s
    test_images: UInt8s
    test_labels: UInt8s
    classes: list[str]
    pixel_max: int
    """The largest value that a pixel of this data set can have."""
    sha256: dict[str, str]
    """The hash of each array's file, by the array's name."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


class _Array(BaseModel, strict=True):
    shape: tuple[int, ...]
    sha256: str


class _Meta(BaseModel, strict=True):
    """What `meta.json` holds."""

    classes: Annotated[list[str], Len(1)]
    pixel_max: PositiveInt
    arrays: dict[str, _Array]


def write_arrays(
    folder: Path,
    *,
    train_images: UInt8s,
    train_labels: UInt8s,
    test_images: UInt8s,
    test_labels: UInt8s,
    classes: list[str],
    pixel_max: int,
) -> None:
    """Write the four arrays and, last, the `meta.json` that vouches for them.

    Raises ProjectError where the folder cannot be written.
    """
    arrays = (train_images, train_labels, test_images, test_labels)
    described = {}
    for name, array in zip(NAMES, arrays, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        path = folder / f"{name}.npy"
        write_atomically(path, buffer.getvalue())
        described[name] = _Array(shape=array.shape, sha256=sha256_of(path))
    meta = _Meta(classes=classes, pixel_max=pixel_max, arrays=described)
    write_atomically(folder / META, json_bytes(meta.model_dump(mode="json")))


def load_arrays(folder: Path) -> Arrays:
    """Open what `write_arrays` wrote, once every byte of it is known to be what it was.

    Raises ProjectError where a file is missing or is not what `meta.json` says.
    """
    again = f"run `dvc repro preprocess@{folder.name}`"
    for name in (META, *(f"{name}.npy" for name in NAMES)):
        if not (folder / name).is_file():
            raise ProjectError(f"{folder / name} is missing; {again}")
    try:
        meta = _Meta.model_validate_json(read_limited(folder / META, META_LIMIT))
        loaded = {name: _mapped(folder / f"{name}.npy", meta.arrays[name]) for name in NAMES}
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([".".join(map(str, first["loc"])), first["msg"]]).removeprefix(": ")
        raise ProjectError(f"{folder / META} is damaged ({what}); {again}") from None
    except Exception as error:  # what NumPy raises for a header depends on how it is broken
        raise ProjectError(f"{folder} is not a folder of arrays ({error}); {again}") from None
    return Arrays(
        **loaded,
        classes=meta.classes,
        pixel_max=meta.pixel_max,
        sha256={name: meta.arrays[name].sha256 for name in NAMES},
    )


def _mapped(path: Path, written: _Array) -> UInt8s:
    if sha256_of(path) != written.sha256:
        raise ValueError(f"{path.name} was changed since it was written")
    array: UInt8s = np.lib.format.open_memmap(path, mode="r")
    if array.shape != written.shape or array.dtype != np.uint8 or not array.size:
        raise ValueError(
            f"{path.name} holds {array.dtype} {array.shape}, but {META} says uint8 {written.shape}"
        )
    return array
