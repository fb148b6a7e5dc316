from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.analysis.claims import ClaimResult, judge
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.results import load_results
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


def study_of(claims: dict[str, list[dict[str, Any]]], margin: float = 0.01) -> Study:
    """A study with these tests, claim by claim."""
    named = {
        "title": "t",
        "group": "g",
        "question": "q",
        "margin": margin,
        "claims": {name: {"statement": "s", "tests": tests} for name, tests in claims.items()},
    }
    plain = Study.model_validate({**named, "variants": ["any"]})
    names = {v for c in plain.claims.values() for t in c.tests for v in t.variants}
    return Study.model_validate({**named, "variants": {n: f"the {n}" for n in sorted(names)}})


def judged_all(
    paths: Paths, claims: dict[str, list[dict[str, Any]]], margin: float = 0.01
) -> dict[str, ClaimResult]:
    study = study_of(claims, margin)
    results = load_results(paths, "g", study.variants)
    return {result.name: result for result in judge(Evidence(study, results))}


def judged(paths: Paths, *tests: dict[str, Any], margin: float = 0.01) -> ClaimResult:
    """The verdict on one claim with these tests."""
    return judged_all(paths, {"c": list(tests)}, margin)["c"]


def val(of: str, than: Any, **comparison: Any) -> dict[str, Any]:
    return {"quantity": "val_accuracy", "of": of, "than": than, **comparison}


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (val("high", "low"), "supported"),
        (val("low", "high"), "contradicted"),
        (val("high", "wide"), "undecided"),
        (val("low", "high", below=0), "supported"),
        (val("high", "broken"), "supported"),
        (val("high", "same", within="margin"), "supported"),
        (val("high", "low", within="margin"), "contradicted"),
        (val("low", "high", within=0.01), "contradicted"),
        (val("high", "wide", within="margin"), "undecided"),
        (val("low", "high", below="margin"), "supported"),
        (val("high", "same", below="margin"), "supported"),
        (val("high", "low", below="margin"), "contradicted"),
        (val("high", "low", above=0.03), "supported"),
        (val("high", "low", above=0.07), "contradicted"),
        (val("high", "same"), "no difference that matters"),
        (val("high", 0.89, within=0.05), "supported"),
        (val("high", 0.8, within=0.05), "contradicted"),
        (val("high", 0.90, above=-0.02), "supported"),
        (val("high", 0.95, above=-0.02), "contradicted"),
        ({"quantity": "gap", "of": "overfit", "above": "margin"}, "supported"),
        ({"quantity": "gap", "of": "plain", "above": "margin"}, "contradicted"),
        ({"quantity": "gap", "of": "low", "than": "overfit", "below": 0}, "supported"),
        ({"quantity": "gap", "of": "overfit", "than": "low", "below": 0}, "contradicted"),
        ({"quantity": "flops", "of": "overfit", "than": "low"}, "supported"),
        ({"quantity": "flops", "of": "low", "than": "overfit"}, "contradicted"),
    ],
)
def test_verdicts(paths: Paths, test: dict[str, Any], verdict: str) -> None:
    assert judged(paths, test).verdict == verdict


RNG = np.random.default_rng(1)
SHRUNK = RNG.normal(0, 0.001, 2000)
HEAVY = RNG.laplace(0, 0.1, 20_000)
SMOOTH = RNG.normal(0, 0.1, 20_000)


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        # Curves of four epochs: training accuracy gains 77 % of its range between 1 and 2.
        ({"quantity": "running_train_accuracy", "after": 3, "within": 0.1}, "supported"),
        ({"quantity": "running_train_accuracy", "after": 2, "within": 0.1}, "contradicted"),
        ({"quantity": "val_loss", "after": 1, "within": 0.1}, "contradicted"),
        ({"quantity": "val_loss", "after": 2, "below": 0}, "supported"),
        ({"quantity": "val_loss", "after": 2, "above": 0}, "contradicted"),
        ({"quantity": "test_accuracy", "above": 0.5}, "supported"),
        ({"quantity": "layer_share", "layers": ["conv1"], "above": 0.5}, "supported"),
        ({"quantity": "layer_share", "layers": ["output"], "above": 0.5}, "contradicted"),
        ({"quantity": "detail", "below": 1}, "supported"),
        ({"quantity": "tail", "layers": ["conv1", "output"], "below": 1.25}, "contradicted"),
    ],
)
def test_verdicts_on_one_variant(
    paths: Paths, write: Callable[..., None], test: dict[str, Any], verdict: str
) -> None:
    # Seeds that agree to the last digit would have nothing to scatter.
    write("high", HIGH, examples=2000, noise=1, weights=lambda seed: HEAVY * (1 + seed / 100))
    assert judged(paths, {**test, "of": "high"}).verdict == verdict


