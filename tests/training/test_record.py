import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cnn_ablations.config.variants import Variant
from cnn_ablations.paths import Paths
from cnn_ablations.training import record
from cnn_ablations.training.cost import LayerCost
from cnn_ablations.training.summary import Numbers, SeedResult
from cnn_ablations.training.variant import Trained

LAYERS = [
    LayerCost("conv1", "Conv2D", (8, 8, 4), 40, 0, 4608),
    LayerCost("conv1_norm", "BatchNormalization", (8, 8, 4), 16, 8, 0),
]


def trained(*accuracies: float, collapsed: int = 0, loss: float = 0.25) -> Trained:
    """A training without validation; the first seeds collapsed, the last one has this loss."""
    count = len(accuracies)
    curves = pd.DataFrame(
        [
            {"seed": seed, "epoch": epoch, "running_train_accuracy": 0.5, "running_train_loss": 0.5}
            for seed in range(count)
            for epoch in range(1, 31)
        ]
    )
    final = {"penalty": 0.0, "train_accuracy": 0.9, "train_loss": 0.5}
    seeds = [
        SeedResult(seed, final | {"test_accuracy": accuracy, "test_loss": 0.25}, curves, {})
        for seed, accuracy in enumerate(accuracies)
    ]
    seeds[-1].final["test_loss"] = loss
    return Trained(
        images={"train": 1200, "test": 100},
        layers=LAYERS,
        seeds=seeds,
        metrics={
            "test_accuracy": float(np.median(accuracies)),
            "train_accuracy": 0.9,
            "test_loss": 0.25,
            "seeds": count,
            "collapsed_seeds": collapsed,
            "parameters": 56,
            "flops": 4608,
        },
        details={"train_loss": 0.5, "penalty": 0.0, "non_trainable_parameters": 8},
        curves=curves,
        predictions={"collapsed": np.arange(count) < collapsed},
        weights=pd.DataFrame(),
        features=pd.DataFrame(),
    )


def row(table: pd.DataFrame, name: str) -> list[Any]:
    return [table.at[name, column] for column in table]


def test_the_headline_is_the_result_and_what_is_different(tiny_variant: Variant) -> None:
    title, result, origin = record.headline(tiny_variant, trained(0.9, 0.8, 0.95)).split("\n\n")
    assert title == "# tiny-net: training"
    assert result == (
        "Test accuracy **90.00 %**, the median of 3 seeds, whose accuracies lie between 80.00 % "
        "and 95.00 %; none of them collapsed."
    )
    assert origin.startswith("This is the protocol **tiny** on **digits**, but with `conv_dropout:")
    assert "`learning_rate: {peak: 0.01, decay: cosine}`, `augmentation: {mirror: random," in origin
    assert origin.endswith(" Images: 1,200 training, 100 test.")


def test_the_headline_tells_collapse_balance_and_a_single_seed(tiny_variant: Variant) -> None:
    assert "**1 of them collapsed**" in record.headline(
        tiny_variant, trained(0.1, 0.9, collapsed=1)
    )
    alone = trained(0.1, collapsed=1)
    alone.metrics["test_balanced_accuracy"] = 0.2
    text = record.headline(tiny_variant, alone)
    assert "Test accuracy **10.00 %** (balanced test accuracy **20.00 %**), of a single" in text
    unequal: Numbers = {"test_balanced_accuracy": 0.2, "test_accuracy": 0.1, "collapsed_seeds": 0}
    text = record.headline(tiny_variant, dataclasses.replace(alone, metrics=unequal))
    assert "Balanced test accuracy **20.00 %** (test accuracy **10.00 %**), of a single" in text


def test_a_variant_like_its_protocol_says_so(tiny_variant: Variant) -> None:
    plain = tiny_variant.model_copy(update={"differences": []})
    assert record.origin(plain) == "This is the protocol **tiny** on **digits**, unchanged."


def test_settings_mark_what_is_different(tiny_variant: Variant) -> None:
    table = record.settings(tiny_variant)
    assert row(table, "batch_norm") == ["true", "●"]
    assert row(table, "epochs") == ["3", ""]
    assert table[""].value_counts()["●"] == len(tiny_variant.differences)


def test_every_seed_has_a_row_and_the_median_is_last() -> None:
    table = record.seeds(trained(0.1, 0.9, collapsed=1))
    assert list(table) == [
        *("test accuracy", "training accuracy", "test loss", "training loss", "penalty", "")
    ]
    assert table.index.tolist() == ["0", "1", "median"]
    assert row(table, "0") == ["10.00 %", "90.00 %", "0.25", "0.5", "0", "collapsed"]
    assert row(table, "median") == ["50.00 %", "90.00 %", "0.25", "0.5", "0", ""]
    assert record.seeds(trained(0.9)).index.tolist() == ["0"]


@pytest.mark.parametrize(("loss", "shown"), [(1e11, "1e+11"), (np.inf, "∞"), (np.nan, "∞")])
def test_a_seed_that_explodes_spoils_no_table(loss: float, shown: str) -> None:
    exploded = trained(0.9, 0.8, 0.1, loss=loss)
    assert record.seeds(exploded)["test loss"].tolist() == ["0.25", "0.25", shown, "0.25"]
    curves = exploded.curves
    curves.loc[curves["seed"] == 2, "running_train_loss"] = loss
    assert set(record.epochs(curves)["running training loss"]) == {"0.5"}
    curves.loc[curves["seed"] == 1, "running_train_loss"] = loss
    assert set(record.epochs(curves)["running training loss"]) == {shown}


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (12, 12), (13, 8), (30, 11), (200, 13)])
def test_epochs_are_about_a_dozen_with_the_first_and_the_last(count: int, rows: int) -> None:
    curves = trained(0.9).curves.iloc[[0] * count].assign(epoch=range(1, count + 1))
    table = record.epochs(curves)
    assert table.index[[0, -1]].tolist() == [1, count]
    assert len(table) == rows


def test_layers_end_with_the_whole_network() -> None:
    table = record.layers(trained(0.9))
    assert row(table, "conv1") == ["Conv2D", "8 × 8 × 4", "40", "4,608"]
    assert row(table, "total") == ["", "", "56 (8 fixed)", "4,608"]
    without = replace(trained(0.9), details={"non_trainable_parameters": 0})
    assert record.layers(without).loc["total", "parameters"] == "56"


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_notebook_keeps_results_only_where_the_pipeline_executes_it(
    project: Paths,
    checkout: Paths,
    tiny_variant: Variant,
    run_cells: Any,
    monkeypatch: pytest.MonkeyPatch,
    by_hand: bool,
) -> None:
    asked: list[Any] = []

    def train_variant(variant: Variant, paths: Paths, *, keep: bool) -> Trained:
        asked.append((variant.name, paths.root, keep))
        return trained(0.9, 0.8)

    monkeypatch.setattr("cnn_ablations.training.variant.train_variant", train_variant)
    monkeypatch.chdir(project.root)
    given = "tiny-net" if by_hand else tiny_variant.model_dump()
    with pd.option_context("display.max_colwidth", None):
        run_cells(checkout.template("train"), variant=given)
    assert asked == [("tiny-net", project.root, not by_hand)]
