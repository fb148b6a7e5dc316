"""A new data set: a look at its source, and its entry in params.yaml."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

from cnn_ablations.config.datasets import DrawnSplit
from cnn_ablations.config.document import as_yaml, inserted, parsed
from cnn_ablations.config.params import NAME, load_params, parse_params
from cnn_ablations.data.cifar10 import MEMBERS, read_batch, read_label_names
from cnn_ablations.data.folder import (
    ImageFile,
    Tree,
    content_hash,
    divided,
    draw_test,
    find_images,
    open_tree,
)
from cnn_ablations.data.images import Report, in_chunks, look_at
from cnn_ablations.data.npz import read_npz
from cnn_ablations.data.preprocess import check_arrays, idx_array
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of

Entry = dict[str, Any]
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
FILES = 256
"""Looked at before it is said how far that is."""


class Seen(NamedTuple):
    """What was seen in a source."""

    entry: Entry
    """Of params.yaml."""
    labels: Sequence[NDArray[Any]]
    """Of the training and of the test images, (n,)."""
    lines: Sequence[str] = ()
    """What else there is to say."""


def new_dataset(
    root: Path,
    name: str,
    source: str,
    size: int | None,
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
        size: of the images of a folder, pixels on a side; None for what suits them.
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
        seen = _npz(path, source)
    elif (path / "batches.meta").is_file():
        seen = _batches(path, source)
    elif path.is_dir() and [*path.glob("*-idx*")]:
        seen = _idx_files(path, source)
    else:
        with open_tree(path) as tree:
            seen = _images(tree, source, size, report)
    entry = {"title": name, "citation": f"own images ({PurePosixPath(source).name})", **seen.entry}
    keys = [f"    {key}: {as_yaml(value, flow=True)}" for key, value in entry.items()]
    text = (root / "params.yaml").read_text()
    text = inserted("params.yaml", text, "datasets", "\n".join([f"  {name}:", *keys]))
    suited = _suited(seen, params.protocols.get(PROTOCOL, {}))
    variant = as_yaml({"protocol": PROTOCOL, "dataset": name, **suited}, flow=True)
    text = inserted("params.yaml", text, "variants", f"  {base}: {variant}")
    parse_params(parsed(text))
    return text, [*_counts(entry["classes"], *seen.labels), *seen.lines]


def _suited(seen: Seen, recipe: Mapping[str, Any]) -> Entry:
    """What such images need otherwise than the recipe, if there is one, has it."""
    suited = Entry()
    if min(seen.entry["image_shape"][:2]) < POOLED:
        suited["pooling"] = 1
    images, counts = len(seen.labels[0]), np.unique(seen.labels[0], return_counts=True)[1]
    if counts.min() < 2 or math.ceil(VAL * images) < len(counts):  # too few to stratify
        suited["split"] = {"method": "last", "val": VAL}
    steps = math.ceil((1 - VAL) * images / recipe.get("batch_size", 1))
    if steps * recipe.get("epochs", STEPS) < STEPS:
        suited["epochs"] = math.ceil(STEPS / steps)
    return suited


def _images(tree: Tree, source: str, size: int | None, report: Report) -> Seen:
    found = find_images(tree)

    def look(image: ImageFile) -> dict[str, Any]:
        try:
            content = tree.read(image.name)
            sha256 = hashlib.sha256(content).hexdigest()
            return {"name": image.name, "sha256": sha256, **look_at(content, image.name)._asdict()}
        except (ProjectError, ValueError) as error:
            return {"name": image.name, "unreadable": f"'{image.name}': {error}"}

    chunks = in_chunks(look, found.images, FILES, report, "images looked at")
    looks = [of_image for chunk in chunks for of_image in chunk]
    unreadable = {of["name"]: of["unreadable"] for of in looks if "unreadable" in of}
    if len(unreadable) > MOST_SKIPPED:
        raise ProjectError(
            f"{tree.source}: {len(unreadable):,} files cannot be read as images, such as "
            f"{min(unreadable.values())}; mend them, or move them away"
        )
    found = find_images(tree, [*unreadable])
    split = DrawnSplit() if found.images[0].part is None else None
    parts = divided(found, split, str(tree.source))
    places = [(image.name, part, image.label) for part in (0, 1) for image in parts[part][0]]
    table = pd.DataFrame([of for of in looks if of["name"] not in unreadable]).merge(
        pd.DataFrame(places, columns=["name", "part", "label"])
    )
    sides = table[["height", "width"]].to_numpy()
    pixels = sides.prod(axis=1)
    least, most = ("×".join(map(str, sides[at])) for at in (pixels.argmin(), pixels.argmax()))
    height, width = (size, size) if size else _size(sides)
    entry = {
        "format": "folder",
        "image_shape": [height, width, 1 if table["grey"].all() else 3],
        "classes": found.classes,
        "source": source,
        "sha256": content_hash(dict(zip(table["name"], table["sha256"], strict=True))),
        "fit": "resize",
        **({"split": split.model_dump()} if split else {}),
        **({"skip": sorted(unreadable)} if unreadable else {}),
    }
    forms = ", ".join(f"{count:,} {form}" for form, count in table["form"].value_counts().items())
    left_out = {
        "files that cannot be read": [*unreadable.values()],
        "files that are no images of a class": found.foreign,
        "folders without images to train on": found.empty,
    }
    lines = [
        f"files: {forms}; from {least} to {most} pixels (height×width)",
        f"arrays: {height}×{width} pixels, {'grey' if table['grey'].all() else 'in colour'}",
        *(f"left out: {_such_as(what, names)}" for what, names in left_out.items() if names),
        *(f"odd: {line}" for line in _odd(table)),
    ]
    return Seen(entry, [labels for _, labels in parts], lines)


def _size(sides: NDArray[np.int64]) -> tuple[int, int]:
    """Height and width that suit images with these (n, 2)."""
    if (sides == sides[0]).all() and sides.max() <= LONGEST_SIDE:
        return int(sides[0, 0]), int(sides[0, 1])
    side = min(LONGEST_SIDE, int(np.median(sides.min(axis=1))))
    return side, side


def _odd(table: pd.DataFrame) -> Iterator[str]:
    """What may surprise about images that can be read: their name, sha256, part, label, odd."""
    for what, names in table.explode("odd").dropna(subset="odd").groupby("odd")["name"]:
        yield _such_as(str(what), [*names])
    copies = table[table.duplicated("sha256", keep=False)]
    if len(copies):
        places = copies.groupby("sha256")[["part", "label"]].nunique()
        in_both, of_two = (places > 1).sum()
        same = copies["name"][copies["sha256"] == copies["sha256"].iloc[0]]
        yield (
            f"{_such_as('pictures that are there more than once', [*same], len(places))}; "
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
    font = get_font(findfont("DejaVu Sans"))  # that of all figures
    odd = {
        "classes with a single image to train on": train == 1,
        "classes without an image to test on": test == 0,
        "classes whose names figures show as boxes": [
            not all(font.get_char_index(ord(sign)) for sign in label) for label in classes
        ],
    }
    for what, where in odd.items():
        if names := [label for label, holds in zip(classes, where, strict=True) if holds]:
            yield f"odd: {_such_as(what, names)}"


def _such_as(what: str, names: Sequence[str], count: int = 0) -> str:
    return f"{what}: {count or len(names):,}, such as {', '.join(names[:2])}"


def _npz(path: Path, source: str) -> Seen:
    entry = {"format": "npz", "source": source, "sha256": sha256_of(path)}
    return _arrays(read_npz(path), entry, path.name)


def _idx_files(path: Path, source: str) -> Seen:
    arrays, files = {}, {}
    for file in sorted(path.glob("*-idx*")):
        part = "train" if "train" in file.name else "test"
        role = f"{part}_{'images' if 'images' in file.name else 'labels'}"
        arrays[role] = idx_array(file)
        files[role] = {"name": file.name, "sha256": sha256_of(file)}
    if len(files) < 4:
        raise ProjectError(f"{path} must hold images and labels of train and of test as IDX files")
    return _arrays(arrays, {"format": "idx", "urls": [f"{source}/"], "files": files}, path.name)


def _arrays(arrays: dict[str, Any], entry: Entry, where: str) -> Seen:
    images, labels = arrays["train_images"], arrays["train_labels"]
    shape, classes = [*images.shape[1:]], [str(label) for label in range(int(labels.max()) + 1)]
    entry |= {"image_shape": shape, "classes": classes}
    check_arrays(where, shape, len(classes), arrays)
    if "test_labels" in arrays:
        return Seen(entry, [labels, arrays["test_labels"]])
    entry["split"] = DrawnSplit().model_dump()
    parts = draw_test(labels, classes, DrawnSplit(), where)
    return Seen(entry, [labels[part] for part in parts])


def _batches(path: Path, source: str) -> Seen:
    if missing := [name for name in MEMBERS if not (path / name).is_file()]:
        raise ProjectError(f"{path} has batches.meta, but lacks {', '.join(missing)}")
    entry = {
        "format": "cifar10",
        "image_shape": [32, 32, 3],
        "classes": read_label_names((path / "batches.meta").read_bytes(), "batches.meta"),
        "urls": [f"{source}/"],
        "members": {name: sha256_of(path / name) for name in MEMBERS},
    }
    *train, test = (read_batch((path / name).read_bytes(), name)[1] for name in MEMBERS[1:])
    return Seen(entry, [np.concatenate(train), test])