def test_a_bell_shape_looks_normal_and_heavy_tails_do_not(
    paths: Paths, write: Callable[..., None]
) -> None:
    test = {"quantity": "tail", "of": "high", "layers": ["conv1"], "below": 1.25}
    write("high", HIGH, weights=lambda seed: SMOOTH * (1 + seed / 100))
    assert judged(paths, test).verdict == "supported"
    write("high", HIGH, weights=lambda seed: HEAVY * (1 + seed / 100))
    result = judged(paths, test)
    assert result.verdict == "contradicted"
    # Of a Laplace distribution: ln(50) / ln(2), over 2.326 / 0.6745.
    assert np.exp(result.judgements[0].value) == pytest.approx(1.636, rel=0.05)
    assert result.judgements[0].unit == "ratio"


def test_maps_that_gain_detail_on_the_way_contradict(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("high", HIGH, detail=(0.8, 0.4, 0.5))
    result = judged(paths, {"quantity": "detail", "of": "high", "below": 1})
    assert result.verdict == "contradicted"
    assert "changes by a factor of at most 1.25" in result.sentence


def test_weights_that_shrink_concentrate(paths: Paths, write: Callable[..., None]) -> None:
    write("shrunk", HIGH, examples=2000, weights=lambda _: SHRUNK)
    result = judged(paths, {"quantity": "near_zero", "of": "shrunk", "than": "low"})
    assert result.verdict == "supported"
    # 2,000 of 2,100 weights are small now; of N(0, 0.1), 8 % were before.
    assert result.judgements[0].value == pytest.approx(2000 / 2100 * 0.92, abs=0.01)
    more = {"quantity": "near_zero", "of": "shrunk", "than": "high", "over": ["low", "low"]}
    grown = judged(paths, more)
    assert grown.verdict == "supported"
    assert "more from “the low” to “the shrunk” than from “the low” to “the high”" in grown.sentence
    more["of"], more["than"] = more["than"], more["of"]
    assert judged(paths, more).verdict == "contradicted"


def test_a_variant_that_is_ahead_at_an_epoch(paths: Paths) -> None:
    assert judged(paths, val("high", "low", epoch=1)).verdict == "supported"
    result = judged(paths, val("low", "high", epoch=1))
    assert result.verdict == "contradicted"
    assert result.sentence.startswith("After epoch 1 the validation accuracy of “the low” is")


@pytest.mark.parametrize(
    ("bound", "verdict", "asked"),
    [
        ({}, "supported", "operations an image."),
        ({"below": 1.5}, "contradicted", ", where less than × 1.50 is asked for."),
        ({"below": 2.5}, "supported", ", where less than × 2.50 is asked for."),
        ({"above": 1.5}, "supported", ", where more than × 1.50 is asked for."),
        ({"above": 2.5}, "contradicted", ", where more than × 2.50 is asked for."),
    ],
)
def test_how_much_more_it_costs_can_be_bounded(
    paths: Paths, bound: dict[str, float], verdict: str, asked: str
) -> None:
    result = judged(paths, {"quantity": "flops", "of": "overfit", "than": "low", **bound})
    assert result.verdict == verdict
    assert "is 2.00 times that of" in result.sentence
    assert asked in result.sentence


def test_costs_of_several_kinds(paths: Paths, write: Callable[..., None]) -> None:
    write("more", LOW, images=4000)
    sides = {"of": "more", "than": "low"}
    assert judged(paths, {"quantity": "flops", **sides}).verdict == "contradicted"
    training = judged(paths, {"quantity": "training_flops", **sides})
    assert training.verdict == "supported"
    assert np.exp(training.judgements[0].value) == pytest.approx(4)
    parameters = judged(paths, {"quantity": "parameters", **sides})
    assert "200,000 against 200,000" in parameters.sentence


def test_effects_are_differences_of_means_with_their_bounds(paths: Paths) -> None:
    result = judged(paths, val("high", "low"))
    (judgement,) = result.judgements
    assert judgement.value == pytest.approx(0.05)
    assert judgement.interval
    low, high = judgement.interval
    assert 0.035 < low < 0.05 < high < 0.065
    assert (judgement.seeds, judgement.paired) == (6, True)
    assert result.summary == (
        "The validation accuracy of “the high” is 5.00 points above that of “the low”, surely more "
        f"than {100 * low:.2f} points."
    )
    assert "6 seeds each, compared seed by seed" in result.sentence


def test_one_seed_decides_for_itself_only(paths: Paths) -> None:
    result = judged(paths, val("one", "other"))
    assert result.verdict == "supported on this seed"
    assert result.judgements[0].seeds == 1
    assert judged(paths, val("high", "other")).verdict.endswith("on this seed")


def test_one_seed_that_leaves_it_open_says_so(paths: Paths, write: Callable[..., None]) -> None:
    write("near", [0.897], examples=2000, noise=9)
    result = judged(paths, val("one", "near"), margin=0.001)
    assert result.verdict == "undecided"
    assert result.sentence.endswith("A single seed leaves it open.")


def test_a_single_seed_says_nothing_of_curves_of_other_seeds(paths: Paths) -> None:
    test = {"quantity": "running_train_accuracy", "after": 3, "of": "one", "within": 0.1}
    result = judged(paths, test)
    assert result.verdict == "supported on this seed"
    assert result.judgements[0].interval is None


def test_each_step_of_a_chain_is_a_test(paths: Paths) -> None:
    test = {"quantity": "test_accuracy", "along": ["low", "high", "same"]}
    result = judged(paths, test)
    assert [(j.test.of, j.test.than) for j in result.judgements] == [
        (["high"], ["low"]),
        (["same"], ["high"]),
    ]
    assert result.verdict == "no difference that matters"
    assert result.summary.startswith("1 of 2 comparisons hold; where there is none: ")
    assert judged(paths, {**test, "along": ["low", "high"]}).verdict == "supported"
    assert judged(paths, {**test, "along": ["high", "low"], "below": 0}).verdict == "supported"


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["holds", "holds"], "supported"),
        (["holds", "open"], "undecided"),
        (["open", "fails", "holds"], "contradicted"),
        (["holds", "one seed"], "supported on this seed"),
        (["one seed fails", "open"], "contradicted on this seed"),
        (["costs", "holds"], "supported"),
        (["costs not", "holds"], "contradicted"),
    ],
)
def test_a_claim_is_as_good_as_its_tests(paths: Paths, kinds: list[str], verdict: str) -> None:
    tests = {
        "holds": val("high", "low"),
        "open": val("high", "wide"),
        "fails": val("low", "high"),
        "one seed": val("one", "other"),
        "one seed fails": val("other", "one"),
        "costs": {"quantity": "flops", "of": "overfit", "than": "low"},
        "costs not": {"quantity": "flops", "of": "low", "than": "overfit"},
    }
    assert judged(paths, *(tests[kind] for kind in kinds)).verdict == verdict


