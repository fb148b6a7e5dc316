from typing import Any

import pytest

from cnn_ablations.config.datasets import UNEQUAL, accuracy_misleads
from cnn_ablations.config.params import parse_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.training import summary


def test_examples_are_of_the_named_classes_else_of_the_first(document: dict[str, Any]) -> None:
    digits = document["datasets"]["digits"]
    for given, wanted in (["7", "2"], ["7", "2"]), ([], ["0"]):
        digits["example_classes"] = given
        assert parse_params(document).dataset("digits").example_classes == wanted
    del digits["example_classes"]
    assert parse_params(document).dataset("digits").example_classes == ["0"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("example_classes", ["3", "eight"], "names 'eight', which is no class; known are: 0, 1"),
        ("classes", ["a"] * 65_536, "at most 65535 items"),
        ("showcase", -1, "is wrong: input should be greater than or equal to 0, but it is -1"),
    ],
)
def test_what_is_no_class_or_no_image_is_refused(
    document: dict[str, Any], key: str, value: object, message: str
) -> None:
    document["datasets"]["digits"][key] = value
    with pytest.raises(ProjectError) as caught:
        parse_params(document)
    assert str(caught.value).startswith(f"params.yaml: datasets.digits.{key}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "misleads"), [([5, 10], False), ([5, 11], True), ([5, 0, 10], False)]
)
def test_accuracy_misleads_where_a_class_has_more_than_twice_the_images_of_another(
    counts: list[int], misleads: bool
) -> None:
    assert accuracy_misleads(counts) is misleads
    assert UNEQUAL == summary.UNEQUAL  # trainings record by the same rule
