"""A new data set: a look at its source, and its entry in params.yaml."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from statistics import median_low
from typing import Any

import numpy as np
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

from cnn_ablations.config.datasets import DrawnSplit, Role
from cnn_ablations.config.document import as_yaml, inserted, parsed
from cnn_ablations.config.params import NAME, load_params, parse_params
from cnn_ablations.data.cifar10 import MEMBERS, read_batch, read_label_names
from cnn_ablations.data.folder import (
    FILES,
    ImageFile,
    Tree,
    content_hash,
    divided,
    draw_test,
    find_images,
    open_tree,
)
from cnn_ablations.data.idx import read_idx
from cnn_ablations.data.images import Look, Report, in_chunks, look_at
from cnn_ablations.data.npz import array_names, read_npz
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of

Entry = dict[str, Any]
Counts = NDArray[np.int64]
Seen = tuple[Entry, list[str], Counts]
"""What params.yaml has to say of a source, lines on it, and how many training images each class has
that has some."""
PROTOCOL = "own-images"
"""Of the first variant of a new data set."""
POOLED = 8
"""Pixels on a side that its pooling needs."""
LONGEST_SIDE = 96
"""Pixels of images in the arrays, unless somebody says so: a CPU trains on these in minutes."""
VAL = 0.2
"""The share of training images that validates in `PROTOCOL`."""
STEPS = 500
"""Batches that a training sees at least: after so many little is left of what batch normalisation
begins with, 0.99 ** STEPS. With too few, networks that have learnt answer at chance."""
MOST_SKIPPED = 100
"""Files that params.yaml names because they cannot be read; more are no accident."""
ROLES: tuple[Role, ...] = ("train_images", "train_labels", "test_images", "test_labels")
ARRAYS = (("x_train", "y_train", "x_test", "y_test"), ROLES, ("images", "labels"))
"""What files call their arrays."""


def new_dataset(
    root: Path,
    name: str,
    source: str,
    size: str,
    fetch: Callable[[str], Path],
    report: Report,
) -> tuple[str, list[str]]:
    """The text of params.yaml with the data set `name` and a variant `name`-base of it, and lines
    on what was seen in its source: a folder or zip archive of images, a file of arrays, a folder of
    IDX files or of CIFAR-10's batches.

    Args:
        root: of the checkout.
        name: of the data set.
        source: a path, or the address of a file.
        size: of the images of a folder, SIDE or HEIGHTxWIDTH; "" for what suits them.
        fetch: gives a copy of the file at an address.
        report: takes a line now and then.

    Raises ProjectError where something of it cannot be; nothing is written.
    """
    params = load_params(root / "params.yaml")
    base = f"{name}-base"
    if not NAME.fullmatch(base) or name in params.datasets or base in params.variants:
        raise ProjectError(
            f"'{name}' cannot be the name of a new data set: names are lower-case letters, digits, "
            "'-' and '_', at most 55 of them, begin with a letter or a digit, and are not one of "
            f"{', '.join(params.datasets)}, nor may there be a variant '{base}'"
        )
    path = fetch(source) if "://" in source else Path(source).expanduser().resolve()
    if not path.exists():
        raise ProjectError(f"there is no file or folder {path}")
    if "://" not in source:
        source = str(path.relative_to(root) if path.is_relative_to(root) else path)
    if path.suffix.lower() == ".npz":
        entry, lines, counts = _file_of_arrays(path, source)
    elif (path / "batches.meta").is_file():
        entry, lines, counts = _batches(path, source)
    elif path.is_dir() and any("-idx" in file.name for file in path.iterdir()):
        entry, lines, counts = _idx_files(path, source)
    else:
        with open_tree(path) as tree:
            entry, lines, counts = _images(tree, source, size, report)
    entry = {"title": name, "citation": f"own images ({PurePosixPath(source).name})", **entry}
    keys = [f"    {key}: {as_yaml(value, flow=True)}" for key, value in entry.items()]
    text = (root / "params.yaml").read_text()
    text = inserted("params.yaml", text, "datasets", "\n".join([f"  {name}:", *keys]))
    recipe = params.protocols.get(PROTOCOL, {})  # without it, the check below says so
    pooled = min(entry["image_shape"][:2]) >= POOLED
    suits = {**({} if pooled else {"pooling": 1}), **_suited(counts, recipe)}
    variant = {"protocol": PROTOCOL, "dataset": name, **suits}
    line = f"  {base}: {as_yaml(variant, flow=True)}"
    text = inserted("params.yaml", text, "variants", line)
    parse_params(parsed(text))
    return text, lines


def _each(labels: NDArray[Any]) -> Counts:
    """How many images there are of each class that has some."""
    return np.unique(labels, return_counts=True)[1]


def _suited(counts: Counts, recipe: Mapping[str, Any]) -> Entry:
    """What the recipe needs otherwise for so few training images of each class (classes,)."""
    images, classes, suited = int(counts.sum()), len(counts), Entry()
    if counts.min() < 2:
        suited["split"] = {"method": "last", "val": VAL}
    elif math.ceil(VAL * images) < classes:
        val = _share(classes, images)
        suited["split"] = {"method": "stratified", "val": val, "random_state": 0}
    if recipe:
        steps = math.ceil((1 - VAL) * images / recipe["batch_size"])
        if steps * recipe["epochs"] < STEPS:
            suited["epochs"] = math.ceil(STEPS / steps)
    return suited


def _images(tree: Tree, source: str, size: str, report: Report) -> Seen:
    found = find_images(tree)
    looks: dict[str, Look] = {}
    sha256: dict[str, str] = {}
    unreadable: dict[str, str] = {}

    def look(image: ImageFile) -> tuple[str, str, Look | str]:
        try:
            content = tree.read(found.prefix + image.name)
            return image.name, hashlib.sha256(content).hexdigest(), look_at(content, image.name)
        except (ProjectError, ValueError) as error:
            return image.name, "", str(error)

    for chunk in in_chunks(look, found.images, FILES, report, "images looked at"):
        for file, of_file, seen in chunk:
            if isinstance(seen, str):
                unreadable[file] = f"'{file}': {seen}"
            else:
                sha256[file], looks[file] = of_file, seen
    if len(unreadable) > MOST_SKIPPED:
        raise ProjectError(
            f"{tree.source}: {len(unreadable):,} files cannot be read as images, such as "
            f"{min(unreadable.values())}; mend them, or move them away"
        )
    found = find_images(tree, [*unreadable])
    drawn = found.images[0].part is None
    split = _split(len(found.images), len(found.classes)) if drawn else None
    parts = divided(found, split, str(tree.source))
    grey = all(look.grey for look in looks.values())
    height, width = _size(size, {(look.height, look.width) for look in looks.values()})
    entry = {
        "format": "folder",
        "image_shape": [height, width, 1 if grey else 3],
        "classes": found.classes,
        "source": source,
        "sha256": content_hash(sha256.items()),
        "fit": "resize",
        **({"split": split.model_dump()} if split else {}),
        **({"skip": sorted(unreadable)} if unreadable else {}),
    }
    forms = Counter(look.form for look in looks.values()).most_common()
    areas = sorted((look.height * look.width, look.height, look.width) for look in looks.values())
    (_, *least), (_, *most) = areas[0], areas[-1]
    left_out = {
        "files that cannot be read": [*unreadable.values()],
        "files that are no images of a class": found.foreign,
        "folders without images to train on": found.empty,
    }
    lines = [
        *_counts(found.classes, parts[0][1], parts[1][1]),
        f"files: {', '.join(f'{count:,} {form}' for form, count in forms)}; from {least[0]}×"
        f"{least[1]} to {most[0]}×{most[1]} pixels (height×width)",
        f"arrays: {height}×{width} pixels, {'grey' if grey else 'in colour'}",
        *(f"left out: {_such_as(what, names)}" for what, names in left_out.items() if names),
        *(f"odd: {line}" for line in _odd(looks, sha256, parts)),
    ]
    return entry, lines, _each(parts[0][1])


def _share(classes: int, images: int) -> float:
    """That of one image for each class: rounded down, since the draw rounds up."""
    return int(1e6 * classes / images) / 1e6


def _split(images: int, classes: int) -> DrawnSplit:
    """A fifth to test on, or more where that is not one for each class."""
    return DrawnSplit(test=max(0.2, _share(classes, images)))


def _size(size: str, shapes: set[tuple[int, int]]) -> tuple[int, int]:
    """Height and width in the arrays, given those of the files."""
    if size:
        sides = size.lower().split("x")
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
            raise ProjectError(f"--size {size}: must be SIDE or HEIGHTxWIDTH, such as 96 or 96x128")
        return int(sides[0]), int(sides[-1])
    if len(shapes) == 1 and max(min(shapes)) <= LONGEST_SIDE:
        return min(shapes)
    side = min(LONGEST_SIDE, median_low(map(min, shapes)))
    return side, side


def _odd(
    looks: Mapping[str, Look],
    sha256: Mapping[str, str],
    parts: Sequence[tuple[list[ImageFile], object]],
) -> Iterator[str]:
    """What may surprise about images that can be read."""
    examples, same = defaultdict(list), defaultdict(list)
    for file, look in looks.items():
        same[sha256[file]].append(file)
        for what in look.odd:
            examples[what].append(file)
    yield from (_such_as(what, files) for what, files in examples.items())
    where = {image.name: (part, image.label) for part, (of, _) in enumerate(parts) for image in of}
    if twice := [files for files in same.values() if len(files) > 1]:
        places = [[*zip(*(where[file] for file in files), strict=True)] for files in twice]
        in_both, of_two = (sum(len({*place[kind]}) > 1 for place in places) for kind in (0, 1))
        yield (
            f"{_such_as('pictures that are there more than once', twice[0], len(twice))}; "
            f"{in_both:,} of them to train on and to test on, {of_two:,} in two classes"
        )


def _counts(
    classes: Sequence[str], train_labels: NDArray[Any], test_labels: NDArray[Any]
) -> Iterator[str]:
    """How many images there are of each class, given the labels (n,) of either part."""
    train, test = (np.bincount(of, minlength=len(classes)) for of in (train_labels, test_labels))
    rare, common = int(train.argmin()), int(train.argmax())
    yield f"images: {train.sum():,} to train on, {test.sum():,} to test on"
    yield (
        f"classes: {len(classes):,}, with {train[rare]:,} ('{classes[rare]}') to {train[common]:,} "
        f"('{classes[common]}') images to train on"
    )
    if train[common] >= 10 * train[rare]:
        yield "odd: classes are so unequal that accuracy misleads: mind balanced accuracy first"
    if alone := [label for label, count in zip(classes, train, strict=True) if count == 1]:
        yield f"odd: {_such_as('classes with a single image to train on', alone)}"
    font = get_font(findfont("DejaVu Sans"))  # that of all figures
    if strange := [c for c in classes if not all(font.get_char_index(ord(sign)) for sign in c)]:
        yield f"odd: {_such_as('classes whose names figures show as boxes', strange)}"
    if untested := [label for label, count in zip(classes, test, strict=True) if not count]:
        yield f"odd: {_such_as('classes without an image to test on', untested)}"


def _such_as(what: str, names: Sequence[str], count: int = 0) -> str:
    return f"{what}: {count or len(names):,}, such as {', '.join(names[:2])}"


def _file_of_arrays(path: Path, source: str) -> Seen:
    there = array_names(path)
    known = next((names for names in ARRAYS if {*names} <= {*there}), None)
    if known is None:
        raise ProjectError(
            f"{path} must hold x_train, y_train, x_test and y_test, or images and labels, but it "
            f"holds {', '.join(there)}; see 'Add a data set' in CONTRIBUTING.md for other names"
        )
    names = dict(zip(ROLES, known, strict=False))
    arrays = read_npz(path, names)
    entry, lines, counts = _of_arrays(arrays)
    file = {"source": source, "sha256": sha256_of(path), "arrays": names}
    return {"format": "npz", **entry, **file}, lines, counts


def _idx_files(path: Path, source: str) -> Seen:
    arrays, files = {}, {}
    for file in sorted(path.glob("*-idx*")):
        part = "train" if "train" in file.name else "test"
        role = f"{part}_{'images' if 'images' in file.name else 'labels'}"
        arrays[role] = read_idx(file)
        files[role] = {"name": file.name, "sha256": sha256_of(file)}
    if len(files) < 4:
        raise ProjectError(f"{path} must hold images and labels of train and of test as IDX files")
    entry, lines, counts = _of_arrays(arrays)
    return {"format": "idx", **entry, "urls": [f"{source}/"], "files": files}, lines, counts


def _of_arrays(arrays: Mapping[Any, NDArray[Any]]) -> Seen:
    labels = arrays["train_labels"]
    entry: Entry = {
        "image_shape": [int(side) for side in (*arrays["train_images"].shape[1:], 1)][:3],
        "classes": [str(label) for label in range(int(labels.max()) + 1)],
    }
    if "test_labels" in arrays:
        lines = [*_counts(entry["classes"], labels, arrays["test_labels"])]
        return entry, lines, _each(labels)
    split = _split(len(labels), len(entry["classes"]))
    train, test = draw_test(labels, entry["classes"], split, "the file")
    lines = [*_counts(entry["classes"], labels[train], labels[test])]
    return {**entry, "split": split.model_dump()}, lines, _each(labels[train])


def _batches(path: Path, source: str) -> Seen:
    if missing := [name for name in MEMBERS if not (path / name).is_file()]:
        raise ProjectError(f"{path} has batches.meta, but lacks {', '.join(missing)}")
    classes = read_label_names((path / "batches.meta").read_bytes(), "batches.meta")
    members = {name: sha256_of(path / name) for name in MEMBERS}
    urls = [f"{source}/"]
    entry = {"format": "cifar10", "image_shape": [32, 32, 3], "classes": classes, "urls": urls}
    *train, test = (read_batch((path / name).read_bytes(), name)[1] for name in MEMBERS[1:])
    labels = np.concatenate(train)
    return {**entry, "members": members}, [*_counts(classes, labels, test)], _each(labels)
