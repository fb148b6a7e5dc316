"""The claims of a study, tested: one function a kind of test, and verdicts in plain words.

To add a kind, add its model to `cnn_ablations.config.studies` and a function like `_higher` to
`KINDS`: it says whether the data point to the claim, by how much, and how surely.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import Estimate, Floats, Sample, contrast
from cnn_ablations.config.studies import (
    Claim,
    CostsMore,
    Higher,
    NarrowerGap,
    NotHigher,
    Overfits,
    Reaches,
    Similar,
    Study,
    Test,
)

LEVEL = 0.05
MANY_SEEDS = 1000
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_RUN = "not run yet"
ON_THIS_SEED = " on this seed"
Unit = Literal["points", "accuracy", "ratio"]
"""Of an effect: a difference of accuracies, an accuracy, a ratio of costs."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Evidence:
    """The results of a study's variants, with the resampled accuracies that all tests share."""

    study: Study
    results: Mapping[str, VariantResult]
    draws: Mapping[tuple[str, str], Floats]
    """(resamples, seeds) by variant and split."""

    def accuracy(self, variant: str, split: str) -> Sample:
        """Raises ProjectError where the variant has no such split."""
        result = self.results[variant]
        values = result.correct(split).mean(axis=1)
        return Sample(values, self.draws[variant, split], int(result.collapsed.sum()))

    def gap(self, variant: str) -> Sample:
        """Training less validation accuracy of each seed. The training images stay as they are:
        a network's accuracy on the very images that it was fitted to is no estimate.
        """
        validation = self.accuracy(variant, "val")
        train = self.results[variant].train_accuracy
        return Sample(train - validation.values, train - validation.draws, validation.collapsed)

    def flops(self, variants: Sequence[str]) -> float:
        """The mean number of floating-point operations for one image."""
        return float(np.mean([self.results[variant].metrics["flops"] for variant in variants]))

    def name(self, variants: Sequence[str], average: str = " (mean of {})") -> str:
        """The variants as a sentence names them; several of them by the first and the last."""
        first, last = (f"“{self.study.variants[variants[end]]}”" for end in (0, -1))
        return first if len(variants) == 1 else f"{first} to {last}{average.format(len(variants))}"


@dataclass(frozen=True)
class Finding:
    """What the data say about one test, before the correction for the study's other tests."""

    statement: str
    """The effect in words."""
    holds: bool
    """Whether the data point towards the claim (else: away from it)."""
    effect: float
    """Accuracies and their differences as fractions."""
    unit: Unit = "points"
    condition: str = ""
    """What the effect is measured against, in words, where that is not 0."""
    interval: tuple[float, float] | None = None
    p: float | None = None
    """Of the hypothesis that the truth lies the other way; None where nothing is left to chance."""
    estimate: Estimate | None = None
    distance: float = 0.0
    """From the estimate to that hypothesis."""
    tails: int = 2
    """Whether `p` is one-sided or two-sided."""


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


def gather(study: Study, results: Mapping[str, VariantResult]) -> Evidence:
    """Resample the examples of each split once, for all variants that were tested on them.

    Variants whose true labels agree were tested on the same examples, so share their resamples.
    """
    networks: dict[tuple[str, bytes], list[str]] = {}
    for name, result in results.items():
        for split, labels in result.labels.items():
            networks.setdefault((split, labels.tobytes()), []).append(name)
    draws = {}
    for (split, _), names in networks.items():
        correct = [results[name].correct(split) for name in names]
        resampled = statistics.resampled_accuracies(np.concatenate(correct))
        ends = np.cumsum([len(of_seeds) for of_seeds in correct])
        for name, of_seeds in zip(names, np.split(resampled, ends[:-1], axis=1), strict=True):
            draws[name, split] = of_seeds
    return Evidence(study, results, draws)


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
        sentence = f"{finding.statement}{finding.condition}."
        return Judgement(test, finding, p_holm, verdict, None, None, sentence)
    seeds, more = min(estimate.seeds), None
    low, high = (points(bound) for bound in interval)
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


def _higher(evidence: Evidence, test: Higher) -> Finding:
    estimate = _difference(evidence, test)
    p = None
    if estimate.seeds == (1, 1):
        split = _split(test.metric)
        p = statistics.mcnemar_p(
            evidence.results[test.variants[0]].correct(split)[0],
            evidence.results[test.than[0]].correct(split)[0],
        )
    return _beside(
        estimate,
        0.0,
        holds=estimate.value > 0,
        statement=_comparison(evidence, test, estimate),
        p=p,
    )


def _not_higher(evidence: Evidence, test: NotHigher) -> Finding:
    margin, estimate = evidence.study.margin, _difference(evidence, test)
    return _beside(
        estimate,
        margin,
        holds=estimate.value < margin,
        statement=_comparison(evidence, test, estimate),
        condition=f", where {points(margin)} points more would count as higher",
    )


