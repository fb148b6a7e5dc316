import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.statistics import (
    MOST_SEEDS,
    Estimate,
    Exact,
    Floats,
    Mean,
    Ranks,
    Sample,
    Side,
    by_class,
    collapse_p,
    contrast,
    holm,
    holm_levels,
    superiority,
)

SIDES: tuple[Side, Side] = ("greater", "less")


def plain(*values: float, seeds: list[int] | None = None, collapsed: int = 0) -> Sample:
    """Numbers of seeds without answers; so many of the first ones collapsed."""
    n = len(values)
    return Sample(np.array(seeds or range(n)), np.array(values), np.arange(n) < collapsed)


def answered(answers: NDArray[Any], first_seed: int = 0, on: str = "test") -> Sample:
    """Seeds that gave these answers, (seeds, examples)."""
    n = len(answers)
    seeds = np.arange(first_seed, first_seed + n)
    return Sample(seeds, answers.mean(axis=1), np.zeros(n, bool), {on: answers})


def difference(first: Sample, second: Sample) -> Estimate:
    return contrast([(1.0, first), (-1.0, second)])


def mean_of(*terms: tuple[float, Sample]) -> Mean:
    estimate = contrast(terms)
    assert isinstance(estimate, Mean)
    return estimate


def mean_squares(answers: Floats) -> tuple[Floats, Floats]:
    """Of seeds, examples and the rest, with their degrees of freedom, by statsmodels."""
    n, m = answers.shape
    table = pd.DataFrame(
        {
            "answer": answers.ravel(),
            "seed": np.repeat(np.arange(n), m),
            "example": np.tile(np.arange(m), n),
        }
    )
    anova = anova_lm(ols("answer ~ C(seed) + C(example)", table).fit())
    return (anova["sum_sq"] / anova["df"]).to_numpy(), anova["df"].to_numpy()


ANSWERS = np.random.default_rng(3).random((2, 4, 9)) < np.linspace(0.1, 1, 9)


def test_the_variance_of_one_mean_is_that_of_the_analysis_of_variance() -> None:
    """The textbook's variance of a grand mean of two crossed random effects."""
    estimate = mean_of((1.0, answered(ANSWERS[0].astype(float))))
    squares, freedom = mean_squares(ANSWERS[0].astype(float))
    signs = np.array([1, 1, -1])
    variance = (signs * squares).sum() / ANSWERS[0].size
    assert squares[1] > squares[2]
    assert estimate.value == pytest.approx(ANSWERS[0].mean())
    assert estimate.variance == pytest.approx(variance)
    satterthwaite = (signs * squares).sum() ** 2 / (squares**2 / freedom).sum()
    assert estimate.freedom == pytest.approx(satterthwaite)
    assert estimate.interval(0.025) == pytest.approx(
        stats.t.interval(0.95, satterthwaite, ANSWERS[0].mean(), math.sqrt(variance))
    )


def test_the_variance_of_a_difference_takes_the_interaction_of_both_sides_off() -> None:
    """By plain sums of squares: what the two sides share of the examples cancels."""
    first, second = ANSWERS.astype(float)
    estimate = mean_of((1.0, answered(first)), (-1.0, answered(second[:3], first_seed=9)))
    parts = 0.0
    for answers in (first, second[:3]):
        squares, _ = mean_squares(answers)
        parts += (squares[0] - squares[2]) / answers.size
    by_example = first.mean(axis=0) - second[:3].mean(axis=0)
    assert estimate.seeds == (4, 3)
    assert estimate.variance == pytest.approx(parts + by_example.var(ddof=1) / 9)


def test_examples_never_take_variance_away() -> None:
    """Here every example is as hard as any other, and the seeds disagree about all of them."""
    answers = np.array([[1.0, 0, 1, 0, 1], [0, 1, 0, 1, 0]])
    estimate = mean_of((1.0, answered(answers)))
    assert estimate.example_variance == 0
    assert estimate.variance == pytest.approx(0.1**2)


