"""The same trainings as a course notebook has them: plain Keras, and nothing else.

`python -m benchmarks.plain VARIANT ARRAYS --seeds 0 1` trains, evaluates and ends with a line of
JSON. Networks and protocols are those of params.yaml, written out once more by hand; a test holds
the two against each other.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.gate import Gate, peak_memory_mb

if TYPE_CHECKING:
    import keras

Network = Callable[[], "keras.Sequential"]


def quickstart() -> "keras.Sequential":
    from keras import Input, Sequential
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(16, 3, padding="same", activation="relu"),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(64, activation="relu"),
            Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def r1_mnist() -> "keras.Sequential":
    from keras import Input, Sequential
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, padding="same", activation="relu"),
            Flatten(),
            Dense(64, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def r1_cifar10(strides: int) -> "keras.Sequential":
    from keras import Input, Sequential
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    return Sequential(
        [
            Input((32, 32, 3)),
            Conv2D(64, 5, strides, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 5, strides, padding="same", activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(384, activation="relu"),
            Dropout(0.2),
            Dense(192, activation="relu"),
            Dropout(0.2),
            Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def r2(convolutions: int, regularisation: str) -> Network:
    def build() -> "keras.Sequential":
        from keras import Input, Sequential, regularizers
        from keras.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D

        def regularise() -> None:
            if regularisation == "dropout":
                model.add(Dropout(0.1))
            if regularisation == "batchnorm":
                model.add(BatchNormalization())

        penalty = regularizers.L2(0.01) if regularisation == "l2" else None
        model = Sequential([Input((28, 28, 1))])
        for _ in range(convolutions):
            model.add(Conv2D(16, 3, activation="relu", kernel_regularizer=penalty))
            model.add(MaxPooling2D())
            regularise()
        model.add(Flatten())
        model.add(Dense(80, activation="relu"))
        regularise()
        model.add(Dense(10, activation="softmax", dtype="float32"))
        return model

    return build


def r4_maxpool() -> "keras.Sequential":
    from keras import Input, Sequential, regularizers
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    return Sequential(
        [
            Input((32, 32, 3)),
            Conv2D(16, 3, padding="same", activation="relu"),
            Conv2D(16, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(32, 3, padding="same", activation="relu"),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Dropout(0.5),
            Flatten(),
            Dense(
                10, activation="softmax", dtype="float32", kernel_regularizer=regularizers.L1(1e-4)
            ),
        ]
    )


class Recipe(NamedTuple):
    """How a notebook trains a network."""

    network: Network
    val: float | None
    """The last of the training images, a fraction; None: R2's split at random."""
    batch: int
    epochs: int
    optimizer: str = "adam"
    largest_pixel: int = 1
    """What pixels are divided by."""
    images: int | None = None
    """Only the first so many."""
    test_each_epoch: bool = False
    retrain: bool = False
    """Train on the validation images, too."""


R1_CIFAR10 = Recipe(partial(r1_cifar10, 3), val=0.1, batch=500, epochs=200, test_each_epoch=True)
R2 = Recipe(r2(1, "none"), val=None, batch=100, epochs=5, optimizer="sgd")
RECIPES = {
    "quickstart-none": Recipe(quickstart, val=0.2, batch=32, epochs=20, largest_pixel=16),
    "r1-mnist-base": Recipe(
        r1_mnist, val=1 / 12, batch=5000, epochs=100, largest_pixel=255, test_each_epoch=True
    ),
    "r1-cifar10-base": R1_CIFAR10,
    "r1-cifar10-stride1": R1_CIFAR10._replace(network=partial(r1_cifar10, 1)),
    "r4-maxpool": Recipe(r4_maxpool, val=0.1, batch=128, epochs=20, largest_pixel=255, images=5000),
    **{
        f"r2-{depth}conv-{kind}": R2._replace(network=r2(depth, kind))
        for depth in (1, 2)
        for kind in ("none", "l2", "dropout", "batchnorm")
    },
    **{
        f"r2-{depth}conv-batchnorm-retrained": R2._replace(
            network=r2(depth, "batchnorm"), retrain=True
        )
        for depth in (1, 2)
    },
}


def load(recipe: Recipe, folder: Path) -> tuple[np.ndarray[Any, Any], ...]:
    """Images and one-hot labels to train on, to validate on and to test on."""
    x, x_test = (np.load(folder / f"{part}_images.npy") for part in ("train", "test"))
    y, y_test = (np.load(folder / f"{part}_labels.npy") for part in ("train", "test"))
    x, y = x[: recipe.images], y[: recipe.images]
    if recipe.val is None:
        from sklearn.model_selection import train_test_split

        x_train, x_rest, y_train, y_rest = train_test_split(x, y, test_size=0.3, random_state=123)
        x_test, x_val, y_test, y_val = train_test_split(
            x_rest, y_rest, test_size=0.5, random_state=123
        )
        if recipe.retrain:
            x_train, y_train = np.concatenate([x_train, x_val]), np.concatenate([y_train, y_val])
    else:
        boundary = int(len(x) * (1 - recipe.val))
        x_train, x_val, y_train, y_val = x[:boundary], x[boundary:], y[:boundary], y[boundary:]
    if recipe.largest_pixel > 1:
        x_train, x_val, x_test = (
            part.astype("float32") / recipe.largest_pixel for part in (x_train, x_val, x_test)
        )
    one_hot = np.eye(10, dtype="float32")
    return x_train, one_hot[y_train], x_val, one_hot[y_val], x_test, one_hot[y_test]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=RECIPES)
    parser.add_argument("arrays", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="other than the report's")
    parser.add_argument("--threads", type=int, default=0, help="0: TensorFlow's default")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--gate", action="store_true", help="wait after each epoch")
    options = parser.parse_args()

    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.mixed_precision.set_global_policy(options.precision)
    gate = Gate() if options.gate else None

    class EachEpoch(keras.callbacks.Callback):  # type: ignore[misc]
        """R1's accuracy on test data, and the gate."""

        def on_test_begin(self, logs: Any = None) -> None:
            self.test_began = time.monotonic()

        def on_test_end(self, logs: Any = None) -> None:
            if gate:
                gate.spend("evaluate", time.monotonic() - self.test_began)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if recipe.test_each_epoch:
                self.on_test_begin()
                self.model.evaluate(x_test, y_test, batch_size=recipe.batch, verbose=0)
                self.on_test_end()
            if gate:
                gate()

    recipe = RECIPES[options.variant]
    x_train, y_train, x_val, y_val, x_test, y_test = load(recipe, options.arrays)
    trained, fit_seconds = [], 0.0
    for seed in options.seeds:
        keras.utils.set_random_seed(seed)
        model = recipe.network()
        model.compile(
            optimizer=recipe.optimizer, loss="categorical_crossentropy", metrics=["accuracy"]
        )
        began = time.monotonic()
        model.fit(
            x_train,
            y_train,
            batch_size=recipe.batch,
            epochs=10**6 if gate else options.epochs or recipe.epochs,
            validation_data=None if recipe.retrain else (x_val, y_val),
            callbacks=[EachEpoch()],
            verbose=0,
        )
        fit_seconds += time.monotonic() - began
        splits = {"train": (x_train, y_train), "test": (x_test, y_test)}
        if not recipe.retrain:
            splits["val"] = (x_val, y_val)
        trained.append(
            {
                split: model.evaluate(*data, batch_size=recipe.batch, verbose=0)[1]
                for split, data in splits.items()
            }
        )
    print(
        json.dumps(
            {
                "accuracies": trained,
                "fit_seconds": fit_seconds,
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main()
