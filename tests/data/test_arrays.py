import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.data.arrays import NAMES, UInt8s, load_arrays, load_file_names
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import sha256_of

RNG = np.random.default_rng(0)
CONTENT: dict[str, Any] = {
    "train_images": RNG.integers(0, 17, (5, 3, 4, 2), np.uint8),
    "train_labels": np.array([0, 1, 2, 1, 0], np.uint8),
    "test_images": RNG.integers(0, 17, (2, 3, 4, 2), np.uint8),
    "test_labels": np.array([2, 1], np.uint8),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "arrays" / "shapes"
    write_arrays(folder, **CONTENT, classes=["a", "b", "c"], pixel_max=16)
    return folder


def test_what_is_written_is_read_back(folder: Path) -> None:
    arrays = load_arrays(folder)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(arrays, name), CONTENT[name])
        assert getattr(arrays, name).dtype == np.uint8
        assert arrays.sha256[name] == sha256_of(folder / f"{name}.npy")
    assert (arrays.classes, arrays.pixel_max) == (["a", "b", "c"], 16)
    assert arrays.image_shape == (3, 4, 2)


def test_opened_arrays_stay_on_disk_and_cannot_be_changed(folder: Path) -> None:
    images = load_arrays(folder).train_images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


MORE: dict[str, Any] = {"classes": ["a", "b", "c"], "pixel_max": 16}


def test_in_pieces_it_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    pieces = iter(np.split(CONTENT["train_images"], [1, 1, 4]))
    write_arrays(again, **CONTENT | {"train_images": pieces}, **MORE)
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_each_file_is_what_numpy_saves(folder: Path, tmp_path: Path) -> None:
    for name, array in CONTENT.items():
        np.save(tmp_path / f"{name}.npy", array)
        assert (folder / f"{name}.npy").read_bytes() == (tmp_path / f"{name}.npy").read_bytes()


def test_a_reader_that_fails_leaves_what_was_there(folder: Path) -> None:
    def failing() -> Iterator[UInt8s]:
        yield CONTENT["train_images"]
        raise ProjectError("cat.png cannot be read")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ProjectError, match=r"cat\.png"):
        write_arrays(folder, **CONTENT | {"train_images": failing()}, **MORE)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_what_a_killed_run_left_is_not_in_the_way(folder: Path) -> None:
    left = folder.with_name(".shapes.tmp")
    left.mkdir()
    (left / "train_files.json").write_text("[")
    write_arrays(folder, **CONTENT, **MORE)
    assert not left.exists()
    assert {path.name for path in folder.iterdir()} == {"meta.json", *(f"{n}.npy" for n in NAMES)}


@pytest.mark.parametrize(
    ("classes", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65_535, np.uint16)]
)
def test_labels_take_two_bytes_from_257_classes_on(
    tmp_path: Path, classes: int, dtype: type[np.uint8 | np.uint16]
) -> None:
    # A reader may hand over small labels in one byte, whatever the number of classes.
    last = np.array([classes - 1] * 2, np.uint16)
    names = [f"class {number}" for number in range(classes)]
    write_arrays(tmp_path / "many", **CONTENT | {"test_labels": last}, classes=names, pixel_max=1)
    arrays = load_arrays(tmp_path / "many")
    assert arrays.train_labels.dtype == arrays.test_labels.dtype == dtype
    assert arrays.test_labels.tolist() == last.tolist()


def test_labels_of_another_width_than_the_classes_need_are_refused(folder: Path) -> None:
    path = folder / "train_labels.npy"
    np.save(path, CONTENT["train_labels"].astype(np.uint16))
    arrays = json.loads((folder / "meta.json").read_bytes())["arrays"]
    arrays["train_labels"]["sha256"] = sha256_of(path)
    with_meta(path, arrays=arrays)
    with pytest.raises(
        ProjectError, match=r"holds uint16 \(5,\), but meta\.json says uint8 \(5,\)"
    ):
        load_arrays(folder)


TRAIN_FILES = ["cat/1.png", 'say "a", b\n.png', "\u732b/\u00e9.jpg", "\udcff.gif", ""]


@pytest.fixture
def named(folder: Path) -> Path:
    """The same arrays with file names for the training images."""
    named = folder.with_name("named")
    write_arrays(named, **CONTENT, **MORE, train_files=TRAIN_FILES)
    return named


def test_file_names_come_back_in_the_order_of_the_images(folder: Path, named: Path) -> None:
    assert load_file_names(named, "train") == TRAIN_FILES
    assert load_file_names(named, "test") is None
    assert load_file_names(folder, "train") is None


