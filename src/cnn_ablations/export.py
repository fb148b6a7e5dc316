"""A trained network for use without this project: Keras's own layers, pixels to probabilities."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.run import Run, accuracies, open_network
from cnn_ablations.analysis.statistics import Sample, contrast, within_0_and_1
from cnn_ablations.config.datasets import Dataset
from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, remove, write_atomically
from cnn_ablations.prediction import Probabilities, kept_probabilities
from cnn_ablations.training.evaluation import BATCH
from cnn_ablations.training.record import origin, per_cent

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-5
"""Between probabilities after the training and those of the exported network."""
DARK = 0.25
"""The share of black pixels from which images are said to be light on black."""


def export(run: Run, dataset: Dataset, seed: int, to: Path) -> tuple[Path, float]:
    """Write the network of one seed as `to`, and a model card beside it.

    It is read back, and asked the first test images.

    Args:
        run: whose network.
        dataset: that it was trained on.
        seed: one of the variant's.
        to: a file that ends in .keras, or a folder for TensorFlow's SavedModel.

    Returns:
        The card's place, and the largest difference of a probability from those after the training.

    Raises:
        ProjectError: where `to` is there already or is neither, the network has a layer that Keras
            does not know, answers otherwise once it is read back, or something cannot be written.
    """
    if not to.name or to.suffix not in ("", ".keras"):
        raise ProjectError(f"--to {to}: name a file that ends in .keras, or a folder without a dot")
    beside = to.with_name(f"{to.stem}.md")
    for path in (to, beside):
        if path.exists() or path.is_symlink():
            raise ProjectError(f"{path} is already there; remove it, or give --to another name")
    model = standalone(open_network(run, seed), mirrored=run.variant.evaluate_mirrored)
    kept = kept_probabilities(run, seed)[:BATCH]
    if not np.isfinite(kept).all():
        raise ProjectError(
            f"{run.variant.name}: the network of seed {seed} diverged, so there is nothing to "
            "export; name another with --seed"
        )
    images = np.asarray(run.subsets["test"].images[:BATCH])
    building = to.with_name(f".{to.stem}.tmp")
    try:
        remove(building)
        building.mkdir(parents=True)
        found = _written_and_asked(model, building / to.name, images)
        difference = float(np.abs(found - kept).max())
        if not difference <= TOLERANCE:  # nor where it is NaN
            raise ProjectError(
                f"{run.variant.name}: the exported network of seed {seed} differs by "
                f"{difference:.2g} from the probabilities after its training, so it was not kept; "
                f"`dvc repro train@{run.variant.name}` trains it anew if something changed since"
            )
        write_atomically(beside, card(run, dataset, seed, to.name, difference).encode())
        (building / to.name).replace(to)
    except OSError as error:
        raise cannot_write(to, error) from None
    finally:
        with suppress(OSError):
            remove(building)
    return beside, difference


def standalone(network: "keras.Model", *, mirrored: bool = False) -> "keras.Model":
    """The same network of Keras's own layers: uint8 images in, probabilities out.

    Batch normalisation is Keras's, whose last bits may differ. `mirrored` takes the mean of the
    logits of an image and of its mirror image. Raises ProjectError where a layer is not Keras's.
    """
    import keras
    from keras import layers, ops

    from cnn_ablations.layers import BatchNormalization, Shortcut, gelu

    def is_augmentation(layer: Any) -> bool:
        return bool(layer.name == "augmentation")

    def standard(layer: Any) -> Any:
        if is_augmentation(layer) or isinstance(layer, Shortcut):
            return layer  # which is not called
        kind = layers.BatchNormalization if isinstance(layer, BatchNormalization) else type(layer)
        try:
            config = layer.get_config()
            if getattr(layer, "activation", None) is gelu:
                config["activation"] = "gelu"
            if kind.__module__.partition(".")[0] == "keras":
                return kind.from_config(config)
        except (TypeError, ValueError, NotImplementedError):
            pass  # a function that is not Keras's, within a layer that is
        raise ProjectError(
            f"{network.name}: plain Keras does not know all that its layer {layer.name} "
            f"({kind.__name__}) is made of, so the network cannot be exported"
        )

    def called(layer: Any, x: Any, *more: Any, **options: Any) -> Any:
        if is_augmentation(layer):
            return x
        if isinstance(layer, Shortcut):
            missing = layer.channels - x.shape[-1]
            around = ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2))
            return ops.pad(layers.MaxPooling2D(1, 2, name=layer.name)(x), around)
        return layer(x, *more, **options)

    copy = keras.models.clone_model(network, clone_function=standard, call_function=called)
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    logits = copy.output
    if mirrored:
        logits = layers.Average(dtype="float64")([logits, copy(ops.flip(copy.input, 2))])
    # In float64 as in `evaluate`, so that no bit gets lost.
    x = layers.Softmax(dtype="float64", name="softmax")(logits)
    x = layers.Activation("linear", dtype="float32", name="probabilities")(x)
    return keras.Model(copy.input, x, name=network.name)


def _written_and_asked(model: "keras.Model", path: Path, images: UInt8s) -> Probabilities:
    """What a network says to images after it was written and read back, as others would do it."""
    import keras
    import tensorflow as tf

    if path.suffix:
        model.save(path)
        found = keras.models.load_model(path).predict_on_batch(images)
    else:
        model.export(path, verbose=False)
        opened = tf.saved_model.load(path)
        found = opened.serve(images)
    return np.asarray(found, np.float32)


def card(run: Run, dataset: Dataset, seed: int, name: str, difference: float) -> str:
    """What is to be known of an exported network, as Markdown, from what its training left."""
    result, arrays = run.result, run.arrays
    of_seeds = accuracies(result)["test"]
    tests = len(result.labels["test"])
    shape = ", ".join(map(str, arrays.image_shape))
    dark = float((run.subsets["test"].images[:BATCH] == 0).mean())
    own = per_cent(float(of_seeds[run.variant.seeds.index(seed)]))
    seeds = ", ".join(
        f"{k}: {per_cent(float(a))}" for k, a in zip(result.seeds, of_seeds, strict=True)
    )
    rows = {
        "trained on": f"{len(run.subsets['train'].labels):,} images of {dataset.title} "
        f"({dataset.citation})",
        "input": f"uint8, (images, {shape}), pixels of 0..{arrays.pixel_max} as they are: the "
        "network scales them",
        "output": f"float32, (images, {len(arrays.classes)}): a probability for each class",
        "test accuracy": f"{own} of {tests:,} test images",
        "its variant": _of_the_variant(result),
        "by seed": f"{seeds}; this is seed {seed}",
    }
    table = "\n".join(f"| {key} | {text} |" for key, text in rows.items())
    light = (
        f"{dark:.0%} of the pixels of the test images are black: they show something light on "
        "black. A picture of dark ink on white paper must be inverted first; nothing does that.\n\n"
    )
    opened = (
        f'network = keras.models.load_model("{name}")\nprobabilities = network.predict(images)'
        if name.endswith(".keras")
        else f'network = tf.saved_model.load("{name}")\nprobabilities = network.serve(images)'
    )
    module = "keras" if name.endswith(".keras") else "tensorflow as tf"
    classes = "\n".join(f"- {label}: {text}" for label, text in enumerate(arrays.classes))
    return f"""\
