import re
from typing import Any

import pytest

from cnn_ablations.config.labels import as_text, fill, labels
from cnn_ablations.config.params import Params, parse_params
from cnn_ablations.errors import ProjectError

DATASETS = {
    name: {
        "title": title,
        "format": "digits",
        "image_shape": [32, 32, 1],
        "classes": ["0", "1"],
        "citation": "c",
    }
    for name, title in (("digits", "Handwritten digits"), ("mnist-10", "MNIST-10 and so on"))
}
PROTOCOL = {
    "split": {"method": "last", "val": 0.2},
    "pixels": "unit",
    "optimizer": "adam",
    "learning_rate": 0.001,
    "batch_size": 32,
    "epochs": 3,
    "filters": [4, 4],
    "dense": [8],
    "seeds": [0, 1],
}


def params_of(*changes: dict[str, Any]) -> Params:
    """Variants v0, v1, ... of one protocol, with these changes."""
    variants = {
        f"v{number}": {"protocol": "p", "dataset": "digits", **change}
        for number, change in enumerate(changes)
    }
    return parse_params({"datasets": DATASETS, "protocols": {"p": PROTOCOL}, "variants": variants})


def made(*changes: dict[str, Any], given: dict[str, str | None] | None = None) -> list[str]:
    params = params_of(*changes)
    wanted = given or dict.fromkeys(params.variants)
    return list(labels(wanted, params.variants, params.datasets).values())


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"strides": 2}, "stride 2"),
        ({"strides": [2, 2]}, "stride 2"),
        ({"strides": [2, 1]}, "strides 2, 1"),
        ({"kernel_size": 5}, "kernel 5×5"),
        ({"kernel_size": [5, 3]}, "kernels 5, 3"),
        ({"pooling": 2}, "max pooling 2×2"),
        ({"l2": 0.05}, "L2 0.05"),
        ({"l1": 0.00001}, "L1 0.00001"),
        ({"l2": 0.05, "l2_on": ["conv"]}, "L2 0.05"),
        ({"conv_dropout": 0.1, "dense_dropout": 0.1}, "dropout 0.1"),
        ({"conv_dropout": 0.25, "dense_dropout": 0.5}, "conv dropout 0.25, dense dropout 0.5"),
        ({"batch_norm": True}, "batch norm"),
        ({"filters": [16, 16, 16]}, "16, 16, 16 filters"),
        ({"filters": [16], "strides": [2]}, "16 filters"),
        ({"filters": [16], "strides": 2}, "16 filters, stride 2"),
        ({"train_images": 10_000}, "10,000 images"),
        ({"augmentation": {"mirror": "random"}}, "augmented"),
        ({"pixels": "raw"}, "pixels 0..16"),
        ({"model": "res_net", "blocks": 1}, "residual network"),
        ({"precision": "mixed_bfloat16"}, "bfloat16"),
        ({"train_on": "train+val"}, "trained on validation images too"),
        ({"optimizer": "sgd", "momentum": 0.9}, "SGD, momentum 0.9"),
        (
            {"learning_rate": {"peak": 0.1, "decay": "cosine"}},
            "learning rate (peak 0.1, decay cosine)",
        ),
        ({"epochs": 20, "batch_size": 8}, "20 epochs, batches of 8"),
        ({"dataset": "mnist-10", "l2": 0.1}, "on MNIST-10, L2 0.1"),
        ({"label_smoothing": 0.1}, "label smoothing 0.1"),
        ({"class_weights": "balanced"}, "class weights balanced"),
        ({"dense": [64, 32]}, "dense 64, 32"),
        ({"evaluate_mirrored": True}, "evaluate mirrored"),
    ],
)
def test_a_label_says_what_the_variant_changes(change: dict[str, Any], label: str) -> None:
    other = {"activation": "gelu"}  # so that the study is about more than one key
    assert made({}, change, other) == ["base", label, "activation gelu"]


def test_what_all_variants_of_the_study_change_is_left_out() -> None:
    shared = {"batch_norm": True, "train_images": 500}
    assert made(shared, {**shared, "l2": 0.1}, {**shared, "strides": 2}) == [
        "base",
        "L2 0.1",
        "stride 2",
    ]


@pytest.mark.parametrize(
    ("change", "base"),
    [
        ({"l2": 0.1}, "without L2"),
        ({"batch_norm": True}, "without batch norm"),
        ({"augmentation": {"crop": 2}}, "without augmentation"),
        ({"conv_dropout": 0.1, "dense_dropout": 0.1}, "without dropout"),
        ({"train_images": 500}, "all images"),
        ({"precision": "mixed_bfloat16"}, "float32"),
        ({"kernel_size": 5}, "kernel 3×3"),
        ({"pooling": 2}, "without max pooling"),
        ({"model": "res_net", "blocks": 1}, "plain network"),
        ({"dataset": "mnist-10"}, "on digits"),
    ],
)
def test_where_one_key_varies_the_base_is_called_by_its_value(
    change: dict[str, Any], base: str
) -> None:
    assert made({}, change)[0] == base


def test_of_two_mappings_only_what_differs_is_said() -> None:
    crops = [{"augmentation": {"mirror": "random", "crop": crop}} for crop in (1, 2)]
    assert made({}, *crops) == ["without augmentation", "augmented (crop 1)", "augmented (crop 2)"]


