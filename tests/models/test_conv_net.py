import inspect
from types import ModuleType
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.errors import ProjectError
from cnn_ablations.models import check_factors, factor_types
from cnn_ablations.models.conv_net import LayerKind, check, conv_net

MNIST, CIFAR10 = (28, 28, 1), (32, 32, 3)
DEFAULTS = {name: default for name, (_, default) in factor_types("conv_net").items()}


def network(keras: ModuleType, image_shape: tuple[int, ...], **factors: Any) -> Any:
    inputs = keras.Input(image_shape)
    return keras.Model(inputs, conv_net(inputs, 10, **factors))


def test_layers_come_in_the_reports_order(keras: ModuleType) -> None:
    model = network(
        keras,
        MNIST,
        filters=[4, 5],
        pooling=[2, 1],
        batch_norm=True,
        conv_dropout=[0.1, 0.0],
        dense=[6],
        dense_dropout=0.3,
    )
    assert [(layer.name, type(layer).__name__) for layer in model.layers[1:]] == [
        ("conv1", "Conv2D"),
        ("pool1", "MaxPooling2D"),
        ("conv1_norm", "BatchNormalization"),
        ("conv1_dropout", "Dropout"),
        ("conv2", "Conv2D"),
        ("conv2_norm", "BatchNormalization"),
        ("flatten", "Flatten"),
        ("dense1", "Dense"),
        ("dense1_norm", "BatchNormalization"),
        ("dense1_dropout", "Dropout"),
        ("output", "Dense"),
    ]


def test_factors_reach_their_layers(keras: ModuleType) -> None:
    model = network(
        keras,
        MNIST,
        filters=[4, 5],
        kernel_size=[5, 2],
        strides=[1, 2],
        padding="valid",
        pooling=[3, 1],
        conv_dropout=[0.0, 0.25],
        dense=[6, 7],
        dense_dropout=[0.5, 0.0],
        activation="elu",
    )
    layers = {layer.name: layer for layer in model.layers}
    assert layers["conv1"].kernel.shape == (5, 5, 1, 4)
    assert layers["conv2"].kernel.shape == (2, 2, 4, 5)
    assert layers["conv1"].output.shape[1:] == (24, 24, 4)
    assert layers["pool1"].output.shape[1:] == (8, 8, 4)
    assert layers["conv2"].output.shape[1:] == (4, 4, 5)
    assert layers["conv2_dropout"].rate == 0.25
    assert layers["dense1_dropout"].rate == 0.5
    assert layers["dense2"].units == 7
    assert not {"conv1_dropout", "pool2", "dense2_dropout"} & set(layers)
    hidden = ("conv1", "conv2", "dense1", "dense2")
    assert {layers[name].activation.__name__ for name in hidden} == {"elu"}
    assert layers["output"].activation.__name__ == "linear"


@pytest.mark.parametrize("kinds", [[], ["conv"], ["dense"], ["output"], ["conv", "output"]])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_penalties_are_where_they_are_asked_for(
    keras: ModuleType, norm: str, kinds: list[str]
) -> None:
    model = network(keras, MNIST, filters=[2, 2], dense=[3, 3], **{norm: 0.5, f"{norm}_on": kinds})
    penalised = set()
    for layer in model.layers:
        regularizer = getattr(layer, "kernel_regularizer", None)
        if regularizer is not None:
            penalised.add(layer.name.rstrip("12"))
            other = "l2" if norm == "l1" else "l1"
            assert float(getattr(regularizer, norm)) == 0.5
            assert float(getattr(regularizer, other)) == 0.0
        assert getattr(layer, "bias_regularizer", None) is None
    assert penalised == set(kinds)


def test_both_penalties_go_on_every_kernel_by_default(keras: ModuleType) -> None:
    model = network(keras, MNIST, filters=[2], dense=[3], l1=0.25, l2=0.5)
    expected = 0.0
    for layer in model.layers:
        if layer.name in ("conv1", "dense1", "output"):
            kernel = layer.kernel.numpy().astype(float)
            expected += 0.25 * abs(kernel).sum() + 0.5 * (kernel**2).sum()
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_without_a_penalty_the_loss_has_no_terms(keras: ModuleType) -> None:
    assert network(keras, MNIST, filters=[2], dense=[3]).losses == []


def test_the_default_penalty_covers_every_kind_of_layer() -> None:
    assert DEFAULTS["l1_on"] == DEFAULTS["l2_on"] == list(get_args(LayerKind))


def one_or_each(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | list[int]]:
    return st.one_of(values, st.lists(values, min_size=2, max_size=2))


@settings(max_examples=60)
@given(
    image=st.tuples(st.integers(3, 12), st.integers(3, 12), st.just(1)),
    kernel_size=one_or_each(st.integers(1, 5)),
    strides=one_or_each(st.integers(1, 3)),
    pooling=one_or_each(st.integers(1, 4)),
    padding=st.sampled_from(["same", "valid"]),
)
def test_the_check_agrees_with_keras(
    keras: ModuleType, image: tuple[int, int, int], **factors: Any
) -> None:
    """It refuses exactly the networks that Keras cannot build, or builds around nothing."""
    factors["filters"] = [2, 2]
    try:
        model = network(keras, image, **factors)
        fits = all(0 not in layer.output.shape for layer in model.layers)
    except ValueError:
        fits = False
    if fits:
        check_factors("conv_net", image, {**DEFAULTS, **factors})
    else:
        with pytest.raises(ProjectError, match=r"^(conv|pool)[12]: "):
            check_factors("conv_net", image, {**DEFAULTS, **factors})


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"filters": [4], "kernel_size": 9, "padding": "valid"}, r"conv1: a kernel of 9 .* 8 pix"),
        ({"filters": [4, 4], "pooling": [5, 2]}, "pool2: pooling by 2 leaves nothing .* 1 pixels"),
        ({"filters": [4, 4, 4], "strides": 3, "pooling": [1, 1, 2]}, "pool3: pooling by 2 .* 1 pi"),
        ({"filters": [4, 4], "kernel_size": [3]}, "kernel_size has 1 values for 2 layers"),
        ({"filters": [4], "strides": [1, 1]}, "strides has 2 values for 1 layers"),
        ({"filters": [4], "pooling": []}, "pooling has 0 values for 1 layers"),
        ({"filters": [4], "conv_dropout": [0.1, 0.1]}, "conv_dropout has 2 values for 1 layers"),
        ({"filters": [4], "dense_dropout": [0.1]}, "dense_dropout has 1 values for 0 layers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(factors: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        check_factors("conv_net", (8, 8, 1), {**DEFAULTS, **factors})


def test_the_narrower_side_decides() -> None:
    check_factors("conv_net", (8, 8, 1), {**DEFAULTS, "filters": [4], "pooling": 5})
    for image in ((4, 8, 1), (8, 4, 1)):
        with pytest.raises(ProjectError, match="pool1"):
            check_factors("conv_net", image, {**DEFAULTS, "filters": [4], "pooling": 5})


def test_the_check_knows_every_factor_that_it_takes() -> None:
    known = inspect.signature(conv_net).parameters.keys()
    taken = {
        name
        for name, parameter in inspect.signature(check).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert taken <= known
