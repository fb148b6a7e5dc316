import copy
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnn_ablations.config.params import Params, check_studies_are_listed, load_params, parse_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import layer_names
from cnn_ablations.training.network import build_network
from cnn_ablations.training.variant import named_weights

Document = dict[str, Any]


def put(document: Document, place: str, value: Any) -> Document:
    *folders, key = place.split(".")
    for folder in folders:
        document = document.setdefault(folder, {})
    document[key] = value
    return document


def complaint(document: Any, file: str = "params.yaml") -> str:
    with pytest.raises(ProjectError) as caught:
        parse_params(document)
    message = str(caught.value)
    assert [line for line in message.splitlines() if not line.startswith(f"{file}: ")] == []
    return message


NET = "variants.tiny-net"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("variant", {}, "the top level has an unknown key 'variant'; did you mean 'variants'?"),
        ("variants", None, "variants must be a mapping"),
        (NET, None, f"{NET} must be a mapping"),
        (NET, {"dataset": "digits"}, f"{NET}.protocol is missing"),
        ("protocols.tiny.dataset", "digits", "protocols.tiny has an unknown key 'dataset'"),
        ("datasets.digits.format", "digit", "datasets.digits is wrong: input tag 'digit' found"),
    ],
)
def test_an_entry_that_is_none_is_one_sentence(
    document: Document, place: str, value: Any, words: str
) -> None:
    put(document, place, value)
    message = complaint(document)
    assert "\n" not in message
    assert words in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 3}, " has an unknown key 'epoch'; did you mean 'epochs'?"),
        ({"colour": 3}, " has an unknown key 'colour'; known are: model, split"),
        ({"protocol": "tinny"}, ".protocol: there is no protocol 'tinny'; did you mean 'tiny'?"),
        ({"dataset": "digit"}, ".dataset: there is no data set 'digit'; did you mean 'digits'?"),
        ({"model": "conf_net"}, ".model: there is no 'conf_net'; did you mean 'conv_net'?"),
        ({"model": ["conv_net"]}, ".model: there is no ['conv_net']"),
        ({"epochs": -1}, ".epochs is wrong: input should be greater than 0, but it is -1"),
        ({"learning_rate": 0}, ".learning_rate is wrong: input should be greater than 0"),
        (
            {"learning_rate": {"peek": 1.0}},
            ".learning_rate has an unknown key 'peek'; did you mean",
        ),
        ({"learning_rate": {"warm_up": 1}}, ".learning_rate.peak is missing"),
        ({"learning_rate": {"peak": 1, "decay": "no"}}, ".learning_rate.decay is wrong: input sho"),
        ({"learning_rate": {"peak": 1, "warm_up": 3}}, " learning_rate.warm_up takes 3 epochs, bu"),
        (
            {"learning_rate": {"peak": 1, "decay": {"after": [2, 1]}}},
            " learning_rate.decay.after is [2, 1], but must name epochs in ascending order",
        ),
        ({"optimizer": "adamw"}, " weight_decay is of the optimizer adamw, which needs one"),
        ({"momentum": 0.9}, " momentum is of the optimizer sgd, not of adam"),
        ({"nesterov": True}, " nesterov needs a momentum greater than 0"),
        ({"evaluate_each_epoch": ["val", "val"]}, ".evaluate_each_epoch must not name anything tw"),
        ({"split": {"method": "first"}}, ".split is wrong: input tag 'first' found using 'method'"),
        ({"split": {"method": "last", "val": 1.5}}, ".split.val must be a fraction between 0 and"),
        (
            {"split": {"method": "stratified", "val": 3, "random_state": 0}},
            ".split.val is 3 images, but each of the 10 classes needs one",
        ),
        (
            {"train_images": 1_438},
            ".train_images is 1,438, but data set 'digits' has 1,437",
        ),
        (
            {"split": {"method": "last", "val": 1_437}},
            ".split.val is 1,437, but there are 1,437 images: it leaves none to train on",
        ),
        (
            {"split": {"method": "train_test_split", "held_out": 10, "random_state": 0}}
            | {"train_images": 10},
            ".split.held_out is 10, but there are 10 images",
        ),
        ({"augmentation": {"crop": 8}}, ".augmentation.crop is 8, but images of 8 pixels need at"),
        ({"augmentation": {"cutout": 9}}, ".augmentation.cutout is 9, but images of 8 pixels need"),
        ({"augmentation": {}}, " augmentation changes nothing; name a change in it, or write null"),
        (
            {"optimizer": "adamw", "weight_decay": 200.0, "learning_rate": 0.01},
            " weight_decay times learning_rate must be less than 1",
        ),
        (
            {"train_on": "train+val", "evaluate_each_epoch": ["val"]},
            ".evaluate_each_epoch names val, but with train_on train+val no validation images",
        ),
        ({"kernel_size": [0]}, ".kernel_size.0 is wrong: input should be greater than 0"),
        ({"pooling": 9}, ": pool1: pooling by 9 leaves nothing of a feature map of 8 pixels"),
        # What no machine can train is refused at once.
        (
            {"filters": [10**12]},
            " filters is [1000000000000], but it may have 1,000 numbers at most",
        ),
        ({"filters": [1] * 100_000}, " filters is [1, 1, 1, 1, 1, 1, ...], but it may have 1,000"),
        ({"filters": [2_000_000]}, " filters is [2000000], but it may have 1,000 numbers at most"),
        (
            {"filters": [1_000_000] * 2},
            ": filters and dense are [1000000, 1000000, 8], but",
        ),
        ({"dense": [100_000] * 2}, ": filters and dense are [4, 100000, 100000], but no two"),
        ({"seeds": [2**32]}, " seeds is [4294967296], but it may have 1,000"),
        ({"l2": 1.0e308}, " l2 is 1e+308, but it may have 1,000 numbers at most"),
    ],
    ids=lambda value: f"{value!s:.30}",
)
def test_a_bad_value_is_one_sentence_that_names_the_key(
    document: Document, changes: Document, words: str
) -> None:
    document["variants"]["tiny-net"] |= changes
    message = complaint(document)
    assert "\n" not in message
    assert message.startswith(f"params.yaml: {NET}{words}")


