import re
from typing import Any

import pytest

from cnn_ablations.config.labels import as_text, labels
from cnn_ablations.config.params import Params, parse_params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError

Document = dict[str, Any]


def params_of(document: Document, *changes: Document, **study: Any) -> Params:
    """Variants v0, v1, ... of one protocol with these changes, and a study `s` of them."""
    document["variants"] = {
        f"v{number}": {"protocol": "tiny", "dataset": "digits", **change}
        for number, change in enumerate(changes)
    }
    common = {"title": "t", "group": "tiny", "question": "q", "margin": 0.01}
    document["studies"] = {"s": {**common, "variants": [*document["variants"]], **study}}
    return parse_params(document)


def made(document: Document, *changes: Document, **study: Any) -> list[str]:
    return list(params_of(document, *changes, **study).study("s").labels.values())


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"kernel_size": 5}, "kernel size 5"),
        ({"l1": 0.00001}, "L1 0.00001"),
        ({"batch_norm": True}, "batch norm"),
        ({"dense": []}, "without dense"),
        ({"filters": [16, 8], "l2_on": ["conv"]}, "filters 16, 8, L2 on conv"),
        ({"train_images": 1_000}, "train images 1,000"),
        ({"augmentation": {"mirror": "random", "crop": 4}}, "augmentation (mirror random, crop 4)"),
        ({}, "base"),
    ],
)
def test_a_label_says_what_the_variant_changes(
    document: Document, change: Document, label: str
) -> None:
    assert made(document, {"activation": "gelu"}, change) == ["activation gelu", label]


def test_the_data_set_is_said_where_a_study_has_two(document: Document) -> None:
    document["datasets"]["other"] = document["datasets"]["digits"]
    changes = {"dataset": "other", "l2": 0.1}
    assert made(document, {}, changes) == ["dataset digits", "dataset other, L2 0.1"]


def test_what_all_variants_of_the_study_change_is_left_out(document: Document) -> None:
    shared = {"batch_norm": True, "train_images": 500}
    assert made(document, shared, {**shared, "l2": 0.1}) == ["base", "L2 0.1"]


def test_labels_that_the_study_gives_stay_and_no_two_are_equal(document: Document) -> None:
    given = {"v0": "plain", "v1": None, "v2": None}
    changes: list[Document] = [{}, {"l2": 0.1}, {"l2": 0.1}]
    assert made(document, *changes, variants=given) == ["plain", "L2 0.1 (v1)", "L2 0.1 (v2)"]


def test_a_committed_study_without_labels_of_its_own_reads_well(real_params: Params) -> None:
    given = dict.fromkeys(real_params.study("r4-l1").variants)
    assert "; ".join(labels(given, real_params.variants).values()) == (
        "without L1; base; L1 0.001; L1 0.01; L1 0.1; L1 1; L1 10; train images 40,000"
    )


def test_the_strengths_in_labels_of_committed_studies_are_those_of_their_variants(
    real_params: Params,
) -> None:
    said, true = [], []
    for study in real_params.studies.values():
        for name, label in study.labels.items():
            for key, strength in re.findall(r"\b(L[12]) ([\d.]+)", label):
                said.append((study.title, name, key, float(strength)))
                true.append(
                    (study.title, name, key, real_params.variant(name).settings[key.lower()])
                )
    assert len(said) > 10
    assert said == true


def test_texts_are_read_in_words(document: Document) -> None:
    study: Study = params_of(
        document,
        {},
        {"l2": 0.0001, "filters": [16, 8]},
        variants={"v0": "plain", "v1": "L2"},
        title="With {v1}",
        question="Does {v1.l2} with {v1.filters} on {v1.dataset} help?",
        claims={
            "helps": {
                "statement": "{v1} beats {v0}.",
                "remark": "{v0} is plain.",
                "tests": [{"quantity": "test_accuracy", "of": "v1", "than": "v0"}],
            }
        },
    ).study("s")
    assert study.title == "With “L2”"
    assert study.question == "Does 0.0001 with 16, 8 on digits help?"
    claim = study.claims["helps"]
    assert (claim.statement, claim.remark) == ("“L2” beats “plain”.", "“plain” is plain.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{v7} helps.", "{v7} stands for no variant of the study; known are: v0"),
        ("{v1} helps.", "{v1} stands for no variant of the study"),
        ("{v0.l3} helps.", "{v0.l3}: variant 'v0' has no key 'l3'"),
        ("{} helps.", "{} stands for no variant"),
        ("{v0.learning_rate.peak} helps.", "no key 'learning_rate.peak'; did you mean"),
    ],
)
def test_a_text_that_refers_to_nothing_names_its_file_and_key(
    document: Document, text: str, message: str
) -> None:
    study = {"variants": {"v0": "base"}, "question": text}
    with pytest.raises(ProjectError, match=re.escape(message)) as error:
        params_of(document, {}, {}, **study)
    assert str(error.value).startswith("studies/s.yaml: studies.s.question: {")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10_000, "10,000"),
        (1e-5, "0.00001"),
        (10.0, "10"),
        ([1, 2], "1, 2"),
        (True, "yes"),
        (None, "none"),
        ({"warm_up": 2.0}, "warm up 2"),
    ],
)
def test_values_are_written_as_people_write_them(value: Any, text: str) -> None:
    assert as_text(value) == text
