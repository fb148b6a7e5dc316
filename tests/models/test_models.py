import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnn_ablations import models
from cnn_ablations.errors import ProjectError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of models, empty."""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("cnn_ablations.models.my_")]:
        del sys.modules[name]


def test_a_model_is_a_file(folder: Path) -> None:
    (folder / "my_net.py").write_text("def my_net(inputs, classes, *, width: int = 3): ...")
    (folder / "_helpers.py").write_text("")
    assert models.model_names() == ["my_net"]
    assert models.factor_types("my_net") == {"width": (int, 3)}
    models.check_factors("my_net", (8, 8, 1), {"width": 3})  # it has no check


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def other(): ...", r"^models/my_net\.py defines no function my_net"),
        ("def my_net(:", r"^models/my_net\.py cannot be imported: SyntaxError"),
        ("import no_such_library", r"^models/my_net\.py cannot be imported: ModuleNotFound"),
        ("raise SystemError", r"^models/my_net\.py cannot be imported: SystemError"),
        (
            "def my_net(inputs, classes, width: int): ...",
            r"^models/my_net\.py: put a '\*' before the factor 'width'",
        ),
        (
            "def my_net(inputs, classes, *, width): ...",
            r"^models/my_net\.py: the factor 'width' has no type",
        ),
    ],
)
def test_a_file_that_is_no_model_is_one_sentence(folder: Path, content: str, message: str) -> None:
    (folder / "my_net.py").write_text(content)
    with pytest.raises(ProjectError, match=message):
        models.factor_types("my_net")


def test_types_may_be_written_as_text(folder: Path) -> None:
    (folder / "my_net.py").write_text(
        "from __future__ import annotations\n"
        "def my_net(inputs: keras.KerasTensor, classes: int, *, width: int, deep: bool = True): ..."
    )
    assert models.factor_types("my_net") == {"width": (int, ...), "deep": (bool, True)}
