import json

from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.arithmetic import FLOPS_A_VALUE, forward_flops


def test_it_is_what_the_networks_that_were_built_count(
    real_params: Params, checkout: Paths
) -> None:
    models = set()
    for variant in real_params.variants.values():
        metrics = checkout.metrics(variant.group, variant.name)
        if not metrics.exists():
            continue
        dataset = real_params.dataset(variant.dataset)
        found = forward_flops(variant, dataset.image_shape, len(dataset.classes))
        assert (variant.name, found) == (variant.name, json.loads(metrics.read_bytes())["flops"])
        models.add(variant.model)
    assert models == {"conv_net", "res_net"}


def test_a_model_of_ones_own_is_taken_for_one_like_the_others(real_params: Params) -> None:
    variant = real_params.variant("quickstart-none").model_copy(update={"model": "my_net"})
    assert forward_flops(variant, [10, 10, 3], 7) == 300 * FLOPS_A_VALUE
