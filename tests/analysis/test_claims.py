from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_ablations.analysis.claims import ClaimResult, judge
from cnn_ablations.analysis.evidence import gather
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


RNG = np.random.default_rng(1)
SHRUNK = RNG.normal(0, 0.001, 2000)
HEAVY = RNG.laplace(0, 0.1, 20_000)
SMOOTH = RNG.normal(0, 0.1, 20_000)


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        # Curves of four epochs: training accuracy gains 77 % of its range between 1 and 2.
        ({"kind": "settles", "metric": "running_train_accuracy", "epoch": 3}, "supported"),
        ({"kind": "settles", "metric": "running_train_accuracy", "epoch": 2}, "contradicted"),
        ({"kind": "settles", "metric": "val_loss", "epoch": 1}, "contradicted"),
        ({"kind": "falls_on", "metric": "val_loss", "epoch": 2}, "supported"),
        ({"kind": "near", "metric": "test_accuracy", "value": 0.89, "within": 0.05}, "supported"),
        ({"kind": "near", "metric": "test_accuracy", "value": 0.8, "within": 0.05}, "contradicted"),
        ({"kind": "beats_majority", "metric": "test_accuracy", "times": 5}, "supported"),
        ({"kind": "beats_majority", "metric": "val_accuracy", "times": 9.5}, "contradicted"),
        ({"kind": "largest_layer", "layer": "conv1"}, "supported"),
        ({"kind": "largest_layer", "layer": "output"}, "contradicted"),
        ({"kind": "less_detail"}, "supported"),
        ({"kind": "looks_normal", "layers": ["conv1", "output"]}, "contradicted"),
    ],
)
def test_verdicts_on_one_variant(
    paths: Paths, write: Callable[..., None], test: dict[str, Any], verdict: str
) -> None:
    # Seeds that agree to the last digit would have nothing to scatter.
    write("high", HIGH, examples=2000, noise=1, weights=lambda seed: HEAVY * (1 + seed / 100))
    assert judged(paths, {**test, "variants": ["high"]}).verdict == verdict


def test_a_bell_shape_looks_normal_and_heavy_tails_do_not(
    paths: Paths, write: Callable[..., None]
) -> None:
    test = {"kind": "looks_normal", "variants": ["high"], "layers": ["conv1"]}
    write("high", HIGH, weights=lambda seed: SMOOTH * (1 + seed / 100))
    assert judged(paths, test).verdict == "supported"
    write("high", HIGH, weights=lambda seed: HEAVY * (1 + seed / 100))
    result = judged(paths, test)
    assert result.verdict == "contradicted"
    # Of a Laplace distribution: ln(50) / ln(2), over 2.326 / 0.6745.
    assert result.judgements[0].finding.effect == pytest.approx(1.636, rel=0.05)
    assert result.judgements[0].finding.unit == "ratio"


