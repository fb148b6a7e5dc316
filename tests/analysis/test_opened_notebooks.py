"""The notebooks `dataset` and `inspect` from top to bottom."""

import gzip
import hashlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from cnn_ablations.analysis.inspection import how_to_use
from cnn_ablations.analysis.run import load_run
from cnn_ablations.cli import app
from cnn_ablations.config.datasets import Dataset, dataset_adapter
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant, resolve_variant
from cnn_ablations.data import digits
from cnn_ablations.data.arrays import PARTS, UInt8s, load_arrays, load_file_names
from cnn_ablations.data.download import download
from cnn_ablations.data.new_dataset import new_dataset
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.training.variant import train_variant

# Keras's own conversion of TensorFlow's variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Execute = Callable[..., dict[str, Any]]
rng = np.random.default_rng(0)


@pytest.fixture
def execute(
    paths: Paths, checkout: Paths, run_cells: Any, monkeypatch: pytest.MonkeyPatch, displayed: Any
) -> Execute:
    """Runs the code cells of a template in the project and returns all their names."""
    paths.params.touch()
    monkeypatch.chdir(paths.root)

    def execute(template: str, /, **parameters: Any) -> dict[str, Any]:
        names: dict[str, Any] = run_cells(checkout.template(template), **parameters)[0]
        return names

    return execute


