from typing import Any

from cnn_ablations import progress


def test_a_line_says_where_a_training_is(place: dict[str, Any]) -> None:
    line = "net: seed 2 of 3, epoch 4 of 12, accuracy 98.77 %"
    assert progress.describe("net", place) == f"{line}, 1:02:05 left"
    assert progress.describe("net", {**place, "seconds_left": None}) == line
