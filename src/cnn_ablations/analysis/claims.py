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
import pandas as pd

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.evidence import Evidence, Finding, measured, others, statement, unit
from cnn_ablations.analysis.wording import measure, p_text
from cnn_ablations.config.studies import ACCURACIES, Claim, Test

LEVEL = 0.05
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NO_DIFFERENCE = "no difference that matters"
NOT_RUN = "not run yet"
ON_THIS_SEED = " on this seed"
GUESSING = (
    "These networks cannot be told from guessing: train longer or with another learning rate, or "
    "test on more images."
)
VERDICTS = (SUPPORTED, CONTRADICTED, NO_DIFFERENCE, UNDECIDED, NOT_RUN)


@dataclass(frozen=True)
class Judgement:
    """One test of a claim, with its verdict."""

    finding: Finding
    verdict: str
    interval: tuple[float, float] | None
    """None where nothing is left to chance, or all of it, to a single seed."""
    beats: tuple[float, float, float] | None
    """How likely one run beats one of the others, with its interval: of two variants."""
    summary: str
    """The effect, how sure it is, and how many seeds collapsed."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict and what its tests found: nothing, if the study was not run yet."""

    name: str
    claim: Claim
    verdict: str
    summary: str
    """What the decisive test found, and what would decide the claim, if it is undecided."""
    p: float | None = None
    """Of the verdict, corrected for the study's claims; None where it is undecided, or nothing was
    left to chance.
    """
    outlook: float | None = None
    """How many seeds of each variant would decide it; None unless undecided, infinite where
    images leave it open or networks only guess, not a number where a single seed leaves it open.
    """
    judgements: tuple[Judgement, ...] = ()


def judge(evidence: Evidence) -> list[ClaimResult]:
    """A verdict on each claim of the study.

    Raises ProjectError where a test is about what a variant did not record.
    """
    claims = evidence.study.claims
    if not evidence.results:
        sentence = "The study has not been run yet."
        return [ClaimResult(name, claim, NOT_RUN, sentence) for name, claim in claims.items()]
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
        [evidence.find(step) for test in claim.tests for step in test.steps()]
        for evidence, _, claim in asked
    ]
    # Of what is left to no chance, one of the p values is 0, which costs the others nothing.
    p_values = [min(1.0, sides * min(_p_values(findings))) for findings in found]
    levels, corrected = statistics.holm_levels(p_values, LEVEL), statistics.holm(p_values)
    return [
        _conclude(*one, findings, level / sides, p)
        for one, findings, level, p in zip(asked, found, levels, corrected, strict=True)
    ]


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
    """The summary is that of the decisive test: the firmest against it, or the weakest link."""
    k = len(findings)
    p_for, p_against, p_same = _p_values(findings)
    outlook: float | None = None
    p, outlook_text = 1.0, ""
    if p_for < level:
        verdict, p = SUPPORTED, p_for
        decisive = max(findings, key=lambda f: (f.one_seed, f.p_for))
    elif p_against < level:
        verdict, p = CONTRADICTED, p_against
        decisive = min(findings, key=lambda f: (f.p_against, f.one_seed))
    elif p_same < level:
        verdict, p = NO_DIFFERENCE, p_same
        decisive = min(findings, key=lambda f: f.p_no_difference)
    else:
        verdict = UNDECIDED
        decisive = max(findings, key=lambda f: f.p_for)
        outlook = _outlook(findings, level)
        guessing = not math.isfinite(outlook) and any(f.guessing for f in findings)
        outlook_text = f" {GUESSING if guessing else _outlook_text(outlook)}"
    judgements = tuple(_judge(evidence, f, level, k) for f in findings)
    chosen = judgements[findings.index(decisive)]
    counted = _counted(judgements, verdict) if k > 1 else ""
    is_open = verdict == UNDECIDED
    return ClaimResult(
        name=name,
        claim=claim,
        verdict=verdict + ON_THIS_SEED * (decisive.one_seed and not is_open),
        summary=f"{counted}{chosen.summary}{outlook_text}",
        # The correction is that of the smallest p, which need not be the one of the verdict.
        p=None if is_open or chosen.interval is None else max(corrected, p * LEVEL / level),
        outlook=outlook,
        judgements=judgements,
    )


