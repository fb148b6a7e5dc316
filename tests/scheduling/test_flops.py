from typing import Any

from cnn_ablations.config.params import parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.scheduling.flops import forward_flops
from cnn_ablations.scheduling.pipeline import Record


def test_a_network_on_record_has_its_flops_and_another_is_built_and_counted(
    document: dict[str, Any], tiny_variant: Variant
) -> None:
    shallow = {"protocol": "tiny", "dataset": "digits", "filters": [3], "dense": []}
    document["variants"] |= {"same": document["variants"]["tiny-net"], "shallow": shallow}
    params = parse_params(document)
    impossible = params.variant("shallow").model_copy(
        update={"name": "impossible", "factors": {"filters": 1}}
    )
    variants = [*params.variants.values(), impossible]
    record = Record(tiny_variant, seconds=1.0, flops=7)
    by_hand = 2 * (9 * 3 * 8 * 8 + 3 * 4 * 4 * 10)
    assert forward_flops(variants, [record], params) == {
        "tiny-net": 7,
        "same": 7,
        "shallow": by_hand,
        "impossible": 0,
    }


def test_nothing_is_built_where_all_is_on_record(
    document: dict[str, Any], tiny_variant: Variant, monkeypatch: Any
) -> None:
    monkeypatch.setattr("cnn_ablations.scheduling.flops._counted", None)
    record = Record(tiny_variant, seconds=1.0, flops=7)
    found = forward_flops([tiny_variant], [record], parse_params(document))
    assert found == {"tiny-net": 7}
