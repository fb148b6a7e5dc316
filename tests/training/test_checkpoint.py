import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnn_ablations.errors import ProjectError
from cnn_ablations.training import checkpoint
from cnn_ablations.training.checkpoint import State, load_checkpoint, save_checkpoint


class Variable:
    """As much of a Keras variable as a checkpoint needs."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.value

    def assign(self, value: NDArray[Any]) -> None:
        assert value.dtype == self.value.dtype
        self.value = value


def variables(number: float) -> list[Variable]:
    return [
        Variable(np.full((2, 3), number, np.float32)),
        Variable(np.array(number, np.int64)),
        Variable(np.array([number, 2**32 - 1], np.uint32)),
    ]


def state(epoch: int) -> State:
    history = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": math.inf}]
    return State(epoch, history, [[1, 1, 0.5, 1 / 3]], seconds=12.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints after epochs 1, 2 and 3, whose variables hold 1, 2 and 3."""
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, state(epoch), variables(epoch))
    return tmp_path


def loaded(folder: Path) -> tuple[State, list[float]]:
    targets = variables(0)
    return load_checkpoint(folder, targets), [v.value.ravel()[0].item() for v in targets]


def newest(folder: Path) -> Path:
    return max(folder.iterdir())


def test_what_is_saved_comes_back_to_the_bit(folder: Path) -> None:
    targets = variables(0)
    assert load_checkpoint(folder, targets) == state(3)
    for target, source in zip(targets, variables(3), strict=True):
        np.testing.assert_array_equal(target.value, source.value)


def test_losses_that_are_no_numbers_come_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, State(1, [{"loss": math.nan}]), variables(1))
    assert math.isnan(load_checkpoint(tmp_path, variables(0)).history[0]["loss"])


def test_only_the_last_two_are_kept(folder: Path) -> None:
    assert sorted(p.name.partition("-")[2][:6] for p in folder.iterdir()) == ["000002", "000003"]


def test_none_goes_before_the_next_is_written_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.iterdir())

    def full(path: Path, content: bytes) -> None:
        raise ProjectError(f"cannot write {path}")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(ProjectError):
        save_checkpoint(folder, state(4), variables(4))
    assert sorted(folder.iterdir()) == before
    assert len(before) == 2


def test_the_same_state_is_the_same_file(folder: Path, tmp_path_factory: Any) -> None:
    again = tmp_path_factory.mktemp("again")
    save_checkpoint(again, state(3), variables(3))
    assert (again / newest(folder).name).read_bytes() == newest(folder).read_bytes()


def test_without_checkpoints_a_training_begins(tmp_path: Path) -> None:
    assert loaded(tmp_path) == (State(), [0, 0, 0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: content + b"x",
    ],
    ids=["empty", "cut", "a flipped bit", "longer"],
)
def test_a_damaged_checkpoint_is_passed_over(folder: Path, damage: Any) -> None:
    path = newest(folder)
    path.write_bytes(damage(path.read_bytes()))
    assert loaded(folder) == (state(2), [2, 2, 2])


def test_where_all_are_damaged_a_training_begins_anew(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"damaged")
    assert loaded(folder) == (State(), [0, 0, 0])


def test_other_files_are_left_alone(folder: Path) -> None:
    for name in ("epoch-000009.npz", ".epoch-000009-x.npz.tmp", "other.npz"):
        (folder / name).write_bytes(b"not a checkpoint")
    assert loaded(folder)[0].epoch == 3
    save_checkpoint(folder, state(4), variables(4))
    assert len(list(folder.iterdir())) == 2 + 3


def test_epoch_10_is_after_epoch_3(folder: Path) -> None:
    save_checkpoint(folder, state(10), variables(10))
    assert loaded(folder) == (state(10), [10, 10, 10])


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with pytest.raises(ProjectError, match=r"cannot write .*blocked/epoch-000001"):
        save_checkpoint(tmp_path / "blocked", state(1), variables(1))
