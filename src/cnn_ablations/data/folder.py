"""Folders of images, and zip archives of them: which files are images of which class.

A class is a folder, with all that is below it. Above the classes there may be `train` and `test`.
Images are in the order of their files' names, whatever their class: 9.png, 10.png.
"""

import hashlib
import math
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_ablations.config.datasets import DrawnSplit, FolderDataset
from cnn_ablations.data.arrays import PARTS, Labels, Part, UInt8s, label_type
from cnn_ablations.data.images import (
    SUFFIXES,
    Report,
    UnreadableError,
    in_chunks,
    read_image,
)
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import read_limited
from cnn_ablations.progress import tracked

FILE_LIMIT = 2**28
"""Bytes of an image's file."""
CHUNK = 2**25
"""Bytes of pixels that are decoded before they are written."""
_NOT_TEXT = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_HIDDEN = re.compile(r"^/|(?:^|/)(?:\.|__MACOSX/)")
"""Names that are absolute or lead out of an archive, too."""


class Tree(NamedTuple):
    """The files of a folder or of a zip archive."""

    source: Path
    names: list[str]
    """Below the folders that hold all images, with '/' between folders and at the end of theirs."""
    read: Callable[[str], bytes]
    """The content of a file. Raises UnreadableError."""


class ImageFile(NamedTuple):
    name: str
    part: Part | None
    """None where the source has no `train` and `test`."""
    label: str


class Found(NamedTuple):
    """What a tree holds."""

    images: list[ImageFile]
    classes: list[str]
    foreign: list[str]
    """Files that are no images by their suffix, or that are in no class."""
    empty: list[str]
    """Classes without images to train on."""


@contextmanager
def open_tree(source: Path) -> Iterator[Tree]:
    """The files below a folder or in a zip archive, but for hidden ones.

    Raises ProjectError where it is neither, cannot be read, or has a name that is no text.
    """
    with ExitStack() as opened:
        if source.is_dir():
            # The names of images would cost a look each to tell that they are no folders.
            below = ((path, path.relative_to(source).as_posix()) for path in source.rglob("*"))
            names = [n if is_image(n) or not path.is_dir() else f"{n}/" for path, n in below]
        else:
            try:
                archive = opened.enter_context(zipfile.ZipFile(source))
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise ProjectError(
                    f"{source} is neither a folder nor a zip archive ({error}); unpack another "
                    "archive and name the folder"
                ) from None
            names = archive.namelist()
        names = [name for name in names if not _HIDDEN.search(name)]
        if strange := [name for name in names if _NOT_TEXT.search(name)]:
            raise ProjectError(f"the name {strange[0]!a} is not plain text in UTF-8; rename it")
        above = [posixpath.dirname(posixpath.dirname(name)) for name in names if is_image(name)]
        prefix = posixpath.join(posixpath.commonpath(above or [""]), "")

        def read(name: str) -> bytes:
            try:
                if source.is_dir():
                    return read_limited(source / prefix / name, FILE_LIMIT)
                if archive.getinfo(prefix + name).file_size > FILE_LIMIT:
                    raise ValueError(f"it is larger than {FILE_LIMIT:,} bytes")
                return archive.read(prefix + name)
            except (OSError, ValueError) as error:
                raise UnreadableError(getattr(error, "strerror", None) or error) from None
            except Exception:
                raise UnreadableError("the archive is damaged there, or encrypted") from None

        inside = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        yield Tree(source, [*filter(None, inside)], read)


def find_images(tree: Tree, skip: Sequence[str] = ()) -> Found:
    """The images of a tree and their classes, without the names in `skip`.

    Raises ProjectError where there are no two classes, where the names of two classes differ only
    in case, and where a class has test images only.
    """
    tops = {name.partition("/")[0] for name in tree.names if "/" in name}
    parts = {top: part for top in tops for part in PARTS if top.lower() == part}
    depth = int({*parts.values()} == {*PARTS})
    images, foreign, skipped = [], [], {*skip}
    spelt: dict[str, str] = {}
    for name in tree.names:
        *above, file = name.split("/")
        if len(above) <= depth or (depth and above[0] not in parts):
            foreign += [name] if file else []
            continue
        label = above[depth]
        if (other := spelt.setdefault(label.casefold(), label)) != label:
            raise ProjectError(
                f"{tree.source}: the names of the classes '{other}' and '{label}' differ only in "
                "case; rename one, or put their images into one folder"
            )
        if file and not is_image(name):
            foreign.append(name)
        elif file and name not in skipped:
            images.append(ImageFile(name, parts[above[0]] if depth else None, label))
    images.sort(key=lambda image: (_natural(PurePosixPath(image.name).name), image.name))
    train = {image.label for image in images if image.part != "test"}
    test = {image.label for image in images if image.part == "test"}
    if len(train) < 2:
        others = [*skip, *foreign]
        such = f"; {others[0]!r} is no image that can be read, or in no class" if others else ""
        raise ProjectError(
            f"{tree.source} must have a folder of images for each of at least two classes, but it "
            f"has {f'one only, {min(train)!r}' if train else 'none'}{such}"
        )
    for label in sorted(test - train):
        raise ProjectError(
            f"{tree.source}: the class '{label}' has images in test and none in train, so no "
            "network can learn it; move some there, or its folder away"
        )
    classes = sorted(sorted(train), key=_natural)
    return Found(images, classes, sorted(foreign), sorted({*spelt.values()} - train))


