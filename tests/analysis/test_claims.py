from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_ablations.analysis.claims import ClaimResult, gather, judge
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.statistics import equivalence_p
from cnn_ablations.analysis.tables import accuracy_interval
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

HIGH = [0.900, 0.903, 0.897, 0.901, 0.899, 0.902]
LOW = [0.850, 0.853, 0.847, 0.851, 0.849, 0.852]
WIDE = [0.70, 0.95, 0.80, 0.92, 0.75, 0.93]
BROKEN = [0.1, 0.1, 0.1, 0.1, 0.1, 0.85]


@pytest.fixture(autouse=True)
def group(write: Callable[..., None]) -> None:
    """Variants of a group: 2,000 examples, six seeds unless the name says otherwise."""
    options = {"examples": 2000}
    write("high", HIGH, noise=1, **options)
    write("low", LOW, noise=2, **options)
    write("same", HIGH, noise=3, **options)
    write("wide", WIDE, noise=4, **options)
    write("broken", BROKEN, noise=5, **options)
    write("one", [0.9], noise=6, **options)
    write("other", [0.85], noise=7, **options)
    write("plain", HIGH, gap=-0.02, noise=10, **options)
    write("overfit", LOW, gap=0.1, noise=8, flops=1_200_000, **options)


def judged(paths: Paths, *tests: dict[str, Any], margin: float = 0.01) -> ClaimResult:
    """The verdict on one claim with these tests."""
    names = {name for t in tests for name in [*t["variants"], *t.get("than", [])]}
    study = Study.model_validate(
        {
            "title": "t",
            "group": "g",
            "question": "q",
            "variants": {name: f"the {name}" for name in sorted(names)},
            "margin": margin,
            "claims": {"c": {"statement": "s", "tests": list(tests)}},
        }
    )
    return judge(gather(study, load_results(paths, "g", study.variants)))[0]


def accuracy_test(kind: str, first: str, second: str) -> dict[str, Any]:
    return {"kind": kind, "metric": "val_accuracy", "variants": [first], "than": [second]}


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (accuracy_test("higher", "high", "low"), "supported"),
        (accuracy_test("higher", "low", "high"), "contradicted"),
        (accuracy_test("higher", "high", "wide"), "undecided"),
        (accuracy_test("higher", "high", "broken"), "supported"),
        (accuracy_test("similar", "high", "same"), "supported"),
        (accuracy_test("similar", "high", "low"), "contradicted"),
        (accuracy_test("similar", "low", "high"), "contradicted"),
        (accuracy_test("similar", "high", "wide"), "undecided"),
        (accuracy_test("not_higher", "low", "high"), "supported"),
        (accuracy_test("not_higher", "high", "same"), "supported"),
        (accuracy_test("not_higher", "high", "low"), "contradicted"),
        (accuracy_test("not_higher", "high", "wide"), "undecided"),
        ({"kind": "overfits", "variants": ["overfit"]}, "supported"),
        ({"kind": "overfits", "variants": ["plain"]}, "contradicted"),
        ({"kind": "narrower_gap", "variants": ["low"], "than": ["overfit"]}, "supported"),
        ({"kind": "narrower_gap", "variants": ["overfit"], "than": ["low"]}, "contradicted"),
        ({"kind": "costs_more", "variants": ["overfit"], "than": ["low"]}, "supported"),
        ({"kind": "costs_more", "variants": ["low"], "than": ["overfit"]}, "contradicted"),
    ],
)
def test_verdicts(paths: Paths, test: dict[str, Any], verdict: str) -> None:
    assert judged(paths, test).verdict == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.90, "supported"), (0.89, "supported"), (0.95, "contradicted")]
)
def test_reaches(paths: Paths, value: float, verdict: str) -> None:
    test = {"kind": "reaches", "metric": "test_accuracy", "variants": ["high"], "value": value}
    result = judged(paths, test, margin=0.02)
    assert result.verdict == verdict
    assert result.judgements[0].finding.effect == pytest.approx(0.9, abs=0.005)


def test_one_seed_decides_for_itself_only(paths: Paths) -> None:
    result = judged(paths, accuracy_test("higher", "one", "other"))
    assert result.verdict == "supported on this seed"
    assert result.judgements[0].seeds == 1
    assert judged(paths, accuracy_test("higher", "high", "other")).verdict.endswith("on this seed")


def test_one_seed_that_leaves_it_open_says_so(paths: Paths, write: Callable[..., None]) -> None:
    write("near", [0.897], examples=2000, noise=9)
    result = judged(paths, accuracy_test("higher", "one", "near"), margin=0.001)
    assert result.verdict == "undecided"
    assert "a single seed leaves it open" in result.sentence


