"""Statistics over seeds and examples: medians, bootstrap intervals, tests. Pure functions.

The result of a variant is the median over its seeds, because a few seeds that collapse to chance
would drag a mean to where no run ever was. Two things scatter: seeds, and the examples that a
network happens to be tested on. The bootstrap here (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993) resamples both: the same examples for all variants tested on them, which pairs
the comparison, and seeds within each variant.

With six seeds or more, intervals are the plain percentiles of that distribution: six is the
fewest from which a median has a distribution-free 95 % interval at all (lowest to highest seed,
coverage 1 - 2^(1 - 6) = 97 %; Conover, Practical Nonparametric Statistics, 1999, section 3.2).
With fewer, resampled medians cannot leave the narrow range of the seeds, and percentiles are far
too sure of themselves; there the deviations are stretched by Student's t over the normal quantile
and by the square root of n / (n - 1), after Hesterberg (What teachers should know about the
bootstrap, The American Statistician 69, 2015), with Welch's and Satterthwaite's degrees of
freedom. That supposes a roughly normal scatter, which a collapsed seed refutes: then p values are
never below what an exact test could reach (see `exact_limit`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Side = Literal["greater", "less"]

RESAMPLES = 10_000
CONFIDENCE = 0.95
ENOUGH_SEEDS = 6
POWER = 0.8
_CHUNK = 200


@dataclass(frozen=True)
class Sample:
    """One number a seed of one variant, such as its accuracy."""

    values: Floats
    """(seeds,)."""
    draws: Floats
    """(resamples, seeds): the same numbers for resampled examples."""
    collapsed: int = 0
    """How many of the seeds stayed at chance."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap distribution and where its scatter comes from."""

    value: float
    draws: Floats
    """(resamples,)."""
    seeds: tuple[int, ...]
    """Of each sample in it."""
    seed_variances: tuple[float, ...]
    """What the seeds of each sample add to the variance, corrected by n / (n - 1)."""
    example_variance: float
    exact_limit: float = 0.0
    """What p values of few seeds cannot be below, where some of them collapsed."""


def resampled_accuracies(
    correct: Bools, *, resamples: int = RESAMPLES, rng_seed: int = 0
) -> Floats:
    """The accuracies of networks on resampled examples, the same resample for all of them.

    Args:
        correct: (networks, examples), whether each answer was right.
        resamples: how often as many examples are drawn with replacement.
        rng_seed: calls with the same seed and number of examples draw the same examples.

    Returns:
        (resamples, networks).
    """
    rng = np.random.default_rng(rng_seed)
    n = correct.shape[1]
    # Counts of up to n examples are whole numbers that float32 adds without rounding, so the
    # products are exact and do not depend on the BLAS or its threads.
    right = np.ascontiguousarray(correct.T, dtype=np.float32)
    sums = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n, (size, n), dtype=np.int32) + np.arange(
            0, size * n, n, dtype=np.int32
        ).reshape(-1, 1)
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums.append(weights.astype(np.float32) @ right)
    accuracies: Floats = np.concatenate(sums).astype(np.float64) / n
    return accuracies


def contrast(
    above: Sequence[Sample], below: Sequence[Sample] = (), *, rng_seed: int = 1
) -> Estimate:
    """The mean, over the samples `above`, of the median over seeds, less that of those `below`.

    All samples hold equally many resamples of examples; seeds are resampled within each sample.
    """
    rng = np.random.default_rng(rng_seed)
    terms = [
        (sample, sign / len(side)) for side, sign in ((above, 1), (below, -1)) for sample in side
    ]
    value, draws, fixed_seeds, variances = 0.0, np.zeros(()), np.zeros(()), []
    for sample, factor in terms:
        count = len(sample.values)
        rows = np.arange(len(sample.draws)).reshape(-1, 1)
        chosen = rng.integers(0, count, sample.draws.shape)
        value += factor * float(np.median(sample.values))
        draws = draws + factor * np.median(sample.draws[rows, chosen], axis=1)
        fixed_seeds = fixed_seeds + factor * np.median(sample.draws, axis=1)
        by_seed = factor * np.median(sample.values[chosen], axis=1)
        variances.append(float(by_seed.var()) * count / max(count - 1, 1))
    return Estimate(
        value=value,
        draws=draws,
        seeds=tuple(len(sample.values) for sample, _ in terms),
        seed_variances=tuple(variances),
        example_variance=float(fixed_seeds.var()),
        exact_limit=exact_limit(above, below),
    )


def exact_limit(above: Sequence[Sample], below: Sequence[Sample]) -> float:
    """The smallest one-sided p value that an exact test of these samples can reach; 0 where no
    seed collapsed, so that nothing speaks against a roughly normal scatter.

    Two sides of n and m seeds (their smallest samples) cannot be further apart than all of one
    above all of the other. Of variants that do not differ, a permutation test gives that a
    probability of 1 / comb(n + m, n) (Fisher, The Design of Experiments, 1935, section 21).
    Where all seeds of one side collapsed and none of the other, that is a two-by-two table, whose
    probability is at most n^n m^m / (n + m)^(n + m) at any common rate of collapse (Barnard,
    Significance tests for 2×2 tables, Biometrika 34, 1947). One side against a fixed value has the
    sign test's 2^-n.
    """
    if not any(sample.collapsed for sample in (*above, *below)):
        return 0.0
    n, m = (min((len(sample.values) for sample in side), default=0) for side in (above, below))
    if not m:
        return 0.5**n
    rates = [{sample.collapsed / len(sample.values) for sample in side} for side in (above, below)]
    if rates in ([{0}, {1}], [{1}, {0}]):
        return (n / (n + m)) ** n * (m / (n + m)) ** m
    return 1 / math.comb(n + m, n)


