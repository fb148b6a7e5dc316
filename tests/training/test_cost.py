from types import ModuleType
from typing import Any

from cnn_ablations.models.conv_net import conv_net
from cnn_ablations.training.cost import layer_costs


def network(keras: ModuleType, **factors: Any) -> Any:
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, conv_net(inputs, 3, **factors))


def test_a_network_counted_by_hand(keras: ModuleType) -> None:
    """8×8×1 → conv 3×3 → 8×8×4 → pool → 4×4×4 → conv 3×3, stride 2 → 2×2×6 → 5 → 3."""
    model = network(keras, filters=[4, 6], strides=[1, 2], pooling=[2, 1], dense=[5])
    costs = {cost.name: cost for cost in layer_costs(model)}
    assert {name: cost.flops for name, cost in costs.items() if cost.flops} == {
        "conv1": 2 * (8 * 8) * (3 * 3 * 1 * 4),
        "conv2": 2 * (2 * 2) * (3 * 3 * 4 * 6),
        "dense1": 2 * 24 * 5,
        "output": 2 * 5 * 3,
    }
    assert {name: cost.parameters for name, cost in costs.items() if cost.parameters} == {
        "conv1": 40,
        "conv2": 222,
        "dense1": 125,
        "output": 18,
    }
    assert [*costs][1:] == ["conv1", "pool1", "conv2", "flatten", "dense1", "output"]
    assert costs["conv2"].output_shape == (2, 2, 6)
    assert costs["conv2"].kind == "Conv2D"
    assert costs["output"].output_shape == (3,)


def test_normalisation_has_fixed_parameters_and_dropout_none(keras: ModuleType) -> None:
    model = network(keras, filters=[4], batch_norm=True, conv_dropout=0.5)
    costs = {cost.name: cost for cost in layer_costs(model)}
    norm, dropout = costs["conv1_norm"], costs["conv1_dropout"]
    assert (norm.parameters, norm.non_trainable, norm.flops) == (16, 8, 0)
    assert (dropout.parameters, dropout.non_trainable, dropout.flops) == (0, 0, 0)
    assert sum(cost.parameters for cost in costs.values()) == model.count_params()