STUDY: Document = {
    "title": "t",
    "group": "tiny",
    "question": "q",
    "variants": {"tiny-net": "net"},
    "margin": 0.01,
}


def claim(*variants: str) -> Document:
    return {"statement": "s", "tests": [{"quantity": "gap", "of": [*variants]}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": {"tiny-nett": "net"}}, ["studies.s.variants", "did you mean 'tiny-net'?"]),
        ({"published": {"tiny-nett": {}}}, ["studies.s.published", "'tiny-nett'"]),
        ({"claims": {"c": claim("tiny-nett")}}, ["studies.s.claims.c", "did you mean 'tiny-net'?"]),
        ({"along": ["l3"]}, ["studies.s.along", "'tiny-net' has no key 'l3'"]),
        (
            {"along": ["padding"], "variants": {"unlisted": "plain"}},
            ["studies.s.along", "'padding' of variant 'unlisted'", "number"],
        ),
        ({"title": None}, ["studies.s.title is wrong"]),
        ({"group": "other"}, ["studies.s.variants", "group 'tiny'", "group 'other'"]),
        ({"published": {"unlisted": {}}}, ["studies.s.published", "'unlisted'", "not listed"]),
        ({"explanations": {"tiny-net": "tiny-nett"}}, ["studies.s.explanations", "'tiny-nett'"]),
        ({"explanations": {"tiny-net": "tiny-net"}}, ["'tiny-net' nothing is under 'published'"]),
    ],
)
def test_a_study_may_only_name_variants_of_its_own(
    document: Document, changes: Document, words: list[str]
) -> None:
    document["variants"]["unlisted"] = {"protocol": "tiny", "dataset": "digits"}
    put(document, "studies.s", {**STUDY, **changes})
    message = complaint(document, "studies/s.yaml")
    assert [word for word in words if word not in message] == []


