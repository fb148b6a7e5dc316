"""Statistics over seeds and examples: estimates, tests, intervals. Pure functions over arrays.

Two things scatter: the seeds that a variant was trained from, and the examples that its networks
were tested on. Both are random effects, and they are crossed, since every network sees the same
examples: the design of readers and cases in medicine (Gallas, Bandos, Samuelson and Wagner, A
framework for random-effects ROC analysis, Communications in Statistics 38, 2009). Effects are
means over seeds; the variance has a part that shrinks with the seeds and one that shrinks with the
examples alone, and Student's t has Satterthwaite's degrees of freedom (Biometrics Bulletin 2,
1946). Equal seeds see equal orders of images, which correlates the variants; where all sides of a
comparison share six seeds or more, it is made within seeds. With fewer, pairing costs more degrees
of freedom than it gains.

A seed that collapsed to chance refutes normal scatter. There ranks decide, exactly: signed ranks
within seeds, or those of Mann and Whitney; and what the examples leave open is left open.

All of this is conditional on the split and on the images at hand.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Side = Literal["greater", "less"]

CONFIDENCE = 0.95
ENOUGH_SEEDS = 6
"""To compare within seeds: at three, pairing errs 7 to 9 % of the time at a nominal 5 %."""
POWER = 0.8
DIGITS = 12
"""Differences beyond these are those of floating point: 0.86 - 0.85 is 0.01."""
MOST_SEEDS = 1000
"""More than anybody trains."""
MILD = 0.2
"""A level that ranks of three seeds a side can reach."""


@dataclass(frozen=True)
class Sample:
    """One number a seed of one variant, such as its accuracy."""

    seeds: Ints
    """(seeds,), the numbers that the seeds have."""
    values: Floats
    """(seeds,)."""
    collapsed: Bools
    """(seeds,), whether the network stayed at chance."""
    answers: Mapping[Hashable, NDArray[Any]] = field(default_factory=dict)
    """(seeds, examples) by set of examples: what part of the value is a mean over them."""

    def of(self, seeds: Ints) -> "Sample":
        """The same of some of its seeds, in their order."""
        rows = [int(np.flatnonzero(self.seeds == seed)[0]) for seed in seeds]
        answers = {name: of_set[rows] for name, of_set in self.answers.items()}
        return Sample(seeds, self.values[rows], self.collapsed[rows], answers)


Terms = Sequence[tuple[float, Sample]]
"""Samples, each with the factor by which it enters a sum."""
_Part = list[tuple[float, float]]
"""What adds to a variance, each with its degrees of freedom."""


class Estimate(ABC):
    """An effect, and what can be said of it beyond the seeds and examples at hand."""

    value: float
    seeds: tuple[int, ...]
    """Of each sample in it; none where nothing is left to chance."""
    paired: bool
    """Whether it was compared within seeds."""

    @abstractmethod
    def p(self, null: float, side: Side) -> float:
        """The one-sided p value for the alternative that the truth is on this side of `null`."""

    @abstractmethod
    def interval(self, level: float) -> tuple[float, float] | None:
        """The two one-sided bounds at this level: a confidence interval of 1 - 2 `level`."""

    @abstractmethod
    def seeds_to_decide(self, null: float, level: float) -> float:
        """How many seeds of each variant would show, four times in five, that the truth is not
        `null`, if it is what it looks like: at most `MOST_SEEDS`, and infinite where the examples
        alone leave it open.
        """

    def within(self, margin: float) -> float:
        """The p value for the alternative that the truth is within `margin` of 0: the larger of
        two one-sided tests (Schuirmann, J. of Pharmacokinetics and Biopharmaceutics 15, 1987).
        """
        return max(self.p(-margin, "greater"), self.p(margin, "less"))


@dataclass(frozen=True)
class Exact(Estimate):
    """What no seed and no example changes, such as a number of parameters."""

    value: float
    seeds: tuple[int, ...] = ()
    paired: bool = False

    def p(self, null: float, side: Side) -> float:
        return 0.0 if (self.value > null if side == "greater" else self.value < null) else 1.0

    def interval(self, level: float) -> None:
        return None

    def seeds_to_decide(self, null: float, level: float) -> float:
        return math.inf


@dataclass(frozen=True)
class Mean(Estimate):
    """A sum of means over seeds, each with its factor: crossed random effects."""

    terms: Terms
    paired: bool = False

    @cached_property
    def value(self) -> float:  # type: ignore[override]
        with np.errstate(invalid="ignore"):  # losses of both sides diverged
            return float(sum(factor * sample.values.mean() for factor, sample in self.terms))

    @cached_property
    def seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(len(sample.seeds) for _, sample in self.terms)

    @cached_property
    def _parts(self) -> tuple[_Part, _Part, _Part]:
        """What seeds, examples and both together add to the variance, each with its degrees of
        freedom. The last is in both of the others, so it is taken off once.
        """
        of_seeds, of_both, means = _Part(), _Part(), dict[Hashable, Any]()
        for factor, sample in self.terms:
            n = len(sample.seeds)
            if n > 1:
                of_seeds.append((factor**2 * sample.values.var(ddof=1) / n, n - 1))
            for name, answers in sample.answers.items():
                by_example = answers.mean(axis=0)
                means[name] = means.get(name, 0.0) + factor * by_example
                if n > 1:
                    freedom = (n - 1) * (answers.shape[1] - 1)
                    by_seed = answers.mean(axis=1)
                    # The sum of squares that neither the seed nor the example explains.
                    rest = (answers.astype(np.float64) ** 2).sum() - (
                        answers.shape[1] * (by_seed**2).sum()
                        + n * (by_example**2).sum()
                        - answers.size * by_seed.mean() ** 2
                    )
                    of_both.append((factor**2 * max(rest, 0.0) / freedom / answers.size, freedom))
        of_examples = [
            (float(mean.var(ddof=1)) / mean.size, mean.size - 1) for mean in means.values()
        ]
        return of_seeds, of_both, of_examples

    @cached_property
    def example_variance(self) -> float:
        """What examples alone add to the variance, however many the seeds."""
        _, of_both, of_examples = self._parts
        return max(0.0, sum(v for v, _ in of_examples) - sum(v for v, _ in of_both))

    @cached_property
    def variance(self) -> float:
        return float(sum(v for v, _ in self._parts[0])) + self.example_variance

    @cached_property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom, at least those of the fewest seeds: what examples add
        is known better than that.
        """
        doubt = sum(v**2 / freedom for part in self._parts for v, freedom in part)
        fewest = min((freedom for _, freedom in self._parts[0]), default=1.0)
        return max(self.variance**2 / doubt, fewest) if doubt > 0 else math.inf

    def p(self, null: float, side: Side) -> float:
        off = round(self.value - null, DIGITS) * (1 if side == "greater" else -1)
        if not math.isfinite(off):  # a loss that diverged
            return 1.0
        if self.variance == 0:
            return 0.0 if off > 0 else 1.0
        return float(stats.t.sf(off / math.sqrt(self.variance), self.freedom))

    def interval(self, level: float) -> tuple[float, float]:
        if not math.isfinite(self.value):
            return -math.inf, math.inf
        half = stats.t.isf(level, self.freedom) * math.sqrt(self.variance) if self.variance else 0.0
        return self.value - half, self.value + half

    def seeds_to_decide(self, null: float, level: float) -> float:
        if not math.isfinite(self.value):
            return MOST_SEEDS
        distance, (of_seeds, *others) = self.value - null, self._parts
        n = np.arange(min(self.seeds) + 1, MOST_SEEDS + 1)
        parts = [v * (freedom + 1) / n for v, freedom in of_seeds]
        variance = np.sum(parts, axis=0) + self.example_variance
        doubt = np.sum([part**2 / (n - 1) for part in parts], axis=0)
        doubt = doubt + sum(v**2 / freedom for part in others for v, freedom in part)
        freedom = np.divide(variance**2, doubt, out=np.full(n.shape, np.inf), where=doubt > 0)
        freedom = np.maximum(freedom, n - 1)
        wanted = stats.t.isf(level, freedom) + stats.t.ppf(POWER, freedom)
        enough = n[wanted**2 * variance <= distance**2]
        if len(enough):
            return int(enough[0])
        at_last = stats.norm.isf(level) + stats.norm.ppf(POWER)
        return math.inf if at_last**2 * self.example_variance > distance**2 else MOST_SEEDS


