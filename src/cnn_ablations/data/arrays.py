"""A data set as arrays on disk, opened memory-mapped: `data.writer` wrote them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt, ValidationError

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import read_limited, sha256_of

UInt8s = NDArray[np.uint8]
Labels = NDArray[np.uint8 | np.uint16]
Part = Literal["train", "test"]
PARTS: tuple[Part, Part] = ("train", "test")
NAMES = ("train_images", "train_labels", "test_images", "test_labels")
META = "meta.json"
META_LIMIT = 2**24
"""Bytes: enough for 65,535 class names."""


@dataclass(frozen=True)
class Arrays:
    """Images as uint8 (n, height, width, channels) and labels (n,), memory-mapped.

    Labels are uint8 where there are at most 256 classes, else uint16.
    """

    train_images: UInt8s
    train_labels: Labels
    test_images: UInt8s
    test_labels: Labels
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


class ArrayMeta(BaseModel, strict=True):
    """What `meta.json` says of one array."""

    shape: tuple[int, ...]
    sha256: str


class Meta(BaseModel, strict=True):
    """What `meta.json` holds."""

    classes: Annotated[list[str], Len(1)]
    pixel_max: PositiveInt
    arrays: dict[str, ArrayMeta]
    files: dict[Part, str] = {}
    """The hash of each list of file names."""


def load_arrays(folder: Path) -> Arrays:
    """Open what `write_arrays` wrote, after checking that no byte of it has changed.

    Raises ProjectError where a file is missing or is not what `meta.json` says.
    """
    for name in (META, *(f"{name}.npy" for name in NAMES)):
        if not (folder / name).is_file():
            raise ProjectError(f"{folder / name} is missing; {_again(folder)}")
    with _explained(folder):
        meta = _read_meta(folder)
        loaded = {name: _mapped(folder, name, meta) for name in NAMES}
    return Arrays(
        **loaded,
        classes=meta.classes,
        pixel_max=meta.pixel_max,
        sha256={name: meta.arrays[name].sha256 for name in NAMES},
    )


def load_file_names(folder: Path, part: Part) -> list[str] | None:
    """The name of each image's file, in the order of the images; None where they have none.

    Raises ProjectError where the list is missing or is not what `meta.json` says.
    """
    with _explained(folder):
        sha256 = _read_meta(folder).files.get(part)
        if sha256 is None:
            return None
        _check_unchanged(files_path(folder, part), sha256)
        names: list[str] = json.loads(files_path(folder, part).read_bytes())
    return names


def files_path(folder: Path, part: Part) -> Path:
    """Where the names of a part's files are listed."""
    return folder / f"{part}_files.json"


def label_type(classes: int) -> type[np.uint8 | np.uint16]:
    """The integer type for labels of so many classes."""
    return np.uint8 if classes <= 256 else np.uint16


def _again(folder: Path) -> str:
    return f"run `dvc repro preprocess@{folder.name}`"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turns whatever is wrong in a folder of arrays into a ProjectError with the way out."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([".".join(map(str, first["loc"])), first["msg"]]).removeprefix(": ")
        raise ProjectError(f"{folder / META} is damaged ({what}); {_again(folder)}") from None
    except Exception as error:  # what NumPy raises for a header depends on how it is broken
        raise ProjectError(
            f"{folder} is not a folder of arrays ({error}); {_again(folder)}"
        ) from None


def _read_meta(folder: Path) -> Meta:
    return Meta.model_validate_json(read_limited(folder / META, META_LIMIT))


def _mapped(folder: Path, name: str, meta: Meta) -> NDArray[Any]:
    path, written = folder / f"{name}.npy", meta.arrays[name]
    _check_unchanged(path, written.sha256)
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    kind = label_type(len(meta.classes)) if name.endswith("labels") else np.uint8
    if array.shape != written.shape or array.dtype != kind or not array.size:
        raise ValueError(
            f"{path.name} holds {array.dtype} {array.shape}, but {META} says {kind.__name__} "
            f"{written.shape}"
        )
    return array


def _check_unchanged(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise ValueError(f"{path.name} was changed since it was written")