def test_sets_of_examples_add_up() -> None:
    """A gap between two splits scatters by the examples of both."""
    test, val = ANSWERS.astype(float)
    both = Sample(
        seeds=np.arange(4),
        values=test.mean(axis=1) - val.mean(axis=1),
        collapsed=np.zeros(4, bool),
        answers={"test": test, "val": -val},
    )
    estimate = mean_of((1.0, both))
    parts = [mean_of((1.0, answered(of_set))).example_variance for of_set in (test, val)]
    assert min(parts) > 0
    assert estimate.example_variance == pytest.approx(sum(parts))
    assert estimate.variance == pytest.approx(sum(parts) + both.values.var(ddof=1) / 4)


def test_the_same_examples_of_two_samples_cancel_only_if_they_have_the_same_name() -> None:
    answers = np.tile(ANSWERS[0, 0].astype(float), (3, 1))
    for on, variance in (("test", 0.0), ("val", 2 * answers[0].var(ddof=1) / 9)):
        estimate = mean_of((1.0, answered(answers)), (-1.0, answered(answers, 9, on)))
        assert estimate.example_variance == pytest.approx(variance)


NEW = plain(0.81, 0.84, 0.80, 0.86, 0.83, 0.82)
OLD = plain(0.80, 0.82, 0.79, 0.83, 0.82, 0.80)


@pytest.mark.parametrize(
    ("counts", "sets"),
    [
        ((40, 3, 90), [3, 40, 90]),  # in the order of their sizes
        ((40, 1, 90, 2), [3, 40, 90]),  # a lone image is joined to the rarest class
        ((1, 40, 1, 1), [3, 40]),
        ((1, 1), [2]),
    ],
)
def test_the_balanced_accuracy_is_the_sum_of_what_classes_give(
    counts: tuple[int, ...], sets: list[int]
) -> None:
    rng = np.random.default_rng(len(counts))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    right = rng.random((4, len(labels))) < 0.7
    parts = by_class(labels, right)
    assert [part.shape for part in parts.values()] == [(4, size) for size in sets]
    recalls = [[of_seed[labels == of].mean() for of in range(len(counts))] for of_seed in right]
    found = sum(part.mean(axis=1) for part in parts.values())
    np.testing.assert_allclose(found, np.mean(recalls, axis=1))


def test_the_variance_of_a_balanced_accuracy_is_that_of_a_stratified_sample() -> None:
    labels = np.repeat([0, 1, 2], [5, 30, 400])
    right = np.random.default_rng(2).random((1, 435)) < 0.8
    parts, recalls = by_class(labels, right), [right[0, labels == of] for of in (0, 1, 2)]
    values = np.array([np.mean([recall.mean() for recall in recalls])])
    estimate = mean_of((1.0, Sample(np.array([0]), values, np.zeros(1, bool), parts)))
    expected = sum(recall.var(ddof=1) / recall.size for recall in recalls) / 3**2
    assert estimate.variance == pytest.approx(expected)


@pytest.mark.parametrize("null", [0.0, 0.01])
@pytest.mark.parametrize("side", SIDES)
def test_without_answers_it_is_welchs_t(side: Side, null: float) -> None:
    apart = replace(OLD, seeds=OLD.seeds + 100).of(np.array([100, 102, 103]))
    estimate = difference(NEW, apart)
    expected = stats.ttest_ind(NEW.values - null, apart.values, equal_var=False, alternative=side)
    assert not estimate.paired
    assert estimate.p(null, side) == pytest.approx(expected.pvalue)
    two_sided = stats.ttest_ind(NEW.values, apart.values, equal_var=False)
    assert estimate.interval(0.05) == pytest.approx(two_sided.confidence_interval(0.9))


@pytest.mark.parametrize("side", SIDES)
def test_six_common_seeds_are_compared_within_seeds(side: Side) -> None:
    """Whatever their order; a seed of one side only is left out."""
    order = np.array([3, 0, 5, 1, 4, 2])
    longer = Sample(
        np.append(OLD.seeds[order], 77), np.append(OLD.values[order], 0.1), np.zeros(7, bool)
    )
    estimate = difference(NEW, longer)
    expected = stats.ttest_rel(NEW.values, OLD.values, alternative=side)
    assert estimate.paired
    assert estimate.seeds == (6,)
    assert estimate.p(0.0, side) == pytest.approx(expected.pvalue)
    assert difference(NEW, OLD.of(np.arange(5))).seeds == (6, 5)  # too few