def test_a_file_that_is_renamed_makes_no_other_arrays(folder: Path, named: Path) -> None:
    assert load_arrays(named).sha256 == load_arrays(folder).sha256


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("[]"), lambda path: path.write_text("")]
)
def test_damaged_file_names_are_one_sentence_when_they_are_asked_for(
    named: Path, damage: Any
) -> None:
    damage(named / "train_files.json")
    load_arrays(named)
    with pytest.raises(
        ProjectError, match=r"train_files\.json.*; run `dvc repro preprocess@named`$"
    ):
        load_file_names(named, "train")


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_bit_is_noticed(folder: Path, name: str) -> None:
    path = folder / f"{name}.npy"
    *content, last = path.read_bytes()
    path.write_bytes(bytes([*content, last ^ 1]))
    with pytest.raises(
        ProjectError, match=rf"{name}\.npy was changed since it was written\); run `dvc repro prepr"
    ):
        load_arrays(folder)


@pytest.mark.parametrize("name", ["meta.json", *(f"{name}.npy" for name in NAMES)])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ProjectError, match=rf"{name} is missing; run `dvc repro preprocess@shapes"):
        load_arrays(folder)


def object_array(path: Path) -> None:
    np.save(path, np.array([print], object), allow_pickle=True)


def header(text: str) -> bytes:
    """A .npy file of which only the header says anything."""
    content = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': 5}",
    "{'descr': ['|u1'], 'fortran_order': False, 'shape': (5,)}",
    "{'descr': [()], 'fortran_order': False, 'shape': (5,)}",
    "{'descr': ('|u1', 'x'), 'fortran_order': False, 'shape': (5,)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (5,",
    "((((((((((",
    "-" * 100,
    "'''",
    "[1, 2]",
]


@pytest.mark.parametrize(
    "content", [*map(header, HEADERS), b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]
)
def test_a_header_that_lies_is_refused_even_with_the_hash_that_meta_says(
    folder: Path, content: bytes
) -> None:
    path = folder / "train_images.npy"
    path.write_bytes(content)
    arrays = json.loads((folder / "meta.json").read_bytes())["arrays"]
    arrays["train_images"]["sha256"] = sha256_of(path)
    with_meta(path, arrays=arrays)
    with pytest.raises(ProjectError, match=r"shapes is not .*; run `dvc repro preprocess@shapes`$"):
        load_arrays(folder)


def test_a_pipe_is_not_opened(folder: Path) -> None:
    (folder / "test_labels.npy").unlink()
    os.mkfifo(folder / "test_labels.npy")
    with pytest.raises(ProjectError, match=r"test_labels\.npy is missing; run"):
        load_arrays(folder)


def with_meta(path: Path, **changes: Any) -> None:
    meta = path.parent / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_bytes()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"x" + path.read_bytes()),
        object_array,
        lambda path: np.save(path, CONTENT["test_images"]),
        lambda path: np.save(path, CONTENT["train_images"].astype(np.float32)),
        lambda path: path.with_name("meta.json").write_bytes(b"{"),
        lambda path: path.with_name("meta.json").write_bytes(b"[]"),
        lambda path: path.with_name("meta.json").write_bytes(b"\xff"),
        lambda path: path.with_name("meta.json").write_bytes(b"[" * 100_000),
        lambda path: with_meta(path, arrays={}),
        lambda path: with_meta(path, arrays={"train_images": {"shape": 5}}),
        lambda path: with_meta(path, classes=[1, 2]),
        lambda path: with_meta(path, classes=[]),
        lambda path: with_meta(path, pixel_max="255"),
        lambda path: with_meta(path, pixel_max=0),
    ],
    ids=[
        "empty",
        "truncated",
        "shifted",
        "pickle",
        "another shape",
        "floats",
        "meta cut",
        "meta a list",
        "meta not text",
        "meta too deep",
        "meta without arrays",
        "meta of a wrong type",
        "classes are numbers",
        "no classes",
        "a word for a number",
        "no brightness",
    ],
)
def test_damage_is_one_sentence_with_the_way_out(folder: Path, damage: Any) -> None:
    damage(folder / "train_images.npy")
    with pytest.raises(ProjectError, match=r"shapes.*; run `dvc repro preprocess@shapes`$"):
        load_arrays(folder)


def test_no_images_are_no_data_set(tmp_path: Path) -> None:
    empty = {name: array[:0] for name, array in CONTENT.items()}
    write_arrays(tmp_path / "none", **empty, classes=["a", "b"], pixel_max=16)
    with pytest.raises(ProjectError, match="train_images"):
        load_arrays(tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "arrays"
    in_the_way.write_text("a file")
    with pytest.raises(ProjectError, match=rf"cannot write {in_the_way}/shapes: Not a dir"):
        write_arrays(in_the_way / "shapes", **CONTENT, classes=["a", "b", "c"], pixel_max=16)
    assert in_the_way.read_text() == "a file"
