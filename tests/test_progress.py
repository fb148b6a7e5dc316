from cnn_ablations import progress

LINE = {
    "seed": 7,
    "number": 2,
    "seeds": 3,
    "epoch": 4,
    "epochs": 12,
    "accuracy": 0.98765,
    "seconds_left": 3725,
}


def test_a_line_says_where_a_training_is() -> None:
    assert progress.describe("net", LINE) == (
        "net: seed 2 of 3, epoch 4 of 12, accuracy 98.77 %, 1:02:05 left"
    )