def test_more_than_two_samples_are_compared_within_seeds_as_well() -> None:
    third = plain(0.70, 0.72, 0.71, 0.73, 0.75, 0.71)
    estimate = contrast([(0.5, NEW), (0.5, OLD), (-1.0, third)])
    expected = stats.ttest_rel((NEW.values + OLD.values) / 2, third.values, alternative="greater")
    assert estimate.paired
    assert estimate.p(0.0, "greater") == pytest.approx(expected.pvalue)


def test_the_answers_are_paired_by_seed_too() -> None:
    """Two networks that answer alike, seed by seed, differ by nothing, whatever the images."""
    answers = (np.random.default_rng(5).random((8, 50)) < 0.7).astype(float)
    other = answers.copy()
    other[:, 0] = 1 - other[:, 0]
    estimate = mean_of((1.0, answered(answers)), (-1.0, answered(other)))
    alone = mean_of((1.0, answered(answers - other)))
    assert (estimate.variance, estimate.freedom) == pytest.approx((alone.variance, alone.freedom))


def test_of_single_seeds_the_examples_scatter() -> None:
    """The t test of the differences between answers, which is McNemar's but for small samples."""
    first, second = ANSWERS[:, :1].astype(float)
    estimate = difference(answered(first), answered(second))
    expected = stats.ttest_rel(first[0], second[0], alternative="greater")
    assert estimate.seeds == (1, 1)
    assert estimate.p(0.0, "greater") == pytest.approx(expected.pvalue)


def test_a_single_seed_without_examples_is_what_it_is() -> None:
    estimate = contrast([(1.0, plain(0.9))])
    assert estimate.interval(0.05) == (0.9, 0.9)
    assert [estimate.p(0.8, side) for side in SIDES] == [0.0, 1.0]


@pytest.mark.parametrize("n", [2, 6, 10, 19])
def test_equal_values_differ_by_nothing_but_rounding(n: int) -> None:
    """The mean of ten times 0.01 is not 0.01 in floating point, and its variance is not 0."""
    same, fewer = plain(*[0.01] * n), plain(*[0.01] * 3)
    for estimate in (contrast([(1.0, same)]), difference(same, same), difference(same, fewer)):
        null = round(estimate.value, 6)
        assert min(estimate.p(null, side) for side in SIDES) >= 0.5
        assert estimate.p(null - 0.001, "greater") < 1e-9
        assert estimate.interval(0.01) == pytest.approx((null, null), abs=1e-12)


@pytest.mark.parametrize("collapsed", [0, 1])
def test_equal_differences_are_as_large_as_a_null_but_for_rounding(collapsed: int) -> None:
    """0.86 - 0.85 is a little more than 0.01 in floating point."""
    values = np.array([0.86, 0.87, 0.88, 0.89, 0.81, 0.79, 0.83])
    estimate = difference(plain(*values, collapsed=collapsed), plain(*np.round(values - 0.01, 2)))
    assert isinstance(estimate, Ranks if collapsed else Mean)
    assert min(estimate.p(0.01, side) for side in SIDES) >= 0.5


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("collapsed", [0, 1])
@pytest.mark.parametrize("n", [3, 7])
def test_a_loss_that_diverged_decides_nothing(n: int, collapsed: int, value: float) -> None:
    losses = np.linspace(1, 2, n)
    diverged = plain(value, *losses[1:], collapsed=collapsed)
    for other in (diverged, plain(*losses)):
        estimate = difference(diverged, other)
        assert [estimate.p(0.0, side) for side in SIDES] == [1, 1]
        assert estimate.interval(0.05) == (-math.inf, math.inf)
        assert estimate.seeds_to_decide(0.0, 0.05) == MOST_SEEDS


def test_what_nothing_scatters_is_decided_by_its_value() -> None:
    exact: Estimate = Exact(2.0)
    assert [exact.p(1.0, side) for side in SIDES] == [0.0, 1.0]
    assert [exact.p(2.0, side) for side in SIDES] == [1.0, 1.0]
    assert exact.interval(0.05) is None


