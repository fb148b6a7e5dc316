"""Writes a data set as arrays, also where its images do not fit in memory."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

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


def write_arrays(
    folder: Path,
    *,
    train_images: UInt8s | Iterable[UInt8s],
    train_labels: Labels,
    test_images: UInt8s | Iterable[UInt8s],
    test_labels: Labels,
    classes: list[str],
    pixel_max: int,
    train_files: Sequence[str] = (),
    test_files: Sequence[str] = (),
) -> None:
    """Write a data set into a folder that appears, or replaces the one before, once it is complete.

    Args:
        folder: is named like the data set.
        train_images: (n, height, width, channels), or such arrays one after another: of these, one
            at a time is in memory.
        train_labels: (n,).
        test_images: likewise.
        test_labels: likewise.
        classes: class names in the order of the labels 0, 1, ...
        pixel_max: the largest value that a pixel of this data set can have.
        train_files: the name of each image's file; empty where images have no files of their own.
        test_files: likewise.

    Raises ProjectError where the folder cannot be written.
    """
    new = folder.with_name(f".{folder.name}.tmp")
    try:
        remove(new)  # what a killed run left
        new.mkdir(parents=True)
        kind = label_type(len(classes))
        arrays = {
            **_write_part(new, "train", train_images, train_labels.astype(kind), train_files),
            **_write_part(new, "test", test_images, test_labels.astype(kind), test_files),
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
    folder: Path,
    part: Part,
    images: UInt8s | Iterable[UInt8s],
    labels: Labels,
    files: Sequence[str],
) -> dict[str, ArrayMeta]:
    """Write the files of a part. What `meta.json` says about its two arrays."""
    images_path, labels_path = (folder / f"{part}_{kind}.npy" for kind in ("images", "labels"))
    shape = (0, 0, 0, 0)
    with images_path.open("wb") as file:
        _write_header(file, shape)
        for chunk in [images] if isinstance(images, np.ndarray) else images:
            file.write(np.ascontiguousarray(chunk).data)
            shape = (shape[0] + len(chunk), *chunk.shape[1:])
        file.seek(0)
        _write_header(file, shape)
    np.save(labels_path, labels)
    if files:
        # ASCII, since the bytes of a file name may be no text.
        files_path(folder, part).write_text(json.dumps(files, indent=0) + "\n")
    return {
        images_path.stem: ArrayMeta(shape=shape, sha256=sha256_of(images_path)),
        labels_path.stem: ArrayMeta(shape=labels.shape, sha256=sha256_of(labels_path)),
    }


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Begin a .npy file of bytes; the header has the same length for any number of images."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
