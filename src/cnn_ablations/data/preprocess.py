"""From data/raw to data/arrays: the files of each format as uint8 images and labels."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from cnn_ablations.config.datasets import (
    Cifar10Dataset,
    Dataset,
    DigitsDataset,
    FolderDataset,
    IdxDataset,
    NpzDataset,
)
from cnn_ablations.data import digits
from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.data.cifar10 import (
    SIZE_LIMIT,
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
    read_pieces,
)
from cnn_ablations.data.idx import read_idx
from cnn_ablations.data.images import Report
from cnn_ablations.data.npz import read_npz
from cnn_ablations.data.verify import check_sha256
from cnn_ablations.data.writer import Piece, write_pieces
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of
from cnn_ablations.paths import Paths

Parts = tuple[Iterable[Piece], Iterable[Piece]]
"""The training and the test images."""


def preprocess(name: str, dataset: Dataset, paths: Paths, report: Report = print) -> None:
    """Write data/arrays/<name> from data/raw/<name>; `report` takes a line now and then.

    The raw files are verified once more before they are read. Pixels keep their values: 0 to 16 in
    the digits, whose last 360 images (a fifth) are the test split in the order of the file, 0 to
    255 elsewhere. Raises ProjectError where a raw file is missing or damaged, or params.yaml says
    something else about the images.
    """
    raw = paths.raw(name)
    with ExitStack() as opened:
        if isinstance(dataset, DigitsDataset):
            train, test = _read_digits(raw)
        elif isinstance(dataset, IdxDataset):
            train, test = _read_idx(raw, dataset)
        elif isinstance(dataset, Cifar10Dataset):
            train, test = _read_cifar10(raw, dataset)
        elif isinstance(dataset, NpzDataset):
            train, test = _read_npz(raw, dataset)
        else:
            tree = opened.enter_context(open_tree(_raw_file(raw / dataset.file)))
            train, test = _read_folder(tree, name, dataset, report)
        write_pieces(
            paths.arrays(name),
            _checked(name, dataset, "training", train),
            _checked(name, dataset, "test", test),
            image_shape=dataset.image_shape,
            classes=dataset.classes,
            pixel_max=digits.PIXEL_MAX if isinstance(dataset, DigitsDataset) else 255,
        )


def _read_digits(raw: Path) -> Parts:
    images, labels = digits.read_digits(_raw_file(raw / digits.FILE))
    train, test = slice(-digits.TEST_IMAGES), slice(-digits.TEST_IMAGES, None)
    return [Piece(images[train], labels[train])], [Piece(images[test], labels[test])]


def _read_idx(raw: Path, dataset: IdxDataset) -> Parts:
    arrays = {
        role: read_idx(_raw_file(raw / file.name, file.sha256))
        for role, file in dataset.files.items()
    }
    return (
        [Piece(_with_channels(arrays["train_images"]), arrays["train_labels"])],
        [Piece(_with_channels(arrays["test_images"]), arrays["test_labels"])],
    )


def _with_channels(images: UInt8s) -> UInt8s:
    return images[..., np.newaxis] if images.ndim == 3 else images


def _read_cifar10(raw: Path, dataset: Cifar10Dataset) -> Parts:
    paths = {name: _raw_file(raw / name, sha256) for name, sha256 in dataset.members.items()}
    names = read_label_names(_content(paths["batches.meta"]), "batches.meta")
    if names != dataset.classes:
        raise ProjectError(
            f"params.yaml: datasets.{raw.name}.classes is {dataset.classes}, but batches.meta says "
            f"{names}"
        )
    train = [path for name, path in sorted(paths.items()) if "data_batch" in name]

    def read(path: Path) -> Piece:
        content = _content(path)
        rows, labels = read_batch(content, path.name)
        images = rows_to_images(rows, dataset.order)
        return Piece(images, labels, read_file_names(content, path.name))

    return map(read, train), map(read, [paths["test_batch"]])


def _read_npz(raw: Path, dataset: NpzDataset) -> Parts:
    arrays = read_npz(_raw_file(raw / dataset.file, dataset.sha256), dataset.arrays)
    train = Piece(arrays["train_images"], arrays["train_labels"])
    if dataset.split is None:
        return [train], [Piece(arrays["test_images"], arrays["test_labels"])]
    drawn = draw_test(train.labels, dataset.classes, dataset.split, f"datasets.{raw.name}")
    of_train, of_test = ([Piece(train.images[part], train.labels[part])] for part in drawn)
    return of_train, of_test


def _read_folder(tree: Tree, name: str, dataset: FolderDataset, report: Report) -> Parts:
    where = f"params.yaml: datasets.{name}"
    found = find_images(tree, dataset.skip)
    if hash_of_images(tree, found, report) != dataset.sha256:
        raise ProjectError(
            f"{tree.source} does not hold the images that params.yaml describes; run "
            f"`dvc repro download@{name}`"
        )
    if found.classes != dataset.classes:
        other = min({*found.classes} ^ {*dataset.classes}, default="their order")
        raise ProjectError(
            f"{where}.classes must be the folders' names, numbers by their size; see to {other}"
        )
    train, test = (
        read_pieces(tree, found.prefix, *part, dataset, report)
        for part in divided(found, dataset.split, where)
    )
    return train, test


def _content(path: Path) -> bytes:
    """The content of a file, cut off one byte beyond the size at which it is refused."""
    with path.open("rb") as file:
        return file.read(SIZE_LIMIT + 1)


def _raw_file(path: Path, sha256: str | None = None) -> Path:
    """The path, once the file is there and has its hash."""
    again = f"run `dvc repro download@{path.parent.name}`"
    if not path.is_file():
        raise ProjectError(f"{path} is missing; {again}")
    try:
        if sha256:
            check_sha256(sha256_of(path), sha256, str(path))
    except ProjectError as error:
        raise ProjectError(f"{error}; {again}") from None
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}; {again}") from None
    return path


def _checked(name: str, dataset: Dataset, part: str, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, each once it agrees with what params.yaml says about the images."""
    for piece in pieces:
        images, labels = piece.images, piece.labels
        if labels.shape != (len(images),):
            raise ProjectError(
                f"data/raw/{name}: the {part} split has {len(images)} images and labels of shape "
                f"{labels.shape}"
            )
        if images.shape[1:] != tuple(dataset.image_shape):
            raise ProjectError(
                f"params.yaml: datasets.{name}.image_shape is {dataset.image_shape}, but the "
                f"{part} images are {list(images.shape[1:])}"
            )
        if labels.max(initial=0) >= len(dataset.classes):
            raise ProjectError(
                f"params.yaml: datasets.{name}.classes has {len(dataset.classes)} names, but a "
                f"{part} label is {labels.max()}"
            )
        yield piece
