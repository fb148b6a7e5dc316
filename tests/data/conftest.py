"""The way of a user's own data: looked at, downloaded, turned into arrays."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import PARTS, Arrays, UInt8s, load_arrays, load_file_names
from cnn_ablations.data.download import download
from cnn_ablations.data.new_dataset import new_dataset
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.paths import Paths


class Own:
    """The data set `own` of a project."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def add(self, source: Path, size: int | None = None, **changes: Any) -> list[str]:
        """Write its entry, with changes to it. What was said about the source."""
        text, lines = new_dataset(self.paths.root, "own", source, size, print)
        document = yaml.safe_load(text)
        document["datasets"]["own"] |= changes
        self.paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
        return lines

    def entry(self, **changes: Any) -> Any:
        return load_params(self.paths.params).dataset("own").model_copy(update=changes)

    def download(self, **changes: Any) -> None:
        download("own", self.entry(**changes), self.paths, None, print)

    def preprocess(self, **changes: Any) -> None:
        preprocess("own", self.entry(**changes), self.paths)

    def arrays(self) -> Arrays:
        """Made from the source."""
        self.download()
        self.preprocess()
        return load_arrays(self.paths.arrays("own"))

    def pixels(self) -> dict[str, UInt8s]:
        """Of the arrays made from the source, by the name of the image's file."""
        arrays, named = self.arrays(), dict[str, UInt8s]()
        for part in PARTS:
            names = load_file_names(self.paths.arrays("own"), part) or ()
            named |= dict(zip(names, getattr(arrays, f"{part}_images"), strict=True))
        return named


@pytest.fixture
def own(project: Paths) -> Own:
    return Own(project)


@pytest.fixture
def write_idx(tmp_path: Path) -> Callable[..., Path]:
    """Writes arrays by their role, such as train_images, as IDX files in a folder."""

    def write(arrays: Mapping[str, UInt8s], pack: Callable[[bytes], bytes] = bytes) -> Path:
        (folder := tmp_path / "idx").mkdir()
        for role, array in arrays.items():
            part, kind = role.replace("test", "t10k").split("_")
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / f"{part}-{kind}-idx{array.ndim}-ubyte"
            path.write_bytes(pack(header + array.tobytes()))
        return folder

    return write
