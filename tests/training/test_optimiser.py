from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cnn_ablations.config.variants import Schedule, Variant
from cnn_ablations.training.network import build_network
from cnn_ablations.training.optimiser import (
    balanced_weights,
    compile_network,
    cross_entropy,
    learning_rates,
)

IMAGES = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1), np.uint8)
LABELS = np.array([3, 1, 4, 1], np.uint8)


def compiled(tiny: Variant, labels: Any = LABELS, **changes: Any) -> Any:
    plain = {"augmentation": None, "learning_rate": 0.125}
    variant = Variant.model_validate({**tiny.model_dump(), **plain, **changes})
    model = build_network(variant, (8, 8, 1), 10, 16)
    compile_network(model, variant, labels)
    return model


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"optimizer": "sgd", "momentum": 0.5, "nesterov": True}, "SGD"),
        ({"optimizer": "adam"}, "Adam"),
        ({"optimizer": "adamw", "weight_decay": 0.25}, "AdamW"),
    ],
)
def test_it_learns_by_the_variant_s_optimiser(
    keras: ModuleType, tiny_variant: Variant, changes: dict[str, Any], name: str
) -> None:
    optimizer = compiled(tiny_variant, **changes).optimizer
    assert type(optimizer).__name__ == name
    assert float(optimizer.learning_rate) == 0.125
    for key in changes.keys() - {"optimizer"}:
        assert getattr(optimizer, key) == changes[key]
    assert not optimizer.use_ema


def test_weight_decay_takes_its_share_off_the_kernels_alone(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = compiled(tiny_variant, optimizer="adamw", weight_decay=0.25)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.build(model.trainable_variables)
    gradients = [keras.ops.zeros_like(variable) for variable in model.trainable_variables]
    model.optimizer.apply(gradients)
    left = {v.name: np.unique(np.asarray(v)).tolist() for v in model.trainable_variables}
    assert left == {"kernel": [1 - 0.25 * 0.125], "bias": [1.0], "gamma": [1.0], "beta": [1.0]}


def test_the_weights_that_are_evaluated_are_an_average(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = compiled(tiny_variant, optimizer="sgd", weight_average=0.75)
    assert model.optimizer.use_ema
    bias = model.get_layer("output").bias
    seen = []
    for _ in range(3):
        model.train_on_batch(IMAGES, LABELS)
        seen.append(np.asarray(bias))
    model.optimizer.finalize_variable_values(model.trainable_variables)
    expected = 0.75 * (0.75 * seen[0] + 0.25 * seen[1]) + 0.25 * seen[2]
    np.testing.assert_allclose(np.asarray(bias), expected, rtol=1e-5)


def rates(values: dict[str, Any], batches: int, epochs: int) -> list[float]:
    schedule = Schedule.model_validate(values)
    numbers = range(1, epochs + 1)
    return [rate for epoch in numbers for rate in learning_rates(schedule, batches, epochs, epoch)]


def test_a_learning_rate_falls_along_a_cosine() -> None:
    found = rates({"peak": 0.5, "decay": "cosine"}, 4, 3)
    assert found == pytest.approx(0.25 * (1 + np.cos(np.pi * np.arange(12) / 12)))


def test_a_learning_rate_rises_and_falls_in_straight_lines() -> None:
    found = rates({"peak": 0.5, "warm_up": 1.5, "decay": "linear"}, 4, 4)
    assert found[:6] == pytest.approx(0.5 * np.arange(1, 7) / 6)
    assert found[6:] == pytest.approx(0.5 * (1 - np.arange(10) / 10))


def test_a_learning_rate_falls_in_steps_at_the_end_of_epochs() -> None:
    found = rates({"peak": 1.0, "decay": {"after": [1, 2], "factor": 0.5}}, 2, 3)
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_without_a_decay_it_stays() -> None:
    assert rates({"peak": 0.5, "warm_up": 1}, 2, 2) == [0.25, 0.5, 0.5, 0.5]


def log_softmax(logits: Any) -> Any:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


LOGITS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
TERMS = -log_softmax(LOGITS.astype(np.float64))


def test_the_loss_is_the_cross_entropy_of_the_logits(keras: ModuleType) -> None:
    found = np.asarray(cross_entropy()(LABELS, LOGITS))
    np.testing.assert_allclose(found, TERMS[range(4), LABELS], rtol=1e-5)


def test_smoothing_spreads_a_share_of_the_label_over_all_classes(keras: ModuleType) -> None:
    found = np.asarray(cross_entropy(0.2)(LABELS, LOGITS))
    expected = 0.8 * TERMS[range(4), LABELS] + 0.2 * TERMS.mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_image_counts_by_the_weight_of_its_class(keras: ModuleType) -> None:
    weights = np.arange(1, 6, dtype=np.float32)
    found = np.asarray(cross_entropy(weights=weights)(LABELS, LOGITS))
    np.testing.assert_allclose(found, [4, 2, 5, 2] * TERMS[range(4), LABELS], rtol=1e-5)


def test_balanced_weights_are_scikit_learn_s_and_a_class_without_images_weighs_nothing() -> None:
    labels = np.repeat(np.array([0, 2, 3], np.uint8), [5, 2, 1])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels)
    found = balanced_weights(labels, 5)
    np.testing.assert_allclose(found, [expected[0], 0, expected[1], expected[2], 0], rtol=1e-6)
    assert found[labels].mean() == pytest.approx(1)


def test_the_variant_s_loss_reaches_the_network(keras: ModuleType, tiny_variant: Variant) -> None:
    model = compiled(tiny_variant, label_smoothing=0.2, class_weights="balanced")
    loss, _ = model.evaluate(IMAGES, LABELS, verbose=0)
    terms = -log_softmax(np.asarray(model(IMAGES), np.float64))
    smooth = 0.8 * terms[range(4), LABELS] + 0.2 * terms.mean(axis=1)
    weights = 4 / 3 / np.array([1, 2, 1, 2])
    assert loss == pytest.approx((weights * smooth).mean(), rel=1e-5)
