"""Claims are judged from made-up estimates here; test_evidence.py makes them from results."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnn_ablations.analysis.claims import GUESSING, ClaimResult, edges_claim, judge
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.statistics import Estimate, Exact, Mean, Sample
from cnn_ablations.config.studies import Study

MARGIN = 0.01


@dataclass(frozen=True)
class Given(Evidence):
    """Evidence with an estimate for each variant that tests are about."""

    estimates: dict[str, Estimate] = field(default_factory=dict)

    def estimate(self, test: Any) -> Estimate:
        return self.estimates[test.of[0]]


def scattered(value: float, scatter: float, seeds: int = 5) -> Estimate:
    """A mean over seeds of this value, with this standard error."""
    values = np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1)
    values = value + values * (
        scatter * math.sqrt(seeds) / (values.std(ddof=1 if seeds > 1 else 0) or 1)
    )
    return Mean([(1.0, Sample(np.arange(seeds), values, np.zeros(seeds, bool)))])


ESTIMATES: dict[str, Estimate] = {
    "up": scattered(0.05, 0.002),
    "down": scattered(-0.05, 0.002),
    "nothing": scattered(0.001, 0.001),
    "open": scattered(0.01, 0.02),
    "tiny": scattered(0.003, 0.001),
    "slight": scattered(0.02, 0.009),
    "one-up": scattered(0.05, 0.0, seeds=1),
    "one-down": scattered(-0.05, 0.0, seeds=1),
    "costly": Exact(math.log(2)),
    "cheap": Exact(-math.log(2)),
    "same": Exact(0.0),
}


def study(*claims: list[dict[str, Any]]) -> Study:
    values = {"title": "t", "group": "g", "question": "q", "margin": MARGIN}
    stated = {f"c{n}": {"statement": "s", "tests": tests} for n, tests in enumerate(claims)}
    return Study.model_validate(
        values | {"variants": [*ESTIMATES, "base", "close", "image", "images"], "claims": stated}
    )


def judged(*claims: list[dict[str, Any]], **estimates: Estimate) -> list[ClaimResult]:
    result: Any = SimpleNamespace(collapsed=np.zeros(5, bool), metrics={"flops": 6e6})
    of_study = study(*claims)
    return judge(Given(of_study, dict.fromkeys(of_study.variants, result), ESTIMATES | estimates))


def gap(of: str, **settings: Any) -> dict[str, Any]:
    return {"quantity": "gap", "of": of, "than": "base", **settings}


def cost(of: str, **settings: Any) -> dict[str, Any]:
    return {"quantity": "flops", "of": of, "than": "base", **settings}


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (gap("up"), "supported"),
        (gap("down"), "contradicted"),
        (gap("open"), "undecided"),
        (gap("nothing"), "no difference that matters"),
        (gap("nothing", above=0.005), "contradicted"),
        (gap("up", below=0), "contradicted"),
        (gap("down", below="margin"), "supported"),
        (gap("slight", above="margin"), "undecided"),
        (gap("up", above=-0.01), "supported"),
        (gap("nothing", within="margin"), "supported"),
        (gap("down", within="margin"), "contradicted"),
        (gap("up", within=0.06), "supported"),
        (gap("open", within="margin"), "undecided"),
        (gap("up", than=0.05, within="margin"), "supported"),
        (gap("up", than=0.08, within="margin"), "contradicted"),
        (gap("up", than=0.04), "supported"),
        (gap("tiny"), "supported"),
        (gap("one-up"), "supported on this seed"),
        (gap("one-up", below=0), "contradicted on this seed"),
        (cost("costly"), "supported"),
        (cost("cheap"), "contradicted"),
        (cost("same"), "contradicted"),
        (cost("same", below=1), "contradicted"),
        (cost("costly", above=2.5), "contradicted"),
        (cost("cheap", within=1.9), "contradicted"),
        (cost("cheap", within=2.1), "supported"),
    ],
)
def test_what_a_test_decides(test: dict[str, Any], verdict: str) -> None:
    (claim,) = judged([test])
    assert claim.verdict == claim.judgements[0].verdict == verdict


@pytest.mark.parametrize(
    ("tests", "verdict", "sentence"),
    [
        (["up", "costly"], "supported", "Both comparisons hold; the less sure: The gap"),
        (["up", "open"], "undecided", "1 of 2 comparisons holds; the less sure: The gap"),
        (["up", "costly", "up"], "supported", "All 3 comparisons hold; the least sure: The gap"),
        (["open", "open"], "undecided", "No comparison is decided; the less sure: The gap"),
        (["open", "down", "up"], "contradicted", "1 of 3 comparisons holds; what contradicts it:"),
        (["up", "up", "cheap"], "contradicted", "2 of 3 comparisons hold; what contradicts it:"),
        (
            ["up", "nothing"],
            "no difference that matters",
            "1 of 2 comparisons holds; one too small",
        ),
        (["up", "one-up"], "supported on this seed", "Both comparisons hold; the less sure:"),
        (["down", "one-up"], "contradicted", "1 of 2 comparisons holds; what contradicts it:"),
        (
            ["one-down", "open"],
            "contradicted on this seed",
            "No comparison holds; what contradicts",
        ),
    ],
)
def test_a_claim_is_as_good_as_its_tests(tests: list[str], verdict: str, sentence: str) -> None:
    exact = ("costly", "cheap")
    (claim,) = judged([cost(name) if name in exact else gap(name) for name in tests])
    assert claim.verdict == verdict
    assert claim.summary.startswith(sentence)


def test_a_claim_is_supported_by_its_largest_p_and_contradicted_by_k_times_its_smallest() -> None:
    p_for, p_against = ESTIMATES["slight"].p(0, "greater"), ESTIMATES["down"].p(0, "less")
    assert judged([gap("up"), gap("slight")])[0].p == pytest.approx(p_for)
    assert judged([gap("up"), gap("down"), gap("open")])[0].p == pytest.approx(3 * p_against)
    # Enough for one comparison, and not for one of two.
    hardly = scattered(-0.02, 0.009)
    assert judged([gap("open")], open=hardly)[0].verdict == "contradicted"
    assert judged([gap("up"), gap("open")], open=hardly)[0].verdict == "undecided"


def test_claims_are_corrected_by_holm_and_tests_within_a_claim_are_not() -> None:
    raw = ESTIMATES["slight"].p(0, "greater")
    assert 0.025 < raw < 0.05
    alone, among = judged([gap("slight")])[0], judged([gap("slight")] * 9)
    assert alone.p == pytest.approx(raw)
    assert among[0].p == pytest.approx(raw)
    # The claim that is surely decided does not take of the level of the other; an open one does.
    assert [c.verdict for c in judged([gap("slight")], [gap("up")])] == ["supported"] * 2
    claims = judged([gap("slight")], [gap("open")])
    assert [(c.verdict, c.p) for c in claims] == [("undecided", None)] * 2
    claims = judged([gap("up")], [gap("open")])
    assert claims[0].p == pytest.approx(2 * ESTIMATES["up"].p(0, "greater"))


def test_what_is_left_to_no_chance_has_no_p_and_takes_none_of_the_level() -> None:
    for exact in (cost("costly"), cost("cheap"), cost("same"), gap("one-up")):
        slight, sure = judged([gap("slight")], [exact])
        assert slight.p == pytest.approx(ESTIMATES["slight"].p(0, "greater"))
        assert (sure.p, sure.judgements[0].interval) == (None, None)


def test_the_p_of_a_verdict_is_its_own() -> None:
    (claim,) = judged([gap("tiny")])  # surely above 0, and more surely below the margin
    assert claim.verdict == "supported"
    p_for = claim.judgements[0].finding.p_for
    assert claim.p == pytest.approx(p_for)
    assert ESTIMATES["tiny"].within(MARGIN) < 0.1 * p_for


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    return scattered(
        draw(st.floats(-0.03, 0.03)), draw(st.floats(1e-4, 0.02)), draw(st.integers(2, 9))
    )


CONDITIONS = [{}, {"above": 0.005}, {"below": 0}, {"below": "margin"}, {"within": "margin"}]
CONDITIONS += [{"than": 0.01, "within": 0.005}, {"than": 0.01}]


@settings(max_examples=25)
@given(
    found=st.dictionaries(st.sampled_from(["up", "down", "open", "tiny"]), estimates(), min_size=4),
    claims=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["up", "down", "open", "tiny"]), st.sampled_from(CONDITIONS)),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    ),
)
@example({"open": scattered(0.01 + 0.024, 0.01)}, [[("open", {"within": "margin"})]])
def test_interval_and_verdict_never_disagree(
    found: dict[str, Estimate], claims: list[list[tuple[str, dict[str, Any]]]]
) -> None:
    asked = [[gap(of, **condition) for of, condition in tests] for tests in claims]
    for claim in judged(*asked, **found):
        assert (claim.verdict in ("supported", "contradicted", "no difference that matters")) == (
            claim.verdict != "undecided" and (claim.p or 0) < 0.05
        )
        for judgement in claim.judgements:
            finding, (low, high) = judgement.finding, judgement.interval or (math.nan, math.nan)
            beyond, short = low > finding.null, high < finding.null
            if finding.test.below is not None:
                beyond, short = short, beyond
            if finding.test.within is not None:
                ends = finding.centre - finding.null, finding.centre + finding.null
                beyond, short = ends[0] < low and high < ends[1], high < ends[0] or low > ends[1]
            assert (judgement.verdict == "supported") == beyond
            assert (judgement.verdict == "contradicted") == short
            if judgement.verdict == "no difference that matters":
                assert -MARGIN < low <= 0 <= high < MARGIN


def of_images(share: float, seeds: int) -> Estimate:
    """Of networks that give the same 100 answers, of which this share is right."""
    answers = np.tile(np.arange(100) < 100 * share, (seeds, 1))
    values, none = answers.mean(axis=1), np.zeros(seeds, bool)
    return Mean([(1.0, Sample(np.arange(seeds), values, none, {"test": answers}))])


@pytest.mark.parametrize(
    ("tests", "text"),
    [
        ([gap("open")], "About 130 seeds of each would likely decide it."),
        ([gap("slight", above="margin")], "About 27 seeds of each would likely decide it."),
        # Where a claim looks true, as many as its hardest test needs; else what contradicts it.
        ([gap("open"), gap("slight", above="margin"), cost("costly")], "About 130 seeds"),
        ([gap("open", below=0), gap("slight", above="margin")], "About 160 seeds"),
        ([gap("close", above=0.0199)], "Not even 1,000 seeds of each would likely decide it."),
        (
            [gap("images", than=0.5)],
            "More seeds alone would not settle it: that takes more images to test on.",
        ),
        ([gap("image", than=0.5), gap("open")], "A single seed leaves it open."),
    ],
)
def test_an_open_claim_says_what_would_decide_it(tests: list[dict[str, Any]], text: str) -> None:
    found = {
        "close": scattered(0.02, 0.02),
        "images": of_images(0.53, 5),
        "image": of_images(0.53, 1),
    }
    (claim,) = judged(tests, **found)
    assert claim.verdict == "undecided"
    assert text in claim.summary
    assert judged([gap("up")])[0].outlook is None


def test_a_curve_that_may_rise_or_fall_says_both() -> None:
    (claim,) = judged([{"quantity": "val_loss", "of": "open", "after": 2, "within": 0.06}])
    assert "rises by 1.00 % of its range" in claim.summary
    assert "(surely between a fall of 3.26 % and a rise of 5.26 %)" in claim.summary


def test_of_networks_that_only_guess_a_claim_asks_for_more_than_seeds() -> None:
    of_study, collapsed = study([gap("open")]), [np.ones(3, bool), np.ones(3, bool)]
    for all_of_them in (True, False):
        collapsed[1][0] = all_of_them
        results: Any = {
            name: SimpleNamespace(collapsed=of_seeds)
            for name, of_seeds in zip(("open", "base"), collapsed, strict=True)
        }
        (claim,) = judge(Given(of_study, results, ESTIMATES))
        assert claim.verdict == "undecided"
        assert claim.summary.endswith(f". {GUESSING}") == all_of_them
        assert math.isinf(claim.outlook or 0) == all_of_them


def test_a_comparison_that_is_not_the_decisive_one_can_be_the_one_that_guesses() -> None:
    of_study, collapsed = study([gap("open"), gap("images", than=0.5)]), np.ones(3, bool)
    results: Any = {
        name: SimpleNamespace(collapsed=collapsed if name in ("open", "base") else ~collapsed)
        for name in ("open", "base", "images")
    }
    (claim,) = judge(Given(of_study, results, ESTIMATES | {"images": of_images(0.53, 5)}))
    assert math.isinf(claim.outlook or 0)
    assert claim.summary.endswith(f". {GUESSING}")


def test_a_study_not_run_yet_says_so() -> None:
    (claim,) = judge(Evidence(study([gap("up")]), {}))
    assert (claim.verdict, claim.summary) == ("not run yet", "The study has not been run yet.")
    assert claim.judgements == ()


@pytest.mark.parametrize(
    ("k2", "verdict"),
    [((2.0, 9.0), "supported"), ((1.9, 9.0), "contradicted"), (None, "not run yet")],
)
def test_each_kernel_must_bring_out_the_edges_of_each_photograph(
    k2: tuple[float, float] | None, verdict: str
) -> None:
    rows = [("K1", 20.0), ("K1", 30.0), *(("K2", times) for times in k2 or ())]
    measured = pd.DataFrame(rows, columns=["kernel", "steepest"]).assign(flattest=1.0)
    (row,) = edges_claim(measured if k2 else None).to_dict("records")
    assert row["claim_verdict"] == verdict
    assert not k2 or row["claim_summary"] == (
        "With K1, the steepest parts of two photographs are 20.0 and 30.0 times as bright as the "
        f"flattest. With K2, the steepest parts of two photographs are {k2[0]:.1f} and {k2[1]:.1f} "
        "times as bright as the flattest."
    )
