"""What the notebook `train` says of a training: sentences and tables. Pure functions."""

import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cnn_ablations.config.variants import Variant
from cnn_ablations.training.variant import Trained

SPLITS = {"train": "training", "val": "validation", "test": "test"}
EPOCHS = 12
"""About so many rows are in the table of epochs."""
_SERIES = {
    "running_train": "running training",
    "train": "training",
    "val": "validation",
    "test": "test",
}


def headline(variant: Variant, trained: Trained) -> str:
    """The result in a title and two paragraphs."""
    found = trained.metrics
    seeds, collapsed = len(trained.seeds), found["collapsed_seeds"]
    accuracies = [result.final["test_accuracy"] for result in trained.seeds]
    names = {"test_accuracy": "test accuracy", "test_balanced_accuracy": "balanced test accuracy"}
    first, *second = (f"{names[key]} **{per_cent(found[key])}**" for key in found if key in names)
    reached = first.capitalize() + "".join(f" ({text})" for text in second)
    if seeds == 1:
        sentence = f"{reached}, of a single seed{', which **collapsed**' if collapsed else ''}."
    else:
        failed = f"**{collapsed} of them collapsed**" if collapsed else "none of them collapsed"
        sentence = (
            f"{reached}, the median of {seeds} seeds, whose accuracies lie between "
            f"{per_cent(min(accuracies))} and {per_cent(max(accuracies))}; {failed}."
        )
    images = ", ".join(f"{count:,} {SPLITS[split]}" for split, count in trained.images.items())
    return f"# {variant.name}: training\n\n{sentence}\n\n{origin(variant)} Images: {images}."


def origin(variant: Variant) -> str:
    """A sentence that says how a variant differs from its protocol."""
    of = f"protocol **{variant.protocol}** on **{variant.dataset}**"
    values = variant.settings
    changes = ", ".join(f"`{key}: {_plain(values[key])}`" for key in variant.differences)
    return f"This is the {of}, but with {changes}." if changes else f"This is the {of}, unchanged."


def settings(variant: Variant) -> pd.DataFrame:
    """The value of each key; a ● marks those that the variant sets otherwise than its protocol."""
    values = variant.settings
    return pd.DataFrame(
        {
            "value": [_plain(value) for value in values.values()],
            "": ["●" if key in variant.differences else "" for key in values],
        },
        index=pd.Index(values, name="key"),
    )


def seeds(trained: Trained) -> pd.DataFrame:
    """Accuracies and losses after training of each seed, and below the medians."""
    splits = [split for split in ("test", "val", "train") if split in trained.images]
    names = [*(f"{s}_accuracy" for s in splits), *(f"{s}_loss" for s in splits), "penalty"]
    rows = {str(result.seed): _row(result.final, names) for result in trained.seeds}
    for row, collapsed in zip(rows.values(), trained.predictions["collapsed"], strict=True):
        row[""] = "collapsed" if collapsed else ""
    if len(rows) > 1:
        rows["median"] = _row(trained.metrics | trained.details, names) | {"": ""}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("seed")
    return table.rename(columns=_readable)


def epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """The median over the seeds in some epochs, the first and the last among them.

    `curves` are those of `summary.curves`. A value that is not a number counts as infinite.
    """
    medians = curves.fillna(np.inf).drop(columns="seed").groupby("epoch").median()
    step = -(-len(medians) // EPOCHS)
    shown = medians[(medians.index % step == 0) | np.isin(medians.index, [1, medians.index.max()])]
    table = {str(name): map(_format_of(str(name)), shown[name]) for name in shown}
    return pd.DataFrame(table, index=shown.index).rename(columns=_readable)


def layers(trained: Trained) -> pd.DataFrame:
    """Kind, size and cost of each layer, and the whole network's cost below."""
    fixed = trained.details["non_trainable_parameters"]
    table = pd.DataFrame(
        {
            "kind": [layer.kind for layer in trained.layers],
            "output": [" × ".join(map(str, layer.output_shape)) for layer in trained.layers],
            "parameters": [f"{layer.parameters:,}" for layer in trained.layers],
            "FLOPs": [f"{layer.flops:,}" for layer in trained.layers],
        },
        index=pd.Index([layer.name for layer in trained.layers], name="layer"),
    )
    parameters = f"{trained.metrics['parameters']:,}" + (f" ({fixed:,} fixed)" if fixed else "")
    table.loc["total"] = ["", "", parameters, f"{trained.metrics['flops']:,}"]
    return table


def per_cent(fraction: float | None) -> str:
    """A fraction 0..1 for people, with two decimals; a dash where there is none."""
    return f"{100 * fraction:.2f} %" if fraction is not None and math.isfinite(fraction) else "–"


def number(value: float | None) -> str:
    """A loss for people: four digits, or ∞ where it is no number, as a loss that explodes ends."""
    return f"{value:.4g}" if value is not None and math.isfinite(value) else "∞"


def _row(values: Mapping[str, float | None], names: Sequence[str]) -> dict[str, str]:
    return {name: _format_of(name)(values.get(name)) for name in names}


def _format_of(name: str) -> Callable[[float | None], str]:
    return per_cent if name.endswith("accuracy") else number


def _readable(name: str) -> str:
    split, _, metric = name.rpartition("_")
    return f"{_SERIES[split]} {metric}" if split in _SERIES else name


def _plain(value: object) -> str:
    return json.dumps(value).replace('"', "")