def put(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def random_bytes(*shape: int, below: int = 256) -> UInt8s:
    return rng.integers(0, below, shape, np.uint8)


def cifar10(raw: Path, python_2_pickle: Callable[[Any], bytes]) -> dict[str, Any]:
    """Batches of three random images, and their entry in params.yaml."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    contents: dict[str, dict[str, Any]] = {
        name: {"data": random_bytes(3, 3072), "labels": [0, 1, 2], "filenames": ["a", "b", "c"]}
        for name in names
    }
    contents["batches.meta"] = {"label_names": ["cat", "dog", "frog"]}
    return {
        "format": "cifar10",
        "image_shape": [32, 32, 3],
        "classes": ["cat", "dog", "frog"],
        "showcase": 7,
        "urls": ["http://127.0.0.1/"],
        "archive": "a",
        "members": {
            name: put(raw / name, python_2_pickle(content)) for name, content in contents.items()
        },
    }


def idx(raw: Path, _: object) -> dict[str, Any]:
    """Random grey images as IDX files, and their entry in params.yaml."""
    files = {}
    for part, count in (("train", 7), ("test", 4)):
        of_part = {"images": random_bytes(count, 5, 6), "labels": random_bytes(count, below=2)}
        for kind, array in of_part.items():
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            name = f"{part}-{kind}.gz"
            sha256 = put(raw / name, gzip.compress(header + array.tobytes()))
            files[f"{part}_{kind}"] = {"name": name, "sha256": sha256}
    shape = {"image_shape": [5, 6, 1], "classes": ["a", "b"], "urls": ["http://127.0.0.1/"]}
    return {"format": "idx", "files": files, **shape}


def bundled(raw: Path, _: object) -> dict[str, Any]:
    put(raw / digits.FILE, digits.bundled_digits())
    return {
        "format": "digits",
        "image_shape": [8, 8, 1],
        "classes": [str(label) for label in range(10)],
    }


@pytest.mark.parametrize("make", [cifar10, idx, bundled])
def test_the_way_from_the_files_to_the_arrays_is_shown_and_checked(
    paths: Paths,
    execute: Execute,
    python_2_pickle: Callable[[Any], bytes],
    make: Callable[[Path, Any], dict[str, Any]],
) -> None:
    entry = {"title": "t", "citation": "c", **make(paths.raw("d"), python_2_pickle)}
    preprocess("d", dataset_adapter.validate_python(entry), paths)
    arrays = load_arrays(paths.arrays("d"))
    names = execute("dataset", name="d", dataset=entry)
    for kind, array in names["built"].items():
        np.testing.assert_array_equal(array, getattr(arrays, kind))
    height, width, channels = arrays.image_shape
    assert names["rows"].shape[1:] == (height * width * channels,)
    assert names["planes"].shape[1:] == (channels, height, width)
    assert names["images"].shape[1:] == arrays.image_shape
    showcase = entry.get("showcase", 0)
    np.testing.assert_array_equal(
        names["row"].reshape(channels, height, width),
        np.moveaxis(arrays.train_images[showcase], -1, 0),
    )
    assert names["label"] == arrays.classes[arrays.train_labels[showcase]]

    tampered = {kind: getattr(arrays, kind).copy() for kind in names["built"]}
    tampered["test_images"][2, 1, 0, 0] ^= 1
    write_arrays(paths.arrays("d"), **tampered, classes=arrays.classes, pixel_max=arrays.pixel_max)
    with pytest.raises(ProjectError, match=r"data/arrays/d .*\(test_images differ\).*preprocess@d"):
        execute("dataset", name="d", dataset=entry)


@pytest.mark.parametrize("order", ["planes", "lines"])
def test_images_that_are_scrambled_on_purpose_say_so_first(
    paths: Paths,
    checkout: Paths,
    run_cells: Any,
    monkeypatch: pytest.MonkeyPatch,
    python_2_pickle: Callable[[Any], bytes],
    order: str,
) -> None:
    paths.params.touch()
    monkeypatch.chdir(paths.root)
    entry = {"title": "t", "citation": "c", **cifar10(paths.raw("d"), python_2_pickle)}
    entry |= {"order": order}
    preprocess("d", dataset_adapter.validate_python(entry), paths)
    shown = run_cells(checkout.template("dataset"), name="d", dataset=entry)[1]
    head = next(cell.data for cell in shown if isinstance(cell, Markdown))
    assert head.startswith("## t\n\n**These images are scrambled") == (order == "lines")


def own_images(root: Path, classes: int) -> str:
    """Three images of each class in a folder, and one of them in another class as well."""
    for label in range(classes):
        (folder := root / "own" / f"class_{label}").mkdir(parents=True)
        for number in range(3):
            Image.fromarray(random_bytes(5, 6, 3)).save(folder / f"{number}.png")
    shutil.copy(root / "own" / "class_0" / "0.png", root / "own" / "class_1" / "copy.png")
    (root / "own" / "class_1" / "empty.png").touch()
    return "own"


def own_arrays(root: Path, classes: int) -> str:
    labels = np.arange(classes).repeat(3)
    images = random_bytes(len(labels), 5, 6, 3)
    images[3] = images[0]
    np.savez(root / "own.npz", images=images, labels=labels)
    return "own.npz"


def prepared(paths: Paths, document: dict[str, Any], source: str) -> Dataset:
    """The data set `d`, made of what is at `source` below the root."""
    paths.params.write_text(yaml.safe_dump(document))
    paths.params.write_text(new_dataset(paths.root, "d", paths.root / source, None, print)[0])
    dataset = load_params(paths.params).dataset("d")
    download("d", dataset, paths, None, print)
    preprocess("d", dataset, paths)
    return dataset


@pytest.mark.parametrize(
    ("make", "classes"), [(own_images, 2), (own_arrays, 37), (own_images, 200)]
)
def test_own_images_are_shown_whatever_the_number_of_classes(
    paths: Paths,
    execute: Execute,
    tiny_document: dict[str, Any],
    make: Callable[[Path, int], str],
    classes: int,
) -> None:
    dataset = prepared(paths, tiny_document, make(paths.root, classes))
    names = execute("own-data", name="d", dataset=dataset.model_dump())
    assert len(names["arrays"].classes) == classes
    assert len(names["captions"]) == min(classes, 20)
    assert names["text"].startswith("Pictures that are there more than once: **1**. Both to ")
    assert "; in more than one class: **1**. The first" in names["text"]
    if make is own_images:
        assert "`class_0/0.png (" in names["text"]
        assert "`class_1/copy.png (" in names["text"]
    arrays = load_arrays(paths.arrays("d"))
    other: dict[str, Any] = {kind: np.array(getattr(arrays, kind)) for kind in arrays.sha256}
    other["train_images"][0] ^= 255
    files: dict[str, Any] = {
        f"{part}_files": load_file_names(paths.arrays("d"), part) or () for part in PARTS
    }
    write_arrays(paths.arrays("d"), **other, **files, classes=arrays.classes, pixel_max=255)
    with pytest.raises(ProjectError, match=r"is not what the files hold .*--force preprocess@d`"):
        execute("own-data", name="d")


def test_files_are_verified_before_they_are_read(
    paths: Paths, execute: Execute, python_2_pickle: Callable[[Any], bytes]
) -> None:
    entry = {"title": "t", "citation": "c", **cifar10(paths.raw("d"), python_2_pickle)}
    preprocess("d", dataset_adapter.validate_python(entry), paths)
    (paths.raw("d") / "data_batch_3").write_bytes(b"not a pickle")
    with pytest.raises(ProjectError, match=r"data_batch_3 has the sha256 .*download@d"):
        execute("dataset", name="d", dataset=entry)


PROTOCOL = {
    "split": {"method": "last", "val": 0.5},
    "pixels": "unit",
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "batch_size": 10,
    "epochs": 4,
    "filters": [3, 2, 2],
    "pooling": [2, 1, 1],
    "seeds": [0],
}


@pytest.fixture
def trained(paths: Paths, write: Callable[..., None]) -> Callable[..., Variant]:
    """Writes what a training of one seed leaves, and returns its variant."""

    def make(**changes: Any) -> Variant:
        from cnn_ablations.training.backend import configure
        from cnn_ablations.training.network import build_network

        values = {"protocol": "g", "dataset": "small", **changes}
        variant = resolve_variant("v", values, {"g": PROTOCOL})
        classes = [f"class {i}" for i in range(10)]
        write("v", [0.7], examples=100, validated=variant.train_on == "train")
        write_arrays(
            paths.arrays("small"),
            train_images=random_bytes(8, 6, 6, 1),
            train_labels=np.arange(8, dtype=np.uint8),
            test_images=random_bytes(100, 6, 6, 1),
            test_labels=np.arange(100, dtype=np.uint8) % 10,
            classes=classes,
            pixel_max=255,
        )
        folder = paths.run("g", "v") / "seed-0"
        folder.mkdir(parents=True)
        configure()
        network = build_network(variant, (6, 6, 1), 10, 255)
        network.save_weights(folder / "weights.weights.h5")
        seen = 8 if variant.train_on == "train+val" else 4
        np.save(folder / "train_predicted.npy", np.arange(seen, dtype=np.uint8))
        np.save(folder / "test_probabilities.npy", np.full((100, 10), 0.1, np.float32))
        if variant.record_iterations:
            table = pd.DataFrame({"epoch": [1, 2], "iteration": 1, "accuracy": 0.5, "loss": 2.0})
            table.to_csv(folder / "iterations.csv", index=False)
        return variant

    return make


def headings(displayed: list[Any]) -> list[str]:
    return [shown.data.splitlines()[0] for shown in displayed if isinstance(shown, Markdown)]


def test_a_trained_variant_is_opened_from_top_to_bottom(
    trained: Callable[..., Variant], execute: Execute, displayed: list[Any]
) -> None:
    variant = trained(record_iterations=True)
    wanted = ["class 4", "class 7"]
    names = execute("inspect", variant=variant.model_dump(), example_classes=wanted)
    assert "### Batch by batch" in headings(displayed)
    labels = np.arange(100) % 10
    found = [(labels[e.image] == int(e.taken_for[-1]), e.right) for e in names["examples"]]
    assert found == [(True, True), (False, False)] * 2
    first, mistaken, second, _ = names["examples"]
    assert names["followed"] == [first.image, mistaken.image, second.image]
    assert [list(of_image) for of_image in names["maps"]] == [["conv1", "conv2", "conv3"]] * 3
    assert names["counts"]["train"].sum() == 4
    assert names["counts"]["test"].sum() == 100
    alts = [str(figure.get_label()) for figure in displayed if isinstance(figure, Figure)]
    assert len(alts) > 5
    assert [alt for alt in alts if len(alt.split()) < 5] == []
    assert len(set(alts)) == len(alts)  # each figure has an alternative text of its own


def test_the_code_to_use_a_network_works_as_it_is_printed(
    trained: Callable[..., Variant], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = trained()
    paths.params.touch()
    monkeypatch.chdir(paths.root)
    read = SimpleNamespace(variant={"v": variant}.__getitem__)
    monkeypatch.setattr("cnn_ablations.config.params.load_params", lambda path: read)
    text = how_to_use(load_run(variant, paths), seed=0)
    assert "uint8 pixels of 0..255 in an array (images, 6, 6, 1)" in text
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    assert names["logits"].shape == (5, 10)
    assert set(names["answers"]) <= set(names["run"].arrays.classes)


def test_what_was_not_recorded_has_no_section(
    trained: Callable[..., Variant], execute: Execute, displayed: list[Any]
) -> None:
    variant = trained(train_on="train+val")
    names = execute("inspect", variant=variant.model_dump(), example_classes=["class 0"])
    assert "### Batch by batch" not in headings(displayed)
    assert list(names["predictions"]) == ["train", "test"]
    assert names["counts"]["train"].sum() == 8


@pytest.mark.parametrize(("classes", "tested"), [(3, 2), (2, 1)])
def test_a_network_without_convolutions_and_few_classes_is_opened(
    paths: Paths, execute: Execute, displayed: list[Any], classes: int, tested: int
) -> None:
    values = {"protocol": "g", "dataset": "small", "filters": [], "pooling": 1}
    variant = resolve_variant("v", values, {"g": PROTOCOL})
    write_arrays(
        paths.arrays("small"),
        train_images=random_bytes(40, 6, 6, 1),
        train_labels=np.arange(40, dtype=np.uint8) % classes,
        test_images=random_bytes(20, 6, 6, 1),
        test_labels=np.arange(20, dtype=np.uint8) % tested,
        classes=[f"class {i}" for i in range(classes)],
        pixel_max=255,
    )
    train_variant(variant, paths)
    wanted = [f"class {i}" for i in range(classes)]
    names = execute("inspect", variant=variant.model_dump(), example_classes=wanted)
    assert list(names["weights"]) == ["output"]
    assert sum("no convolutions" in heading for heading in headings(displayed)) == 4
    assert names["counts"]["test"].sum() == 20


def test_a_network_of_many_classes_is_opened_and_its_mistakes_name_their_files(
    paths: Paths, execute: Execute, displayed: list[Any], tiny_document: dict[str, Any]
) -> None:
    dataset = prepared(paths, tiny_document, own_images(paths.root, 37))
    values = {"protocol": "g", "dataset": "d", "filters": [2], "pooling": 1, "epochs": 1}
    variant = resolve_variant("v", values, {"g": PROTOCOL})
    train_variant(variant, paths)
    names = execute(
        "inspect", variant=variant.model_dump(), example_classes=dataset.example_classes
    )
    shown = [text.data for text in displayed if isinstance(text, Markdown)]
    assert any("Of 37 classes these are the 10" in text for text in shown)
    assert any("The table has the most frequent mistakes" in text for text in shown)
    alts = [str(figure.get_label()) for figure in displayed if isinstance(figure, Figure)]
    assert not any("Confusion" in alt for alt in alts)
    mistaken = int(names["wrong"][0])
    file = (load_file_names(paths.arrays("d"), "test") or [])[mistaken]
    alt = str(names["show"](names["wrong"][:12], "").get_label())
    assert f"is {file.replace('/', ', ')};" in alt


@pytest.mark.parametrize(("name", "shown"), [("bias", ["own"]), ("slope", [])])
def test_a_network_of_biases_or_of_other_weights_alone_is_opened(
    trained: Callable[..., Variant],
    execute: Execute,
    keras: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shown: list[str],
) -> None:
    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: tuple[int | None, ...]) -> None:
            self.own = self.add_weight(shape=shape[-1:], name=name)

        def call(self, x: Any) -> Any:
            return x + self.own

    def build(inputs: Any, classes: int, **_: Any) -> Any:
        mean = keras.layers.GlobalAveragePooling2D()(inputs)
        return Own(name="own")(keras.layers.Concatenate()([mean] * classes))

    monkeypatch.setattr("cnn_ablations.training.network.build_function", lambda model: build)
    variant = trained()
    names = execute("inspect", variant=variant.model_dump(), example_classes=["class 0"])
    assert list(names["weights"]) == shown


def test_inspect_passes_on_whose_examples_to_show(
    project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over = {}
    monkeypatch.setattr(
        "cnn_ablations.notebooks.execute",
        lambda template, output, parameters, paths: handed_over.update({template: parameters}),
    )
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("cnn_ablations.cli._say", lambda text: None)
    done = CliRunner().invoke(app, ["inspect", "tiny-net"])
    assert done.exit_code == 0, done.output
    assert handed_over["inspect"]["example_classes"] == ["8"]
    assert handed_over["inspect"]["variant"]["name"] == "tiny-net"