def test_maps_that_gain_detail_on_the_way_contradict(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("high", HIGH, detail=(0.8, 0.4, 0.5))
    result = judged(paths, {"kind": "less_detail", "variants": ["high"]})
    assert result.verdict == "contradicted"
    assert result.judgements[0].finding.effect == pytest.approx(0.8)


def test_weights_that_shrink_concentrate(paths: Paths, write: Callable[..., None]) -> None:
    write("shrunk", HIGH, examples=2000, weights=lambda _: SHRUNK)
    test = {"kind": "concentrates", "variants": ["shrunk"], "than": ["low"]}
    result = judged(paths, test)
    assert result.verdict == "supported"
    # 2,000 of 2,100 weights are small now; of N(0, 0.1), 8 % were before.
    assert result.judgements[0].finding.effect == pytest.approx(2000 / 2100 * 0.92, abs=0.01)
    more = {
        "kind": "concentrates_more",
        "variants": ["shrunk", "low"],
        "than": ["high", "low"],
    }
    assert judged(paths, more).verdict == "supported"
    more["variants"], more["than"] = more["than"], more["variants"]
    reverse = judged(paths, more)
    assert reverse.verdict == "contradicted"
    assert reverse.judgements[0].finding.effect == pytest.approx(-2000 / 2100 * 0.92, abs=0.01)


def test_a_variant_that_is_ahead_at_an_epoch(paths: Paths) -> None:
    test = {"kind": "ahead", "metric": "val_accuracy", "epoch": 1}
    assert judged(paths, {**test, "variants": ["high"], "than": ["low"]}).verdict == "supported"
    assert judged(paths, {**test, "variants": ["low"], "than": ["high"]}).verdict == "contradicted"


@pytest.mark.parametrize(
    ("bounds", "verdict", "asked"),
    [
        ({}, "supported", "operations an image."),
        ({"at_most": 1.5}, "contradicted", ", where at most × 1.5 is asked for."),
        ({"at_most": 2}, "supported", ", where at most × 2 is asked for."),
        ({"at_least": 2}, "supported", ", where at least × 2 is asked for."),
        ({"at_least": 2.5}, "contradicted", ", where at least × 2.5 is asked for."),
        ({"at_least": 1.5, "at_most": 3}, "supported", "at least × 1.5 and at most × 3 is asked"),
    ],
)
def test_how_much_more_it_costs_can_be_bounded(
    paths: Paths, bounds: dict[str, float], verdict: str, asked: str
) -> None:
    test = {"kind": "costs_more", "variants": ["overfit"], "than": ["low"], **bounds}
    result = judged(paths, test)
    assert result.verdict == verdict
    assert "is 2.00 times that of" in result.sentence
    assert asked in result.sentence


def test_three_seeds_tell_from_ten_that_collapsed(paths: Paths, write: Callable[..., None]) -> None:
    write("three", HIGH[:3], examples=2000)
    for collapsed, limit in ((10, 0.0018), (6, 2 / 286)):
        write("fallen", [0.1] * collapsed + [0.2] * (10 - collapsed), examples=2000, noise=11)
        judgement = judged(paths, accuracy_test("higher", "three", "fallen")).judgements[0]
        assert judgement.verdict == "supported"
        assert judgement.finding.p == pytest.approx(limit, rel=0.05)


def test_what_no_number_of_seeds_tells_is_too_close_to_call(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("nearly", [0.88, 0.90, 0.89], examples=100, noise=12)
    write("close", [0.89, 0.89, 0.90], examples=100, noise=13)
    result = judged(paths, accuracy_test("higher", "close", "nearly"), margin=0.001)
    assert result.judgements[0].seeds_to_decide is None
    assert "Undecided: if it is really this close, no number of seeds decides" in result.sentence


def test_costs_of_several_kinds(paths: Paths, write: Callable[..., None]) -> None:
    write("more", LOW, images=4000)
    test = {"kind": "costs_more", "variants": ["more"], "than": ["low"]}
    assert judged(paths, test).verdict == "contradicted"
    training = judged(paths, {**test, "measure": "training_flops"})
    assert training.verdict == "supported"
    assert training.judgements[0].finding.effect == pytest.approx(4)
    parameters = judged(paths, {**test, "measure": "parameters"})
    assert "200,000 against 200,000" in parameters.sentence


def test_one_split_against_another(paths: Paths) -> None:
    test = {"kind": "similar", "metric": "val_accuracy", "than_metric": "test_accuracy"}
    result = judged(paths, {**test, "variants": ["high"], "than": ["high"]}, margin=0.03)
    assert result.verdict == "supported"
    assert "above the test accuracy of “the high”" in result.sentence
    test = {"kind": "not_higher", "metric": "train_accuracy", "than_metric": "val_accuracy"}
    result = judged(paths, {**test, "variants": ["overfit"], "than": ["overfit"]})
    assert result.verdict == "contradicted"
    # Paired by network, so that the scatter of seeds that both share is no scatter of the gap.
    gap = judged(paths, {"kind": "overfits", "variants": ["overfit"]}).judgements[0].finding
    finding = result.judgements[0].finding
    assert (finding.effect, finding.interval) == (gap.effect, gap.interval)
    assert "6 seeds)" in result.sentence


def test_training_accuracy_scatters_with_the_seeds_only(paths: Paths) -> None:
    test = {"kind": "higher", "metric": "running_train_accuracy"}
    result = judged(paths, {**test, "variants": ["high"], "than": ["low"]})
    assert result.verdict == "supported"
    estimate = result.judgements[0].finding.estimate
    assert estimate
    assert estimate.example_variance == 0


def test_a_single_seed_says_nothing_of_curves_of_other_seeds(paths: Paths) -> None:
    test = {"kind": "settles", "metric": "running_train_accuracy", "epoch": 3, "variants": ["one"]}
    result = judged(paths, test)
    assert result.verdict == "supported on this seed"
    assert result.judgements[0].finding.p is None
    assert result.judgements[0].finding.interval is None
    assert "(1 seed)" in result.sentence


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"kind": "settles", "metric": "test_loss", "epoch": 2}, "recorded no test_loss by epoch"),
        ({"kind": "settles", "metric": "val_loss", "epoch": 9}, "was trained for 4 epochs"),
        ({"kind": "looks_normal", "layers": ["conv7"]}, "has no layer 'conv7' .* conv1, output"),
        ({"kind": "largest_layer", "layer": "dense1"}, "has no layer 'dense1'"),
    ],
)
def test_a_test_about_what_is_not_there_is_an_error(
    paths: Paths, test: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message):
        judged(paths, {**test, "variants": ["high"]})


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