def test_within_a_margin_is_two_one_sided_tests() -> None:
    estimate = difference(NEW, OLD)
    low, high = estimate.interval(0.05)  # type: ignore[misc]
    assert low > -high
    assert estimate.within(high * 1.01) < 0.05 < estimate.within(high * 0.99)
    assert estimate.within(0.03) == max(estimate.p(-0.03, "greater"), estimate.p(0.03, "less"))


COLLAPSED = plain(0.1, 0.841, 0.8, 0.863, 0.834, 0.8255, 0.7907, collapsed=1)
OTHERS = plain(0.8023, 0.1, 0.7959, 0.8517, 0.7512, 0.8228, 0.7301)


@pytest.mark.parametrize("null", [0.0, -0.005, 0.02])
@pytest.mark.parametrize("side", SIDES)
def test_where_a_seed_collapsed_signed_ranks_decide(side: Side, null: float) -> None:
    estimate = difference(COLLAPSED, OTHERS)
    differences = COLLAPSED.values - OTHERS.values
    expected = stats.wilcoxon(differences - null, alternative=side, method="exact")
    assert estimate.paired
    assert estimate.p(null, side) == pytest.approx(expected.pvalue)
    walsh = [np.mean(pair) for pair in itertools.combinations_with_replacement(differences, 2)]
    assert estimate.value == pytest.approx(np.median(walsh))


@pytest.mark.parametrize("null", [0.0, -0.005, 0.02])
@pytest.mark.parametrize("side", SIDES)
def test_of_other_seeds_the_test_of_mann_and_whitney(side: Side, null: float) -> None:
    others = replace(OTHERS, seeds=OTHERS.seeds + 100).of(np.array([100, 102, 103, 105]))
    estimate = difference(COLLAPSED, others)
    expected = stats.mannwhitneyu(
        COLLAPSED.values - null, others.values, alternative=side, method="exact"
    )
    assert not estimate.paired
    assert estimate.seeds == (7, 4)
    assert estimate.p(null, side) == pytest.approx(expected.pvalue)
    shifts = np.subtract.outer(COLLAPSED.values, others.values)
    assert estimate.value == pytest.approx(np.median(shifts))


@pytest.mark.parametrize("null", [0.0, 0.8, 0.82])
@pytest.mark.parametrize("side", SIDES)
def test_of_a_single_variant_the_sign_test(side: Side, null: float) -> None:
    """A seed whose value is the null itself counts for neither side."""
    estimate = contrast([(1.0, COLLAPSED)])
    beyond = int((COLLAPSED.values > null).sum())
    count = 7 - int((COLLAPSED.values == null).sum())
    expected = stats.binomtest(beyond, count, alternative=side)
    assert estimate.p(null, side) == pytest.approx(expected.pvalue)
    assert estimate.value == np.median(COLLAPSED.values)


TIED = [1.0, 2.0, 2.0, 0.0, -1.0, 3.0, 3.0, -2.0]


@pytest.mark.parametrize("side", SIDES)
def test_ties_and_zeros_are_counted_exactly(side: Side) -> None:
    """Against all orders, by SciPy. Zeros after Pratt: they have ranks, and no side."""

    def positive_ranks(values: Floats, axis: int = -1) -> Floats:
        ranks = stats.rankdata(np.abs(values), axis=axis)
        return np.asarray((ranks * (values > 0)).sum(axis=axis))

    signed = Ranks(np.array(TIED), None, True, 0.0)
    expected = stats.permutation_test(
        (np.array(TIED),), positive_ranks, permutation_type="samples", alternative=side
    )
    assert signed.p(0.0, side) == pytest.approx(expected.pvalue)

    def ranks_of_first(first: Floats, second: Floats, axis: int = -1) -> Floats:
        ranks = stats.rankdata(np.concatenate([first, second], axis=axis), axis=axis)
        return np.asarray(ranks[..., : first.shape[axis]].sum(axis=axis))

    sides = np.array(TIED[:4]), np.array(TIED[4:])
    unpaired = Ranks(sides[0], sides[1], False, 0.0)
    expected = stats.permutation_test(sides, ranks_of_first, alternative=side)
    assert unpaired.p(0.0, side) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("seeds", "bounded"), [(4, False), (5, True)])
