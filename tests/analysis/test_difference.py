"""Two states of a project, compared: made-up results in a git repository."""

import copy
import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

from cnn_ablations.analysis.difference import Change, Difference, compare
from cnn_ablations.config.params import parse_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

Write = Callable[..., None]
Git = Callable[..., str]
GOOD, BETTER = (
    [0.80, 0.81, 0.80, 0.79, 0.80, 0.81, 0.80],
    [0.86, 0.87, 0.86, 0.85, 0.86, 0.87, 0.86],
)
UNLIKE = [0.77, 0.84, 0.80, 0.83, 0.80, 0.77, 0.81]
NAMES = ("first", "second", "third")


def found(difference: Difference) -> dict[str, str]:
    return {change.variant: change.verdict for change in difference.variants}


def change(difference: Difference, variant: str) -> Change:
    return next(change for change in difference.variants if change.variant == variant)


@pytest.fixture
def parameters(tiny_document: dict[str, Any]) -> dict[str, Any]:
    """The content of a params.yaml with three variants."""
    document = copy.deepcopy(tiny_document)
    document["variants"] = {name: {"protocol": "tiny", "dataset": "digits"} for name in NAMES}
    return document


@pytest.fixture
def repository(paths: Paths, parameters: dict[str, Any], write: Write, git: Git) -> Paths:
    """A project with results of all variants, committed."""
    paths.params.write_text(yaml.safe_dump(parameters))
    for name in NAMES:
        write(name, GOOD, group="tiny")
    git(paths.root, "init", "--quiet", "--initial-branch=main")
    commit(git, paths)
    return paths


def commit(git: Git, paths: Paths) -> None:
    git(paths.root, "add", ".")
    git(paths.root, "commit", "--quiet", "--message", "a state")


def test_a_changed_variant_is_better_and_the_others_give_the_same_answers(
    repository: Paths, parameters: dict[str, Any], write: Write
) -> None:
    parameters["variants"]["second"]["filters"] = [8]
    repository.params.write_text(yaml.safe_dump(parameters))
    write("second", BETTER, group="tiny")
    difference = compare(repository, "HEAD", None)
    assert found(difference) == {
        "second": "better",
        "first": "same answers",
        "third": "same answers",
    }
    second = difference.variants[0]
    assert second.paired
    assert second.parameters == {"filters": ([4], [8])}
    assert second.difference == pytest.approx(0.06)
    low, high = second.interval or (0, 0)
    assert 0 < low < 0.06 < high
    title, line = difference.markdown().split("\n\n")
    assert title == "## HEAD → working tree: 1 better, 2 same answers"
    assert line.startswith(
        "- **better** `second` (`filters: 4 → 8`): The test accuracy of “working tree” is 6.00 "
        "points above that of “HEAD”, surely more than "
    )
    (content, *_) = json.loads(difference.json())["variants"]
    assert (content["difference"], content["interval"]) == (second.difference, [low, high])
    assert (content["p"], content["paired"]) == (second.p, True)


def test_of_very_unequal_classes_the_balanced_accuracy_is_compared(
    repository: Paths, write: Write, git: Git
) -> None:
    write("third", GOOD, group="tiny", shares=[1, *[5] * 9])
    commit(git, repository)
    write("third", BETTER, group="tiny", shares=[1, *[5] * 9])
    sentence = change(compare(repository, "HEAD", None), "third").sentence
    assert sentence.startswith("The balanced test accuracy of “working tree” is ")


def test_two_commits_are_compared_in_the_order_given(
    repository: Paths, write: Write, git: Git
) -> None:
    write("third", BETTER, group="tiny")
    commit(git, repository)
    shutil.rmtree(repository.root / "reports")  # what lies about here is not asked for
    assert found(compare(repository, "HEAD~1", "main"))["third"] == "better"
    assert found(compare(repository, "main", "HEAD~1"))["third"] == "worse"


def test_verdicts_are_corrected_for_all_variants_whose_answers_differ(
    repository: Paths, write: Write
) -> None:
    slightly = [0.82, 0.86, 0.79, 0.83, 0.84, 0.80, 0.84]
    write("first", slightly, group="tiny")
    alone = change(compare(repository, "HEAD", None), "first")
    for name in ("second", "third"):
        write(name, UNLIKE, group="tiny", noise=5)
    among = change(compare(repository, "HEAD", None), "first")
    assert (alone.verdict, among.verdict) == ("better", "undecided")
    assert alone.interval is not None
    assert among.interval is not None
    assert among.interval[0] < 0 < alone.interval[0]
    assert alone.p is not None
    assert 0.025 < alone.p < 0.05  # two-sided: one side has half of it