@dataclass(frozen=True)
class Ranks(Estimate):
    """A shift between two samples, or the centre of one, where seeds collapsed: exact tests.

    Within seeds, signed ranks (Wilcoxon); of unequal seeds, those of Mann and Whitney; of a single
    sample, the sign test, since collapse is not symmetric. The value is Hodges and Lehmann's
    (Annals of Mathematical Statistics 34, 1963): the median of what the test ranks. Ranks of seeds
    know nothing of the examples, so the two scatters are added: that of the examples, and the one
    that a normal test of the seeds with the same p would have.

    Where every seed of one side collapsed and none of the other, that says more than ranks do, of
    three each 1 in 64 instead of 1 in 20: were the chance q to collapse the same on both sides, n
    would and m would not with a probability of q^n (1 - q)^m, which is largest at q = n / (n + m)
    (Barnard, Biometrika 34, 1947). It tells who is better, not by how much.
    """

    first: Floats
    """(seeds,): of one side, or the differences within seeds."""
    second: Floats | None
    """(seeds,) of the other side; None where there is none."""
    paired: bool
    example_variance: float
    apart: bool = False
    """Whether one side collapsed altogether, and the other not at all."""

    @property
    def seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        sides = [self.first] if self.second is None else [self.first, self.second]
        return tuple(map(len, sides))

    @cached_property
    def _centres(self) -> Floats:
        if self.second is not None:
            return np.subtract.outer(self.first, self.second).ravel()
        if self.paired:
            i, j = np.triu_indices(len(self.first))
            return np.asarray((self.first[i] + self.first[j]) / 2)
        return self.first

    @cached_property
    def value(self) -> float:  # type: ignore[override]
        return float(np.median(self._centres))

    def p(self, null: float, side: Side) -> float:
        p_of_seeds, spread = self._p_of_seeds(null, side), math.sqrt(self.example_variance)
        sign = 1 if side == "greater" else -1
        if self.apart and sign * self.value > 0 >= sign * null:
            counts, in_all = self.seeds, sum(self.seeds)
            p_of_seeds = min(p_of_seeds, math.prod((n / in_all) ** n for n in counts))
        if not spread:
            return p_of_seeds
        off = (self.value - null) * sign
        z_of_seeds, z_of_examples = float(stats.norm.isf(p_of_seeds)), off / spread
        if min(z_of_seeds, z_of_examples) <= 0:
            return max(p_of_seeds, float(stats.norm.sf(z_of_examples)))
        return float(stats.norm.sf(1 / math.hypot(1 / z_of_seeds, 1 / z_of_examples)))

    def _p_of_seeds(self, null: float, side: Side) -> float:
        sign, shifted = (1 if side == "greater" else -1), np.round(self.first - null, DIGITS)
        if self.second is not None:
            both = np.concatenate([shifted, np.round(self.second, DIGITS)])
            ranks = stats.rankdata(sign * both)
            return _tail(ranks, ranks[: len(shifted)].sum(), chosen=len(shifted))
        if self.paired:
            sizes = stats.rankdata(np.abs(shifted))[shifted != 0]  # after Pratt, where it is 0
            return _tail(sizes, sizes[sign * shifted[shifted != 0] > 0].sum())
        beyond, other = (int((s * shifted > 0).sum()) for s in (sign, -sign))
        return float(stats.binom.sf(beyond - 1, beyond + other, 0.5))

    def interval(self, level: float) -> tuple[float, float]:
        second = None if self.second is None else -self.second
        return self._low(level), 0.0 - replace(self, first=-self.first, second=second)._low(level)

    def _low(self, level: float) -> float:
        """Up to where nulls are refuted. Between two centres, p of the seeds is the same."""
        centres, spread = np.unique(self._centres), math.sqrt(self.example_variance)
        below = [float(centres[0]) - 1, *((centres[1:] + centres[:-1]) / 2).tolist()]

        def refuted(null: float) -> float:
            p_of_seeds = self._p_of_seeds(null, "greater")
            if p_of_seeds >= level:
                return -math.inf
            room = stats.norm.isf(level) ** -2 - stats.norm.isf(p_of_seeds) ** -2
            return self.value - spread / math.sqrt(room)

        first = bisect_left(range(len(centres)), True, key=lambda i: refuted(below[i]) < centres[i])
        bounds = [*centres[max(first - 1, 0) : first], *map(refuted, below[first : first + 1])]
        return float(max([*bounds, *[0.0] * (self.p(0.0, "greater") < level)]))

    def seeds_to_decide(self, null: float, level: float) -> float:
        wanted = stats.norm.isf(level) + stats.norm.ppf(POWER)
        room = ((self.value - null) / wanted) ** 2 - self.example_variance
        if room < 0:
            return math.inf
        # A bound on the side of the null stands for the scatter, and nears as the seeds grow. Among
        # few seeds it can be an outlier, so the nearer of two bounds counts, if there is one.
        fewest, scatters = min(self.seeds), list[float]()
        for at in (level, MILD):
            low, high = replace(self, example_variance=0.0).interval(at)
            half = self.value - low if null < self.value else high - self.value
            scatters.append((half / float(stats.norm.isf(at))) ** 2)
        if math.isinf(min(scatters)):
            sides = [side for side in (self.first, self.second) if side is not None]
            scatters = [sum(float(side.var(ddof=1)) / len(side) for side in sides)]
        of_one = fewest * min(scatters)
        more = range(fewest + 1, MOST_SEEDS)
        orders = (2**n if self.second is None else math.comb(2 * n, n) for n in more)
        enough = next((n for n, of in zip(more, orders, strict=True) if of * level > 1), MOST_SEEDS)
        if of_one >= room * MOST_SEEDS:
            return MOST_SEEDS
        return max(math.ceil(of_one / room), enough)