def test_a_level_that_so_few_seeds_cannot_reach_leaves_the_interval_open(
    seeds: int, bounded: bool
) -> None:
    """The smallest p of signed ranks and of the sign test is a half to the power of the seeds."""
    values = np.linspace(0.1, 0.9, seeds)
    for paired in (True, False):
        estimate = Ranks(values, None, paired, 0.0)
        assert (estimate.p(0.0, "greater") < 0.05) == bounded
        assert np.isfinite(estimate.interval(0.05)).all() == bounded
    three = Ranks(values[:3], values[:3] + 1, False, 0.0)  # one of 20 orders
    assert three.p(0.0, "less") == pytest.approx(1 / 20)
    assert three.interval(0.05) == (-math.inf, math.inf)
    assert three.interval(0.051) == pytest.approx(
        (-1 - np.ptp(values[:3]), -1 + np.ptp(values[:3]))
    )


def test_three_seeds_that_all_collapse_are_worse_than_three_that_do_not() -> None:
    """Equal chances to collapse give this 1 time in 64 at most, ranks alone 1 time in 20."""
    collapsed, learned = plain(0.10, 0.11, 0.12, collapsed=3), plain(0.88, 0.89, 0.93)
    for side, sign in zip(SIDES, (1, -1), strict=True):
        sides = (learned, collapsed) if sign == 1 else (collapsed, learned)
        estimate = difference(*sides)
        assert estimate.p(0.0, side) == estimate.p(sign * -0.01, side) == 1 / 64
        assert estimate.p(sign * 0.01, side) == pytest.approx(1 / 20)  # how much worse is open
        assert sorted(sign * np.array(estimate.interval(0.025))) == [0, math.inf]
        assert sorted(sign * np.array(estimate.interval(0.01))) == [-math.inf, math.inf]
        assert estimate.seeds_to_decide(0.0, 0.01) == 5  # one of 252 orders
    more = difference(plain(0.1, 0.1, collapsed=2), plain(0.88, 0.89, 0.9, 0.93))
    assert more.p(0.0, "less") == pytest.approx((2 / 6) ** 2 * (4 / 6) ** 4)
    half = difference(plain(0.10, 0.11, 0.90, collapsed=2), learned)
    assert half.p(0.0, "less") > 1 / 20
    # How much seeds scatter decides how many there must be, not only how many orders there are.
    one_of_two = difference(plain(0.1, 0.9, collapsed=1), plain(0.89, 0.93))
    assert 10 < one_of_two.seeds_to_decide(0.0, 0.05) < 20


def test_single_seeds_that_collapsed_are_judged_by_their_examples() -> None:
    collapsed = replace(answered(ANSWERS[0, :1].astype(float)), collapsed=np.array([True]))
    assert isinstance(contrast([(1.0, collapsed)]), Mean)


def estimates() -> dict[str, Callable[[np.random.Generator], Estimate]]:
    """Of all kinds, with and without examples, and with ties."""

    def values(rng: np.random.Generator, n: int) -> Floats:
        collapsed = rng.random(n) < 0.2
        return np.asarray(np.where(collapsed, 0.08, rng.normal(0.8, 0.01, n)).round(3), float)

    def mean(rng: np.random.Generator) -> Estimate:
        first, second = (rng.random((4, 200)) < np.array([[0.8], [0.85]])[k] for k in (0, 1))
        return difference(answered(first * 1.0), answered(second * 1.0, 9))

    return {
        "mean": mean,
        "signed ranks": lambda rng: Ranks(values(rng, 8) - values(rng, 8), None, True, 0.0),
        "signed ranks, examples": lambda rng: Ranks(
            values(rng, 9) - values(rng, 9), None, True, 0.02**2
        ),
        "Mann and Whitney": lambda rng: Ranks(values(rng, 6), values(rng, 5), False, 0.0),
        "Mann and Whitney, examples": lambda rng: Ranks(
            values(rng, 6), values(rng, 5), False, 0.01**2
        ),
        "signs": lambda rng: Ranks(values(rng, 9), None, False, 0.0),
        "signs, examples": lambda rng: Ranks(values(rng, 9), None, False, 0.01**2),
    }


