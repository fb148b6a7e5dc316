"""The notebook `playground` from top to bottom."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image

from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

# Keras's own conversion of TensorFlow's variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(
    trained_project: Paths, checkout: Paths, run_cells: Any, monkeypatch: pytest.MonkeyPatch
) -> Play:
    monkeypatch.chdir(trained_project.root)
    template = checkout.template("playground")
    return lambda **parameters: run_cells(template, **parameters)[0]


def test_two_variants_are_asked_about_a_test_image_and_a_picture(
    play: Play, displayed: list[Any], tmp_path: Path
) -> None:
    digit = np.full((8, 8), 255, np.uint8)
    digit[1:7, 4] = 0
    Image.fromarray(digit).save(tmp_path / "one.png")
    picture = str(tmp_path / "one.png")
    names = play(variant="tiny-plain", other="tiny-net", number=7, picture=picture, invert=True)
    for name, run in names["runs"].items():
        for seed, found in names["asked"][name].items():
            kept = np.load(run.folder / f"seed-{seed}" / "test_probabilities.npy")
            np.testing.assert_array_equal(found, kept[7])
    right = {name: names["said"][name] == names["labels"] for name in names["runs"]}
    assert right["tiny-plain"][names["only"]].all()
    assert not right["tiny-net"][names["only"]].any()
    assert len(names["only"]) - len(names["back"]) == (
        right["tiny-plain"].sum() - right["tiny-net"].sum()
    )
    assert names["pixels"][3, 3:6, 0].tolist() == [0, 16, 0]
    figure = next(shown for shown in displayed if isinstance(shown, Figure))
    assert "one.png" in str(figure.get_label())
    text = "\n".join(shown.data for shown in displayed if isinstance(shown, Markdown))
    assert "one.png: pixels brought to 0..16" in text
    assert "- **tiny-net**: " in text
    assert displayed[-1].data.count("seeds agree") == 2


def test_without_a_picture_it_says_where_one_goes(play: Play, displayed: list[Any]) -> None:
    play(variant="tiny-res", other="tiny-res", number=0)
    assert "Set `picture`" in displayed[-1].data


def test_variants_that_were_tested_on_other_images_are_refused(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numpy.array_equal", lambda *arrays: False)
    with pytest.raises(ProjectError, match="tiny-plain and tiny-net were tested on other images"):
        play(variant="tiny-plain", other="tiny-net")