def test_factors_of_a_model_are_said_where_its_variants_differ_in_them() -> None:
    networks = [{"model": "res_net", "blocks": blocks, "width": 8} for blocks in (1, 2)]
    assert made({}, *networks) == [
        "base",
        "residual network, blocks 1",
        "residual network, blocks 2",
    ]


def test_the_places_of_a_penalty_are_said_where_they_differ() -> None:
    places = [{"l2": 0.1, "l2_on": [place]} for place in ("conv", "dense")]
    assert made({}, *places) == ["base", "L2 0.1, L2 on conv", "L2 0.1, L2 on dense"]


def test_labels_that_the_study_gives_stay() -> None:
    given = {"v0": "L2 0.1", "v1": None, "v2": "wide steps"}
    assert made({}, {"l2": 0.1}, {"strides": 2}, given=given) == [
        "L2 0.1",
        "L2 0.1 (v1)",
        "wide steps",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Networks with other convolutions: lists for them follow from that until they differ.
        (
            [{"filters": [4, 4, 4], "strides": [1, 2, 1]}, {"filters": [4, 4, 4], "strides": 1}],
            ["4, 4, 4 filters, strides 1, 2, 1", "4, 4, 4 filters"],
        ),
        (
            [{"seeds": [2, 3]}, {"seeds": [4]}],
            ["activation relu, seeds 2, 3", "activation relu, seeds 4"],
        ),
        ([{"l2": 0.1}, {"l2": 0.1}], ["L2 0.1 (v1)", "L2 0.1 (v2)"]),
    ],
)
def test_labels_that_would_be_equal_say_what_tells_them_apart(
    changes: list[dict[str, Any]], expected: list[str]
) -> None:
    assert made({"activation": "gelu"}, *changes)[1:] == expected


def test_no_two_labels_of_a_committed_study_are_equal_or_long(real_params: Params) -> None:
    for name, study in real_params.studies.items():
        made = labels(dict.fromkeys(study.variants), real_params.variants, real_params.datasets)
        assert len(set(made.values())) == len(made), name
        assert max(map(len, made.values())) <= 60, name


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ("r1-mnist", "base; stride 2; kernel 5×5; L2 0.05"),
        ("r4-l1", "without L1; base; L1 0.001; L1 0.01; L1 0.1; L1 1; L1 10; 40,000 images"),
        ("r2-precision", "base; bfloat16; 64, 64 filters; 64, 64 filters, bfloat16"),
        ("r4-data-size", "5,000 images; 10,000 images; 20,000 images; 40,000 images"),
        ("r4-recipe", "base; batch norm; augmented; residual network"),
    ],
)
def test_committed_studies_read_well(study: str, expected: str, real_params: Params) -> None:
    given = dict.fromkeys(real_params.study(study).variants)
    assert "; ".join(labels(given, real_params.variants, real_params.datasets).values()) == expected


def test_texts_refer_to_labels_and_to_values() -> None:
    params = params_of({}, {"l2": 0.0001, "train_images": 500}, {"filters": [16, 8]})
    text = "{v1} with {v1.l2} on {v1.train_images} images of {v1.dataset} beats {v2.filters}."
    assert fill(text, {"v1": "L2", "v2": "wide"}, params.variants) == (
        "“L2” with 0.0001 on 500 images of digits beats 16, 8."
    )


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
def test_a_text_that_refers_to_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProjectError, match=re.escape(message)):
        fill(text, {"v0": "base"}, params_of({}, {}).variants)


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


STUDY: dict[str, Any] = {
    "title": "With and without {v1}",
    "group": "p",
    "question": "Does {v1.l2} help?",
    "variants": ["v0", "v1"],
    "margin": 0.01,
    "claims": {
        "helps": {
            "statement": "{v1} beats {v0}.",
            "remark": "{v0} is plain.",
            "tests": [{"quantity": "test_accuracy", "of": "v1", "than": "v0"}],
        }
    },
}


def study_of(**changes: Any) -> Any:
    variants = {"v0": {"protocol": "p", "dataset": "digits"}}
    variants["v1"] = {**variants["v0"], "l2": 0.1}  # type: ignore[dict-item]
    document = {"datasets": DATASETS, "protocols": {"p": PROTOCOL}, "variants": variants}
    return parse_params({**document, "studies": {"s": {**STUDY, **changes}}}).study("s")


def test_a_study_is_read_in_words() -> None:
    study = study_of()
    assert study.labels == {"v0": "without L2", "v1": "L2 0.1"}
    assert (study.title, study.question) == ("With and without “L2 0.1”", "Does 0.1 help?")
    claim = study.claims["helps"]
    assert claim.statement == "“L2 0.1” beats “without L2”."
    assert claim.remark == "“without L2” is plain."


def test_a_study_may_call_one_variant_and_leave_the_others() -> None:
    assert study_of(variants={"v0": "plain", "v1": None}).labels == {"v0": "plain", "v1": "L2 0.1"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": {"v0": "x", "v1": "x"}},
            "studies.s.variants: two of them have the label 'x'",
        ),
        ({"question": "{v2}?"}, "studies.s.question: {v2} stands for no variant of the study"),
        (
            {"claims": {"helps": {**STUDY["claims"]["helps"], "statement": "{v1.l3}"}}},
            "studies.s.claims.helps.statement: {v1.l3}: variant 'v1' has no key 'l3'",
        ),
    ],
)
def test_what_cannot_be_said_names_its_file_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=re.escape(f"studies/s.yaml: {message}")):
        study_of(**changes)