def _similar(evidence: Evidence, test: Similar) -> Finding:
    margin, estimate = evidence.study.margin, _difference(evidence, test)
    finding = _beside(
        estimate,
        float(np.copysign(margin, estimate.value)),
        holds=abs(estimate.value) < margin,
        statement=_comparison(evidence, test, estimate),
        condition=f", where less than {points(margin)} points counts as similar",
    )
    if not finding.holds:
        return finding
    return replace(finding, p=statistics.equivalence_p(estimate, margin), tails=1)


def _overfits(evidence: Evidence, test: Overfits) -> Finding:
    margin = evidence.study.margin
    estimate = contrast([evidence.gap(variant) for variant in test.variants])
    return _beside(
        estimate,
        margin,
        holds=estimate.value > margin,
        statement=(
            f"The training accuracy of {evidence.name(test.variants)} is "
            f"{_signed(estimate.value, 'above', 'below')} its validation accuracy"
        ),
        condition=f", where more than {points(margin)} points counts as overfitting",
    )


def _narrower_gap(evidence: Evidence, test: NarrowerGap) -> Finding:
    estimate = contrast(
        [evidence.gap(variant) for variant in test.than],
        [evidence.gap(variant) for variant in test.variants],
    )
    return _beside(
        estimate,
        0.0,
        holds=estimate.value > 0,
        statement=(
            f"The gap from training to validation accuracy of {evidence.name(test.variants)} is "
            f"{_signed(estimate.value, 'narrower', 'wider')} than that of "
            f"{evidence.name(test.than)}"
        ),
    )


def _reaches(evidence: Evidence, test: Reaches) -> Finding:
    margin, split = evidence.study.margin, _split(test.metric)
    estimate = contrast([evidence.accuracy(variant, split) for variant in test.variants])
    return _beside(
        estimate,
        test.value - margin,
        holds=estimate.value > test.value - margin,
        statement=(
            f"The {SPLITS[split]} accuracy of {evidence.name(test.variants)} is "
            f"{points(estimate.value)} %"
        ),
        condition=f", where {points(test.value)} % less {points(margin)} points is to be reached",
        unit="accuracy",
    )


def _costs_more(evidence: Evidence, test: CostsMore) -> Finding:
    ours, theirs = evidence.flops(test.variants), evidence.flops(test.than)
    return Finding(
        statement=(
            f"The arithmetic of {evidence.name(test.variants)} is {ours / theirs:.2f} times that "
            f"of {evidence.name(test.than)}"
        ),
        holds=ours > theirs,
        effect=ours / theirs,
        unit="ratio",
        condition=f": {ours / 1e6:.2f} against {theirs / 1e6:.2f} million operations an image",
    )


KINDS: dict[str, Callable[[Evidence, Any], Finding]] = {
    "higher": _higher,
    "not_higher": _not_higher,
    "similar": _similar,
    "overfits": _overfits,
    "narrower_gap": _narrower_gap,
    "reaches": _reaches,
    "costs_more": _costs_more,
}


def points(fraction: float) -> str:
    """An accuracy in per cent, or a difference of accuracies in percentage points."""
    return f"{100 * fraction:z.2f}".replace("-", "−")


def p_text(p: float | None) -> str:
    """A p value in words; none where nothing was left to chance."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _beside(
    estimate: Estimate,
    null: float,
    *,
    holds: bool,
    statement: str,
    condition: str = "",
    unit: Unit = "points",
    p: float | None = None,
) -> Finding:
    """The finding of a two-sided test (its p value given or from the bootstrap) of `null`."""
    return Finding(
        statement=statement,
        holds=holds,
        effect=estimate.value,
        unit=unit,
        condition=condition,
        interval=statistics.interval(estimate),
        p=statistics.two_sided_p(estimate, null) if p is None else p,
        estimate=estimate,
        distance=abs(estimate.value - null),
    )


def _difference(evidence: Evidence, test: Higher | NotHigher | Similar) -> Estimate:
    split = _split(test.metric)
    return contrast(
        [evidence.accuracy(variant, split) for variant in test.variants],
        [evidence.accuracy(variant, split) for variant in test.than],
    )


def _comparison(evidence: Evidence, test: Higher | NotHigher | Similar, estimate: Estimate) -> str:
    return (
        f"The {SPLITS[_split(test.metric)]} accuracy of {evidence.name(test.variants)} is "
        f"{_signed(estimate.value, 'above', 'below')} that of {evidence.name(test.than)}"
    )


def _outlook(evidence: Evidence, finding: Finding, seeds: int, more: int | None) -> str:
    margin, interval = evidence.study.margin, finding.interval
    against_zero = not finding.condition
    if against_zero and interval and -margin < interval[0] and interval[1] < margin:
        return f"either way, the difference is below the margin of {points(margin)} points"
    if seeds == 1:
        return "a single seed leaves it open"
    if more is None:
        return "if the truth is what it looks like, more seeds alone will not decide"
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


def _signed(difference: float, positive: str, negative: str) -> str:
    return f"{points(abs(difference))} points {positive if difference >= 0 else negative}"


def _split(metric: str) -> str:
    return metric.removesuffix("_accuracy")
