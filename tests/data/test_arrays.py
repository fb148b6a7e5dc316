import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.data.arrays import NAMES, load_arrays, write_arrays
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


def test_the_same_arrays_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    transposed = {**CONTENT, "train_images": np.asfortranarray(CONTENT["train_images"])}
    write_arrays(again, **transposed, classes=["a", "b", "c"], pixel_max=16)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


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
    write_arrays(tmp_path, **empty, classes=["a", "b"], pixel_max=16)
    with pytest.raises(ProjectError, match="train_images"):
        load_arrays(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "arrays"
    in_the_way.write_text("a file")
    with pytest.raises(ProjectError, match=rf"cannot write {in_the_way}/shapes/train_images\.npy"):
        write_arrays(in_the_way / "shapes", **CONTENT, classes=["a", "b"], pixel_max=16)
    assert in_the_way.read_text() == "a file"
