"""A trained network for use without this project: Keras's own layers, pixels to probabilities."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Template

from cnn_ablations.analysis.evidence import interval, main_accuracy, measured
from cnn_ablations.analysis.run import Run, open_network
from cnn_ablations.analysis.wording import METRICS
from cnn_ablations.config.datasets import Dataset
from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, write_atomically
from cnn_ablations.prediction import Probabilities, kept_answers
from cnn_ablations.training.evaluation import BATCH
from cnn_ablations.training.record import origin, per_cent

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-5
"""Between probabilities after the training and those of the exported network."""
CARD = Path(__file__).with_name("model-card.md")


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
        if path.exists():
            raise ProjectError(f"{path} is already there; remove it, or give --to another name")
    model = standalone(open_network(run, seed), mirrored=run.variant.evaluate_mirrored)
    images = np.asarray(run.subsets["test"].images[:BATCH])
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=to.parent) as folder:
            building = Path(folder) / to.name
            found = _written_and_asked(model, building, images)
            difference = float(np.abs(found - kept_answers(run, seed)[:BATCH]).max())
            if not difference <= TOLERANCE:  # nor where it diverged, and it is NaN
                raise ProjectError(
                    f"{run.variant.name}: the exported network of seed {seed} differs by "
                    f"{difference:.2g} from the probabilities after its training, so it was not "
                    f"kept; `dvc repro train@{run.variant.name}` trains it anew if something "
                    "changed since, and --seed takes another"
                )
            write_atomically(beside, card(run, dataset, seed, to.name).encode())
            building.replace(to)
    except OSError as error:
        raise cannot_write(to, error) from None
    return beside, difference


def standalone(network: "keras.Model", *, mirrored: bool = False) -> "keras.Model":
    """The same network of Keras's own layers: uint8 images in, probabilities out.

    Gelu is Keras's, whose last bits may differ. `mirrored` takes the mean of the logits of an image
    and of its mirror image. Raises ProjectError where a layer is not Keras's.
    """
    import keras
    from keras import layers, ops

    from cnn_ablations.layers import BatchNormalization, Shortcut, gelu

    def is_augmentation(layer: Any) -> bool:
        return bool(layer.name == "augmentation")

    def standard(layer: Any) -> Any:
        if is_augmentation(layer) or isinstance(layer, BatchNormalization | Shortcut):
            return layer  # which is not called
        try:
            config = layer.get_config()
            if getattr(layer, "activation", None) is gelu:
                config["activation"] = "gelu"
            if type(layer).__module__.partition(".")[0] == "keras":
                return type(layer).from_config(config)
        except (TypeError, ValueError, NotImplementedError):
            pass  # a function that is not Keras's, within a layer that is
        raise ProjectError(
            f"{network.name}: plain Keras does not know all that its layer {layer.name} "
            f"({type(layer).__name__}) is made of, so the network cannot be exported"
        )

    def called(layer: Any, x: Any, *more: Any, **options: Any) -> Any:
        if is_augmentation(layer):
            return x
        if isinstance(layer, BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + np.float32(layer.epsilon))
            return layers.Rescaling(scale, beta - mean * scale, dtype="float32", name=layer.name)(x)
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


def card(run: Run, dataset: Dataset, seed: int, name: str) -> str:
    """What is to be known of an exported network, as Markdown, from what its training left."""
    metrics = dict.fromkeys([f"{main_accuracy([run.result])}_accuracy", "test_accuracy"])
    samples = {METRICS[metric]: measured(run.result, metric) for metric in metrics}
    text: str = Template(CARD.read_text(), keep_trailing_newline=True).render(
        run=run,
        dataset=dataset,
        seed=seed,
        name=name,
        origin=origin(run.variant),
        accuracies={
            metric: {
                "by_seed": dict(zip(of.seeds, map(per_cent, of.values), strict=True)),
                "median": per_cent(float(np.median(of.values))),
                "interval": map(per_cent, interval(of)),
            }
            for metric, of in samples.items()
        },
    )
    return text
