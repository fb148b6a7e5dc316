from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.models import check_factors, factor_types
from cnn_ablations.models.res_net import res_net

DEFAULTS = {name: default for name, (_, default) in factor_types("res_net").items()}


def network(keras: ModuleType, size: int = 32, **factors: Any) -> Any:
    inputs = keras.Input((size, size, 3))
    return keras.Model(inputs, res_net(inputs, 10, **factors))


@pytest.mark.parametrize(("blocks", "parameters"), [(3, 0.27), (5, 0.46), (9, 0.85)])
def test_it_has_the_layers_and_parameters_of_the_paper(
    keras: ModuleType, blocks: int, parameters: float
) -> None:
    """Table 6 of He et al.: in millions, of the networks of 20, 32 and 56 layers."""
    model = network(keras, blocks=blocks)
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert len(weighted) == 6 * blocks + 2
    assert model.count_params() / 1e6 == pytest.approx(parameters, abs=0.01)
    shapes = [layer.output.shape[1:] for layer in weighted[:-1]]
    assert shapes[0] == (32, 32, 16)
    assert shapes[-1] == (8, 8, 64)


def test_a_block_adds_its_input_to_its_output(keras: ModuleType) -> None:
    """With kernels of 0 in every block, the image goes through the shortcuts alone."""
    model = network(keras, size=8, stages=2, blocks=1, width=4, batch_norm=False)
    for layer in model.layers:
        if layer.name in ("conv2", "conv3", "conv4", "conv5"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    inner = keras.Model(
        model.input, [model.get_layer(name).output for name in ("conv1_relu", "conv3_relu", "mean")]
    )
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    first, second, mean = (np.asarray(output) for output in inner(images))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(mean[:, 2:6], first[:, ::2, ::2].mean(axis=(1, 2)), rtol=1e-5)
    assert not mean[:, [0, 1, 6, 7]].any()


def test_where_it_halves_kernel_and_shortcut_look_at_the_same_pixel(keras: ModuleType) -> None:
    model = network(keras, size=8, stages=2, blocks=1, width=4, batch_norm=False)
    convolution = model.get_layer("conv4")
    kernel = np.zeros(convolution.kernel.shape, np.float32)
    kernel[1, 1] = np.eye(4, 8, 2)  # the centre alone
    convolution.kernel.assign(kernel)
    before = keras.Model(model.input, model.get_layer("conv3_relu").output)
    after = keras.Model(model.input, convolution.output)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    expected = np.asarray(before(images))[:, ::2, ::2]
    np.testing.assert_array_equal(np.asarray(after(images))[..., 2:6], expected)


def test_factors_reach_their_layers(keras: ModuleType) -> None:
    model = network(keras, stages=2, blocks=1, shortcuts=False, activation="tanh", l2=0.25)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert not {"Add", "Shortcut"} & set(kinds)
    assert kinds.count("BatchNormalization") == 5
    assert {layer.activation.__name__ for layer in model.layers if "_tanh" in layer.name} == {
        "tanh"
    }
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert all(float(layer.kernel_regularizer.l2) == 0.25 for layer in kernels)
    plain = network(keras, stages=2, blocks=1, batch_norm=False)
    assert "BatchNormalization" not in {type(layer).__name__ for layer in plain.layers}
    assert plain.get_layer("conv1").use_bias
    assert not model.get_layer("conv1").use_bias
    assert plain.losses == []


def test_more_stages_than_an_image_can_be_halved_are_refused() -> None:
    check_factors("res_net", (8, 8, 1), {**DEFAULTS, "stages": 4})
    with pytest.raises(ProjectError, match=r"stages is 5, but an image of 8 pixels .* 3 times"):
        check_factors("res_net", (16, 8, 1), {**DEFAULTS, "stages": 5})
