from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.training.network import build_network

IMAGES = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1), np.uint8)


def network(tiny: Variant, **changes: Any) -> Any:
    variant = Variant.model_validate({**tiny.model_dump(), **changes})
    return build_network(variant, (8, 8, 1), 10, 16)


def scaled(keras: ModuleType, model: Any) -> Any:
    return np.asarray(keras.Model(model.inputs[0], model.get_layer("pixels").output)(IMAGES))


def test_pixels_are_scaled_as_the_protocol_asks(keras: ModuleType, tiny_variant: Variant) -> None:
    unit = scaled(keras, network(tiny_variant, pixels="unit"))
    raw = scaled(keras, network(tiny_variant, pixels="raw"))
    np.testing.assert_allclose(unit, IMAGES / np.float32(16))
    np.testing.assert_array_equal(raw, IMAGES)
    assert unit.dtype == raw.dtype == np.float32


def test_images_go_in_as_they_are_stored_and_logits_come_out(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant)
    assert model.inputs[0].dtype == "uint8"
    assert model.inputs[0].shape == (None, 8, 8, 1)
    logits = np.asarray(model(IMAGES))
    assert logits.shape == (4, 10)
    assert logits.dtype == np.float32
    assert not np.allclose(logits.sum(axis=1), 1)


def test_with_mixed_precision_layers_compute_in_it_and_logits_do_not(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant, precision="mixed_bfloat16", augmentation={"shift": 0.1})
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert model.get_layer("conv1").variable_dtype == "float32"
    assert model.get_layer("augmentation").compute_dtype == "float32"
    assert model.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_what_keras_cannot_build_is_one_sentence(keras: ModuleType, tiny_variant: Variant) -> None:
    factors = {**tiny_variant.factors, "padding": "valid", "kernel_size": 9}
    with pytest.raises(ProjectError, match=r"^tiny-net: its network cannot be built: .+$"):
        network(tiny_variant, factors=factors)
    assert keras.config.dtype_policy().name == "float32"


def test_a_name_may_begin_with_a_number(keras: ModuleType, tiny_variant: Variant) -> None:
    assert network(tiny_variant, name="2conv-none").name == "2conv_none"
