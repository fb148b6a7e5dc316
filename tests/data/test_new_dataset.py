"""Data sets of arrays: from a file or folder on disk to `data/arrays`. Folders of images: see
test_folder.py.
"""

import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays
from cnn_ablations.data.new_dataset import new_dataset
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
def npz(project: Paths) -> Path:
    np.savez(project.root / "own.npz", **ARRAYS)
    return project.root / "own.npz"


def assert_as_given(arrays: Arrays, **changes: UInt8s) -> None:
    for name, array in (ARRAYS | changes).items():
        given = array[..., None] if array.ndim == 3 else array
        np.testing.assert_array_equal(getattr(arrays, name), given)
    assert arrays.classes == ["0", "1", "2"]


def test_a_file_of_arrays_is_taken_as_it_is(own: Any, npz: Path) -> None:
    assert own.add(npz)[0] == "images: 8 to train on, 4 to test on"
    assert_as_given(own.arrays())
    assert own.entry().model_dump()["source"] == "own.npz"


def test_of_two_data_sets_each_keeps_the_comments_of_its_recipe(project: Paths, npz: Path) -> None:
    for name in ("one", "two"):
        text, _ = new_dataset(project.root, name, npz, None, print)
        project.params.write_text(text)
    first, second = text[text.index("\n  one: #") :].split("\n  two: #")
    assert "# No augmentation" in first
    assert second.partition("\nvariants:")[0].count("# No augmentation") == 1


def test_of_a_file_without_test_images_some_are_drawn(own: Any, npz: Path) -> None:
    images, labels = ARRAYS["train_images"], ARRAYS["train_labels"]
    np.savez(npz, images=images, labels=np.arange(8).clip(0, 6))
    with pytest.raises(ProjectError, match=r"^own\.npz: the class '0' has a single image"):
        own.add(npz)
    np.savez(npz, images=images, labels=labels)
    own.add(npz)
    arrays = own.arrays()
    assert np.bincount(arrays.test_labels).tolist() == [1, 1, 1]
    together = [*arrays.train_images, *arrays.test_images]
    assert sorted(i.tobytes() for i in together) == sorted(i.tobytes() for i in images)


@pytest.mark.parametrize(
    ("counts", "val", "epochs"),
    [
        ([1500, 1600], 620, 30),
        ([60, 40], 20, 667),  # 3 batches an epoch
        ([2] * 37, 15, 1000),  # a fifth is less than an image for each class
        ([1, 30], 7, 2000),  # of a single image none can be drawn
        ([0, 30, 10], 8, 2000),
    ],
)
def test_its_first_variant_can_be_trained_however_few_the_images(
    own: Any, npz: Path, counts: list[int], val: int, epochs: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 7, 8), np.uint8)
    np.savez(npz, x_train=images, y_train=labels, x_test=images, y_test=labels)
    lines = own.add(npz)
    base = load_params(own.paths.params).variant("own-base")
    assert (base.group, base.dataset, base.settings["pooling"]) == ("own", "own", 1)
    assert (len(split_arrays(own.arrays(), base)["val"].labels), base.epochs) == (val, epochs)
    assert ("odd: classes with a single image to train on: 0" in lines) == (1 in counts)


COLOUR = {key: np.stack([ARRAYS[key]] * 3, axis=-1) for key in ("train_images", "test_images")}


@pytest.mark.parametrize(("pack", "colour"), [(bytes, {}), (gzip.compress, {}), (bytes, COLOUR)])
def test_idx_files_on_disk_may_be_packed_or_not_and_in_colour(
    own: Any, write_idx: Callable[..., Path], pack: object, colour: dict[str, Any]
) -> None:
    own.add(write_idx(ARRAYS | colour, pack))
    assert_as_given(own.arrays(), **colour)


def test_without_all_of_the_idx_files_there_is_no_data_set(
    own: Any, write_idx: Callable[..., Path]
) -> None:
    with pytest.raises(ProjectError, match="must hold images and labels of train and of test"):
        own.add(write_idx({"train_images": ARRAYS["train_images"]}))


def test_cifar_batches_on_disk_need_no_archive(
    own: Any, tmp_path: Path, python_2_pickle: Callable[[Any], bytes]
) -> None:
    (folder := tmp_path / "batches").mkdir()
    names = ["dog", "cat"]
    (folder / "batches.meta").write_bytes(python_2_pickle({"label_names": names}))
    with pytest.raises(ProjectError, match=r"has batches\.meta, but lacks data_batch_1, .*batch$"):
        own.add(folder)
    for number, batch in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        files = [f"{number}-{image}.png" for image in range(2)]
        rows = np.full((2, 3072), number, np.uint8)
        content = {"data": rows, "labels": [number % 2] * 2, "filenames": files}
        (folder / batch).write_bytes(python_2_pickle(content))
    own.add(folder)
    arrays, pixels = own.arrays(), own.pixels()
    assert arrays.train_images[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert arrays.train_labels.tolist() == [0, 0, 1, 1] * 2 + [0, 0]
    assert (arrays.test_labels.tolist(), arrays.classes) == ([1, 1], names)
    assert (pixels["3-1.png"] == 3).all()
    with pytest.raises(ProjectError, match=r"own\.classes is not what .*; see to their order$"):
        own.preprocess(classes=["cat", "dog"])


@pytest.fixture
def address(npz: Path) -> Iterator[str]:
    """At which the files of the project are."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=npz.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_source_may_be_moved_to_an_address(own: Any, npz: Path, address: str) -> None:
    own.add(npz)
    own.download(source=f"{address}/own.npz")
    own.preprocess()
    assert_as_given(load_arrays(own.paths.arrays("own")))
    np.savez(npz, **ARRAYS | {"test_labels": np.zeros(4, np.uint8)})
    with pytest.raises(ProjectError, match=r"own\.npz has the sha256 .* in quarantine"):
        own.download(source=f"{address}/own.npz")
