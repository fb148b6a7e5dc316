"""The claims of a study, judged: verdicts in plain words from what their tests found.

A claim whose tests must all hold is an intersection-union test (Berger, Technometrics 24, 1982): p
of its support is the largest of its tests', p of its contradiction k times the smallest. All are
one-sided. Holm's procedure corrects for the claims of a study, and intervals are those of the level
at which a claim is decided, so that an interval and a verdict never disagree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.evidence import Evidence, statement, unit
from cnn_ablations.analysis.statistics import Estimate
from cnn_ablations.analysis.wording import Unit, measure, p_text
from cnn_ablations.config.studies import ACCURACIES, RATIOS, Claim, Test

LEVEL = 0.05
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NO_DIFFERENCE = "no difference that matters"
NOT_RUN = "not run yet"
ON_THIS_SEED = " on this seed"
VERDICTS = (SUPPORTED, CONTRADICTED, NO_DIFFERENCE, UNDECIDED, NOT_RUN)


@dataclass(frozen=True)
class Finding:
    """What the data say about one test, before any correction."""

    test: Test
    estimate: Estimate
    null: float
    """What the quantity is compared with: a value, or a difference from the others."""
    centre: float
    """The value that it is to be near, where it is; else 0."""
    p_for: float
    p_against: float
    p_no_difference: float
    """That a difference of accuracies is smaller than the study's margin; 1 of other quantities."""
    margin: float

    @property
    def one_seed(self) -> bool:
        return min(self.estimate.seeds, default=2) == 1

    def outlook(self, level: float) -> float:
        """How many seeds of each variant would show what is likely here: see `seeds_to_decide`."""
        value, nulls = self.estimate.value, [self.null]
        if self.test.within is not None:
            nulls = [self.centre + math.copysign(self.null, value - self.centre)]
        elif self.p_no_difference < 1 and abs(value) < self.margin:
            nulls.append(math.copysign(self.margin, value))
        return min(self.estimate.seeds_to_decide(null, level) for null in nulls)


@dataclass(frozen=True)
class Judgement:
    """One test of a claim, with its verdict."""

    test: Test
    value: float
    unit: Unit
    interval: tuple[float, float] | None
    """None where nothing is left to chance, or all of it, to a single seed."""
    p_for: float
    p_against: float
    verdict: str
    seeds: int | None
    """The fewest of any variant in it; None where seeds play no part."""
    paired: bool
    beats: tuple[float, float, float] | None
    """How likely one run beats one of the others, with its interval: of two variants."""
    outlook: float | None
    """How many seeds of each variant would decide it; None unless undecided, infinite where it is
    the images that leave it open.
    """
    summary: str
    """The effect and how sure it is, in a sentence."""
    sentence: str
    """The same with p, seeds and what collapsed."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict and what its tests found: nothing, if the study was not run yet."""

    name: str
    claim: Claim
    verdict: str
    summary: str
    """What the decisive test found, and what would decide the claim, if it is undecided."""
    sentence: str
    """The same with p, seeds and what collapsed."""
    p: float | None = None
    """Of the verdict, corrected for the study's claims; None where it is undecided, or nothing was
    left to chance.
    """
    outlook: float | None = None
    """As of `Judgement`: what the claim as a whole needs."""
    judgements: tuple[Judgement, ...] = ()


def judge(evidence: Evidence) -> list[ClaimResult]:
    """A verdict on each claim of the study.

    Raises ProjectError where a test is about what a variant did not record.
    """
    claims = evidence.study.claims
    if not evidence.results:
        sentence = "The study has not been run yet."
        return [
            ClaimResult(name, claim, NOT_RUN, sentence, sentence) for name, claim in claims.items()
        ]
    return decide([(evidence, name, claim) for name, claim in claims.items()])


def decide(
    asked: Sequence[tuple[Evidence, str, Claim]], sides: Literal[1, 2] = 1
) -> list[ClaimResult]:
    """A verdict on each of these claims, corrected for all of them.

    Args:
        asked: each claim with its name and the evidence on it.
        sides: 2 where nobody said beforehand which way the tests would point; each side then has
            half of the level, and p values are doubled.

    Raises ProjectError where a test is about what a variant did not record.
    """
    found = [
        [find(evidence, step) for test in claim.tests for step in test.steps()]
        for evidence, _, claim in asked
    ]
    # Of what is left to no chance, one of the p values is 0, which costs the others nothing.
    p_values = [min(1.0, sides * min(_p_values(findings))) for findings in found]
    levels, corrected = statistics.holm_levels(p_values, LEVEL), statistics.holm(p_values)
    return [
        _conclude(*one, findings, level / sides, p)
        for one, findings, level, p in zip(asked, found, levels, corrected, strict=True)
    ]


