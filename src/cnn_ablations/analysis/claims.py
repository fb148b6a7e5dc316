"""The claims of a study, judged: verdicts in plain words from what their tests found."""

from dataclasses import dataclass

import numpy as np

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.findings import KINDS, Finding
from cnn_ablations.analysis.statistics import Estimate
from cnn_ablations.analysis.wording import measure, p_text, points
from cnn_ablations.config.studies import Claim, Test

LEVEL = 0.05
MANY_SEEDS = 1000
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_RUN = "not run yet"
ON_THIS_SEED = " on this seed"


@dataclass(frozen=True)
class Judgement:
    """One test of a claim, with its verdict."""

    test: Test
    finding: Finding
    p_holm: float | None
    verdict: str
    seeds: int | None
    """The fewest of any variant in it; None where seeds play no part."""
    seeds_to_decide: int | None
    """About how many might decide; None unless undecided, or where no number would."""
    sentence: str


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict and what its tests found: nothing, if the study was not run yet."""

    name: str
    claim: Claim
    verdict: str
    sentence: str
    judgements: tuple[Judgement, ...] = ()


def judge(evidence: Evidence) -> list[ClaimResult]:
    """A verdict on each claim of the study, p values corrected over all of its tests.

    Raises ProjectError where a test is about a split that a variant does not have.
    """
    claims = evidence.study.claims
    if not evidence.results:
        return [
            ClaimResult(name, claim, NOT_RUN, "The study has not been run yet.")
            for name, claim in claims.items()
        ]
    findings = {
        (name, i): KINDS[test.kind](evidence, test)
        for name, claim in claims.items()
        for i, test in enumerate(claim.tests)
    }
    uncorrected = {key: finding.p for key, finding in findings.items() if finding.p is not None}
    corrected = dict(zip(uncorrected, statistics.holm(list(uncorrected.values())), strict=True))
    level = LEVEL / max(len(uncorrected), 1)
    return [
        _conclude(
            name,
            claim,
            [
                _judge(evidence, test, findings[name, i], corrected.get((name, i)), level)
                for i, test in enumerate(claim.tests)
            ],
        )
        for name, claim in claims.items()
    ]


def _judge(
    evidence: Evidence, test: Test, finding: Finding, p_holm: float | None, level: float
) -> Judgement:
    verdict = SUPPORTED if finding.holds else CONTRADICTED
    estimate, interval = finding.estimate, finding.interval
    if estimate is None or interval is None:
        seeds = min(estimate.seeds) if estimate else None
        verdict += ON_THIS_SEED if seeds == 1 else ""
        sentence = f"{finding.statement}{' (1 seed)' if seeds == 1 else ''}{finding.condition}."
        return Judgement(test, finding, p_holm, verdict, seeds, None, sentence)
    seeds, more = min(estimate.seeds), None
    low, high = (measure(bound, finding.unit) for bound in interval)
    sentence = (
        f"{finding.statement} (95 % interval {low} to {high}; {p_text(p_holm)}; {_seeds(estimate)})"
        f"{finding.condition}."
    )
    if p_holm is None or p_holm >= LEVEL:
        verdict = UNDECIDED
        if seeds > 1:
            more = statistics.seeds_to_decide(estimate, finding.distance, level / finding.tails)
        if p_holm is not None and finding.p is not None and finding.p < LEVEL:
            sentence += (
                f" Undecided only once corrected for all tests (p = {finding.p:.3f} before)."
            )
        else:
            sentence += f" Undecided: {_outlook(evidence, finding, seeds, more)}."
    elif seeds == 1:
        verdict += ON_THIS_SEED
    sentence += _collapses(evidence, test)
    return Judgement(test, finding, p_holm, verdict, seeds, more, sentence)


def _conclude(name: str, claim: Claim, judgements: list[Judgement]) -> ClaimResult:
    """Contradicted if one test is, else undecided if one test is, else supported. The sentence is
    that of the decisive test: the firmest against the claim, or the weakest link for it.
    """
    against = [j for j in judgements if j.verdict.startswith(CONTRADICTED)]
    undecided = [j for j in judgements if j.verdict == UNDECIDED]
    if against:
        decisive = min(against, key=lambda j: (j.seeds == 1, j.p_holm or 0))
    else:
        decisive = max(undecided or judgements, key=lambda j: (j.seeds == 1, j.p_holm or 0))
    sentence = decisive.sentence
    if len(judgements) > 1:
        supporting = sum(j.verdict.startswith(SUPPORTED) for j in judgements)
        sentence = f"{supporting} of {len(judgements)} tests support it; decisive: {sentence}"
    return ClaimResult(name, claim, decisive.verdict, sentence, tuple(judgements))


def _outlook(evidence: Evidence, finding: Finding, seeds: int, more: int | None) -> str:
    margin, interval = evidence.study.margin, finding.interval
    against_zero = finding.unit == "points" and not finding.condition
    if against_zero and interval and -margin < interval[0] and interval[1] < margin:
        return f"either way, the difference is below the margin of {points(margin)} points"
    if seeds == 1:
        return "a single seed leaves it open"
    if more is None:
        return "if it is really this close, no number of seeds decides it with these images"
    if more > MANY_SEEDS:
        return f"more than {MANY_SEEDS:,} seeds of each would be needed"
    return f"about {float(f'{more:.2g}'):.0f} seeds of each might decide"


def _collapses(evidence: Evidence, test: Test) -> str:
    counts = []
    for side in (test.variants, getattr(test, "than", [])):
        collapsed = np.concatenate(
            [np.zeros(0, bool), *(evidence.results[variant].collapsed for variant in side)]
        )
        if collapsed.any():
            counts.append(
                f"{collapsed.sum()} of {len(collapsed)} seeds of {evidence.name(side, '')}"
            )
    return f" Collapsed to chance: {' and '.join(counts)}." if counts else ""


def _seeds(estimate: Estimate) -> str:
    low, high = min(estimate.seeds), max(estimate.seeds)
    if low != high:
        return f"{low} to {high} seeds"
    return f"{low} seed{'s' * (low > 1)}{' each' * (len(estimate.seeds) > 1)}"