def _counted(judgements: Sequence[Judgement], verdict: str) -> str:
    """How many of several comparisons hold, to stand before the decisive one."""
    k, holding = len(judgements), sum(j.verdict.startswith(SUPPORTED) for j in judgements)
    least = "the less sure" if k == 2 else "the least sure"
    why = {CONTRADICTED: "what contradicts it", NO_DIFFERENCE: "one too small to matter"}
    if holding == k:
        some = "Both comparisons hold" if k == 2 else f"All {k} comparisons hold"
    elif holding:
        some = f"{holding} of {k} comparisons hold{'s' * (holding == 1)}"
    else:
        some = "No comparison is decided" if verdict == UNDECIDED else "No comparison holds"
    return f"{some}; {why.get(verdict, least)}: "


def _judge(evidence: Evidence, finding: Finding, level: float, k: int) -> Judgement:
    test, verdict, at = finding.test, UNDECIDED, level / k
    if finding.p_for < level:
        verdict, at = SUPPORTED, level
    elif finding.p_against < at:
        verdict = CONTRADICTED
    elif finding.p_no_difference < at:
        verdict = NO_DIFFERENCE
    # To lie outside on either side takes half of the level on each.
    outside = test.within is not None and verdict != SUPPORTED
    interval = finding.estimate.interval(at / 2 if outside else at)
    if interval is not None and finding.one_seed and interval[0] == interval[1]:
        interval = None
    value, of_median, beats = finding.estimate.value, "", _beats(evidence, test, at)
    surely, between = _bounds(finding, interval)
    if beats and isinstance(finding.estimate, statistics.Ranks) and not finding.null:
        # The shift that ranks know lies between seeds that learned and those that collapsed, where
        # no seed is.
        of, than = (float(np.median(values)) for values in _runs(evidence, test))
        value, of_median, between = of - than, "median ", ""
        found, low, high = (f"{100 * share:.0f}" for share in beats)
        surely = f", and one run beats one {found} % of the time ({low} to {high} %)"
    effect = f"{statement(evidence, test, value, of_median)}{surely}{_condition(finding)}"
    return Judgement(
        finding=finding,
        verdict=verdict + ON_THIS_SEED * (finding.one_seed and verdict != UNDECIDED),
        interval=interval,
        beats=beats,
        summary=f"{effect}{between}.{_collapses(evidence, finding)}",
    )


def _bounds(finding: Finding, interval: tuple[float, float] | None) -> tuple[str, str]:
    """How sure the effect is, in words: as part of the sentence, or in brackets behind it."""
    test, of = finding.test, unit(finding.test)
    low, high = interval or (-math.inf, math.inf)
    least, most = -math.inf, math.inf
    if of in ("points", "share", "percent"):
        least, most = 0.0 if of == "percent" else -1.0, 1.0
    low, high = max(low, least), min(high, most)
    if math.inf in (-low, high) or (low, high) == (least, most):  # which says nothing
        return "", ""
    is_difference = bool(others(test))
    if is_difference and test.within is None:
        if low * high > 0:
            return f", surely more than {measure(min(abs(low), abs(high)), of)}", ""
        if low < high and 0.0 in (low, high):  # all seeds of one side collapsed
            return ", by how much is open", ""
    if test.after is not None and high < 0:
        low, high = -high, -low
    ends = [measure(x, of) for x in (low, high)]
    if test.after is not None and low < 0:
        ends = [f"a fall of {measure(-low, of)}", f"a rise of {measure(high, of)}"]
    if is_difference or of == "points":
        ends = [f"{measure(abs(x), of)} {'above' if x >= 0 else 'below'}" for x in (low, high)]
    return "", f" (surely between {ends[0]} and {ends[1]})"


def _condition(finding: Finding) -> str:
    """What it was compared with, where that is not plainly the others."""
    test, null, of = finding.test, finding.null, unit(finding.test)
    if test.within is not None:
        distance = measure(null, "points" if of == "percent" else of)
        what = f"near {measure(finding.centre, of)}" if finding.centre else "similar"
        return f", where less than {distance} counts as {'settled' if test.after else what}"
    more = "more" if test.below is None else "less"
    return f", where {more} than {measure(null, of)} is asked for" if null else ""