@pytest.mark.parametrize("kind", estimates())
@given(seed=st.integers(0, 2**32), level=st.sampled_from([0.1, 0.05, 0.025, 0.01]))
def test_an_interval_ends_where_p_passes_the_level(kind: str, seed: int, level: float) -> None:
    estimate = estimates()[kind](np.random.default_rng(seed))
    interval = estimate.interval(level)
    assert interval is not None
    for bound, side, out in zip(interval, SIDES, (-1, 1), strict=True):
        if math.isfinite(bound):
            assert estimate.p(bound + out * 1e-6, side) < level
            assert estimate.p(bound - out * 1e-6, side) >= level
        else:
            assert estimate.p(estimate.value + out * 1e6, side) >= level


def test_ranks_leave_open_what_the_examples_leave_open() -> None:
    """Thirty seeds that agree are not sure of more than the images show."""
    values = 0.01 + np.linspace(-0.001, 0.001, 30)
    for second in (None, np.linspace(-0.001, 0.001, 30)):
        sure = Ranks(values, second, second is None, 0.0)
        unsure = Ranks(values, second, second is None, 0.01**2)
        assert sure.p(0.0, "greater") < 1e-6
        assert unsure.p(0.0, "greater") == pytest.approx(stats.norm.sf(1), abs=0.02)
        low, high = unsure.interval(0.025)
        assert (low, high) == pytest.approx((-0.0096, 0.0296), abs=0.0015)


def test_superiority_solves_newcombes_equation() -> None:
    """His method 5 in the form of a polynomial of the fourth degree, by its roots."""
    first, second = np.array([0.81, 0.83, 0.84, 0.9, 0.86]), np.array([0.8, 0.82, 0.83, 0.85])
    found, low, high = superiority(first, second, 0.025)
    assert found == pytest.approx((1 + 2.5 + 3 + 4 + 4) / 20)
    x = np.polynomial.Polynomial([0, 1])
    more, z = (5 + 4) / 2 - 1, stats.norm.isf(0.025)
    spread = (2 - x) * (1 + x) + more * (1 - x) * (1 + x) + more * x * (2 - x)
    equation = 20 * (found - x) ** 2 * (2 - x) * (1 + x) - z**2 * x * (1 - x) * spread
    roots = equation.roots()
    inside = np.sort(roots[(np.abs(roots.imag) < 1e-9) & (roots.real > 0) & (roots.real < 1)].real)
    assert (low, high) == pytest.approx(tuple(inside))


def test_superiority_of_what_never_overlaps_is_bounded_on_one_side() -> None:
    best, worst = np.array([0.9, 0.91, 0.92]), np.array([0.1, 0.2, 0.3])
    found, low, high = superiority(best, worst, 0.025)
    assert (found, high) == (1, 1)
    assert 0.3 < low < 0.7
    assert superiority(worst, best, 0.025) == pytest.approx((0, 0, 1 - low))
    found, low, high = superiority(best, best, 0.025)
    assert (found, low + high) == pytest.approx((0.5, 1))


def test_rates_of_collapse_are_compared_exactly() -> None:
    """Of the furthest of all tables, the worst chance of collapse is a half."""
    collapsed, learned = np.ones(3, bool), np.zeros(3, bool)
    assert collapse_p(collapsed, learned) == pytest.approx(2 / 2**6, rel=1e-3)
    assert collapse_p(learned, collapsed) == pytest.approx(2 / 2**6, rel=1e-3)
    assert collapse_p(collapsed, np.ones(5, bool)) == collapse_p(learned, learned) == 1


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_levels([0.01, 0.04, 0.03], 0.05) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2])
    assert holm_levels([0.01, 0.06, 0.02], 0.05) == pytest.approx([0.05 / 3, 0.05, 0.05 / 2])
    assert (holm([]), holm_levels([], 0.05)) == ([], [])


@settings(max_examples=40)  # statsmodels collects garbage each time
@given(
    st.lists(st.sampled_from([0.0, 0.004, 0.011, 0.013, 0.016, 0.024, 0.026, 0.04, 0.051, 1.0])),
    st.sampled_from([0.05, 0.01, 0.2]),
)
def test_p_is_below_its_level_exactly_where_holm_rejects(
    p_values: list[float], level: float
) -> None:
    corrected = holm(p_values)
    assume(all(abs(p - level) > 1e-9 for p in corrected))
    levels = holm_levels(p_values, level)
    assert [p < at for p, at in zip(p_values, levels, strict=True)] == [
        p < level for p in corrected
    ]