def is_image(name: str) -> bool:
    """Whether it is one by its suffix."""
    return not name.endswith("/") and PurePosixPath(name).suffix.lower() in SUFFIXES


def _natural(name: str) -> list[str | int]:
    """What sorts 10 after 9: texts and numbers, in turn."""
    pieces = re.split(r"(\d{1,99})", name)
    return [int(piece) if number % 2 else piece for number, piece in enumerate(pieces)]


def divided(
    found: Found, split: DrawnSplit | None, where: str
) -> list[tuple[list[ImageFile], Labels]]:
    """The training and the test images, each with labels (n,): as drawn, or as in the source.

    Raises ProjectError as `draw_test` does.
    """
    number = {label: position for position, label in enumerate(found.classes)}
    labels: Labels = np.array(
        [number[image.label] for image in found.images], label_type(len(found.classes))
    )
    if split:
        parts = draw_test(labels, found.classes, split, where)
    else:
        of_test = np.array([image.part == "test" for image in found.images])
        parts = np.flatnonzero(~of_test), np.flatnonzero(of_test)
    return [([found.images[place] for place in part], labels[part]) for part in parts]


def draw_test(
    labels: Labels, classes: Sequence[str], split: DrawnSplit, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the training and of the test images, each in ascending order.

    Raises ProjectError, which begins with `where`, where a class has a single image.
    """
    from sklearn.model_selection import train_test_split

    there, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ProjectError(
            f"{where}: the class '{classes[there[counts.argmin()]]}' has a single image, but there "
            "must be one to train on and one to test on; add images, or move the class away"
        )
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=max(math.ceil(split.test * len(labels)), len(there)),
        random_state=split.random_state,
        stratify=labels,
    )
    return np.sort(train), np.sort(test)


def hash_of_images(
    tree: Tree,
    found: Found,
    report: Report,
    keep: Callable[[str, bytes], object] = lambda name, content: None,
) -> str:
    """The content hash of the images that were found; `keep` takes the name and content of each."""
    sha256 = {}
    for place in tracked(range(len(found.images)), len(found.images), report, "files verified"):
        name = found.images[place].name
        try:
            content = tree.read(name)
        except UnreadableError as error:
            raise _unreadable(tree, name, error) from None
        keep(name, content)
        sha256[name] = hashlib.sha256(content).hexdigest()
    return content_hash(sha256)


def content_hash(sha256: Mapping[str, str]) -> str:
    """A hash of images' names and hashes: of the sorted lines that `sha256sum` prints for them."""
    lines = (f"{sha256[name]}  {name}\n" for name in sorted(sha256))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_images(
    tree: Tree, images: Sequence[ImageFile], dataset: FolderDataset, report: Report
) -> Iterator[UInt8s]:
    """The pixels of images, some images at a time: (some, height, width, channels).

    Raises ProjectError with the name of a file that cannot be read.
    """

    def read(image: ImageFile) -> UInt8s:
        try:
            return read_image(tree.read(image.name), dataset.image_shape, dataset.fit)
        except UnreadableError as error:
            raise _unreadable(tree, image.name, error) from None

    size = max(1, CHUNK // math.prod(dataset.image_shape))
    return map(np.stack, in_chunks(read, images, size, report, "images read"))


def _unreadable(tree: Tree, name: str, error: UnreadableError) -> ProjectError:
    return ProjectError(
        f"{tree.source}: '{name}' cannot be read: {error}; mend it, or name it under skip of the "
        "data set in params.yaml"
    )
