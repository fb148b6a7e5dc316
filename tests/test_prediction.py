"""Pictures from disk, and what trained networks say to them."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_ablations.analysis.run import Run
from cnn_ablations.config.datasets import dataset_adapter
from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import Arrays, UInt8s
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.prediction import kept_answers, open_run, probabilities, read_picture, verdict

# Keras's own conversion of TensorFlow's variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
RNG = np.random.default_rng(0)
COMMON = {"title": "t", "citation": "c", "classes": ["a", "b"], "image_shape": [8, 8, 1]}
DIGITS = dataset_adapter.validate_python({**COMMON, "format": "digits"})
NAMES = ["tiny-net", "tiny-plain", "tiny-res"]


@pytest.fixture
def opened(trained_project: Paths) -> Callable[[str], Run]:
    params = load_params(trained_project.params)
    return lambda name: open_run(params.variant(name), trained_project)


def arrays(*shape: int, pixel_max: int = 255) -> Arrays:
    images = np.zeros((1, *shape), np.uint8)
    labels = np.zeros(1, np.uint8)
    return Arrays(images, labels, images, labels, ["a", "b"], pixel_max, {})


def as_png(run: Run, number: int, folder: Path) -> Path:
    """A test image as people see it: its white is 255."""
    path = folder / f"{number}.png"
    image = np.rint(run.subsets["test"].images[number][..., 0] * (255 / run.arrays.pixel_max))
    Image.fromarray(image.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_test_image_from_disk_gets_the_probabilities_of_the_run_to_the_bit(
    opened: Callable[[str], Run], tmp_path: Path, name: str
) -> None:
    run, numbers = opened(name), [41, 7, 99]
    pictures = [
        read_picture(as_png(run, number, tmp_path), run.arrays, DIGITS) for number in numbers
    ]
    for seed in run.variant.seeds:
        found = probabilities(run, seed, np.stack([picture.pixels for picture in pictures]))
        np.testing.assert_array_equal(found, kept_answers(run, seed)[numbers])


def test_more_pictures_than_a_batch_holds_are_asked_in_several(
    opened: Callable[[str], Run],
) -> None:
    run = opened("tiny-plain")
    numbers = np.arange(230) % 100
    found = probabilities(run, 1, run.subsets["test"].images[numbers])
    np.testing.assert_array_equal(found, kept_answers(run, 1)[numbers])


def test_the_command_prints_the_probability_of_the_run_to_the_last_digit(
    opened: Callable[[str], Run], trained_project: Paths, tmp_path: Path
) -> None:
    run = opened("tiny-plain")
    as_png(run, 5, tmp_path)
    Image.fromarray(RNG.integers(0, 256, (9, 20, 3), np.uint8)).save(tmp_path / "own.jpg")
    (trained_project.root / "inside").mkdir(exist_ok=True)
    command = [COMMAND, "predict", "tiny-plain", str(tmp_path / "5.png"), str(tmp_path / "own.jpg")]
    done = subprocess.run(
        command, cwd=trained_project.root / "inside", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    answer = kept_answers(run, run.result.typical_seed)[5]
    seeds = [kept_answers(run, seed)[5].argmax() for seed in (0, 1, 2)].count(answer.argmax())
    start = f"{tmp_path}/5.png (pixels brought to 0..16): {answer.argmax()}, probability "
    assert first.startswith(start)
    printed = first.removeprefix(start).partition(";")[0]
    assert np.float32(printed) == answer.max()
    assert f"; {seeds} of 3 seeds agree" in first
    size = "9×20 pixels (height×width)"
    assert f"own.jpg (made grey, resized from {size}, pixels brought to 0..16): " in second


def test_the_networks_of_a_fresh_clone_are_missed_in_one_sentence(
    trained_project: Paths, tmp_path: Path
) -> None:
    variant = load_params(trained_project.params).variant("tiny-net")
    with pytest.raises(ProjectError, match=r"^the networks of tiny-net .*`dvc repro train@tiny-n"):
        open_run(variant, Paths(tmp_path))


def test_a_network_that_no_longer_answers_as_after_its_training_is_found_out(
    opened: Callable[[str], Run],
) -> None:
    run = opened("tiny-plain")
    changed = replace(run, variant=run.variant.model_copy(update={"pixels": "raw"}))
    with pytest.raises(ProjectError, match=r"params.yaml or the code is another now"):
        probabilities(changed, 0, run.subsets["test"].images[:1])


GREY = RNG.integers(0, 256, (4, 6), np.uint8)
COLOUR = RNG.integers(0, 256, (4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "wanted", "changes"),
    [
        (GREY, GREY[..., None], ""),
        (COLOUR, COLOUR, ""),
        (GREY, np.dstack([GREY] * 3), ""),
        (np.dstack([GREY] * 3), GREY[..., None], "made grey"),
        (np.zeros((4, 6, 4), np.uint8), np.full((4, 6, 3), 255), "with transparency, put on white"),
    ],
    ids=["grey", "colour", "grey for colour", "colour for grey", "transparent"],
)
def test_a_picture_becomes_what_the_data_set_has_and_says_what_changed(
    tmp_path: Path, pixels: UInt8s, wanted: UInt8s, changes: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", arrays(*wanted.shape), DIGITS)
    assert picture.changes == changes
    np.testing.assert_array_equal(picture.pixels, wanted, strict=changes == "made grey")


@pytest.mark.parametrize(
    ("format_of", "changes", "column"),
    [
        ({"format": "digits"}, "resized from 4×8 pixels (height×width)", [200, 200, 200]),
        (
            {"format": "folder", "source": "s", "sha256": 64 * "0", "fit": "pad"},
            "resized and padded from 4×8 pixels (height×width)",
            [0, 200, 0],
        ),
    ],
)
def test_a_picture_comes_to_its_size_as_the_images_of_its_data_set_do(
    tmp_path: Path, format_of: dict[str, str], changes: str, column: list[int]
) -> None:
    Image.fromarray(np.full((4, 8), 200, np.uint8)).save(tmp_path / "a.png")
    dataset = dataset_adapter.validate_python(COMMON | format_of)
    picture = read_picture(tmp_path / "a.png", arrays(8, 8, 1), dataset)
    assert picture.changes == changes
    assert picture.pixels[[0, 3, 7], 4, 0].tolist() == column


@pytest.mark.parametrize(
    ("name", "content", "channels", "words"),
    [
        ("text.png", b"not an image", 1, "no image of a known format"),
        ("text.txt", b"not an image", 1, "no image of a known format"),
        ("missing.png", None, 1, "No such file"),
        ("any.png", b"", 2, "images have 2 channels"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_name(
    tmp_path: Path, name: str, content: bytes | None, channels: int, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=f"^{re.escape(str(tmp_path / name))} .*{words}"):
        read_picture(tmp_path / name, arrays(4, 4, channels), DIGITS)


def test_seeds_that_disagree_or_diverged_are_told(opened: Callable[[str], Run]) -> None:
    run = opened("tiny-plain")
    typical, *others = sorted(run.variant.seeds, key=lambda seed: seed != run.result.typical_seed)
    four, nine, diverged = np.eye(10, dtype=np.float32)[[4, 9, 0]]
    diverged[:] = np.nan
    for answers, said in (
        ([four, four, nine], "4, probability 1.0; 2 of 3 seeds agree; others: 9 (1)"),
        ([four, four, diverged], "4, probability 1.0; 2 of 3 seeds agree"),
        ([diverged, four, four], f"no answer, since the network of seed {typical} diverged"),
    ):
        assert verdict(dict(zip([typical, *others], answers, strict=True)), run) == said
