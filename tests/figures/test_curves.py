from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cnn_ablations.figures.curves import SERIES, iteration_curves, learning_curves

Texts = Callable[[Figure], list[str]]


def curves(
    seeds: int = 3, epochs: int = 4, keys: tuple[str, ...] = ("running_train", "val")
) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        for epoch in range(1, epochs + 1):
            row: dict[str, float] = {"seed": seed, "epoch": epoch}
            for key in keys:
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


def test_test_data_stand_beside_training_and_validation(texts: Texts) -> None:
    figure = learning_curves(curves(epochs=200, keys=("running_train", "val", "test")))
    medians = [line for line in figure.axes[0].lines if line.get_label() in SERIES.values()]
    assert [line.get_label() for line in medians] == [
        SERIES[key] for key in ("running_train", "val", "test")
    ]
    assert len({line.get_color() for line in medians}) == 3
    assert len({line.get_linestyle() for line in medians}) == 3
    few = learning_curves(curves()).axes[0].lines
    markers = {line.get_marker() for line in few if line.get_label() in SERIES.values()}
    assert len(markers) == 2
    assert SERIES["test"] in texts(figure)


def test_one_seed_is_one_line_and_many_epochs_have_no_markers(texts: Texts) -> None:
    figure = learning_curves(curves(seeds=1, epochs=30))
    assert [line.get_marker() for line in figure.axes[0].lines] == ["", ""]
    texts(figure)
    assert "of one seed. After 30 epochs" in str(figure.get_label())


def test_a_loss_that_explodes_does_not_squeeze_the_others(texts: Texts) -> None:
    table = curves()
    table.loc[0, "val_loss"] = 1e11
    figure = learning_curves(table)
    assert figure.axes[1].get_ylim()[1] < 10
    assert "1 point lies above" in texts(figure)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("loss", [1e11, np.inf, np.nan])
def test_one_seed_that_explodes_for_good_leaves_the_axis_to_the_others(
    texts: Texts, seeds: int, loss: float
) -> None:
    table = curves(seeds)
    table.loc[(table["seed"] == 0) & (table["epoch"] > 1), ["val_loss", "running_train_loss"]] = (
        loss
    )
    figure = learning_curves(table)
    assert figure.axes[1].get_ylim()[1] < 10
    assert [text for text in texts(figure) if "above" in text] == (
        ["6 points lie above"] if loss == 1e11 else []
    )


def test_an_explosion_of_the_only_seed_leaves_the_axis_to_its_other_epochs(texts: Texts) -> None:
    table = curves(seeds=1, epochs=9)
    table.loc[3, "val_loss"] = 1e11
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
    assert "no loss is finite" in texts(learning_curves(table))


def test_losses_over_orders_of_magnitude_are_on_a_logarithmic_axis() -> None:
    table = curves()
    assert learning_curves(table).axes[1].get_yscale() == "linear"
    table["val_loss"] = 0.001
    assert learning_curves(table).axes[1].get_yscale() == "log"


def iterations(epochs: int = 3, batches: int = 40) -> pd.DataFrame:
    steps = np.arange(epochs * batches)
    return pd.DataFrame(
        {
            "epoch": steps // batches + 1,
            "iteration": steps % batches + 1,
            "accuracy": 0.5 + 0.01 * (steps % 2),
            "loss": 2.0 + 0.5 * (steps % 3 - 1),
        }
    )


def test_every_batch_is_a_point_and_their_running_median_a_line(texts: Texts) -> None:
    table = iterations()
    figure = iteration_curves(table)
    accuracy, loss = figure.axes
    for axes, metric in ((accuracy, "accuracy"), (loss, "loss")):
        points, median = axes.lines[:2]
        np.testing.assert_array_equal(np.asarray(points.get_xdata()), np.arange(1, 121))
        np.testing.assert_array_equal(np.asarray(points.get_ydata()), table[metric])
        assert (points.get_linestyle(), median.get_marker()) == ("None", "None")
    inside = np.asarray(loss.lines[1].get_ydata())[2:-2]
    np.testing.assert_allclose(inside, 2.0)
    assert {
        *("one batch", "running median of 5 batches", "iteration (batch)"),
        *("epoch", "accuracy", "loss (nats)"),
    } <= set(texts(figure))


@pytest.mark.parametrize(("epochs", "marked"), [(3, [0, 1, 2, 3]), (30, [*range(0, 31, 3)])])
def test_epochs_are_marked_where_they_end(epochs: int, marked: list[int]) -> None:
    axes = iteration_curves(iterations(epochs)).axes[0]
    (top,) = axes.child_axes
    assert [label.get_text() for label in top.get_xticklabels()] == [f"{e}" for e in marked]
    assert top.get_xticks().tolist() == [40 * e for e in marked]
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.lines[2:]]
    assert lines == [[40 * e] * 2 for e in marked]


def test_batches_that_explode_or_are_no_number_do_not_squeeze_the_others(texts: Texts) -> None:
    table = iterations()
    table.loc[[10, 50], "loss"] = 1e9
    table.loc[70, "loss"] = np.inf
    table.loc[71, "loss"] = np.nan
    figure = iteration_curves(table)
    assert figure.axes[1].get_ylim()[1] < 4
    assert "2 points lie above" in texts(figure)
    table["loss"] = np.nan
    texts(iteration_curves(table))


def test_batch_losses_over_orders_of_magnitude_are_on_a_logarithmic_axis() -> None:
    table = iterations()
    assert iteration_curves(table).axes[1].get_yscale() == "linear"
    table.loc[60:, "loss"] /= 100
    assert iteration_curves(table).axes[1].get_yscale() == "log"
