import copy
import datetime
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_ablations.config.params import Params, load_params, parse_params
from cnn_ablations.errors import ProjectError

Document = dict[str, Any]


def put(document: Document, place: str, value: Any) -> Document:
    *folders, key = place.split(".")
    for folder in folders:
        document = document[folder]
    document[key] = value
    return document


def complaint(document: Any) -> str:
    with pytest.raises(ProjectError) as caught:
        parse_params(document)
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    return message


NET = "variants.tiny-net"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("variant", {}, ["top level", "'variant'", "did you mean 'variants'?"]),
        ("variants", None, ["variants must be a mapping"]),
        ("variants", [NET], ["variants must be a mapping"]),
        ("variants.Tiny net", {}, ["variants", "'Tiny net'", "lower-case"]),
        (NET, None, [NET, "must be a mapping"]),
        (NET, {"dataset": "digits"}, [f"{NET}.protocol is missing"]),
        (NET, {"protocol": "tiny"}, [f"{NET}.dataset is missing"]),
        (f"{NET}.epoch", 3, [NET, "'epoch'", "did you mean 'epochs'?"]),
        (f"{NET}.filter", [3], [NET, "'filter'", "did you mean 'filters'?"]),
        (f"{NET}.colour", 3, [NET, "'colour'", "known are", "epochs", "filters"]),
        (f"{NET}.protocol", "tinny", [f"{NET}.protocol", "'tinny'", "did you mean 'tiny'?"]),
        (f"{NET}.dataset", "digit", [f"{NET}.dataset", "'digit'", "did you mean 'digits'?"]),
        (f"{NET}.model", "conf_net", [f"{NET}.model", "did you mean 'conv_net'?"]),
        (f"{NET}.model", 5, [f"{NET}.model", "string", "5"]),
        (f"{NET}.model", ["conv_net"], [f"{NET}.model", "string"]),
        (f"{NET}.epochs", -1, [f"{NET}.epochs", "greater than 0", "-1"]),
        (f"{NET}.epochs", "3", [f"{NET}.epochs", "integer", "'3'"]),
        (f"{NET}.epochs", True, [f"{NET}.epochs", "integer", "True"]),
        (f"{NET}.learning_rate", 0, [f"{NET}.learning_rate", "greater than 0"]),
        (f"{NET}.learning_rate", math.inf, [f"{NET}.learning_rate", "finite"]),
        (f"{NET}.learning_rate", {"peak": 0}, [f"{NET}.learning_rate.peak", "greater than 0"]),
        (f"{NET}.learning_rate", {"peek": 0.1}, [f"{NET}.learning_rate", "mean 'peak'"]),
        (f"{NET}.learning_rate", {"warm_up": 1}, [f"{NET}.learning_rate.peak", "is missing"]),
        (
            f"{NET}.learning_rate",
            {"peak": 1.0, "warm_up": 3},
            [f"{NET} learning_rate.warm_up takes 3 epochs, but there are 3"],
        ),
        (
            f"{NET}.learning_rate",
            {"peak": 1.0, "decay": "sine"},
            [f"{NET}.learning_rate.decay", "'linear' or 'cosine'", "'sine'"],
        ),
        (
            f"{NET}.learning_rate",
            {"peak": 1.0, "decay": {"after": [2, 1]}},
            [f"{NET} learning_rate.decay.after is [2, 1]", "ascending"],
        ),
        (
            f"{NET}.learning_rate",
            {"peak": 1.0, "decay": {"after": [3]}},
            [f"{NET} learning_rate.decay.after is [3]", "before the last of 3"],
        ),
        (
            f"{NET}.learning_rate",
            {"peak": 1.0, "decay": {"after": [1], "factor": 1.0}},
            [f"{NET}.learning_rate.decay.factor", "less than 1"],
        ),
        (f"{NET}.optimizer", "adm", [f"{NET}.optimizer", "'sgd', 'adam' or 'adamw'", "'adm'"]),
        (f"{NET}.optimizer", "adamw", [f"{NET} weight_decay", "adamw", "greater than 0"]),
        (f"{NET}.weight_decay", 0.1, [f"{NET} weight_decay", "any other needs it to be 0"]),
        (f"{NET}.weight_decay", -0.1, [f"{NET}.weight_decay", "greater than or equal to 0"]),
        (f"{NET}.momentum", 0.9, [f"{NET} momentum is of the optimizer sgd, not of adam"]),
        (f"{NET}.momentum", 1.0, [f"{NET}.momentum", "less than 1"]),
        (f"{NET}.nesterov", True, [f"{NET} nesterov needs a momentum"]),
        (f"{NET}.label_smoothing", 1.0, [f"{NET}.label_smoothing", "less than 1"]),
        (f"{NET}.class_weights", "even", [f"{NET}.class_weights", "'balanced'", "'even'"]),
        (f"{NET}.weight_average", 1, [f"{NET}.weight_average", "less than 1"]),
        (f"{NET}.evaluate_mirrored", 1, [f"{NET}.evaluate_mirrored", "boolean"]),
        (f"{NET}.augmentation", {"mirror": "often"}, [f"{NET}.augmentation.mirror", "'often'"]),
        (f"{NET}.augmentation", {"crop": -1}, [f"{NET}.augmentation.crop", "equal to 0"]),
        (f"{NET}.augmentation", {"crop": 8}, [f"{NET}.augmentation.crop", "8 pixels"]),
        (f"{NET}.augmentation", {"cutout": 17}, [f"{NET}.augmentation.cutout", "8 pixels"]),
        (f"{NET}.seeds", [], [f"{NET}.seeds", "at least 1"]),
        (f"{NET}.seeds", [1, 2, 1], [f"{NET}.seeds", "twice"]),
        (f"{NET}.seeds", [-1], [f"{NET}.seeds.0", "greater than or equal to 0"]),
        (f"{NET}.split", {"method": "first"}, [f"{NET}.split", "'first'", "'last'"]),
        (f"{NET}.split", {"method": "last"}, [f"{NET}.split.val is missing"]),
        (f"{NET}.split", {"method": "last", "val": 1.5}, [f"{NET}.split.val", "fraction"]),
        (f"{NET}.split", {"method": "last", "val": math.inf}, [f"{NET}.split.val", "finite"]),
        (
            f"{NET}.split",
            {"method": "stratified", "val": 0.1},
            [f"{NET}.split.random_state is missing"],
        ),
        (f"{NET}.augmentation", {"rotate": 1.0}, [f"{NET}.augmentation", "'rotation'"]),
        (f"{NET}.kernel_size", [0], [f"{NET}.kernel_size.0", "greater than 0"]),
        (f"{NET}.conv_dropout", 1, [f"{NET}.conv_dropout", "less than 1"]),
        (f"{NET}.kernel_size", [3, 3], [NET, "kernel_size has 2 values for 1 layers"]),
        (f"{NET}.pooling", 9, [NET, "pool1", "pooling by 9", "8 pixels"]),
        ("protocols.tiny.epochs", -1, ["protocols.tiny.epochs", "greater than 0"]),
        ("protocols.tiny.seed", 1, ["protocols.tiny", "did you mean 'seeds'?"]),
        ("protocols.tiny.dataset", "digits", ["protocols.tiny", "'dataset'"]),
        ("protocols.tiny", {}, ["protocols.tiny.split is missing"]),
        ("datasets.digits.format", "digit", ["datasets.digits", "'digit'", "'digits'"]),
        ("datasets.digits.clases", [], ["datasets.digits", "did you mean 'classes'?"]),
        ("datasets.digits.image_shape", [8, 8], ["datasets.digits.image_shape", "3"]),
        ("studies.s", {"group": "tiny"}, ["studies.s.title is missing"]),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_key(
    document: Document, place: str, value: Any, words: list[str]
) -> None:
    put(document, place, value)
    message = complaint(document)
    assert [word for word in words if word not in message] == []