def find(evidence: Evidence, test: Test) -> Finding:
    """Compare the quantity of a test with what it is to be above, below, or near."""
    estimate, margin = evidence.estimate(test), evidence.study.margin
    wanted = next((x for x in (test.above, test.below, test.within) if x is not None), None)
    threshold = margin if wanted == "margin" else wanted
    if test.quantity in RATIOS:
        threshold = math.log(threshold or 1.0)
    centre = test.than if isinstance(test.than, float | int) else 0.0
    null, p_no_difference = centre + (threshold or 0.0), 1.0
    if test.within is not None:
        null = threshold or 0.0
        low, high = centre - null, centre + null
        p_for = max(estimate.p(low, "greater"), estimate.p(high, "less"))
        p_against = min(1.0, 2 * min(estimate.p(low, "less"), estimate.p(high, "greater")))
    else:
        p_for, p_against = estimate.p(null, "greater"), estimate.p(null, "less")
        if test.below is not None:
            p_for, p_against = p_against, p_for
        if null == 0 and test.quantity in (*ACCURACIES, "gap") and isinstance(test.than, list):
            p_no_difference = estimate.within(margin)
    if not estimate.seeds:  # one or the other, also where it is just what it is compared with
        p_against = 1 - p_for
    return Finding(test, estimate, null, centre, p_for, p_against, p_no_difference, margin)


def _p_values(findings: list[Finding]) -> tuple[float, float, float]:
    """Of a claim's support, of its contradiction, and of a difference that does not matter."""
    k = len(findings)
    return (
        max(f.p_for for f in findings),
        min(1.0, k * min(f.p_against for f in findings)),
        min(1.0, k * min(f.p_no_difference for f in findings)),
    )


def _conclude(
    evidence: Evidence,
    name: str,
    claim: Claim,
    findings: list[Finding],
    level: float,
    corrected: float,
) -> ClaimResult:
    """The sentence is that of the decisive test: the firmest against it, or the weakest link."""
    k = len(findings)
    p_for, p_against, p_same = _p_values(findings)
    if p_for < level:
        verdict, decisive = SUPPORTED, max(findings, key=lambda f: (f.one_seed, f.p_for))
    elif p_against < level:
        verdict, decisive = CONTRADICTED, min(findings, key=lambda f: (f.p_against, f.one_seed))
    elif p_same < level:
        verdict, decisive = NO_DIFFERENCE, min(findings, key=lambda f: f.p_no_difference)
    else:
        verdict, decisive = UNDECIDED, max(findings, key=lambda f: f.p_for)
    # The correction is that of the smallest p, which need not be the one of the verdict.
    of_verdict = {SUPPORTED: p_for, CONTRADICTED: p_against, NO_DIFFERENCE: p_same}
    p = max(corrected, of_verdict[verdict] * LEVEL / level) if verdict in of_verdict else None
    judgements = tuple(_judge(evidence, f, level, k, p) for f in findings)
    chosen = judgements[findings.index(decisive)]
    outlook, outlook_text, counted = None, "", ""
    if verdict == UNDECIDED:
        outlook = _outlook(findings, level, k)
        outlook_text = f" {_outlook_text(outlook)}"
    elif decisive.one_seed:
        verdict += ON_THIS_SEED
    if k > 1:
        holding = sum(j.verdict.startswith(SUPPORTED) for j in judgements)
        of_all = "All" if holding == k else f"{holding} of"
        counted = f"{of_all} {k} comparisons hold{'s' * (holding == 1)}; "
        counted += _DECISIVE[verdict.removesuffix(ON_THIS_SEED)]
    return ClaimResult(
        name=name,
        claim=claim,
        verdict=verdict,
        summary=f"{counted}{chosen.summary}{outlook_text}",
        sentence=f"{counted}{chosen.sentence}{outlook_text}",
        p=None if chosen.interval is None else p,
        outlook=outlook,
        judgements=judgements,
    )


_DECISIVE = {
    SUPPORTED: "the least sure: ",
    CONTRADICTED: "what contradicts it: ",
    NO_DIFFERENCE: "where none matters: ",
    UNDECIDED: "the least sure: ",
}


def _judge(
    evidence: Evidence, finding: Finding, level: float, k: int, p: float | None
) -> Judgement:
    test, estimate = finding.test, finding.estimate
    verdict, at = UNDECIDED, level / k
    if finding.p_for < level:
        verdict, at = SUPPORTED, level
    elif finding.p_against < at:
        verdict = CONTRADICTED
    elif finding.p_no_difference < at:
        verdict = NO_DIFFERENCE
    # To lie outside on either side takes half of the level on each.
    outside = test.within is not None and verdict != SUPPORTED
    interval = estimate.interval(at / 2 if outside else at)
    if interval is not None and (finding.one_seed and interval[0] == interval[1]):
        interval = None
    outlook = None
    if verdict == UNDECIDED and not finding.one_seed:
        outlook = finding.outlook(level)
    if verdict != UNDECIDED and finding.one_seed:
        verdict += ON_THIS_SEED
    beats = _beats(evidence, test, at)
    surely, between = _bounds(finding, interval)
    effect = f"{statement(evidence, test, estimate.value)}{surely}{_condition(finding)}"
    brackets = "; ".join(filter(None, [between, interval and p_text(p), _seeds(estimate)]))
    return Judgement(
        test=test,
        value=estimate.value,
        unit=unit(test),
        interval=interval,
        p_for=finding.p_for,
        p_against=finding.p_against,
        verdict=verdict,
        seeds=min(estimate.seeds, default=None),
        paired=estimate.paired,
        beats=beats,
        outlook=outlook,
        summary=f"{effect}{between and f' ({between})'}.",
        sentence=f"{effect}{brackets and f' ({brackets})'}.{_collapses(evidence, test, beats)}",
    )


