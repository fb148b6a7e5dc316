"""A new data set: a look at its source, and its entry in params.yaml."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

from cnn_ablations.config.datasets import DrawnSplit, accuracy_misleads
from cnn_ablations.config.document import as_yaml, inserted, parsed
from cnn_ablations.config.params import NAME, Params, load_params, parse_params
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
from cnn_ablations.data.images import Report, UnreadableError, in_chunks, look_at
from cnn_ablations.data.npz import read_npz
from cnn_ablations.data.preprocess import check_arrays, idx_array
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of

Entry = dict[str, Any]
LONGEST_SIDE = 96
"""Pixels of images in the arrays, unless somebody says so: a CPU trains on these in minutes."""
VAL = 0.2
"""The share of training images that validates."""
BATCH = 32
STEPS = 2_000
"""Batches that a training takes at least. With 500 images of CIFAR-10 the test accuracy was 10, 20,
34 and 34 % after 208, 416, 832 and 1,664; with 2,000 it was 44 % after 800 and after 2,000; with
1,000 other images 53 % after 750 and 62 % after 1,500. Batch normalisation needs some hundred."""
EPOCHS = 30
"""That a training takes at least."""
POOLED = 8
"""Pixels on a side that three poolings by 2 need."""
RECIPE = """\
  {name}: # a recipe to start from, up to 96×96 pixels: every line is there to be varied
    split: {split}
    pixels: unit
    # No augmentation: whether a mirrored or turned image is still one of its class, you know.
    optimizer: adam # learns at its usual rate, where that of sgd would have to be searched for
    learning_rate: {{ peak: 0.001, warm_up: 1, decay: cosine }} # a calm end: seeds scatter less
    batch_size: {batch} # small, so that few images still make many steps
    epochs: {epochs}
    filters: [16, 32, 64]
    pooling: {pooling}
    batch_norm: true # without it, some seeds may never leave chance
    dense: [64]
    seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] # five, where `plan` says over ten minutes a seed"""
"""The protocol of a new data set."""
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
    root: Path, name: str, source: Path, size: int | None, report: Report
) -> tuple[str, list[str]]:
    """The text of params.yaml with the data set `name`, a protocol of that name for it and their
    first variant, `name`-base; and lines on what was seen in its source: a folder or zip archive of
    images, a file of arrays, a folder of IDX files or of CIFAR-10's batches.

    Args:
        root: of the checkout.
        name: of the data set.
        source: its path.
        size: of the images of a folder, pixels on a side; None for what suits them.
        report: takes a line now and then.

    Raises ProjectError where something of it cannot be; nothing is written.
    """
    _check_name(name, load_params(root / "params.yaml"))
    path = source.expanduser().resolve()
    if not path.exists():
        raise ProjectError(f"there is no file or folder {path}")
    where = str(path.relative_to(root) if path.is_relative_to(root) else path)
    if path.suffix.lower() == ".npz":
        seen = _npz(path, where)
    elif (path / "batches.meta").is_file():
        seen = _batches(path, where)
    elif path.is_dir() and [*path.glob("*-idx*")]:
        seen = _idx_files(path, where)
    else:
        with open_tree(path) as tree:
            seen = _images(tree, where, size, report)
    entry = {"title": name, "citation": f"own images ({path.name})", **seen.entry}
    entry["images"] = len(seen.labels[0])
    if accuracy_misleads(np.bincount(seen.labels[1])):
        entry["unequal_classes"] = True
    keys = [f"    {key}: {as_yaml(value, flow=True)}" for key, value in entry.items()]
    base = as_yaml({"protocol": name, "dataset": name}, flow=True)
    text = (root / "params.yaml").read_text()
    for section, lines in (
        ("datasets", "\n".join([f"  {name}:", *keys])),
        ("protocols", _recipe(name, seen)),
        ("variants", f"  {name}-base: {base}"),
    ):
        text = inserted("params.yaml", text, section, lines)
    parse_params(parsed(text))
    return text, [*_counts(entry["classes"], *seen.labels), *seen.lines]


def _check_name(name: str, params: Params) -> None:
    base = f"{name}-base"
    if not NAME.fullmatch(base):
        raise ProjectError(
            f"'{name}' cannot be the name of a data set: take lower-case letters, digits, '-' and "
            "'_', at most 55 of them, the first a letter or a digit"
        )
    if name in {**params.datasets, **params.protocols} or base in params.variants:
        raise ProjectError(
            f"params.yaml has '{name}' among its data sets or protocols already, or '{base}' among "
            "its variants: choose another name; or go on with `cnn-ablations study new STUDY "
            f"--base {base} ...`; or delete them there, to have '{name}' added anew"
        )


