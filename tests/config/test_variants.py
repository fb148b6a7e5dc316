from typing import Any

from cnn_ablations.config.params import Params, parse_params
from cnn_ablations.config.variants import Variant, resolve_variant

Document = dict[str, Any]


def resolved(document: Document, **own: Any) -> Variant:
    values = {"protocol": "tiny", "dataset": "digits", **own}
    return resolve_variant("v", values, document["protocols"])


def test_a_variant_is_its_protocol_where_it_says_nothing(document: Document) -> None:
    variant = resolved(document)
    protocol = document["protocols"]["tiny"]
    everything = {**variant.model_dump(), **variant.factors}
    assert {key: everything[key] for key in protocol} == protocol
    assert variant.differences == []
    assert (variant.name, variant.group, variant.dataset) == ("v", "tiny", "digits")


def test_a_variant_overrides_keys_and_factors_alike(document: Document) -> None:
    variant = resolved(document, epochs=7, filters=[5, 6], l2=0.01)
    assert variant.epochs == 7
    assert variant.factors["filters"] == [5, 6]
    assert variant.factors["l2"] == 0.01
    assert variant.factors["dense"] == document["protocols"]["tiny"]["dense"]
    assert variant.differences == ["epochs", "filters", "l2"]


def test_another_model_inherits_the_recipe_and_not_the_factors(document: Document) -> None:
    variant = resolved(document, model="res_net", width=4, epochs=7)
    assert variant.optimizer == document["protocols"]["tiny"]["optimizer"]
    assert variant.factors["width"] == 4
    assert "filters" not in variant.factors
    assert variant.differences == ["model", "width", "epochs"]
    plain = resolved(document, model="res_net", batch_norm=False)
    assert plain.differences == ["model", "batch_norm"]
    assert resolved(document, model="conv_net").factors["filters"] == [4]


def test_differences_are_real_ones(document: Document) -> None:
    """Writing out what the protocol says, or a default, is none; seeds are another matter."""
    same = document["protocols"]["tiny"]["epochs"]
    variant = resolved(document, epochs=same, kernel_size=3, seeds=[5], padding="valid")
    assert variant.differences == ["padding"]


def test_what_a_protocol_sets_can_be_unset_and_a_nested_mapping_is_replaced(
    document: Document,
) -> None:
    document["protocols"]["tiny"]["augmentation"] = {"zoom": 0.1, "shift": 0.2}
    unset, replaced = (resolved(document, augmentation=new) for new in (None, {"zoom": 0.1}))
    assert unset.augmentation is None
    assert replaced.augmentation is not None
    assert replaced.augmentation.shift == 0.0
    assert unset.differences == replaced.differences == ["augmentation"]


def test_every_factor_is_written_out(tiny_variant: Variant) -> None:
    """So that a changed default cannot hide from a fingerprint."""
    from inspect import Parameter, signature

    from cnn_ablations.models.conv_net import conv_net

    parameters = signature(conv_net).parameters.values()
    keywords = {p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
    assert set(tiny_variant.factors) == keywords


def test_a_variant_survives_the_way_into_its_notebook(real_params: Params) -> None:
    for variant in real_params.variants.values():
        assert Variant.model_validate(variant.model_dump()) == variant


def test_variants_do_not_share_what_can_be_changed(document: Document) -> None:
    document["variants"] |= {name: {"protocol": "tiny", "dataset": "digits"} for name in ("a", "b")}
    variants = parse_params(document).variants
    variants["a"].factors["filters"].append(9)
    assert variants["b"].factors["filters"] == [4]
    variants["a"].factors["l2_on"].append("conv")
    assert variants["b"].factors["l2_on"] == ["conv", "dense", "output"]