def test_p_is_the_largest_for_and_k_times_the_smallest_against(paths: Paths) -> None:
    open_, holds = val("high", "wide"), val("high", "low")
    both = judged(paths, open_, holds)
    alone = judged(paths, open_)
    assert both.p == pytest.approx(alone.judgements[0].p_for)
    fails = val("low", "high", above=-0.0499)
    once, thrice = judged(paths, fails), judged(paths, fails, fails, fails)
    against = once.judgements[0].p_against
    assert once.p == pytest.approx(min(against, once.judgements[0].p_for))
    assert thrice.p == pytest.approx(min(3 * against, once.judgements[0].p_for))


def test_p_values_are_corrected_over_the_claims_that_chance_can_touch(paths: Paths) -> None:
    cost = {"quantity": "flops", "of": "overfit", "than": "low"}
    claims = {"cost": [cost], "a": [val("high", "low")], "b": [val("high", "wide")]}
    claims["c"] = [val("high", "same")]
    found = judged_all(paths, claims)
    assert found["cost"].p is None
    alone = judged(paths, val("high", "low"))
    assert alone.p is not None
    assert found["a"].p == pytest.approx(3 * alone.p)
    low, high = found["a"].judgements[0].interval or (0, 0)
    low_alone, high_alone = alone.judgements[0].interval or (0, 0)
    assert low < low_alone < high_alone < high


@settings(max_examples=8, deadline=None, database=None)
@given(
    first=st.lists(st.floats(0.7, 0.9), min_size=2, max_size=8),
    shift=st.floats(-0.05, 0.05),
    margin=st.floats(0.005, 0.05),
)
def test_an_interval_and_a_verdict_never_disagree(
    tmp_path_factory: pytest.TempPathFactory, first: list[float], shift: float, margin: float
) -> None:
    from tests.analysis.conftest import write_variant

    paths = Paths(tmp_path_factory.mktemp("p"))
    write_variant(paths, "g", "a", first, examples=200)
    write_variant(paths, "g", "b", [x + shift for x in first], examples=200, noise=1)
    claims = {"c": [val("a", "b")], "d": [val("a", "b", within=margin)]}
    found = judged_all(paths, claims, margin)
    above, near = found["c"], found["d"]
    assert above.judgements[0].interval
    low, high = above.judgements[0].interval
    assert (above.verdict == "supported") == (low > 0)
    assert (above.verdict == "contradicted") == (high < 0)
    if above.verdict == "no difference that matters":
        assert -margin < low <= high < margin
    assert near.judgements[0].interval
    low, high = near.judgements[0].interval
    assert (near.verdict == "supported") == (-margin < low and high < margin)