@pytest.mark.parametrize(
    ("margin", "verdict"), [(None, "undecided"), (0.05, "no difference that matters")]
)
def test_what_does_not_matter_is_decided_by_the_margin_of_the_variants_study(
    repository: Paths, write: Write, margin: float | None, verdict: str
) -> None:
    if margin is not None:
        study = {"title": "t", "group": "tiny", "question": "q", "margin": margin}
        studies = {"mine": study | {"variants": [*NAMES]}}
        (repository.root / "studies").mkdir()
        (repository.root / "studies" / "mine.yaml").write_text(yaml.safe_dump({"studies": studies}))
    write("first", UNLIKE, group="tiny", noise=5)
    assert found(compare(repository, "HEAD", None))["first"] == verdict


def test_the_same_answers_are_told_only_where_parameters_changed(
    repository: Paths, parameters: dict[str, Any]
) -> None:
    parameters["variants"]["first"]["l2"] = 0.1
    repository.params.write_text(yaml.safe_dump(parameters))
    file = repository.predictions("tiny", "second")
    with np.load(file) as arrays:
        np.savez_compressed(file, **arrays)  # the same in other bytes
    assert compare(repository, "HEAD", None).markdown() == (
        "## HEAD → working tree: 3 same answers\n\n"
        "- **same answers** `first` (`l2: 0 → 0.1`): It gives the same answers."
    )


def test_a_variant_that_was_not_trained_since_it_changed_is_not_compared(
    repository: Paths, parameters: dict[str, Any]
) -> None:
    record = {"seeds": {"0": {"train_seconds": 1, "evaluate_seconds": 1, "peak_memory_mb": 9}}}
    for name, variant in parse_params(parameters).variants.items():
        file = repository.timings("tiny", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record | {"variant": variant.model_dump()}))
    assert compare(repository, "HEAD", None).markdown() == "## HEAD → working tree: 3 same answers"
    parameters["variants"]["first"]["l2"] = 0.1
    repository.params.write_text(yaml.safe_dump(parameters))
    assert compare(repository, "HEAD", None).markdown() == (
        "## HEAD → working tree: 1 not comparable, 2 same answers\n\n"
        "- **not comparable** `first` (`l2: 0 → 0.1`): Not trained since: `cnn-ablations repro "
        "train@first` does."
    )


def test_variants_that_one_side_has_are_listed(repository: Paths, write: Write) -> None:
    write("added", GOOD, group="tiny")
    repository.predictions("tiny", "third").unlink()
    text = compare(repository, "HEAD", None).markdown().split("\n\n")
    assert "Only in HEAD: third." in text
    assert "Only in working tree: added." in text


def test_answers_about_other_images_are_not_compared(repository: Paths, write: Write) -> None:
    write("first", GOOD, group="tiny", examples=200)
    first = change(compare(repository, "HEAD", None), "first")
    assert (first.verdict, first.difference) == ("not comparable", None)
    assert "other images" in first.sentence


def test_results_that_cannot_be_read_are_left_out_with_the_reason(
    repository: Paths, write: Write, git: Git
) -> None:
    repository.predictions("tiny", "first").write_bytes(b"of an older form")
    repository.curves("tiny", "second").unlink()
    commit(git, repository)
    for name in ("first", "second"):
        write(name, BETTER, group="tiny")
    difference = compare(repository, "HEAD", None)
    assert found(difference) == {
        "first": "not comparable",
        "second": "not comparable",
        "third": "same answers",
    }
    curves = "reports/curves/tiny/second.csv"
    assert change(difference, "second").sentence == f"HEAD: {curves} is missing."
    assert "reports/predictions/tiny/first.npz cannot be read" in difference.markdown()


def test_parameters_of_an_older_form_leave_the_results_to_compare(
    repository: Paths, parameters: dict[str, Any], write: Write, git: Git
) -> None:
    repository.params.write_text(yaml.safe_dump(parameters | {"studies": {}}))
    commit(git, repository)
    repository.params.write_text(yaml.safe_dump(parameters))
    write("first", BETTER, group="tiny")
    difference = compare(repository, "HEAD", None)
    assert found(difference)["first"] == "better"
    assert difference.remark.startswith(
        "Which parameters changed cannot be said: HEAD: params.yaml: studies: a study is a file"
    )
    with pytest.raises(ProjectError, match=r"^HEAD: params.yaml: studies: a study is a file"):
        compare(repository, "HEAD~1", "HEAD")


@pytest.mark.parametrize(
    ("before", "now", "verdict", "words"),
    [
        ([0.9], [0.7], "worse on this seed", "points below"),
        (GOOD[:3], [0.1, 0.1, 0.1], "worse", "chance: 3 of 3 seeds of “working tree” and 0 of 3"),
    ],
)
def test_single_seeds_and_collapse_are_told(
    repository: Paths,
    write: Write,
    git: Git,
    before: list[float],
    now: list[float],
    verdict: str,
    words: str,
) -> None:
    write("first", before, group="tiny")
    commit(git, repository)
    write("first", now, group="tiny")
    difference = compare(repository, "HEAD", None)
    assert found(difference)["first"] == verdict
    assert words in difference.markdown()
