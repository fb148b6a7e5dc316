"""What a course notebook does, in plain Keras: `python -m benchmarks.plain OPTIONS`.

OPTIONS is JSON: `arrays`, a folder; `variants`, as `Variant.model_dump` gives them: what the
project trains; `images`, how many to train and to test on. Each training writes a line of JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def build(variant: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
    """The compiled network for images of a shape, ten classes."""
    from keras import Input, Sequential, layers, regularizers

    factors = variant["factors"]
    activation = factors["activation"]

    def each(name: str, depth: int) -> list[Any]:
        return factors[name] if isinstance(factors[name], list) else [factors[name]] * depth

    def penalty(kind: str) -> Any:
        l1, l2 = ((kind in factors[f"{name}_on"]) * factors[name] for name in ("l1", "l2"))
        return regularizers.L1L2(l1, l2) if l1 or l2 else None

    def regularise(dropout: float) -> None:
        if factors["batch_norm"]:
            model.add(layers.BatchNormalization())
        if dropout:
            model.add(layers.Dropout(dropout))

    model = Sequential([Input(shape)])
    depth = len(factors["filters"])
    names = ("filters", "kernel_size", "strides", "pooling", "conv_dropout")
    rows = zip(*(each(name, depth) for name in names), strict=True)
    for filters, size, strides, pool, dropout in rows:
        look = {"padding": factors["padding"], "activation": activation}
        model.add(layers.Conv2D(filters, size, strides, **look, kernel_regularizer=penalty("conv")))
        if pool > 1:
            model.add(layers.MaxPooling2D(pool))
        regularise(dropout)
    model.add(layers.Flatten())
    for width, dropout in zip(factors["dense"], each("dense_dropout", 10), strict=False):
        model.add(layers.Dense(width, activation, kernel_regularizer=penalty("dense")))
        regularise(dropout)
    model.add(layers.Dense(10, "softmax", dtype="float32", kernel_regularizer=penalty("output")))
    model.compile(variant["optimizer"], "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load(
    variant: Mapping[str, Any], folder: Path, train: int | None = None, test: int | None = None
) -> tuple[np.ndarray[Any, Any], ...]:
    """Images and labels to train on, to validate on and to test on, of the first so many."""
    images = min(variant["train_images"] or 10**9, train or 10**9)
    x, y = (np.load(folder / f"train_{kind}.npy")[:images] for kind in ("images", "labels"))
    x_test, y_test = (np.load(folder / f"test_{kind}.npy")[:test] for kind in ("images", "labels"))
    split = variant["split"]
    if split["method"] == "train_test_split":
        from sklearn.model_selection import train_test_split

        cut = partial(train_test_split, random_state=split["random_state"])
        x_train, x_rest, y_train, y_rest = cut(x, y, test_size=split["held_out"])
        x_test, x_val, y_test, y_val = cut(x_rest, y_rest, test_size=0.5)
    else:
        val = split["val"]
        boundary = int(len(x) * (1 - val)) if val < 1 else len(x) - int(val)
        x_train, x_val, y_train, y_val = x[:boundary], x[boundary:], y[:boundary], y[boundary:]
    if variant["pixels"] == "unit":
        largest = json.loads((folder / "meta.json").read_bytes())["pixel_max"]
        x_train, x_val, x_test = (x.astype("float32") / largest for x in (x_train, x_val, x_test))
    return x_train, y_train, x_val, y_val, x_test, y_test


def main(arrays: str, variants: list[dict[str, Any]], images: list[int | None]) -> None:
    import keras

    class EachEpoch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if "test" in variant["evaluate_each_epoch"]:
                self.model.evaluate(x_test, y_test, batch_size=batch, verbose=0)
            ends.append(time.monotonic())

    for variant in variants:
        keras.mixed_precision.set_global_policy(variant["precision"])
        x_train, y_train, x_val, y_val, x_test, y_test = load(variant, Path(arrays), *images)
        batch, epochs = variant["batch_size"], variant["epochs"]
        for seed in variant["seeds"]:
            keras.utils.set_random_seed(seed)
            model = build(variant, x_train.shape[1:])
            watched = {"validation_data": (x_val, y_val), "callbacks": [EachEpoch()], "verbose": 0}
            ends = [time.monotonic()]
            model.fit(x_train, y_train, batch_size=batch, epochs=epochs, **watched)
            model.evaluate(x_train, y_train, batch_size=batch, verbose=0)
            result = {
                "accuracy": model.evaluate(x_test, y_test, batch_size=batch, verbose=0)[1],
                "images": len(x_train),
                "epoch_seconds": np.diff(ends).tolist(),
                "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
