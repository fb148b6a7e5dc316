import copy
from typing import Any

import pytest

from cnn_ablations.config.base import validated
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study, study_variants
from cnn_ablations.errors import ProjectError

VALID: dict[str, Any] = {
    "title": "t",
    "group": "g",
    "question": "q",
    "variants": {"a": "A", "b": "B"},
    "margin": 0.01,
    "published": {"a": {"val_accuracy": 0.9}},
    "published_minutes": {"b": 1.5},
    "claims": {
        "c": {
            "statement": "s",
            "tests": [{"quantity": "val_accuracy", "of": ["a"], "than": ["b"]}],
        }
    },
}


def parse(values: dict[str, Any]) -> Study:
    return validated(Study.model_validate, values, "studies.s")


def changed(value: Any, *keys: str | int) -> dict[str, Any]:
    """The valid study with the value at these keys replaced."""
    values = copy.deepcopy(VALID)
    place: Any = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return values


def test_a_study_reads_as_it_was_written() -> None:
    study = parse(VALID)
    assert study.model_dump(exclude_defaults=True) == VALID
    assert Study.model_validate(study.model_dump()) == study


TEST = ("claims", "c", "tests", 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed({}, "variants"), r"studies\.s\.variants is wrong"),
        (changed(0, "margin"), r"studies\.s\.margin is wrong: .* greater than 0"),
        (changed(89.69, "published", "a", "val_accuracy"), "val_accuracy 89.69 for a .* fractions"),
        (changed(0, "published_minutes", "b"), r"published_minutes\.b is wrong"),
        (changed(-1, "published", "a", "val_accuracy"), r"published\.a\.val_accuracy is wrong"),
        (changed(0.1, "published", "a", "accuracy"), r"published\.a\.accuracy is wrong"),
        (changed([], "claims", "c", "tests"), r"claims\.c\.tests is wrong"),
        (
            changed("vla_accuracy", *TEST, "quantity"),
            r"tests\.0\.quantity is wrong: .* 'val_accuracy'",
        ),
        (changed([], *TEST, "of"), r"tests\.0\.of is wrong"),
        (changed(1, *TEST, "vaule"), "vaule is an unknown key; known are"),
        (changed({"quantity": "gap"}, *TEST), r"tests\.0 needs either 'of' or 'along'"),
        (changed(["a", "b"], *TEST, "along"), r"tests\.0 needs either 'of' or 'along'"),
        (changed({"quantity": "gap", "along": ["a"]}, *TEST), r"tests\.0\.along is wrong"),
        (
            changed({"quantity": "gap", "along": ["a", "b"], "than": "b"}, *TEST),
            r"tests\.0 has 'along', which compares",
        ),
        (
            changed({"quantity": "gap", "of": "a", "above": 0, "below": 1}, *TEST),
            "only one of 'above', 'below' and 'within'",
        ),
        (changed("maring", *TEST, "above"), r"tests\.0\.above is wrong"),
        (changed(0, *TEST, "within"), r"tests\.0\.within is wrong"),
        (changed({"quantity": "gap", "of": "a", "epoch": 3}, *TEST), "known after training only"),
        (
            changed({"quantity": "val_loss", "of": "a", "epoch": 3, "after": 2}, *TEST),
            "only one of 'epoch' and 'after'",
        ),
        (changed({"quantity": "tail", "of": "a"}, *TEST), "needs 'layers'"),
        (changed(["conv1"], *TEST, "layers"), "needs 'layers' where .* only there"),
        (
            changed({"quantity": "gap", "of": "a", "than_quantity": "val_accuracy"}, *TEST),
            "only accuracies can be compared so",
        ),
        (changed({"quantity": "flops", "of": "a", "above": 2}, *TEST), "which needs variants"),
        (changed([], "choises"), "choises is an unknown key; did you mean 'choices'"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        parse(values)


def test_every_mention_of_a_variant_is_found() -> None:
    assert list(study_variants(parse(VALID))) == [
        ("variants", "a"),
        ("variants", "b"),
        ("published", "a"),
        ("published_minutes", "b"),
        ("claims.c", "a"),
        ("claims.c", "b"),
    ]


def test_variants_can_be_a_list_and_one_variant_needs_no_list() -> None:
    study = parse(changed(["a", "b"], "variants"))
    assert study.labels == {"a": "a", "b": "b"}
    assert parse(changed("a", *TEST, "of")) == parse(VALID)


@pytest.mark.parametrize(
    ("study", "figures", "claims"),
    [
        ("r1-mnist", 20, 6),
        ("r1-cifar10", 20, 8),
        ("r2-regularisation", 34, 7),
        ("r3-mnist", 2, 6),
        ("r3-cifar10", 2, 6),
        ("r4-data-size", 12, 8),
        ("r4-l1", 14, 4),
        ("r4-downsampling", 4, 2),
        ("r4-depth", 4, 4),
    ],
)
def test_every_published_figure_and_claim_is_there(
    real_params: Params, study: str, figures: int, claims: int
) -> None:
    of_study = real_params.study(study)
    assert sum(len(of_variant) for of_variant in of_study.published.values()) == figures
    assert len(of_study.claims) == claims


def test_r2_retrains_where_its_report_did(real_params: Params) -> None:
    """Ten published variants, and two more with 64 filters."""
    study = real_params.study("r2-regularisation")
    assert len(study.published) == 10
    assert set(study.variants) - set(study.published) == {
        "r2-1conv-batchnorm-64",
        "r2-2conv-batchnorm-64",
    }
    for name in study.published:
        variant = real_params.variant(name)
        metrics = set(study.published[name])
        assert variant.train_on == ("train" if "val_loss" in metrics else "train+val")
