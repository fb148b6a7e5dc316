import copy
from collections import Counter
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
            "tests": [{"quantity": "val_accuracy", "of": ["a"], "than": ["b"], "above": "margin"}],
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
        (changed({}, "variants"), r"studies\.s\.variants is wrong: .* at least 1 item"),
        (changed(89.69, "published", "a", "val_accuracy"), "val_accuracy 89.69 for a .* fractions"),
        (changed("acuracy", *TEST, "quantity"), r"tests\.0\.quantity is wrong: .* 'gap'"),
        (changed("margins", *TEST, "above"), r"tests\.0\.above is wrong: .* 'margin', but it is"),
        (changed(["a"], *TEST, "along"), r"tests\.0\.along is wrong: .* 2 items"),
        (changed(1, *TEST, "vaule"), r"tests\.0 has an unknown key 'vaule'; known are"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        parse(values)


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        ({"of": "a"}, "needs something to be compared with: 'than', 'above', 'below' or 'within'"),
        ({"of": "a", "along": ["a", "b"]}, "needs either 'of' or 'along'"),
        ({}, "needs either 'of' or 'along'"),
        ({"along": ["a", "b"], "than": 1}, "has 'along', which .*: no 'than' or 'over'"),
        ({"of": "a", "above": 1, "below": 2}, "can have only one of 'above', 'below' and 'within'"),
        ({"of": "a", "epoch": 1, "after": 1}, "can have only one of 'epoch' and 'after'"),
        ({"quantity": "gap", "of": "a", "epoch": 1}, "an epoch, but gap is known after training"),
        ({"quantity": "tail", "of": "a", "above": 2}, "needs 'layers' where it is about tail or"),
        ({"of": "a", "layers": ["conv1"]}, "needs 'layers' .* and only there"),
        (
            {"quantity": "detail", "of": "a", "below": 1, "layers": ["conv1"]},
            "compares the detail of one layer with that of another, so that 'layers' has two",
        ),
        ({"quantity": "detail", "of": "a", "than": "b"}, "about detail, .*, not with 'than' or"),
        ({"of": "a", "after": 1, "than": "b"}, "about val_accuracy after an epoch, .*, not with"),
        ({"quantity": "flops", "of": "a", "above": 2}, "about flops, which needs variants to be"),
        ({"quantity": "near_zero", "of": "a"}, "about near_zero, which needs variants to be"),
        ({"of": "a", "than": 0.5, "than_quantity": "test_accuracy"}, "has 'than_quantity', which"),
        ({"of": "a", "than": "b", "over": ["a", "b"]}, "has 'over', but only near_zero"),
        ({"quantity": "flops", "of": "a", "than": "b", "above": 0}, "a ratio, which is always"),
        ({"quantity": "flops", "of": "a", "than": "b", "within": 1}, "within' that is not above 0"),
        ({"of": "a", "within": 0}, "has a 'within' that is not above 0"),
        ({"quantity": "val_loss", "of": "a", "than": "b", "within": "margin"}, "has a 'margin'"),
        ({"of": "a", "after": 1, "within": "margin"}, "a 'margin', which is one of accuracies"),
    ],
)
def test_a_test_that_makes_no_sense_is_one_sentence(test: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProjectError, match=rf"\.claims\.c\.tests\.0 .*{sentence}") as e:
        parse(changed({"quantity": "val_accuracy", **test}, *TEST))
    assert "\n" not in str(e.value)


def test_along_is_a_test_for_each_step() -> None:
    along = {"quantity": "gap", "along": ["a", "b", "a"], "below": 0}
    (test,) = parse(changed(along, *TEST)).claims["c"].tests
    assert [(step.of, step.than, step.below) for step in test.steps()] == [
        (["b"], ["a"], 0),
        (["a"], ["b"], 0),
    ]


def test_every_mention_of_a_variant_is_found() -> None:
    assert list(study_variants(parse(VALID))) == [
        ("variants", "a"),
        ("variants", "b"),
        ("published", "a"),
        ("published_minutes", "b"),
        ("claims.c", "a"),
        ("claims.c", "b"),
    ]
    tests = [{"quantity": "gap", "along": ["b", "a"]}]
    tests += [{"quantity": "near_zero", "of": "b", "than": "a", "over": ["a", "b"]}]
    mentions = list(study_variants(parse(changed(tests, *TEST[:-1]))))
    assert [name for _, name in mentions[4:]] == ["b", "a", "b", "a", "a", "b"]


def test_no_published_figure_of_a_report_is_lost(real_params: Params) -> None:
    figures: Counter[str] = Counter()
    for study in real_params.studies.values():
        figures[study.source] += sum(map(len, study.published.values()))
    assert +figures == {"report R1": 40, "report R2": 34, "report R3": 4, "report R4": 34}


def test_r2_retrains_where_its_report_did(real_params: Params) -> None:
    for name, figures in real_params.study("r2-regularisation").published.items():
        train_on = "train" if "val_loss" in figures else "train+val"
        assert real_params.variant(name).train_on == train_on
