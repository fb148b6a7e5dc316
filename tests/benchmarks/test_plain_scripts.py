"""The plain scripts train what the pipeline trains."""

from types import ModuleType

import numpy as np
import pytest

from benchmarks.parts import SAMPLES, STUDY, sample
from benchmarks.plain import build, load
from cnn_ablations.config.params import Params
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.data.splits import last_split, split_arrays
from cnn_ablations.paths import Paths


@pytest.mark.parametrize("name", [*SAMPLES, *STUDY])
def test_a_script_has_the_network_of_the_variant(
    name: str, real_params: Params, keras: ModuleType
) -> None:
    from cnn_ablations.training.network import build_network

    variant = real_params.variant(name)
    shape = tuple(real_params.dataset(variant.dataset).image_shape)
    ours = build_network(variant, shape, 10, pixel_max=1)
    plain = build(variant.model_dump(mode="json"), shape)
    layers = [layer for layer in ours.layers[2:] if type(layer) is not keras.layers.InputLayer]
    for look in (
        lambda layer: type(layer).__name__,
        lambda layer: layer.output.shape,
        lambda layer: getattr(layer, "rate", None),
        lambda layer: [w.shape for w in layer.weights],
        lambda layer: len(layer.losses),
    ):
        assert list(map(look, plain.layers)) == list(map(look, layers))


@pytest.mark.parametrize("name", ["quickstart-none", "r2-1conv-none"])
def test_a_script_trains_on_the_same_images(name: str, real_params: Params, project: Paths) -> None:
    folder = project.arrays("digits")
    variant = real_params.variant(name)
    subsets = split_arrays(load_arrays(folder), variant)
    x_train, y_train, x_val, _, x_test, _ = load(variant.model_dump(mode="json"), folder)
    scale = 16 if variant.pixels == "unit" else 1
    np.testing.assert_array_equal(x_train * scale, subsets["train"].images[:])
    np.testing.assert_array_equal(y_train, subsets["train"].labels)
    np.testing.assert_array_equal(x_val * scale, subsets["val"].images[:])
    np.testing.assert_array_equal(x_test * scale, subsets["test"].images[:])


@pytest.mark.parametrize("name", ["r1-mnist-base", "r1-cifar10-stride1"])
def test_a_sample_is_of_whole_batches(name: str, real_params: Params) -> None:
    variant = real_params.variant(name)
    split = sample(variant).split
    assert split.method == "last"
    images = len(last_split(SAMPLES[name][0], split.val)[0])
    assert images % variant.batch_size == 0
    if variant.split != split:
        assert split.val * 60_000 == variant.split.val  # type: ignore[union-attr]
