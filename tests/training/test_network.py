from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.variants import Augmentation, Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.training.network import augmentation_layers, build_network, compile_network

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


ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "rotation": {"rotation": 45.0},
    "shift": {"shift": 0.4},
    "shear": {"shear": 40.0},
    "zoom": {"zoom": 0.5},
    "flip": {"horizontal_flip": True},
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_augmentation_changes_images_while_training_only(
    keras: ModuleType, tiny_variant: Variant, name: str
) -> None:
    model = network(tiny_variant, augmentation=ONE_OF_EACH[name])
    augmented = keras.Model(model.inputs[0], model.get_layer(name).output)
    many = np.repeat(IMAGES[:1], 16, axis=0)
    unchanged = many / np.float32(16)
    np.testing.assert_allclose(np.asarray(augmented(many, training=False)), unchanged)
    changed = np.asarray(augmented(many, training=True))
    assert len(np.unique(changed.round(4), axis=0)) > 1  # each image in its own way

    blank = np.full_like(many, 16)  # stays so where edges are repeated
    np.testing.assert_allclose(np.asarray(augmented(blank, training=True)), 1, rtol=1e-5)


def test_augmentations_come_in_the_order_of_imagedatagenerator(keras: ModuleType) -> None:
    merged: dict[str, Any] = {k: v for one in ONE_OF_EACH.values() for k, v in one.items()}
    layers = augmentation_layers(Augmentation(**merged))
    assert [layer.name for layer in layers] == list(ONE_OF_EACH)
    assert augmentation_layers(Augmentation()) == []


def test_angles_are_degrees_either_way(keras: ModuleType) -> None:
    (rotation,) = augmentation_layers(Augmentation(rotation=90.0))
    assert tuple(rotation.get_config()["factor"]) == (-0.25, 0.25)  # of a full turn
    (shear,) = augmentation_layers(Augmentation(shear=45.0))
    assert shear.x_factor[1] == pytest.approx(1.0)


@pytest.mark.parametrize(("optimizer", "name"), [("sgd", "SGD"), ("adam", "Adam")])
def test_it_learns_by_the_variant_s_optimiser(
    keras: ModuleType, tiny_variant: Variant, optimizer: str, name: str
) -> None:
    changes = {"optimizer": optimizer, "learning_rate": 0.125}
    variant = Variant.model_validate({**tiny_variant.model_dump(), **changes})
    model = build_network(variant, (8, 8, 1), 10, 16)
    compile_network(model, variant, 240)
    assert type(model.optimizer).__name__ == name
    assert float(model.optimizer.learning_rate) == 0.125


def test_a_cosine_takes_the_learning_rate_to_0_over_all_batches(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    changes = {"learning_rate": {"cosine": 0.125}, "epochs": 3, "batch_size": 32}
    variant = Variant.model_validate({**tiny_variant.model_dump(), **changes})
    model = build_network(variant, (8, 8, 1), 10, 16)
    compile_network(model, variant, 100)  # four batches an epoch, the last a small one
    rates = []
    for batches in (0, 4, 6, 12):
        model.optimizer.iterations.assign(batches)
        rates.append(float(model.optimizer.learning_rate))
    assert rates == pytest.approx([0.125, 0.125 * 0.75, 0.125 * 0.5, 0.0])


def test_the_loss_is_the_cross_entropy_of_the_logits(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant, augmentation=None)
    compile_network(model, tiny_variant, 240)
    labels = np.array([3, 1, 4, 1], np.uint8)
    loss, _ = model.evaluate(IMAGES, labels, verbose=0)
    logits = np.asarray(model(IMAGES), np.float64)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[range(4), labels]
    assert loss == pytest.approx(expected.mean(), rel=1e-5)


def test_with_mixed_precision_layers_compute_in_it_and_logits_do_not(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant, precision="mixed_bfloat16", augmentation={"shift": 0.1})
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert model.get_layer("conv1").variable_dtype == "float32"
    assert model.get_layer("shift").compute_dtype == "float32"
    assert model.outputs[0].dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_what_keras_cannot_build_is_one_sentence(keras: ModuleType, tiny_variant: Variant) -> None:
    factors = {**tiny_variant.factors, "padding": "valid", "kernel_size": 9}
    with pytest.raises(ProjectError, match=r"^tiny-net: its network cannot be built: .+$"):
        network(tiny_variant, factors=factors)
    assert keras.config.dtype_policy().name == "float32"


def test_a_name_may_begin_with_a_number(keras: ModuleType, tiny_variant: Variant) -> None:
    assert network(tiny_variant, name="2conv-none").name == "2conv_none"
