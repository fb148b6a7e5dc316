"""Trained networks for use without this project, and what is said of them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import recall_score
from typer.testing import CliRunner

from cnn_ablations.analysis.run import Run
from cnn_ablations.cli import app
from cnn_ablations.config.datasets import Dataset, Fit, FolderDataset
from cnn_ablations.config.params import load_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.export import card, export, standalone
from cnn_ablations.paths import Paths
from cnn_ablations.prediction import kept_answers, open_run, read_picture

# Keras's own conversion of TensorFlow's variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LOADED = """
import sys
sys.modules["cnn_ablations"] = None  # importing it fails
import keras, numpy as np, tensorflow as tf
images = np.load("images.npy")
for name in sys.argv[1:]:
    if name.endswith(".keras"):
        network = keras.models.load_model(name)
        assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {"keras"}
        assert network.input.dtype == "uint8"
        found = network.predict(images, batch_size=len(images), verbose=0)
    else:
        network = tf.saved_model.load(name)
        found = network.serve(images).numpy()
    np.save(name + ".npy", found)
"""


@pytest.fixture
def opened(trained_project: Paths) -> Callable[[str], Run]:
    params = load_params(trained_project.params)
    return lambda name: open_run(params.variant(name), trained_project)


@pytest.fixture
def digits(trained_project: Paths) -> Dataset:
    return load_params(trained_project.params).dataset("digits")


def test_plain_keras_without_this_project_gives_the_same_probabilities(
    opened: Callable[[str], Run], digits: Dataset, tmp_path: Path
) -> None:
    kept, tolerances = {}, {"tiny-plain": 0.0, "tiny-net": 0.0, "tiny-res": 1e-6}
    for name, tolerance in tolerances.items():
        run = opened(name)
        seed = run.variant.seeds[-1]
        for to in (f"{name}.keras", name):
            beside, difference = export(run, digits, seed, tmp_path / "new" / to)
            assert difference <= tolerance
            kept[to] = kept_answers(run, seed), tolerance
            beside.unlink()  # the folder's has the same name
    np.save(tmp_path / "new" / "images.npy", opened("tiny-net").subsets["test"].images[:])
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED, *kept], cwd=tmp_path / "new", check=True
    )
    for to, (answers, tolerance) in kept.items():
        found = np.load(tmp_path / "new" / f"{to}.npy")
        np.testing.assert_allclose(found, answers, 0, tolerance, err_msg=to, strict=True)


def test_the_command_exports_the_network_in_the_middle_unless_another_is_named(
    opened: Callable[[str], Run],
    trained_project: Paths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(trained_project.root)
    middle = opened("tiny-plain").result.typical_seed
    for seed, more in ((middle, []), (2, ["--seed", "2"])):
        to = tmp_path / str(len(more)) / "a.keras"
        done = CliRunner().invoke(app, ["export", "tiny-plain", "--to", str(to), *more])
        assert done.output == (
            f"wrote {to}, the network of seed {seed}, and {to.with_suffix('.md')}; its "
            "probabilities for test images are the same bits as those after the training\n"
        )
        assert f"# tiny-plain, seed {seed}\n" in to.with_suffix(".md").read_text()


@pytest.mark.parametrize("name", ["a.h5", "a.onnx", ".", "/"])
def test_only_a_keras_file_or_a_folder_is_written(
    opened: Callable[[str], Run], digits: Dataset, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ProjectError, match=r"name a file that ends in \.keras, or a folder"):
        export(opened("tiny-plain"), digits, 0, Path(name))


@pytest.mark.parametrize("there", ["a.keras", "a.md"])
def test_nothing_that_is_there_is_replaced(
    opened: Callable[[str], Run], digits: Dataset, tmp_path: Path, there: str
) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ProjectError, match=f"{there} is already there"):
        export(opened("tiny-plain"), digits, 0, tmp_path / "a.keras")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_network_that_answers_otherwise_than_after_its_training_is_not_kept(
    opened: Callable[[str], Run], digits: Dataset, tmp_path: Path
) -> None:
    run = opened("tiny-plain")
    changed = replace(run, variant=run.variant.model_copy(update={"pixels": "raw"}))
    with pytest.raises(ProjectError, match=r"seed 0 differs by .*not kept; `dvc repro train@tiny"):
        export(changed, digits, 0, tmp_path / "a.keras")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(
    opened: Callable[[str], Run], digits: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match=r"cannot write .*file/a.keras"):
        export(opened("tiny-plain"), digits, 0, tmp_path / "file" / "a.keras")


@pytest.mark.parametrize("kind", ["Own", "Dense"])
def test_a_layer_or_an_activation_of_a_models_own_is_named(keras: ModuleType, kind: str) -> None:
    def own(x: object) -> object:
        return x

    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: object) -> object:
            return x

    odd = {"Own": Own(name="odd"), "Dense": keras.layers.Dense(3, activation=own, name="odd")}
    inputs = keras.Input((4,), dtype="uint8")
    x = odd[kind](keras.layers.Rescaling(1.0)(inputs))
    with pytest.raises(ProjectError, match=rf"mine: .* its layer odd \({kind}\)"):
        standalone(keras.Model(inputs, x, name="mine"))


@pytest.mark.parametrize(
    ("name", "use"),
    [("a.keras", 'keras.models.load_model("a.keras")'), ("a", 'tf.saved_model.load("a")')],
)
def test_the_card_says_what_the_network_is_made_of_and_how_good_it_is(
    opened: Callable[[str], Run], digits: Dataset, name: str, use: str
) -> None:
    run = opened("tiny-plain")
    right = run.result.correct("test").mean(axis=1)
    text = card(run, digits, 2, name)
    assert "balanced" not in text
    for words in (
        "# tiny-plain, seed 2\n",
        "uint8, (images, 8, 8, 1), pixels of 0..16 as they are",
        f"| test accuracy | {100 * right[2]:.2f} % on 100 test images |",
        f"median {100 * np.median(right):.2f} %, 95 % interval ",
        f"| 0: {100 * right[0]:.2f} %, 1: ",
        use,
        "## What it must not be used for",
        "## Classes\n\n- 0: 0\n- 1: 1\n",
    ):
        assert words in text


def test_of_very_unequal_classes_the_card_tells_the_balanced_accuracy_first(
    opened: Callable[[str], Run], digits: Dataset
) -> None:
    run = opened("tiny-plain")
    labels = run.result.labels["test"]
    _, kept = np.unique(labels, return_index=True)
    kept = np.union1d(kept, np.flatnonzero(labels == 3))
    predicted = {"test": run.result.predicted["test"][:, kept]}
    unequal = replace(run.result, labels={"test": labels[kept]}, predicted=predicted)
    recalls = recall_score(labels[kept], predicted["test"][2], average="macro")
    balanced, plain = card(replace(run, result=unequal), digits, 2, "a").split("| test accuracy |")
    assert f"| balanced test accuracy | {100 * recalls:.2f} % on {len(kept)} test" in balanced
    assert "says little about the rare ones. Balanced accuracy is the\nshare" in plain


@pytest.mark.parametrize("fit", ["resize", "pad", "crop"])
def test_the_card_reads_a_picture_as_its_data_set_was_read(
    opened: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Fit
) -> None:
    run, dataset = (
        opened("tiny-plain"),
        FolderDataset.model_construct(title="t", citation="c", fit=fit),
    )
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save("picture.jpg")
    code = card(run, dataset, 0, "a.keras").split("```")[1].removeprefix("python")
    found: dict[str, object] = {}
    exec(code.partition("probabilities =")[0], found)
    expected = read_picture(Path("picture.jpg"), run.arrays, dataset).pixels
    np.testing.assert_array_equal(found["images"], [expected], strict=True)