def contrast(terms: Terms) -> Estimate:
    """The sum of the means over seeds of samples, each times its factor.

    Samples that name the same set of examples were measured on the same ones. Of single seeds,
    only the examples scatter: what is found holds for these networks.
    """
    common = sorted(set.intersection(*(set(sample.seeds.tolist()) for _, sample in terms)))
    paired = len(terms) > 1 and len(common) >= ENOUGH_SEEDS
    collapsed = any(sample.collapsed.any() for _, sample in terms)
    if paired:
        terms = [(1.0, _combined([(f, sample.of(np.array(common))) for f, sample in terms]))]
    mean = Mean(terms, paired)
    if not collapsed or min(mean.seeds) == 1 or not math.isfinite(mean.value):
        return mean
    if len(terms) == 1:
        factor, sample = terms[0]
        return Ranks(factor * sample.values, None, paired, mean.example_variance)
    if len(terms) == 2:
        (f, first), (g, second) = terms
        shares = {first.collapsed.mean(), second.collapsed.mean()}
        sides = f * first.values, -g * second.values
        return Ranks(*sides, False, mean.example_variance, apart=shares == {0.0, 1.0})
    return mean


def _combined(terms: Terms) -> Sample:
    """The sum of samples of the same seeds."""
    first, answers = terms[0][1], dict[Hashable, Any]()
    for factor, sample in terms:
        for name, of_set in sample.answers.items():
            answers[name] = answers.get(name, 0.0) + factor * of_set
    with np.errstate(invalid="ignore"):  # losses of both sides diverged
        values = np.asarray(sum(factor * sample.values for factor, sample in terms))
    return Sample(
        seeds=first.seeds,
        values=values,
        collapsed=np.logical_or.reduce([sample.collapsed for _, sample in terms]),
        answers=answers,
    )