def test_a_larger_kernel_than_its_input_names_layer_and_variant(document: Document) -> None:
    document["variants"]["tiny-net"] |= {
        "filters": [4, 4],
        "kernel_size": [3, 5],
        "padding": "valid",
    }
    message = complaint(document)
    assert message.startswith("params.yaml: variants.tiny-net: conv2: a kernel of 5 pixels")


STUDY: Document = {
    "title": "t",
    "group": "tiny",
    "question": "q",
    "variants": {"tiny-net": "net"},
    "margin": 0.01,
}


def claim(*variants: str) -> Document:
    return {"statement": "s", "tests": [{"kind": "overfits", "variants": [*variants]}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": {"tiny-nett": "net"}}, ["studies.s.variants", "did you mean 'tiny-net'?"]),
        ({"published": {"tiny-nett": {}}}, ["studies.s.published", "'tiny-nett'"]),
        ({"claims": {"c": claim("tiny-nett")}}, ["studies.s.claims.c", "did you mean 'tiny-net'?"]),
        (
            {"along": ["l3"]},
            ["studies.s.along", "'tiny-net' has no key 'l3'"],
        ),
        (
            {"along": ["padding"], "variants": {"unlisted": "plain"}},
            ["studies.s.along", "'padding' of variant 'unlisted'", "number"],
        ),
        ({"group": "other"}, ["studies.s.variants", "group 'tiny'", "group 'other'"]),
        ({"published": {"unlisted": {}}}, ["studies.s.published", "'unlisted'", "not listed"]),
    ],
)
def test_a_study_may_only_name_variants_of_its_own(
    document: Document, changes: Document, words: list[str]
) -> None:
    document["variants"]["unlisted"] = {"protocol": "tiny", "dataset": "digits"}
    document["studies"]["s"] = {**STUDY, **changes}
    message = complaint(document)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    "content",
    [
        b"variants: {a: [}",
        b"a: b: c",
        b"\xff\xfe\x00",
        b"\t- a",
        b"variants: !!python/object/apply:os.system ['true']",
        b"variants: !secret {}",
        b"[" * 10_000,
    ],
    ids=["flow", "nested", "bytes", "tab", "python-tag", "own-tag", "deep"],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=r"^params\.yaml is not valid YAML: .*$"):
        load_params(path)


