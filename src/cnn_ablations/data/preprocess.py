"""From data/raw to data/arrays: the files of each format as uint8 images and labels."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnn_ablations.config.datasets import (
    Cifar10Dataset,
    Dataset,
    DigitsDataset,
    DrawnSplit,
    FolderDataset,
    IdxDataset,
    NpzDataset,
)
from cnn_ablations.data import digits
from cnn_ablations.data.arrays import PARTS, Labels, UInt8s
from cnn_ablations.data.cifar10 import (
    read_batch,
    read_file_names,
    read_label_names,
    rows_to_images,
)
from cnn_ablations.data.folder import (
    Tree,
    divided,
    draw_test,
    find_images,
    hash_of_images,
    open_tree,
    read_images,
)
from cnn_ablations.data.idx import read_idx
from cnn_ablations.data.images import Report
from cnn_ablations.data.npz import read_npz
from cnn_ablations.data.verify import check_sha256
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of
from cnn_ablations.paths import Paths

Contents = dict[str, Any]
"""What `write_arrays` writes: images and labels of either part, and names of files."""


def preprocess(name: str, dataset: Dataset, paths: Paths, report: Report = print) -> None:
    """Write data/arrays/<name> from data/raw/<name>; `report` takes a line now and then.

    The raw files are verified once more before they are read. Pixels keep their values: 0 to 16 in
    the digits, whose last 360 images (a fifth) are the test split in the order of the file, 0 to
    255 elsewhere. Raises ProjectError where a raw file is missing or damaged, or params.yaml says
    something else about the images.
    """
    raw = paths.raw(name)
    pixel_max = digits.PIXEL_MAX if isinstance(dataset, DigitsDataset) else 255
    write = partial(write_arrays, paths.arrays(name), classes=dataset.classes, pixel_max=pixel_max)
    if isinstance(dataset, FolderDataset):
        with open_tree(_raw_file(raw / dataset.file)) as tree:
            write(**_read_folder(tree, name, dataset, report))
    else:
        contents = READERS[type(dataset)](raw, dataset)
        where = f"params.yaml: datasets.{name}"
        check_arrays(where, dataset.image_shape, len(dataset.classes), contents)
        if isinstance(dataset, NpzDataset):
            contents = _with_test_part(contents, dataset, where)
        write(**contents)


def _read_digits(raw: Path, _: DigitsDataset) -> Contents:
    train, test = slice(-digits.TEST_IMAGES), slice(-digits.TEST_IMAGES, None)
    return _parts(*digits.read_digits(_raw_file(raw / digits.FILE)), train, test)


def _parts(images: UInt8s, labels: Labels, train: Any, test: Any) -> Contents:
    """The images and labels at the indices `train` and at the indices `test`."""
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _read_idx(raw: Path, dataset: IdxDataset) -> Contents:
    files = dataset.files.items()
    return {role: idx_array(_raw_file(raw / file.name, file.sha256)) for role, file in files}


def idx_array(path: Path) -> UInt8s:
    """Labels (n,) or images (n, height, width, channels). Raises ProjectError as `read_idx` does"""
    array = read_idx(path)
    return array[..., np.newaxis] if array.ndim == 3 else array


def _read_cifar10(raw: Path, dataset: Cifar10Dataset) -> Contents:
    paths = {name: _raw_file(raw / name, sha256) for name, sha256 in dataset.members.items()}
    classes = read_label_names(paths["batches.meta"].read_bytes(), "batches.meta")
    _check_classes(raw.name, dataset, classes)
    contents: Contents = {}
    for part, pattern in (("train", "data_batch"), ("test", "test_batch")):
        images, labels, files = [], [], list[str]()
        for name in sorted(name for name in paths if pattern in name):
            content = paths[name].read_bytes()
            rows, of_rows = read_batch(content, name)
            images.append(rows_to_images(rows, dataset.order))
            labels.append(of_rows)
            files += read_file_names(content, name)
        contents[f"{part}_images"] = np.concatenate(images)
        contents[f"{part}_labels"] = np.concatenate(labels)
        contents[f"{part}_files"] = files
    return contents


def _read_npz(raw: Path, dataset: NpzDataset) -> Contents:
    return read_npz(_raw_file(raw / dataset.file, dataset.sha256))


def _with_test_part(contents: Contents, dataset: NpzDataset, where: str) -> Contents:
    _check_split(dataset.split, "test_labels" in contents, where)
    if dataset.split is None:
        return contents
    images, labels = contents["train_images"], contents["train_labels"]
    return _parts(images, labels, *draw_test(labels, dataset.classes, dataset.split, where))


def _read_folder(tree: Tree, name: str, dataset: FolderDataset, report: Report) -> Contents:
    where = f"params.yaml: datasets.{name}"
    found = find_images(tree, dataset.skip)
    if hash_of_images(tree, found, report) != dataset.sha256:
        raise ProjectError(
            f"{tree.source} does not hold the images that params.yaml describes; run "
            f"`dvc repro download@{name}`"
        )
    _check_classes(name, dataset, found.classes)
    _check_split(dataset.split, found.images[0].part is not None, where)
    contents: Contents = {}
    for part, (images, labels) in zip(PARTS, divided(found, dataset.split, where), strict=True):
        contents[f"{part}_images"] = read_images(tree, images, dataset, report)
        contents[f"{part}_labels"] = labels
        contents[f"{part}_files"] = [image.name for image in images]
    return contents


READERS: dict[type[Dataset], Callable[[Path, Any], Contents]] = {
    DigitsDataset: _read_digits,
    IdxDataset: _read_idx,
    Cifar10Dataset: _read_cifar10,
    NpzDataset: _read_npz,
}


def _check_classes(name: str, dataset: Dataset, found: list[str]) -> None:
    if found != dataset.classes:
        other = min({*found} ^ {*dataset.classes}, default="their order")
        raise ProjectError(
            f"params.yaml: datasets.{name}.classes is not what the files say; see to {other}"
        )


def _check_split(split: DrawnSplit | None, has_test_images: bool, where: str) -> None:
    if has_test_images == (split is not None):
        raise ProjectError(
            f"{where}.split must be there where the source has no test images, and only there"
        )


def _raw_file(path: Path, sha256: str | None = None) -> Path:
    """The path, once the file is there and has its hash."""
    try:
        if not path.is_file():
            raise ProjectError(f"{path} is missing")
        if sha256:
            check_sha256(sha256_of(path), sha256, str(path))
    except (ProjectError, OSError) as error:
        raise ProjectError(f"{error}; run `dvc repro download@{path.parent.name}`") from None
    return path


def check_arrays(where: str, shape: list[int], classes: int, contents: Contents) -> None:
    """Raises ProjectError, which begins with `where`, where arrays have not this shape of images,
    not a label for each of them, or a label beyond so many classes.
    """
    for part in [part for part in PARTS if f"{part}_labels" in contents]:
        images, labels = contents[f"{part}_images"], contents[f"{part}_labels"]
        if labels.shape != (len(images),):
            raise ProjectError(
                f"{where} has {len(images)} {part} images, but labels of shape {labels.shape}"
            )
        if [*images.shape[1:]] != shape:
            raise ProjectError(
                f"{where}.image_shape is {shape}, but {part} images are {[*images.shape[1:]]}"
            )
        if labels.max() >= classes:
            raise ProjectError(
                f"{where}.classes has {classes} names, but a {part} label is {labels.max()}"
            )