def _recipe(name: str, seen: Seen) -> str:
    """The protocol for such images, as lines of params.yaml."""
    images, counts = len(seen.labels[0]), np.unique(seen.labels[0], return_counts=True)[1]
    if counts.min() < 2 or math.ceil(VAL * images) < len(counts):
        split = f"{{ method: last, val: {VAL} }} # too few images to take some of each class"
    else:
        split = f"{{ method: stratified, val: {VAL}, random_state: 0 }} # of each class alike"
    steps = math.ceil((1 - VAL) * images / BATCH)
    epochs = max(EPOCHS, math.ceil(STEPS / steps))
    reason = f" # some {STEPS:,} batches: after 400 little was learned, after 750 not yet all"
    reason = reason if epochs > EPOCHS else ""
    pooling = 2 if min(seen.entry["image_shape"][:2]) >= POOLED else 1
    return RECIPE.format(
        name=name, split=split, batch=BATCH, epochs=f"{epochs}{reason}", pooling=pooling
    )


def _images(tree: Tree, source: str, size: int | None, report: Report) -> Seen:
    found = find_images(tree)

    def look(image: ImageFile) -> dict[str, Any]:
        try:
            content = tree.read(image.name)
            sha256 = hashlib.sha256(content).hexdigest()
            return {"name": image.name, "sha256": sha256, **look_at(content, image.name)._asdict()}
        except UnreadableError as error:
            return {"name": image.name, "unreadable": f"'{image.name}' ({error})"}

    chunks = in_chunks(look, found.images, FILES, report, "images looked at")
    looks = [of_image for chunk in chunks for of_image in chunk]
    unreadable = {of["name"]: of["unreadable"] for of in looks if "unreadable" in of}
    if len(unreadable) > MOST_SKIPPED:
        raise ProjectError(
            f"{tree.source}: {_named('files that cannot be read', [*unreadable.values()])}; mend "
            "them, or move them away"
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
    extent = f"from {least} to {most}" if (sides != sides[0]).any() else least
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
        f"files that are no images or in no class{' of train or test' * (split is None)}": (
            found.foreign
        ),
        "folders without images to train on": found.empty,
    }
    lines = [
        f"files: {forms}; {extent} pixels (height×width)",
        f"arrays: {height}×{width} pixels, {'grey' if table['grey'].all() else 'in colour'}",
        *(f"left out: {_named(what, names)}" for what, names in left_out.items() if names),
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
        yield _named(f"images {what}", [*names])
    copies = table[table.duplicated("sha256", keep=False)].groupby("sha256")
    same = [" = ".join(names) for _, names in copies["name"]]
    in_both, in_two = (copies[key].nunique() > 1 for key in ("part", "label"))
    for what, where in (
        ("pictures that are there more than once", [True] * len(same)),
        ("pictures to train on that are also there to test on", in_both),
        ("pictures in more than one class", in_two),
    ):
        if chosen := [*compress(same, where)]:
            yield _named(what, chosen)


def _counts(
    classes: Sequence[str], train_labels: NDArray[Any], test_labels: NDArray[Any]
) -> Iterator[str]:
    """How many images there are of each class, given the labels (n,) of either part."""
    train, test = (np.bincount(of, minlength=len(classes)) for of in (train_labels, test_labels))
    rare, common = int(train.argmin()), int(train.argmax())
    each = (
        f"each with {train[rare]:,}"
        if train[rare] == train[common]
        else f"from {train[rare]:,} ({classes[rare]}) to {train[common]:,} ({classes[common]})"
    )
    yield f"images: {train.sum():,} to train on, {test.sum():,} to test on"
    yield f"classes: {len(classes):,}, {each} images to train on"
    if accuracy_misleads(test):
        yield "odd: classes are so unequal that accuracy misleads: balanced accuracy comes first"
    font = get_font(findfont("DejaVu Sans"))  # that of all figures
    odd = {
        "classes with a single image to train on": train == 1,
        "classes without an image to test on": test == 0,
        "classes whose names figures show as boxes": [
            not all(font.get_char_index(ord(sign)) for sign in label) for label in classes
        ],
    }
    for what, where in odd.items():
        if names := [*compress(classes, where)]:
            yield f"odd: {_named(what, names)}"


def _named(what: str, names: Sequence[str]) -> str:
    """What these are, with their number where not all are named."""
    named = ", ".join(names[:2])
    return f"{what}: {named}" if len(names) <= 2 else f"{what}: {len(names):,}, such as {named}"


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
