"""Writes a data set as arrays: whole, or piece by piece where it does not fit in memory."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from cnn_ablations.data.arrays import (
    META,
    PARTS,
    ArrayMeta,
    Labels,
    Meta,
    Part,
    UInt8s,
    files_path,
    label_type,
)
from cnn_ablations.files import cannot_write, json_bytes, remove, sha256_of


class Piece(NamedTuple):
    """Some images of a part, train or test: readers hand over one piece after another."""

    images: UInt8s
    """(n, height, width, channels)."""
    labels: Labels
    """(n,)."""
    files: Sequence[str] = ()
    """The name of each image's file; empty where images have no files of their own."""


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
        files = {
            part: sha256_of(path) for part in PARTS if (path := files_path(new, part)).exists()
        }
        meta = Meta(classes=classes, pixel_max=pixel_max, arrays=arrays, files=files)
        content = json_bytes(meta.model_dump(mode="json", exclude_defaults=True))
        (new / META).write_bytes(content)
        remove(folder)
        new.replace(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_part(
    folder: Path, part: Part, pieces: Iterable[Piece], image_shape: Sequence[int], classes: int
) -> dict[str, ArrayMeta]:
    """Write the files of a part. What `meta.json` says about its two arrays."""
    labels: list[Labels] = [np.empty(0, label_type(classes))]
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
        files_path(folder, part).write_text(json.dumps(files, indent=0) + "\n")
    return {
        images_path.stem: ArrayMeta(
            shape=(len(joined), *image_shape), sha256=sha256_of(images_path)
        ),
        labels_path.stem: ArrayMeta(shape=joined.shape, sha256=sha256_of(labels_path)),
    }


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Begin a .npy file of bytes; the header has the same length for any number of images."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
