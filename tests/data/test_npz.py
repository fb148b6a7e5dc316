import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.datasets import Role
from cnn_ablations.data import npz
from cnn_ablations.data.npz import read_npz
from cnn_ablations.errors import ProjectError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
NAMES: dict[Role, str] = {"train_images": "x", "train_labels": "y"}


def member(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["uint8", "int64", "uint16", ">i4"])
def test_images_get_a_channel_and_labels_one_type(tmp_path: Path, save: Any, kind: str) -> None:
    save(tmp_path / "a.npz", x=IMAGES, y=np.array([[0], [300 % 256]], kind))
    arrays = read_npz(tmp_path / "a.npz", NAMES)
    np.testing.assert_array_equal(arrays["train_images"], IMAGES[..., None])
    assert arrays["train_labels"].dtype == np.uint16
    assert arrays["train_labels"].tolist() == [0, 44]


def test_an_array_in_fortran_order_is_read_as_it_was_meant(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(IMAGES), y=np.zeros(2, int))
    np.testing.assert_array_equal(
        read_npz(tmp_path / "a.npz", NAMES)["train_images"], IMAGES[..., None]
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, "array 'y' is missing; there are: x$"),
        ({"x": IMAGES / 255, "y": [0, 1]}, "'x' is float64 .* images are uint8"),
        ({"x": IMAGES[0, 0], "y": [0, 1]}, r"'x' is uint8 \(4,\)"),
        ({"x": IMAGES, "y": [[0, 1], [1, 0]]}, r"'y' is int64 \(2, 2\), but labels are whole"),
        ({"x": IMAGES, "y": [0.0, 1.0]}, "'y' is float64"),
        ({"x": IMAGES, "y": [-1, 1]}, "has labels from -1 to 1"),
        ({"x": IMAGES, "y": [0, 2**40]}, "has labels from 0 to 1099511627776"),
    ],
)
def test_refuses_arrays_of_another_kind(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ProjectError, match=rf"^a\.npz: the .*{message}"):
        read_npz(tmp_path / "a.npz", NAMES)


@pytest.mark.parametrize(
    "content",
    [
        member(np.array([print, "x"], object), allow_pickle=True),
        member(IMAGES)[:-1],
        member(IMAGES) + b"x",
        member(IMAGES).replace(b"(2, 3, 4)", b"(2**9,3,)"),
        member(IMAGES).replace(b"(2, 3, 4)", b"(9999999,"),
        b"no array",
        b"",
    ],
)
def test_refuses_what_is_no_plain_array(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ProjectError, match=r"^a\.npz: the array 'x' cannot be read \(.+\)$"):
        read_npz(tmp_path / "a.npz", NAMES)


def test_refuses_an_array_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "SIZE_LIMIT", 100)
    np.savez(tmp_path / "a.npz", x=IMAGES)
    with pytest.raises(ProjectError, match="'x' has more than 0 MiB"):
        read_npz(tmp_path / "a.npz", NAMES)


@pytest.mark.parametrize("read", [npz.array_names, lambda path: read_npz(path, NAMES)])
def test_refuses_a_file_that_is_no_archive(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.npz").write_bytes(b"x")
    with pytest.raises(ProjectError, match=r"a\.npz"):
        read(tmp_path / "a.npz")