def test_an_alias_that_holds_itself_is_refused(document: Document) -> None:
    for section in ("datasets", "protocols", "variants", "studies"):
        recursive: Document = {}
        recursive["protocol"] = recursive["method"] = recursive
        with pytest.raises(ProjectError, match=r"^(params|studies/x)\.yaml: "):
            parse_params({**document, section: {"x": recursive}})


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
    with suppress(ProjectError):
        assert isinstance(parse_params(document), Params)


def test_the_real_file_is_valid(real_params: Params) -> None:
    """Loading it checks every key, every reference, and every variant's factors."""
    assert {"digits", "mnist", "fashion-mnist", "cifar10"} <= set(real_params.datasets)
    used = {v for study in real_params.studies.values() for v in study.variants}
    assert used == set(real_params.variants)
    groups = {v.group for v in real_params.variants.values()}
    assert groups == set(real_params.protocols)


def test_an_unknown_name_is_answered_with_the_nearest(real_params: Params) -> None:
    for find, name, hint in (
        (real_params.dataset, "minst", "data set 'minst'; did you mean 'mnist'"),
        (real_params.variant, "r4-bas", "variant 'r4-bas'; did you mean 'r4-base'"),
        (real_params.study, "quick", "study 'quick'; did you mean 'quickstart'"),
    ):
        with pytest.raises(ProjectError, match=f"^there is no {hint}"):
            find(name)