@pytest.mark.parametrize("content", [b"", b"- 1", b"a", b"datasets:"])
def test_what_is_yaml_but_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match="must be a mapping"):
        load_params(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"params\.yaml: No such file"):
        load_params(tmp_path / "params.yaml")


def test_aliases_that_hold_themselves_are_refused(document: Document) -> None:
    for section in ("datasets", "protocols", "variants", "studies"):
        recursive: Document = {}
        recursive["protocol"] = recursive["method"] = recursive
        complaint({**document, section: {"x": recursive}})
        complaint({**document, section: recursive})


# What YAML can hold: plain values, and the odd ones that it makes of dates and `!!binary`.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["conv_net", "digits", "tiny", "tiny-net", "last", 10**400, 0.5]),
)
keys = st.one_of(st.text(max_size=8), st.integers(), st.none(), st.dates(), st.booleans())
anything = st.recursive(
    scalars,
    lambda values: st.one_of(
        st.lists(values, max_size=3), st.dictionaries(keys, values, max_size=3)
    ),
    max_leaves=6,
)


def places(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced or added in a document."""
    found = [here] if here else []
    if isinstance(node, dict):
        found.append((*here, "added"))
        for key, value in node.items():
            found += places(value, (*here, key))
    if isinstance(node, list):
        for index, value in enumerate(node):
            found += places(value, (*here, index))
    return found


@given(document=st.one_of(anything, st.dictionaries(st.sampled_from(["variants"]), anything)))
def test_anything_is_parsed_or_refused(document: Any) -> None:
    outcome(document)


@given(data=st.data())
def test_a_document_with_anything_in_one_place_is_parsed_or_refused(
    tiny_document: Document, data: st.DataObject
) -> None:
    study = {**STUDY, "claims": {"c": claim("tiny-net")}}
    document = copy.deepcopy({**tiny_document, "studies": {"s": study}})
    *folders, key = data.draw(st.sampled_from(places(document)))
    node: Any = document
    for folder in folders:
        node = node[folder]
    node[key] = data.draw(anything)
    outcome(document)


@pytest.mark.parametrize(
    "odd", [[], {}, None, "x", -1, 1.5, math.nan, math.inf, datetime.date(2000, 1, 1), {1: {}}]
)
def test_every_place_can_hold_something_odd(tiny_document: Document, odd: Any) -> None:
    for *folders, key in places(tiny_document):
        document = copy.deepcopy(tiny_document)
        node: Any = document
        for folder in folders:
            node = node[folder]
        node[key] = odd
        outcome(document)


def outcome(document: Any) -> None:
    with suppress(ProjectError):
        assert isinstance(parse_params(document), Params)


def test_the_real_file_is_valid(real_params: Params) -> None:
    """Loading it checks every key, every reference, and every variant's factors."""
    assert {"digits", "mnist", "fashion-mnist", "cifar10"} <= set(real_params.datasets)
    used = {v for study in real_params.studies.values() for v in study.variants}
    assert used == set(real_params.variants)
    assert {v.group for v in real_params.variants.values()} == set(real_params.protocols)


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("dataset", "minst", "no data set 'minst'; did you mean 'mnist'?"),
        ("variant", "r2-1conv-nonne", "no variant 'r2-1conv-nonne'; did you mean 'r2-1conv-none'?"),
        ("study", "quick", "no study 'quick'; did you mean 'quickstart'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    real_params: Params, kind: str, name: str, hint: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        getattr(real_params, kind)(name)
    assert hint in str(caught.value)