def _bounds(finding: Finding, interval: tuple[float, float] | None) -> tuple[str, str]:
    """How sure the effect is, in words: as part of the sentence, or in brackets behind it."""
    test, of = finding.test, unit(finding.test)
    low, high = interval or (-math.inf, math.inf)
    if of in ("points", "share", "percent"):
        low, high = max(low, 0.0 if of == "percent" else -1.0), min(high, 1.0)
    if interval is None or math.inf in (-low, high):
        return "", ""
    to_others = isinstance(test.than, list)
    if of in ("points", "nats") and to_others and test.within is None and low * high > 0:
        return f", surely more than {measure(min(abs(low), abs(high)), of)}", ""
    if to_others and test.within is None and low < high and 0.0 in (low, high):
        return ", by how much is open", ""  # all seeds of one side collapsed
    if of == "points" or (to_others and of == "nats"):
        ends = [f"{measure(abs(x), of)} {'above' if x >= 0 else 'below'}" for x in (low, high)]
    else:
        if test.after is not None and high < 0:
            low, high = -high, -low
        ends = [measure(x, of) for x in (low, high)]
    return "", f"surely between {ends[0]} and {ends[1]}"


def _condition(finding: Finding) -> str:
    """What it was compared with, where that is not plainly the others."""
    test, null, of = finding.test, finding.null, unit(finding.test)
    if test.within is not None:
        distance = measure(null, "points" if of == "percent" else of)
        what = f"near {measure(finding.centre, of)}" if finding.centre else "similar"
        if test.after is not None:
            what = "settled"
        return f", where less than {distance}{' either way' * (of == 'ratio')} counts as {what}"
    if null == 0:
        return ""
    return (
        f", where {'more' if test.below is None else 'less'} than {measure(null, of)} is asked for"
    )


def _outlook(findings: list[Finding], level: float, k: int) -> float:
    """How many seeds of each variant would likely decide the claim: where its tests point towards
    it, as many as the hardest of them needs; else what would contradict it.
    """
    if any(f.one_seed for f in findings):
        return math.nan
    against = [f for f in findings if f.p_for > 0.5]
    if against:
        return min(f.outlook(level / k) for f in against)
    return max(f.outlook(level) for f in findings if f.p_for >= level)


def _outlook_text(outlook: float) -> str:
    if math.isnan(outlook):
        return "A single seed leaves it open."
    if math.isinf(outlook):
        return "More seeds would not settle it: that takes more test images."
    if outlook >= statistics.MOST_SEEDS:
        return f"Not even {statistics.MOST_SEEDS:,} seeds of each would likely decide it."
    return f"About {float(f'{outlook:.2g}'):.0f} seeds of each would likely decide it."


def _beats(evidence: Evidence, test: Test, level: float) -> tuple[float, float, float] | None:
    """Of two variants that are compared by their accuracies after training."""
    plain = test.quantity in ACCURACIES and not (test.epoch or test.after or test.than_quantity)
    if not plain or not isinstance(test.than, list) or [len(test.of), len(test.than)] != [1, 1]:
        return None
    sides = (test.of[0], test.than[0])
    ours, theirs = (evidence.results[variant].per_seed(test.quantity) for variant in sides)
    if min(len(ours), len(theirs)) == 1:
        return None
    return statistics.superiority(ours, theirs, level)


def _collapses(evidence: Evidence, test: Test, beats: tuple[float, float, float] | None) -> str:
    others = test.than if isinstance(test.than, list) and test.than != test.of else []
    sides = [test.of, others]
    collapsed = [
        np.concatenate([np.zeros(0, bool), *(evidence.results[v].collapsed for v in side)])
        for side in sides
    ]
    if not any(of_side.any() for of_side in collapsed):
        return ""
    counts = [
        f"{of_side.sum()} of {len(of_side)} seeds of {evidence.name(side, '')}"
        for side, of_side in zip(sides, collapsed, strict=True)
        if len(of_side)
    ]
    text = f" Collapsed to chance: {' and '.join(counts)}"
    if all(map(len, collapsed)):
        text += f" ({p_text(statistics.collapse_p(*collapsed))})"
    if beats:
        chance, low, high = (f"{100 * x:.0f}" for x in beats)
        text += f"; one run of the first beats one of the second {chance} % of the time"
        text += f" ({low} to {high})"
    return f"{text}."


def _seeds(estimate: Estimate) -> str:
    if not estimate.seeds:
        return ""
    low, high = min(estimate.seeds), max(estimate.seeds)
    if low != high:
        return f"{low} to {high} seeds"
    each = (
        " each, compared seed by seed" if estimate.paired else " each" * (len(estimate.seeds) > 1)
    )
    return f"{low} seed{'s' * (low > 1)}{each}"
