"""Data sets of arrays: from a file or folder on disk to `data/arrays`. Folders of images: see
test_folder.py.
"""

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays
from cnn_ablations.data.download import download, fetch
from cnn_ablations.data.new_dataset import new_dataset
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

rng = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "train_images": rng.integers(0, 256, (8, 5, 6), np.uint8),
    "train_labels": np.array([0, 1, 2, 0, 1, 2, 0, 1], np.uint8),
    "test_images": rng.integers(0, 256, (4, 5, 6), np.uint8),
    "test_labels": np.array([0, 1, 2, 2], np.uint8),
}


@pytest.fixture
def paths(project: Paths) -> Paths:
    return project


def added(paths: Paths, source: str, copies: Path | None = None) -> tuple[Arrays, list[str]]:
    get = partial(fetch, folder=copies or paths.root)
    text, lines = new_dataset(paths.root, "own", source, "", get, print)
    paths.params.write_text(text)
    dataset = load_params(paths.params).dataset("own")
    download("own", dataset, paths, None, print)
    preprocess("own", dataset, paths)
    return load_arrays(paths.arrays("own")), lines


def assert_as_given(arrays: Arrays) -> None:
    np.testing.assert_array_equal(arrays.train_images, ARRAYS["train_images"][..., None])
    np.testing.assert_array_equal(arrays.train_labels, ARRAYS["train_labels"])
    np.testing.assert_array_equal(arrays.test_images, ARRAYS["test_images"][..., None])
    np.testing.assert_array_equal(arrays.test_labels, ARRAYS["test_labels"])
    assert arrays.classes == ["0", "1", "2"]


def test_its_first_variant_is_there_to_compare_others_with(paths: Paths) -> None:
    np.savez(paths.root / "own.npz", **ARRAYS)
    before = paths.params.read_text().splitlines()
    added(paths, str(paths.root / "own.npz"))
    assert [line for line in paths.params.read_text().splitlines() if line in before] == before
    base = load_params(paths.params).variant("own-base")
    assert (base.group, base.dataset, base.settings["pooling"]) == ("own-images", "own", 1)
    with pytest.raises(ProjectError, match="cannot be the name of a new data set"):
        added(paths, str(paths.root / "own.npz"))


@pytest.mark.parametrize(
    ("counts", "val", "epochs"),
    [
        ([500, 600], 220, 30),
        ([60, 40], 20, 167),  # 3 batches an epoch
        ([2] * 37, 37, 250),  # a fifth is less than an image for each class
        ([1, 30], 7, 500),  # of a single image none can be drawn
        ([0, 30, 10], 8, 500),
    ],
)
def test_its_first_variant_can_be_trained_however_few_the_images(
    paths: Paths, counts: list[int], val: int, epochs: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 8, 8), np.uint8)
    parts: dict[str, Any] = {
        "x_train": images,
        "y_train": labels,
        "x_test": images,
        "y_test": labels,
    }
    np.savez(paths.root / "own.npz", **parts)
    arrays, lines = added(paths, str(paths.root / "own.npz"))
    base = load_params(paths.params).variant("own-base")
    assert (len(split_arrays(arrays, base)["val"].labels), base.epochs) == (val, epochs)
    assert ("odd: classes with a single image to train on: 1, such as 0" in lines) == (1 in counts)


@pytest.mark.parametrize("names", ["x_train y_train x_test y_test", " ".join(ARRAYS)])
def test_a_file_of_arrays_is_found_out_by_their_names(paths: Paths, names: str) -> None:
    path = paths.root / "own.npz"
    np.savez_compressed(path, **dict(zip(names.split(), ARRAYS.values(), strict=True)), more=[1])
    arrays, lines = added(paths, str(path))
    assert_as_given(arrays)
    assert lines[0] == "images: 8 to train on, 4 to test on"
    assert "source: own.npz\n" in paths.params.read_text()  # it moves with the checkout


def test_of_a_file_without_test_images_some_are_drawn(paths: Paths) -> None:
    images, labels = ARRAYS["train_images"], ARRAYS["train_labels"]
    np.savez(paths.root / "own.npz", images=images, labels=labels)
    arrays, _ = added(paths, str(paths.root / "own.npz"))
    assert np.bincount(arrays.test_labels).tolist() == [1, 1, 1]
    together = [*arrays.train_images, *arrays.test_images]
    assert sorted(i.tobytes() for i in together) == sorted(i.tobytes() for i in images)


def test_a_file_with_other_names_is_refused(paths: Paths) -> None:
    np.savez(paths.root / "own.npz", a=[1], b=[2])
    with pytest.raises(ProjectError, match=r"own\.npz must hold x_train.* but it holds a, b;"):
        added(paths, str(paths.root / "own.npz"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_on_disk_may_be_packed_or_not(
    paths: Paths, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    for role, array in ARRAYS.items():
        part, kind = role.replace("test", "t10k").split("_")
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        path = tmp_path / "idx" / f"{part}-{kind}-idx{array.ndim}-ubyte"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pack(header + array.tobytes()))
    assert_as_given(added(paths, str(tmp_path / "idx"))[0])
    path.unlink()
    with pytest.raises(ProjectError, match="idx must hold images and labels of train and of test"):
        new_dataset(paths.root, "b", str(path.parent), "", Path, print)


def test_cifar_batches_on_disk_need_no_archive(
    paths: Paths, tmp_path: Path, python_2_pickle: Callable[[Any], bytes]
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = ["cat", "dog"]
    (folder / "batches.meta").write_bytes(python_2_pickle({"label_names": names}))
    batches = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, batch in enumerate(batches):
        rows: UInt8s = np.full((1, 3072), number, np.uint8)
        content = {"data": rows, "labels": [number % 2], "filenames": [f"{number}.png"]}
        (folder / batch).write_bytes(python_2_pickle(content))
    arrays, _ = added(paths, str(folder))
    assert arrays.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert (arrays.test_labels.tolist(), arrays.classes) == ([1], names)
    (folder / "test_batch").unlink()
    with pytest.raises(ProjectError, match=r"has batches\.meta, but lacks test_batch$"):
        new_dataset(paths.root, "b", str(folder), "", Path, print)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which its files are."""
    (tmp_path / "served").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_may_be_at_an_address(
    paths: Paths, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    np.savez(folder / "own.npz", **ARRAYS)
    arrays, _ = added(paths, f"{address}/own.npz", tmp_path)
    assert_as_given(arrays)
    entry = load_params(paths.params).dataset("own").model_dump()
    assert entry["source"] == f"{address}/own.npz"
    assert entry["sha256"] == hashlib.sha256((folder / "own.npz").read_bytes()).hexdigest()
    np.savez(folder / "own.npz", **ARRAYS | {"test_labels": np.zeros(4, np.uint8)})
    with pytest.raises(ProjectError, match=r"own\.npz has the sha256 .* in quarantine"):
        download("own", load_params(paths.params).dataset("own"), paths, None, print)
    with pytest.raises(ProjectError, match=f"^{address}/no.npz: the server answered 404"):
        new_dataset(
            paths.root, "b", f"{address}/no.npz", "", partial(fetch, folder=tmp_path), print
        )
