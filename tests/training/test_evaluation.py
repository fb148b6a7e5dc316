from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.splits import Images, Subset
from cnn_ablations.training.evaluation import evaluate, penalty
from cnn_ablations.training.network import build_network
from cnn_ablations.training.optimiser import compile_network

RNG = np.random.default_rng(0)
# More than a batch, and not a whole number of them.
PIXELS = RNG.integers(0, 17, (730, 8, 8, 1), np.uint8)
SUBSET = Subset(Images(PIXELS, np.arange(730)), RNG.integers(0, 10, 730, np.uint8), "train")


def network(tiny: Variant, **factors: Any) -> Any:
    variant = tiny.model_copy(update={"factors": {**tiny.factors, **factors}})
    model = build_network(variant, (8, 8, 1), 10, 16)
    compile_network(model, variant, SUBSET.labels)
    return model


@pytest.mark.parametrize("factors", [{}, {"l2": 0.01}, {"l1": 0.001, "l2": 0.01}])
def test_accuracy_and_loss_are_keras_s_own(
    keras: ModuleType, tiny_variant: Variant, factors: dict[str, Any]
) -> None:
    model = network(tiny_variant, **factors)
    evaluation = evaluate(model, SUBSET)
    loss, accuracy = model.evaluate(PIXELS, SUBSET.labels, batch_size=500, verbose=0)
    assert evaluation.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert evaluation.loss == pytest.approx(loss, rel=1e-5)


def test_probabilities_are_the_softmax_and_answers_their_largest(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant)
    evaluation = evaluate(model, SUBSET)
    logits = model.predict(PIXELS, verbose=0)
    expected = np.asarray(keras.ops.softmax(logits))
    np.testing.assert_allclose(evaluation.probabilities, expected, rtol=1e-4)
    assert evaluation.probabilities.dtype == np.float32
    np.testing.assert_array_equal(evaluation.predicted, expected.argmax(axis=1))
    assert evaluation.predicted.dtype == np.uint8
    assert evaluation.accuracy == (evaluation.predicted == SUBSET.labels).mean()


def test_mirrored_evaluation_takes_the_mean_of_both_logits(
    keras: ModuleType, tiny_variant: Variant
) -> None:
    model = network(tiny_variant)
    both = (model.predict(PIXELS, verbose=0) + model.predict(PIXELS[:, :, ::-1], verbose=0)) / 2
    evaluation = evaluate(model, SUBSET, mirrored=True)
    expected = np.asarray(keras.ops.softmax(both))
    np.testing.assert_allclose(evaluation.probabilities, expected, rtol=1e-4)
    assert not np.allclose(evaluation.probabilities, evaluate(model, SUBSET).probabilities)


def test_the_penalty_is_the_sum_over_the_kernels(keras: ModuleType, tiny_variant: Variant) -> None:
    model = network(tiny_variant, l2=0.5, l2_on=["dense"])
    kernel = np.asarray(model.get_layer("dense1").kernel, np.float64)
    assert penalty(model) == pytest.approx(0.5 * (kernel**2).sum(), rel=1e-5)
    assert penalty(network(tiny_variant)) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_diverged_is_evaluated_all_the_same(
    keras: ModuleType, tiny_variant: Variant, value: float
) -> None:
    model = network(tiny_variant)
    output = model.get_layer("output")
    output.bias.assign(np.full(10, value, np.float32))
    with np.errstate(invalid="ignore"):
        evaluation = evaluate(model, SUBSET)
    assert np.isnan(evaluation.loss)
    assert set(evaluation.predicted) == {0}
    assert evaluation.accuracy == pytest.approx((SUBSET.labels == 0).mean())


def test_confident_answers_do_not_overflow(keras: ModuleType, tiny_variant: Variant) -> None:
    model = network(tiny_variant)
    output = model.get_layer("output")
    output.kernel.assign(np.zeros(output.kernel.shape, np.float32))
    output.bias.assign(np.array([1e4, *[0.0] * 9], np.float32))
    evaluation = evaluate(model, SUBSET)
    assert evaluation.loss == pytest.approx(1e4 * (SUBSET.labels != 0).mean())