def test_a_mean_over_pairs(paths: Paths) -> None:
    test = {"quantity": "val_accuracy", "of": ["high", "low"], "than": ["low", "same"]}
    result = judged(paths, test)
    assert result.judgements[0].value == pytest.approx(0, abs=1e-9)
    assert "“the high” to “the low” (mean of 2)" in result.sentence


def test_collapsed_seeds_are_told(paths: Paths) -> None:
    result = judged(paths, val("high", "broken"))
    assert "Collapsed to chance: 0 of 6 seeds of “the high” and 5 of 6 seeds of" in result.sentence
    assert "one run of the first beats one of the second 100 % of the time (" in result.sentence
    assert "Collapsed" not in result.summary


def test_three_seeds_tell_from_ten_that_collapsed(paths: Paths, write: Callable[..., None]) -> None:
    write("three", HIGH[:3], examples=2000)
    write("fallen", [0.1] * 10, examples=2000, noise=11)
    judgement = judged(paths, val("three", "fallen")).judgements[0]
    assert judgement.verdict == "supported"
    assert judgement.p_for == pytest.approx(1 / 286)  # of 13 seeds, the three best are these


def test_undecided_says_how_many_seeds_would_decide(paths: Paths) -> None:
    result = judged(paths, val("high", "wide"))
    assert result.outlook is not None
    assert 6 < result.outlook < 1000
    assert result.sentence.endswith("seeds of each would likely decide it.")


def test_what_the_images_leave_open_no_seeds_decide(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("nearly", [0.88, 0.88, 0.88], examples=50, noise=12)
    write("close", [0.90, 0.90, 0.90], examples=50, noise=13)
    result = judged(paths, val("close", "nearly"), margin=0.001)
    assert result.outlook == np.inf
    assert result.sentence.endswith("These images leave it open, however many the seeds.")


def test_one_split_against_another(paths: Paths) -> None:
    own = val("high", "high", than_quantity="test_accuracy", within="margin")
    result = judged(paths, own, margin=0.03)
    assert result.verdict == "supported"
    assert " its test accuracy, where less than 3.00 points counts as similar" in result.sentence


def test_training_accuracy_scatters_with_the_seeds_only(paths: Paths) -> None:
    test = {"quantity": "running_train_accuracy", "of": "high", "than": "low"}
    study = study_of({"c": [test]})
    evidence = Evidence(study, load_results(paths, "g", study.variants))
    assert evidence.estimate(study.claims["c"].tests[0]).example_variance == 0  # type: ignore[attr-defined]
    assert judged(paths, test).verdict == "supported"


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"quantity": "test_loss", "after": 2}, "recorded no test_loss by epoch"),
        ({"quantity": "val_loss", "after": 9}, "was trained for 4 epochs"),
        ({"quantity": "tail", "layers": ["conv7"]}, "has no layer 'conv7' .* conv1, output"),
        ({"quantity": "layer_share", "layers": ["dense1"]}, "has no layer 'dense1'"),
    ],
)
def test_a_test_about_what_is_not_there_is_an_error(
    paths: Paths, test: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message):
        judged(paths, {**test, "of": "high"})


def test_a_study_not_run_yet_says_so(paths: Paths) -> None:
    result = judged(paths, val("nowhere", "never"))
    assert result.verdict == "not run yet"
    assert result.judgements == ()


def test_a_split_that_a_variant_does_not_have_is_an_error(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("retrained", HIGH, validated=False)
    with pytest.raises(ProjectError, match=r"variant 'retrained' has no val split"):
        judged(paths, val("retrained", "low"))


def test_variants_tested_on_different_examples_are_compared_all_the_same(
    paths: Paths, write: Callable[..., None]
) -> None:
    write("fewer", LOW, examples=1000)
    assert judged(paths, val("high", "fewer")).verdict == "supported"


def test_an_interval_is_the_same_whatever_the_study_around_it(paths: Paths) -> None:
    def interval(*variants: str) -> tuple[float, float]:
        study = study_of({"c": [val(variants[0], variants[-1])]})
        return Evidence(study, load_results(paths, "g", variants)).interval("high", "test")

    assert interval("high") == interval("low", "high", "wide")
    assert np.all(np.diff(interval("high")) > 0)