# {run.variant.name}, seed {seed}

A convolutional network that takes an image for one of {len(arrays.classes)} classes. \
{origin(run.variant)} cnn-ablations trained and exported it.

| | |
| --- | --- |
{table}

{light if dark > DARK else ""}```python
import {module}

{opened}
```

On {min(tests, BATCH):,} test images its probabilities differ by at most {difference:.1g} from \
those after the training.

## What it must not be used for

It was trained to compare designs of networks, not to be relied on. Do not let it decide about
people, or where a mistake does harm. It always names one of its classes, also for a picture that
shows none of them, and may be very sure of it. Its accuracy is that on images like those it was
trained on: other cameras, other sizes or other handwriting can make it much lower.

## Classes

{classes}
"""


def _of_the_variant(result: VariantResult) -> str:
    """The median accuracy of all seeds and its interval, as tables of studies have them."""
    right = result.correct("test")
    sample = Sample(result.seeds, right.mean(axis=1), result.collapsed, {"test": right})
    bounds = contrast([(1.0, sample)]).interval(0.025) or (0.0, 1.0)
    low, high = map(per_cent, within_0_and_1(bounds))
    over = "other seeds and other images" if len(result.seeds) > 1 else "other images"
    gone = int(result.collapsed.sum())
    return (
        f"median {per_cent(result.metrics['test_accuracy'])}, 95 % interval {low} to {high} over "
        f"{over}{f'; {gone} of {len(result.seeds)} seeds collapsed' if gone else ''}"
    )