def _outlook(findings: list[Finding], level: float) -> float:
    """How many seeds of each variant would likely decide the claim: where its tests point towards
    it, as many as the hardest of them needs; else what would contradict it.
    """
    if any(f.one_seed for f in findings):
        return math.nan
    against = [f for f in findings if f.p_for > 0.5]
    if against:
        return min(f.outlook(level / len(findings)) for f in against)
    return max(f.outlook(level) for f in findings if f.p_for >= level)


def _outlook_text(outlook: float) -> str:
    if math.isnan(outlook):
        return "A single seed leaves it open."
    if math.isinf(outlook):
        return "More seeds alone would not settle it: that takes more images to test on."
    if outlook >= statistics.MOST_SEEDS:
        return f"Not even {statistics.MOST_SEEDS:,} seeds of each would likely decide it."
    return f"About {float(f'{outlook:.2g}'):.0f} seeds of each would likely decide it."


def _beats(evidence: Evidence, test: Test, level: float) -> tuple[float, float, float] | None:
    """Of two variants that are compared by their accuracies after training."""
    plain = test.quantity in ACCURACIES and not (test.epoch or test.after or test.than_quantity)
    if not plain or [len(test.of), len(others(test))] != [1, 1]:
        return None
    ours, theirs = _runs(evidence, test)
    if min(len(ours), len(theirs)) == 1:
        return None
    return statistics.superiority(ours, theirs, level)


def _runs(evidence: Evidence, test: Test) -> list[statistics.Floats]:
    """The accuracies of the seeds of each of two variants."""
    sides = (*test.of, *others(test))
    return [measured(evidence.results[of], test.quantity).values for of in sides]


def _collapses(evidence: Evidence, finding: Finding) -> str:
    """How many seeds collapsed to chance, a sentence, where some did and seeds play a part."""
    of, than = finding.test.of, others(finding.test)
    sides = [side for side in (of, than if than != of else []) if side]
    collapsed = [np.concatenate([evidence.results[v].collapsed for v in side]) for side in sides]
    if not finding.estimate.seeds or not any(of_side.any() for of_side in collapsed):
        return ""
    counts = [
        f"{of_side.sum()} of {len(of_side)} seeds of {evidence.name(side, '')}"
        for side, of_side in zip(sides, collapsed, strict=True)
    ]
    p = f" (p {p_text(statistics.collapse_p(*collapsed))})" if len(sides) == 2 else ""
    return f" Collapsed to chance: {' and '.join(counts)}{p}."


EDGES_SOURCE = "report R4"
EDGES_QUESTION = "Do the two kernels that are applied to a photograph both bring out its edges?"
TIMES = 2.0
"""How many times as bright an edge is to be."""


def edges_claim(measured: pd.DataFrame | None) -> pd.DataFrame:
    """The claim about two kernels that no study tests, in one row as `claims_markdown` takes it.

    Args:
        measured: by notebooks/convolution.ipynb, one row a photograph and kernel: `photograph`,
            `kernel`, and the mean brightness of the picture that the kernel makes where the
            photograph is `flattest` and where it is `steepest`; None where it was not run yet.
    """
    verdict, sentence = NOT_RUN, "The notebook has not been executed yet."
    if measured is not None:
        times = (measured["steepest"] / measured["flattest"]).groupby(measured["kernel"])
        verdict = SUPPORTED if times.min().min() >= TIMES else CONTRADICTED
        sentence = " ".join(
            f"With {kernel}, the steepest parts of two photographs are {low:.1f} and {high:.1f} "
            "times as bright as the flattest."
            for kernel, low, high in zip(times.min().index, times.min(), times.max(), strict=True)
        )
    row = {
        "claim": "both-kernels-bring-out-edges",
        "source": "",
        "statement": "Both kernels, K1 and K2, bring out edges, and differ in how strongly.",
        "remark": "A picture brings out edges if it is at least twice as bright where the "
        "photograph is steepest as where it is flattest (a tenth of the pixels each), on both "
        "photographs.",
        "claim_verdict": verdict,
        "claim_summary": sentence,
        "claim_p": None,
    }
    return pd.DataFrame([row])