@pytest.mark.parametrize("paired", [True, False])
def test_the_number_of_seeds_that_it_names_decides_four_times_in_five(paired: bool) -> None:
    """Seeds alone; the pilot study found the truth exactly."""
    shape = stats.zscore(np.random.default_rng(8).normal(size=(6 if paired else 5)), ddof=1)
    pilot = [plain(*(0.8 + 0.01 * shape)), plain(*(0.79 + 0.01 * np.roll(shape, 2)))]
    estimate = difference(*pilot)
    assert isinstance(estimate, Mean)
    assert estimate.paired == paired
    needed = int(estimate.seeds_to_decide(0.002, 0.01))
    scale = math.sqrt(estimate.variance * min(estimate.seeds))
    rng = np.random.default_rng(9)
    if paired:
        later = [contrast([(1.0, plain(*row))]) for row in rng.normal(0.01, scale, (500, needed))]
    else:
        rows = rng.normal(0.8, 0.01, (500, 2, needed))
        seeds = list(range(100, 100 + needed))
        later = [difference(plain(*a + 0.01), plain(*b, seeds=seeds)) for a, b in rows]
    power = np.mean([estimate.p(0.002, "greater") < 0.01 for estimate in later])
    assert 0.7 < power < 0.9


def test_it_knows_that_examples_do_not_shrink_with_the_seeds() -> None:
    """Answers of normal scatter, so that the textbook's number can be had from their variances."""
    rng = np.random.default_rng(10)

    def study(n: int) -> Estimate:
        sides = []
        for seed in (0, 1000):
            of_both = rng.normal(0, 1.0, (n, 400)) + rng.normal(0, 0.5, 400)
            sides.append(answered(0.1 * (seed == 0) + of_both + rng.normal(0, 0.1, (n, 1)), seed))
        return difference(*sides)

    pilots = [study(10) for _ in range(20)]
    needed = [pilot.seeds_to_decide(pilot.value - 0.1, 0.05) for pilot in pilots]
    named = int(np.median(needed))
    asked = stats.norm.isf(0.05) + stats.norm.ppf(0.8)
    room = (0.1 / asked) ** 2 - 2 * 0.5**2 / 400
    assert named == pytest.approx(2 * (0.1**2 + 1.0**2 / 400) / room, rel=0.2)
    power = np.mean([study(named).p(0.0, "greater") < 0.05 for _ in range(300)])
    assert 0.7 < power < 0.9


def test_no_number_of_seeds_decides_only_where_the_examples_alone_leave_it_open() -> None:
    answers = np.random.default_rng(11).random((3, 500)) < np.linspace(0.3, 1, 500)
    estimate = contrast([(1.0, answered(answers * 1.0))])
    assert isinstance(estimate, Mean)
    asked = stats.norm.isf(0.05) + stats.norm.ppf(statistics.POWER)
    reach = asked * math.sqrt(estimate.example_variance)
    for collapsed in (False, True):
        if collapsed:
            estimate = Ranks(answers.mean(axis=1), None, False, estimate.example_variance)
        assert estimate.seeds_to_decide(estimate.value - reach * 0.99, 0.05) == math.inf
        assert estimate.seeds_to_decide(estimate.value + reach * 0.99, 0.05) == math.inf
        assert estimate.seeds_to_decide(estimate.value - reach * 1.01, 0.05) <= MOST_SEEDS
    assert difference(NEW, OLD).seeds_to_decide(difference(NEW, OLD).value, 0.05) == MOST_SEEDS
    assert difference(NEW, OLD).seeds_to_decide(-1.0, 0.05) == 7


def test_interval_of_accuracies_stays_between_0_and_1() -> None:
    assert statistics.within_0_and_1((-0.1, 1.1)) == (0, 1)
    assert statistics.within_0_and_1((0.2, 0.3)) == (0.2, 0.3)


def test_prediction_interval_is_students() -> None:
    values = np.array([0.80, 0.82, 0.85, 0.81])
    scale = values.std(ddof=1) * np.sqrt(1 + 1 / 4)
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=scale)
    assert statistics.prediction_interval(values) == pytest.approx(expected)
