import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.data import npz
from cnn_ablations.data.npz import NAMES, read_npz
from cnn_ablations.errors import ProjectError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npz"


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["uint8", "int64", ">i4"])
def test_images_get_a_channel_and_labels_one_type(
    path: Path, names: tuple[str, ...], save: Any, kind: str
) -> None:
    given = [np.asfortranarray(IMAGES), np.array([[0], [44]], kind)] * 2
    save(path, **dict(zip(names, given, strict=False)), more=[1])
    arrays = read_npz(path)
    assert len(arrays) == len(names)
    np.testing.assert_array_equal(arrays["train_images"], IMAGES[..., None])
    assert arrays["train_labels"].dtype == np.uint16
    assert arrays["train_labels"].tolist() == [0, 44]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES, "b": [1]}, r"must hold x_train.* but it holds a, b;"),
        ({"images": IMAGES / 255, "labels": [0, 1]}, "'images' is float64 .* images are uint8"),
        ({"images": IMAGES[0, 0], "labels": [0, 1]}, r"'images' is uint8 \(4,\)"),
        ({"images": IMAGES, "labels": [[0, 1], [1, 0]]}, r"'labels' is int64 \(2, 2\), but lab"),
        ({"images": IMAGES, "labels": [0.0, 1.0]}, "'labels' is float64"),
        ({"images": IMAGES, "labels": [-1, 1]}, "has labels from -1 to 1"),
        ({"images": IMAGES, "labels": [0, 2**40]}, "has labels from 0 to 1099511627776"),
    ],
)
def test_refuses_arrays_of_another_kind(path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(path, **arrays)
    with pytest.raises(ProjectError, match=rf"a\.npz.* {message}"):
        read_npz(path)


def member(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        member(np.array([print, "x"], object), allow_pickle=True),
        member(IMAGES)[:-1],
        member(IMAGES).replace(b"(2, 3, 4)", b"(2**9,3,)"),
        member(IMAGES).replace(b"(2, 3, 4), }          ", b"(9999999999999999,), }"),
        bytes(2000),
    ],
)
def test_refuses_what_is_no_plain_array(
    path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz, "SIZE_LIMIT", 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
        archive.writestr("labels.npy", member(np.zeros(2, int)))
    with pytest.raises(ProjectError, match=r"a\.npz cannot be read as a file of arrays \(.+\)$"):
        read_npz(path)
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=r"a\.npz cannot be read as a file of arrays \(.+\)$"):
        read_npz(path)