def by_class(labels: NDArray[Any], right: Bools) -> dict[Hashable, Floats]:
    """The parts of which the balanced accuracy, the mean of the recalls of the classes, is the sum.

    A class is a set of examples of its own (stratified sampling), since a rare one scatters more
    and weighs more. One with a single example cannot say how much: such classes are one set, and a
    lone one is joined to the smallest other (collapsed strata; Cochran, Sampling Techniques, 1977,
    section 5A.12), which takes their differences for scatter and errs on the safe side.

    Args:
        labels: of the examples, (n,).
        right: (seeds, n).
    """
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order, alone = np.argsort(counts, kind="stable"), int((counts == 1).sum())
    joined = max(alone, 2) if alone else 1
    parts = dict[Hashable, Floats]()
    for of_set in (order[:joined], *order[joined:, np.newaxis]):
        examples = np.flatnonzero(np.isin(place, of_set))
        weights = len(examples) / (len(classes) * counts[place[examples]])
        parts[labels.tobytes(), int(of_set[0])] = right[:, examples] * weights
    return parts


def superiority(first: Floats, second: Floats, level: float) -> tuple[float, float, float]:
    """How likely one run of the first, (seeds,), beats one of the second, (seeds,), ties by half,
    and its one-sided bounds at this level.

    Source: Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, Statistics in Medicine 25 (2006), part 2, method 5.
    """
    n, m = len(first), len(second)
    above = np.subtract.outer(first, second)
    found = float(((above > 0) + 0.5 * (above == 0)).mean())
    more, z = (n + m) / 2 - 1, float(stats.norm.isf(level))

    def too_far(truth: float) -> float:
        spread = 1 + more * (1 - truth) / (2 - truth) + more * truth / (1 + truth)
        return (found - truth) ** 2 - z**2 * truth * (1 - truth) * spread / (n * m)

    # At 0 and 1 the formula has no spread, so that they would always fit.
    low = optimize.brentq(too_far, 0.0, min(found, 1 - 1e-9)) if found > 0 else 0.0
    high = optimize.brentq(too_far, max(found, 1e-9), 1.0) if found < 1 else 1.0
    return found, float(low), float(high)


