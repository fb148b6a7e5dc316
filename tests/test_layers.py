from types import ModuleType
from typing import Any

import numpy as np
import pytest

IMAGES = np.random.default_rng(0).normal(2, 3, (16, 5, 5, 4)).astype(np.float32)


def normalised(layer: Any, images: Any, training: bool) -> tuple[Any, list[Any]]:
    """What a layer makes of images, and the gradients of a sum of it by images and weights."""
    import tensorflow as tf

    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, training=training)
        total = tf.reduce_sum(tf.sin(output))
    of = [x, *(v.value for v in layer.trainable_variables)]
    return np.asarray(output), [np.asarray(g) for g in tape.gradient(total, of)]


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:, 0, 0]], ids=["images", "dense"])
def test_batch_normalisation_is_keras_s_but_for_the_last_bits(
    keras: ModuleType, images: Any
) -> None:
    from cnn_ablations.layers import BatchNormalization

    ours, theirs = BatchNormalization(), keras.layers.BatchNormalization()
    for training in (True, True, False):
        found, gradients = normalised(ours, images, training)
        expected, expected_gradients = normalised(theirs, images, training)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        for ours_, theirs_ in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(ours_, theirs_, rtol=1e-3, atol=1e-4)
    for ours_, theirs_ in zip(ours.weights, theirs.weights, strict=True):
        assert ours_.path.split("/")[-1] == theirs_.path.split("/")[-1]
        np.testing.assert_allclose(np.asarray(ours_), np.asarray(theirs_), rtol=1e-6)


def test_in_bfloat16_the_statistics_are_float32(keras: ModuleType) -> None:
    from cnn_ablations.layers import BatchNormalization

    layer = BatchNormalization(dtype="mixed_bfloat16")
    output = layer(IMAGES, training=True)
    assert output.dtype == "bfloat16"
    np.testing.assert_allclose(
        np.asarray(layer.moving_mean), 0.01 * IMAGES.mean(axis=(0, 1, 2)), rtol=0.02
    )


def operations(function: Any, *arguments: Any) -> set[str]:
    """The kinds of TensorFlow's operations in a function and in its gradient."""
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]
    def both(*values: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(function(*values))
        return tape.gradient(total, values)

    graph = both.get_concrete_function(*map(tf.constant, arguments)).graph
    return {operation.type for operation in graph.get_operations()}


APPROXIMATE = {"Rsqrt", "RsqrtGrad", "Reciprocal", "ReciprocalGrad", "Inv", "Erfc"}


def test_no_layer_rests_on_an_approximate_reciprocal(keras: ModuleType) -> None:
    from cnn_ablations.layers import BatchNormalization, Shortcut, gelu
    from cnn_ablations.training.optimiser import cross_entropy

    layer = BatchNormalization()
    layer.build(IMAGES.shape)
    found = operations(lambda x: layer(x, training=True), IMAGES)
    found |= operations(lambda x: layer(x, training=False), IMAGES)
    found |= operations(gelu, IMAGES)
    found |= operations(Shortcut(8), IMAGES)
    found |= operations(lambda x: cross_entropy(0.1)(np.zeros(16), x), IMAGES[:, 0, 0])
    assert "Sqrt" in found
    assert found & APPROXIMATE == set()
    theirs = keras.layers.BatchNormalization()
    theirs.build(IMAGES.shape)
    assert "Rsqrt" in operations(lambda x: theirs(x, training=True), IMAGES)


def test_a_graph_keeps_the_division_by_a_root(keras: ModuleType) -> None:
    """Its optimiser would make it a product with an approximation, which single calls show."""
    import tensorflow as tf

    from cnn_ablations.layers import BatchNormalization

    generator = np.random.default_rng(0)
    for images in (IMAGES, generator.normal(size=(64, 515)).astype(np.float32)):
        layer = BatchNormalization()
        layer.build(images.shape)
        for variable in layer.weights:
            variable.assign(generator.uniform(0.1, 3, variable.shape))
        for training in (False, True):
            alone = np.asarray(layer(images, training=training))
            in_graph = tf.function(lambda x, layer=layer, on=training: layer(x, training=on))
            np.testing.assert_array_equal(np.asarray(in_graph(images)), alone)


def test_gelu_is_keras_s_but_for_the_last_bits(keras: ModuleType) -> None:
    from cnn_ablations.layers import gelu

    x = np.linspace(-5, 5, 101).astype(np.float32)
    expected = np.asarray(keras.ops.gelu(x, approximate=False))
    np.testing.assert_allclose(np.asarray(gelu(x)), expected, atol=1e-6)


def test_a_shortcut_takes_every_other_pixel_and_adds_empty_channels(keras: ModuleType) -> None:
    from cnn_ablations.layers import Shortcut

    found = np.asarray(Shortcut(7)(IMAGES))
    np.testing.assert_array_equal(found[..., 1:5], IMAGES[:, ::2, ::2])
    assert not found[..., [0, 5, 6]].any()