def interval(estimate: Estimate, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The two-sided bootstrap interval (see the module's docstring for few seeds)."""
    alpha = np.array([(1 - confidence) / 2])
    low = _bound(estimate, alpha, "greater")[0]
    high = _bound(estimate, alpha, "less")[0]
    return float(low), float(high)


def p_value(estimate: Estimate, null: float, side: Side) -> float:
    """The one-sided p value for the alternative that the truth lies on this side of `null`.

    It is the level at which the one-sided bootstrap interval just excludes `null`, is never 0
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010), and
    is 1 where the estimate itself is not on that side.
    """
    sign = 1 if side == "greater" else -1
    if sign * (estimate.value - null) <= 0:
        return 1.0
    smallest = 1 / (len(estimate.draws) + 1)
    fewest = min(estimate.seeds)
    if fewest >= ENOUGH_SEEDS:
        beyond = int((sign * (estimate.draws - null) <= 0).sum())
        return (beyond + 1) * smallest
    levels = np.geomspace(smallest, 0.499, 1000)
    excluded = sign * (_bound(estimate, levels, side) - null) > 0
    p = float(levels[min(int(np.sum(~excluded)), len(levels) - 1)])
    # The verdict on a single seed is about that network, whose answers alone scatter.
    return max(p, estimate.exact_limit) if fewest > 1 else p


def two_sided_p(estimate: Estimate, null: float = 0.0) -> float:
    """The two-sided p value for the alternative that the truth is not `null`."""
    return min(1.0, 2 * min(p_value(estimate, null, "greater"), p_value(estimate, null, "less")))


def equivalence_p(estimate: Estimate, margin: float) -> float:
    """The p value for the alternative that the truth is within `margin` of 0: the larger of two
    one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
    """
    return max(p_value(estimate, -margin, "greater"), p_value(estimate, margin, "less"))


def mcnemar_p(first: Bools, second: Bools) -> float:
    """McNemar's exact two-sided p value for two networks on the same examples, each (examples,).

    The alternative is that one of the two is right more often.
    """
    table = [
        [int((first & second).sum()), int((first & ~second).sum())],
        [int((~first & second).sum()), int((~first & ~second).sum())],
    ]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    if not p_values:
        return []
    corrected: Sequence[Any] = multipletests(p_values, method="holm")[1]
    return [float(p) for p in corrected]


def seeds_to_decide(estimate: Estimate, distance: float, level: float) -> int | None:
    """How many seeds a variant would decide with a power of 80 %, if the estimate were the truth.

    From the normal approximation of the estimate's variance: the part from seeds shrinks with
    their number, the part from examples stays.

    Args:
        estimate: of samples with at least two seeds each.
        distance: of the estimate from the hypothesis to be refuted.
        level: the one-sided level at which it would be.

    Returns:
        The number, or None where no number of seeds suffices, since the scatter that comes from
        the examples alone is too large for so small a distance.
    """
    quantiles = stats.norm.isf(level) + stats.norm.ppf(POWER)
    room = (distance / quantiles) ** 2 - estimate.example_variance
    if room <= 0:
        return None
    one_seed = sum(v * n for v, n in zip(estimate.seed_variances, estimate.seeds, strict=True))
    return max(math.ceil(one_seed / room), min(estimate.seeds) + 1)


def within_0_and_1(bounds: tuple[float, float]) -> tuple[float, float]:
    """An interval of accuracies, cut off where none can be: stretching may pass the ends."""
    return max(bounds[0], 0.0), min(bounds[1], 1.0)


def prediction_interval(values: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where one more seed would fall, from at least two values (seeds,), by Student's t.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 4.7.
    """
    n = len(values)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(values.mean() - half), float(values.mean() + half)


def _bound(estimate: Estimate, levels: Floats, side: Side) -> Floats:
    """The one-sided bounds at these levels: below the estimate for `greater`, above for `less`."""
    quantiles = np.quantile(estimate.draws, levels if side == "greater" else 1 - levels)
    return estimate.value + _stretch(estimate, levels) * (quantiles - estimate.value)


def _stretch(estimate: Estimate, levels: Floats) -> Floats:
    """By how much to stretch the bootstrap's deviations at these one-sided levels."""
    corrected = sum(estimate.seed_variances) + estimate.example_variance
    resampled = estimate.draws.var()
    if min(estimate.seeds) >= ENOUGH_SEEDS or resampled == 0:
        return np.ones_like(levels)
    # Welch and Satterthwaite; examples are so many that theirs count as known.
    uncertainty = sum(
        v**2 / max(n - 1, 1) for v, n in zip(estimate.seed_variances, estimate.seeds, strict=True)
    )
    freedom = corrected**2 / uncertainty if uncertainty else np.inf
    student = stats.t.isf(levels, freedom) / stats.norm.isf(levels)
    return np.asarray(np.sqrt(corrected / resampled) * student)
