from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cnn_ablations.figures.curves import SERIES, learning_curves

Texts = Callable[[Figure], list[str]]


def curves(seeds: int = 3, epochs: int = 4) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        for epoch in range(1, epochs + 1):
            row: dict[str, float] = {"seed": seed, "epoch": epoch}
            for key in ("running_train", "val"):
                row |= {f"{key}_accuracy": 0.1 * epoch + 0.01 * seed, f"{key}_loss": 3 / epoch}
            rows.append(row)
    return pd.DataFrame(rows)


def test_every_seed_is_visible_and_the_median_is_the_labelled_line(texts: Texts) -> None:
    figure = learning_curves(curves())
    accuracy, loss = figure.axes
    assert len(accuracy.lines) == len(loss.lines) == 2 * (3 + 1)
    medians = [line for line in accuracy.lines if line.get_label() in SERIES.values()]
    assert len(medians) == 2
    for line in medians:
        np.testing.assert_allclose(np.asarray(line.get_ydata()), 0.1 * np.arange(1, 5) + 0.01)
    written = texts(figure)
    assert {"accuracy", "loss (nats)", "epoch", SERIES["val"], SERIES["running_train"]} <= set(
        written
    )


def test_splits_differ_in_colour_line_and_marker() -> None:
    medians = [
        line
        for line in learning_curves(curves()).axes[0].lines
        if line.get_label() in SERIES.values()
    ]
    for property_ in ("color", "linestyle", "marker"):
        assert len({getattr(line, f"get_{property_}")() for line in medians}) == 2


def test_one_seed_is_one_line_and_many_epochs_have_no_markers(texts: Texts) -> None:
    figure = learning_curves(curves(seeds=1, epochs=30))
    assert [line.get_marker() for line in figure.axes[0].lines] == ["", ""]
    texts(figure)


def test_a_loss_that_explodes_does_not_squeeze_the_others(texts: Texts) -> None:
    table = curves()
    table.loc[0, "val_loss"] = 1e11
    figure = learning_curves(table)
    assert figure.axes[1].get_ylim()[1] < 10
    assert "1 point lies above" in texts(figure)


def test_losses_of_a_common_size_are_all_on_the_axis(texts: Texts) -> None:
    table = curves()
    table.loc[0, "val_loss"] = 3.5
    figure = learning_curves(table)
    assert figure.axes[1].get_ylim()[1] > 3.5
    assert not [text for text in texts(figure) if "above" in text]


def test_losses_that_are_not_finite_are_left_out(texts: Texts) -> None:
    table = curves()
    table.loc[table["epoch"] > 1, "val_loss"] = np.nan
    table.loc[0, "running_train_loss"] = np.inf
    texts(learning_curves(table))
    table[["running_train_loss", "val_loss"]] = np.nan
    texts(learning_curves(table))


def test_losses_over_orders_of_magnitude_are_on_a_logarithmic_axis() -> None:
    table = curves()
    assert learning_curves(table).axes[1].get_yscale() == "linear"
    table["val_loss"] = 0.001
    assert learning_curves(table).axes[1].get_yscale() == "log"
