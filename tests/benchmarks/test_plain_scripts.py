"""The plain scripts train what the pipeline trains."""

import math
from types import ModuleType

import numpy as np
import pytest

from benchmarks.plain import RECIPES, load
from benchmarks.throughput import SAMPLES
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import LastSplit
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.paths import Paths


@pytest.mark.parametrize("name", RECIPES)
def test_a_script_has_the_network_of_the_variant(
    name: str, real_params: Params, keras: ModuleType
) -> None:
    from cnn_ablations.training.network import build_network

    variant = real_params.variant(name)
    shape = real_params.dataset(variant.dataset).image_shape
    ours = build_network(variant, shape, 10, pixel_max=1)
    plain = RECIPES[name].network()
    layers = [layer for layer in ours.layers[2:] if type(layer) is not keras.layers.InputLayer]
    assert [type(layer).__name__ for layer in plain.layers] == [
        type(layer).__name__ for layer in layers
    ]
    assert [layer.output.shape for layer in plain.layers] == [
        layer.output.shape for layer in layers
    ]
    assert len(plain.losses) == len(ours.losses)
    rates = [
        [layer.rate for layer in model.layers if hasattr(layer, "rate")] for model in (ours, plain)
    ]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_script_has_the_protocol_of_the_variant(name: str, real_params: Params) -> None:
    variant, recipe = real_params.variant(name), RECIPES[name]
    images = 60_000 if "mnist" in variant.dataset else 50_000
    assert recipe.batch == variant.batch_size
    assert recipe.epochs == variant.epochs
    assert recipe.optimizer == variant.optimizer
    assert recipe.images == variant.train_images
    assert recipe.retrain == (variant.train_on == "train+val")
    assert recipe.test_each_epoch == ("test" in variant.evaluate_each_epoch)
    assert (recipe.largest_pixel > 1) == (variant.pixels == "unit")
    if isinstance(variant.split, LastSplit):
        val = variant.split.val
        assert recipe.val == pytest.approx(val if val < 1 else val / images)
    else:
        assert recipe.val is None


def test_a_script_trains_on_the_same_images(real_params: Params, project: Paths) -> None:
    from cnn_ablations.data.arrays import load_arrays

    arrays = load_arrays(project.arrays("digits"))
    variant = real_params.variant("r2-1conv-none")
    subsets = split_arrays(arrays, variant)
    x_train, y_train, x_val, _, x_test, _ = load(RECIPES[variant.name], project.arrays("digits"))
    np.testing.assert_array_equal(x_train, subsets["train"].images[:])
    np.testing.assert_array_equal(y_train.argmax(axis=1), subsets["train"].labels)
    np.testing.assert_array_equal(x_val, subsets["val"].images[:])
    np.testing.assert_array_equal(x_test, subsets["test"].images[:])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.variant)
def test_a_sample_is_of_whole_batches(sample: object, real_params: Params) -> None:
    from benchmarks.product import resized
    from benchmarks.throughput import Sample
    from cnn_ablations.scheduling.prediction import training_images

    assert isinstance(sample, Sample)
    variant = real_params.variant(sample.variant)
    images = training_images(resized(variant), sample.train_images)
    # As many batches as full ones, but for what a whole epoch of the protocol leaves over.
    if RECIPES[sample.variant].test_each_epoch:
        assert images % variant.batch_size == 0
        assert RECIPES[sample.variant].val is not None
    plain = int(
        min(sample.train_images, variant.train_images or math.inf)
        * (1 - (RECIPES[sample.variant].val or 0.3))
    )
    assert images == plain