def test_effects_are_differences_of_medians_with_their_interval(paths: Paths) -> None:
    judgement = judged(paths, accuracy_test("higher", "high", "low")).judgements[0]
    assert judgement.finding.effect == pytest.approx(0.05)
    assert judgement.finding.interval
    low, high = judgement.finding.interval
    assert 0.035 < low < 0.05 < high < 0.065
    assert judgement.seeds == 6
    assert "“the high” is 5.00 points above that of “the low”" in judgement.sentence


def test_similar_is_tested_as_equivalence(paths: Paths) -> None:
    finding = judged(paths, accuracy_test("similar", "high", "same")).judgements[0].finding
    assert finding.estimate
    assert finding.p == equivalence_p(finding.estimate, 0.01)


def test_p_values_are_corrected_over_all_tests_with_a_p_value(paths: Paths) -> None:
    cost = {"kind": "costs_more", "variants": ["overfit"], "than": ["low"]}
    tests = [accuracy_test("higher", "high", name) for name in ("low", "wide", "same")]
    judgements = judged(paths, cost, *tests).judgements
    assert judgements[0].finding.p is judgements[0].p_holm is None
    raw = [j.finding.p or 0 for j in judgements[1:]]
    assert judgements[1].p_holm == pytest.approx(3 * min(raw))
    assert all((j.p_holm or 0) >= (j.finding.p or 0) for j in judgements[1:])


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["holds", "holds"], "supported"),
        (["holds", "open"], "undecided"),
        (["open", "fails", "holds"], "contradicted"),
        (["holds", "one seed"], "supported on this seed"),
        (["fails", "one seed"], "contradicted"),
        (["one seed fails", "fails", "holds"], "contradicted"),
        (["one seed fails", "open"], "contradicted on this seed"),
    ],
)
def test_a_claim_is_as_good_as_its_tests(paths: Paths, kinds: list[str], verdict: str) -> None:
    tests = {
        "holds": accuracy_test("higher", "high", "low"),
        "open": accuracy_test("higher", "high", "wide"),
        "fails": accuracy_test("higher", "low", "high"),
        "one seed": accuracy_test("higher", "one", "other"),
        "one seed fails": accuracy_test("higher", "other", "one"),
    }
    assert judged(paths, *(tests[kind] for kind in kinds)).verdict == verdict


def test_a_mean_over_pairs(paths: Paths) -> None:
    test = accuracy_test("higher", "high", "low")
    test["variants"], test["than"] = ["high", "low"], ["low", "same"]
    judgement = judged(paths, test).judgements[0]
    assert judgement.finding.effect == pytest.approx(0, abs=1e-9)
    assert "“the high” to “the low” (mean of 2)" in judgement.sentence


def test_collapsed_seeds_are_told(paths: Paths) -> None:
    sentence = judged(paths, accuracy_test("higher", "high", "broken")).sentence
    assert sentence.endswith("Collapsed to chance: 5 of 6 seeds of “the broken”.")


def test_undecided_says_how_many_seeds_might_decide(paths: Paths) -> None:
    judgement = judged(paths, accuracy_test("higher", "high", "wide")).judgements[0]
    assert judgement.seeds_to_decide is not None
    assert judgement.seeds_to_decide > 6
    assert "seeds of each might decide" in judgement.sentence


def test_undecided_says_when_it_would_not_matter(paths: Paths) -> None:
    sentence = judged(paths, accuracy_test("higher", "high", "same"), margin=0.05).sentence
    assert "either way, the difference is below the margin of 5.00 points" in sentence


def test_a_study_not_run_yet_says_so(paths: Paths) -> None:
    result = judged(paths, accuracy_test("higher", "nowhere", "never"))
    assert result.verdict == "not run yet"
    assert result.judgements == ()


def test_a_split_that_a_variant_does_not_have_is_an_error(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("retrained", HIGH, validated=False)
    with pytest.raises(ProjectError, match="variant 'retrained' has no val split"):
        judged(paths, accuracy_test("higher", "retrained", "low"))


def test_variants_tested_on_different_examples_are_compared_unpaired(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("fewer", LOW, examples=1000)
    assert judged(paths, accuracy_test("higher", "high", "fewer")).verdict == "supported"


def test_an_interval_is_the_same_whatever_the_study_around_it(paths: Paths) -> None:
    def interval(*variants: str) -> tuple[Any, Any]:
        study = Study.model_validate(
            {
                "title": "t",
                "group": "g",
                "question": "q",
                "variants": {name: name for name in variants},
                "margin": 0.01,
            }
        )
        evidence = gather(study, load_results(paths, "g", variants))
        return accuracy_interval(evidence, "high", "test")

    assert interval("high") == interval("low", "high", "wide")
    assert np.all(np.diff(interval("high")) > 0)