def collapse_p(first: Bools, second: Bools) -> float:
    """Boschloo's exact two-sided p value for the alternative that one of two variants collapses
    more often, from which of its seeds did, each (seeds,).

    Source: Boschloo, Statistica Neerlandica 24 (1970).
    """
    table = [[side.sum(), (~side).sum()] for side in (first, second)]
    if not any(side.any() for side in (first, second)):
        return 1.0
    return float(stats.boschloo_exact(np.transpose(table)).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    if not p_values:
        return []
    corrected: Sequence[Any] = multipletests(p_values, method="holm")[1]
    return [float(p) for p in corrected]


def holm_levels(p_values: Sequence[float], level: float) -> list[float]:
    """The level at which Holm's procedure tests each of these hypotheses: p is below it where the
    corrected p value is below `level`.
    """
    if not p_values:
        return []
    levels, count = dict[int, float](), len(p_values)
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        levels[int(place)] = level / (count - rank)
        if p_values[place] >= levels[int(place)]:
            break  # from here on, nothing is rejected
    return [levels.get(place, max(levels.values())) for place in range(count)]


def within_0_and_1(bounds: tuple[float, float]) -> tuple[float, float]:
    """An interval of accuracies, cut off where none can be."""
    return max(bounds[0], 0.0), min(bounds[1], 1.0)


def prediction_interval(values: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where one more seed would fall, from at least two values (seeds,), by Student's t.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 4.7.
    """
    n = len(values)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(values.mean() - half), float(values.mean() + half)


def _tail(ranks: Floats, found: float, chosen: int | None = None) -> float:
    """The chance that the sum of some of these ranks is at least what was found: of so many chosen
    at random or, where no number is given, of each with a chance of a half. Ties are no trouble.

    Source: the shift algorithm of Streitberg and Röhmel, Exact distributions for permutation and
    rank tests, Statistical Software Newsletter 12 (1986). SciPy is exact only without ties.
    """
    doubled = np.rint(2 * ranks).astype(int)  # ranks of ties are halves
    ways = np.zeros((1 if chosen is None else chosen + 1, doubled.sum() + 1))
    ways[0, 0] = 1
    for rank in doubled:
        before = ways[:, : ways.shape[1] - rank].copy()
        if chosen is None:
            ways[:, rank:] += before
        else:
            ways[1:, rank:] += before[:-1]
    return float(ways[-1, round(2 * found) :].sum() / ways[-1].sum())
