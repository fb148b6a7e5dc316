"""A data set as arrays on disk: written once, then opened memory-mapped by everything else."""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, sha256_of, write_atomically

UInt8s = NDArray[np.uint8]
NAMES = ("train_images", "train_labels", "test_images", "test_labels")


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
    meta: dict[str, object] = {"classes": classes, "pixel_max": pixel_max, "arrays": {}}
    described = {}
    for name, array in zip(NAMES, arrays, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        path = folder / f"{name}.npy"
        write_atomically(path, buffer.getvalue())
        described[name] = {"shape": list(array.shape), "sha256": sha256_of(path)}
    meta["arrays"] = described
    write_atomically(folder / "meta.json", json_bytes(meta))


def load_arrays(folder: Path) -> Arrays:
    """Open what `write_arrays` wrote, without reading the pixels.

    Raises ProjectError where a file is missing or is not what `meta.json` says.
    """
    again = f"run `dvc repro preprocess@{folder.name}`"
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        loaded = {}
        for name in NAMES:
            array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            shape = tuple(meta["arrays"][name]["shape"])
            if array.shape != shape or array.dtype != np.uint8 or not math.prod(shape):
                raise ProjectError(
                    f"{folder / name}.npy holds {array.dtype} {array.shape}, but meta.json says "
                    f"uint8 {shape}; {again}"
                )
            loaded[name] = array
        return Arrays(
            **loaded,
            classes=meta["classes"],
            pixel_max=meta["pixel_max"],
            sha256={name: meta["arrays"][name]["sha256"] for name in NAMES},
        )
    except FileNotFoundError as error:
        raise ProjectError(f"{error.filename} is missing; {again}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise ProjectError(f"{folder} is not a folder of arrays ({error}); {again}") from None
