"""A data set as arrays on disk: written once, then opened memory-mapped by everything else."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt, ValidationError

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, json_bytes, read_limited, remove, sha256_of

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


class Piece(NamedTuple):
    """Some images of a part, train or test: readers hand over one piece after another."""

    images: UInt8s
    """(n, height, width, channels)."""
    labels: Labels
    """(n,)."""
    files: Sequence[str] = ()
    """The name of each image's file; empty where images have no files of their own."""


class _Array(BaseModel, strict=True):
    shape: tuple[int, ...]
    sha256: str


class _Meta(BaseModel, strict=True):
    """What `meta.json` holds."""

    classes: Annotated[list[str], Len(1)]
    pixel_max: PositiveInt
    arrays: dict[str, _Array]
    files: dict[Part, str] = {}
    """The hash of each list of file names."""


def write_arrays(
    folder: Path,
    *,
    train_images: UInt8s,
    train_labels: Labels,
    test_images: UInt8s,
    test_labels: Labels,
    classes: list[str],
    pixel_max: int,
    train_files: Sequence[str] = (),
    test_files: Sequence[str] = (),
) -> None:
    """Write arrays that are already in memory: see `write_pieces`."""
    write_pieces(
        folder,
        [Piece(train_images, train_labels, train_files)],
        [Piece(test_images, test_labels, test_files)],
        image_shape=train_images.shape[1:],
        classes=classes,
        pixel_max=pixel_max,
    )


def write_pieces(
    folder: Path,
    train: Iterable[Piece],
    test: Iterable[Piece],
    *,
    image_shape: Sequence[int],
    classes: list[str],
    pixel_max: int,
) -> None:
    """Write a data set as its pieces come: one piece of images is in memory at a time.

    The folder appears, or replaces the one before, once it is complete.

    Args:
        folder: is named like the data set.
        train: the training images, in order.
        test: the test images, in order.
        image_shape: height, width, channels.
        classes: class names in the order of the labels 0, 1, ...
        pixel_max: the largest value that a pixel of this data set can have.

    Raises:
        ProjectError: where the folder cannot be written.
        ValueError: where images, labels and files do not belong together.
    """
    new = folder.with_name(f".{folder.name}.tmp")
    try:
        remove(new)  # what a killed run left
        new.mkdir(parents=True)
        arrays = {
            **_write_part(new, "train", train, image_shape, len(classes)),
            **_write_part(new, "test", test, image_shape, len(classes)),
        }
        files = {part: sha256_of(path) for part in PARTS if (path := _files(new, part)).exists()}
        meta = _Meta(classes=classes, pixel_max=pixel_max, arrays=arrays, files=files)
        content = json_bytes(meta.model_dump(mode="json", exclude_defaults=True))
        (new / META).write_bytes(content)
        remove(folder)
        new.replace(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


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
        _check_unchanged(_files(folder, part), sha256)
        names: list[str] = json.loads(_files(folder, part).read_bytes())
    return names


def _files(folder: Path, part: Part) -> Path:
    return folder / f"{part}_files.json"


def _label_type(classes: int) -> type[np.uint8 | np.uint16]:
    return np.uint8 if classes <= 256 else np.uint16


def _write_part(
    folder: Path, part: Part, pieces: Iterable[Piece], image_shape: Sequence[int], classes: int
) -> dict[str, _Array]:
    """Write the files of a part. What `meta.json` says about its two arrays."""
    labels: list[Labels] = [np.empty(0, _label_type(classes))]
    files: list[str] = []
    images_path, labels_path = (folder / f"{part}_{kind}.npy" for kind in ("images", "labels"))
    with images_path.open("wb") as file:
        _write_header(file, (0, *image_shape))
        for piece in pieces:
            images, shape = piece.images, (len(piece.labels), *image_shape)
            if images.shape != shape or images.dtype != np.uint8:
                raise ValueError(f"{images.dtype} {images.shape} instead of uint8 {shape}")
            file.write(np.ascontiguousarray(images).data)
            labels.append(piece.labels)
            files.extend(piece.files)
        joined = np.concatenate(labels)
        file.seek(0)
        _write_header(file, (len(joined), *image_shape))
    if joined.max(initial=0) >= classes or len(files) not in (0, len(joined)):
        raise ValueError(
            f"{len(joined)} labels up to {joined.max()} with {classes} classes, {len(files)} files"
        )
    np.save(labels_path, joined.astype(labels[0].dtype, casting="same_kind"))
    if files:
        # ASCII, since the bytes of a file name may be no text.
        _files(folder, part).write_text(json.dumps(files, indent=0) + "\n")
    return {
        images_path.stem: _Array(shape=(len(joined), *image_shape), sha256=sha256_of(images_path)),
        labels_path.stem: _Array(shape=joined.shape, sha256=sha256_of(labels_path)),
    }


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Begin a .npy file of bytes; the header has the same length for any number of images."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


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


def _read_meta(folder: Path) -> _Meta:
    return _Meta.model_validate_json(read_limited(folder / META, META_LIMIT))


def _mapped(folder: Path, name: str, meta: _Meta) -> NDArray[Any]:
    path, written = folder / f"{name}.npy", meta.arrays[name]
    _check_unchanged(path, written.sha256)
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    kind = _label_type(len(meta.classes)) if name.endswith("labels") else np.uint8
    if array.shape != written.shape or array.dtype != kind or not array.size:
        raise ValueError(
            f"{path.name} holds {array.dtype} {array.shape}, but {META} says {kind.__name__} "
            f"{written.shape}"
        )
    return array


def _check_unchanged(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise ValueError(f"{path.name} was changed since it was written")