def write(root: Path, document: Document, **studies: Any) -> Path:
    (root / "studies").mkdir(exist_ok=True)
    for name, content in studies.items():
        (root / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (root / "params.yaml").write_text(yaml.safe_dump(document))
    return root / "params.yaml"


def test_studies_are_files_in_the_order_of_their_names(document: Document, tmp_path: Path) -> None:
    studies = {name: {"studies": {name: STUDY}} for name in ("b", "a")}
    assert [*load_params(write(tmp_path, document, **studies)).studies] == ["a", "b"]


@pytest.mark.parametrize(
    "content", [None, [], {"studies": None}, {"studies": {"b": STUDY}}, {"a": STUDY}]
)
def test_a_file_that_is_no_study_says_what_it_must_be(
    document: Document, tmp_path: Path, content: Any
) -> None:
    with pytest.raises(ProjectError, match=r"^studies/a\.yaml must hold one study.*'a:'$"):
        load_params(write(tmp_path, document, a=content))


def test_a_study_in_params_yaml_is_sent_into_its_file(document: Document, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"a file of its own, studies/NAME\.yaml"):
        load_params(write(tmp_path, {**document, "studies": {}}))


def test_studies_and_the_list_of_them_agree(document: Document, tmp_path: Path) -> None:
    write(tmp_path, document, a={"studies": {"a": STUDY}})
    pipeline = tmp_path / "dvc.yaml"
    check_studies_are_listed(tmp_path)  # where there is no pipeline, nothing has to agree
    pipeline.write_text("vars: [studies/a.yaml, other.yaml]")
    check_studies_are_listed(tmp_path)
    for content, message in (
        ("stages: {}", "vars lacks studies/a.yaml; add the line '- studies/a.yaml'"),
        ("vars: [studies/a.yaml, studies/b.yaml]", "vars lists the missing studies/b.yaml; remove"),
    ):
        pipeline.write_text(content)
        with pytest.raises(ProjectError, match=f"^dvc.yaml: .*{message}"):
            check_studies_are_listed(tmp_path)


def test_every_mistake_has_a_line(document: Document) -> None:
    document["variants"]["tiny-net"] |= {"l2": "1e-05", "epochs": 0}
    document["variants"]["other"] = {"protocol": "tiny", "dataset": "digits", "eposhs": 1}
    mistakes = [line.split()[1] for line in complaint(document).splitlines()]
    assert mistakes == [f"{NET}.epochs", f"{NET}.l2", "variants.other"]


@pytest.mark.parametrize("name", ["--help", "_x", "x" * 61, "", "a b", "../x", 1, None])
@pytest.mark.parametrize("section", ["datasets", "protocols", "variants", "studies"])
def test_a_name_is_one_for_files_dvc_and_a_shell(
    document: Document, section: str, name: Any
) -> None:
    document.setdefault(section, {})[name] = {}
    assert f" has the name {name!r:.10}" in complaint(document)


def test_large_seeds_and_counts_of_images_are_allowed(document: Document) -> None:
    split = {"method": "train_test_split", "held_out": 2_000_000, "random_state": 2**32 - 1}
    document["variants"]["tiny-net"] |= {"seeds": [2**32 - 1], "split": split}
    del document["datasets"]["digits"]["images"]  # how many there are is not known
    assert parse_params(document).variant("tiny-net").seeds == [2**32 - 1]


LATE = {"quantity": "val_loss", "below": 0}


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({**LATE, "after": 3}, None),
        ({**LATE, "after": 4}, " is about epoch 4, but 'a' trains for 3"),
        (
            {"quantity": "test_balanced_accuracy", "of": "a", "epoch": 1, "above": 0.5},
            ": variant 'a' records no test_balanced_accuracy after each epoch",
        ),
        (
            {"quantity": "test_loss", "after": 1},
            ": variant 'a' records no test_loss after each epoch; known are: running",
        ),
        ({"quantity": "val_accuracy", "than": "a"}, None),
        (
            {"quantity": "val_accuracy", "than": "all"},
            ": variant 'all' records no val_accuracy; did you mean",
        ),
        (
            {"quantity": "val_accuracy", "of": None, "along": ["a", "all"]},
            ": variant 'all' records no val_accuracy",
        ),
        ({"quantity": "gap", "of": "all"}, None),
        ({"quantity": "detail", "below": 1, "of": "deep"}, None),
        ({"quantity": "detail", "below": 1}, " compares convolutions, but 'a' has fewer"),
        ({"quantity": "layer_share", "layers": ["dense1"], "above": 0.5}, None),
        (
            {"quantity": "layer_share", "layers": ["dense2"], "above": 0.5},
            ": variant 'a' has no layer 'dense2'; did you mean 'dense1'?",
        ),
    ],
)
def test_a_test_must_be_possible_with_what_its_variants_record(
    document: Document, test: Document, words: str | None
) -> None:
    plain = {"protocol": "tiny", "dataset": "digits"}
    document["variants"] = {
        "a": plain,
        "all": {**plain, "train_on": "train+val"},
        "deep": {**plain, "filters": [4, 4]},
    }
    tests = {
        "statement": "s",
        "tests": [{k: v for k, v in ({"of": "a"} | test).items() if v is not None}],
    }
    study = {**STUDY, "variants": {"a": "A", "all": "B", "deep": "C"}, "claims": {"c": tests}}
    put(document, "studies.s", study)
    if words is None:
        parse_params(document)
    else:
        assert f"studies.s.claims.c.tests.0{words}" in complaint(document, "studies/s.yaml")


@pytest.mark.parametrize("metric", ["val_loss", "majority_train_val_accuracy", "tset_accuracy"])
def test_a_published_figure_is_of_something_that_is_recorded(
    document: Document, metric: str
) -> None:
    figures = {"train_loss": 0.5, "majority_test_accuracy": 0.1, "running_train_loss": 1, metric: 1}
    put(document, "studies.s", {**STUDY, "published": {"tiny-net": figures}})
    document["variants"]["tiny-net"]["train_on"] = "train+val"
    message = complaint(document, "studies/s.yaml")
    assert f"published.tiny-net: variant 'tiny-net' records no {metric}" in message
    assert "\n" not in message


def test_the_layers_that_claims_may_name_are_those_with_weights(
    keras: ModuleType, real_params: Params
) -> None:
    for name in ("quickstart-batchnorm", "r4-base"):
        variant = real_params.variant(name)
        shape = real_params.dataset(variant.dataset).image_shape
        model = build_network(variant, shape, 10, 255)
        named = dict.fromkeys(layer for layer, _, _ in named_weights(model))
        assert layer_names(variant.model, variant.factors) == [*named]
