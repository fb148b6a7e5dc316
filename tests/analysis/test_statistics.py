import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cnn_ablations.analysis.statistics import (
    MOST_SEEDS,
    Exact,
    Mean,
    Ranks,
    Sample,
    Side,
    collapse_p,
    contrast,
    holm,
    holm_levels,
    prediction_interval,
    superiority,
    within_0_and_1,
)

RNG = np.random.default_rng(5)
NOUGHT = np.array([0.0, 1, 2, 3, 4])
NINE = np.array([9.0, 10, 11, 12, 13])
SIDES: tuple[Side, Side] = ("greater", "less")


def sample(values: Any, seeds: Any = None, answers: Any = None, gone: Any = ()) -> Sample:
    values = np.asarray(values, dtype=np.float64)
    collapsed = np.isin(np.arange(len(values)), list(gone))
    numbers = np.arange(len(values)) if seeds is None else np.asarray(seeds)
    return Sample(numbers, values, collapsed, answers or {})


def answered(correct: NDArray[Any], seeds: Any = None, examples: str = "test") -> Sample:
    return sample(correct.mean(axis=1), seeds, {examples: correct})


def difference(first: Sample, second: Sample) -> Any:
    return contrast([(1.0, first), (-1.0, second)])


def test_without_examples_it_is_welchs_t() -> None:
    a, b = RNG.normal(1, 1, 4), RNG.normal(0, 3, 7)
    estimate = difference(sample(a), sample(b))
    assert not estimate.paired
    for side in ("greater", "less"):
        welch = stats.ttest_ind(a, b, equal_var=False, alternative=side)
        assert estimate.p(0, side) == pytest.approx(welch.pvalue)
    bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert estimate.interval(0.05) == pytest.approx(tuple(bounds))


def test_from_six_common_seeds_it_is_paired() -> None:
    a, b = RNG.normal(1, 1, 8), RNG.normal(0, 1, 8)
    estimate = difference(sample(a), sample(b, seeds=[7, 6, 5, 4, 3, 2, 9, 10]))
    assert estimate.paired
    together = stats.ttest_rel(a[2:8], b[[5, 4, 3, 2, 1, 0]], alternative="greater")
    assert estimate.p(0, "greater") == pytest.approx(together.pvalue)
    assert not difference(sample(a), sample(b, seeds=[3, 4, 5, 6, 7, 8, 9, 10])).paired


def test_the_variance_is_that_of_crossed_random_effects() -> None:
    correct = RNG.random((5, 40)) < 0.7
    n, m = correct.shape
    mean = answered(correct)
    estimate = contrast([(1.0, mean)])
    x = correct.astype(float)
    rows, columns, all_ = x.mean(1), x.mean(0), x.mean()
    ms_seeds = m * ((rows - all_) ** 2).sum() / (n - 1)
    ms_examples = n * ((columns - all_) ** 2).sum() / (m - 1)
    rest = x - rows[:, None] - columns + all_
    ms_rest = (rest**2).sum() / ((n - 1) * (m - 1))
    examples = max(ms_examples - ms_rest, 0)
    assert isinstance(estimate, Mean)
    assert estimate.variance == pytest.approx((ms_seeds + examples) / (n * m))


def test_variance_agrees_with_repeated_experiments() -> None:
    """Seeds and examples drawn anew each time: the mean estimate is the true variance."""
    found, estimated = [], []
    for _ in range(400):
        seeds, examples = RNG.normal(0, 0.05, (4, 1)), RNG.normal(0, 0.2, (1, 100))
        correct = RNG.random((4, 100)) < np.clip(0.6 + seeds + examples, 0, 1)
        estimate = contrast([(1.0, answered(correct))])
        assert isinstance(estimate, Mean)
        found.append(estimate.value)
        estimated.append(estimate.variance)
    assert np.mean(estimated) == pytest.approx(np.var(found), rel=0.15)


def test_shared_examples_cancel_and_others_add() -> None:
    hard = RNG.random(2000) < 0.5
    a, b = (np.where(RNG.random((4, 2000)) < 0.05, ~hard, hard) for _ in range(2))
    shared = difference(answered(a), answered(b, seeds=range(9, 13)))
    apart = difference(answered(a), answered(b, range(9, 13), examples="other"))
    assert shared.variance < 0.2 * apart.variance


def test_single_seeds_scatter_by_their_examples_alone() -> None:
    a, b = RNG.random((1, 500)) < 0.8, RNG.random((1, 500)) < 0.7
    estimate = difference(answered(a), answered(b))
    assert estimate.variance == pytest.approx((a * 1.0 - b).var(ddof=1) / 500)
    assert difference(sample([0.5]), sample([0.4])).p(0, "greater") == 0


def test_what_diverged_decides_nothing_and_what_is_equal_is_sure() -> None:
    assert difference(sample([np.nan, 1]), sample([0, 1])).p(0, "greater") == 1
    same = difference(sample([1, 1, 1]), sample([0, 0, 0]))
    assert (same.p(0, "greater"), same.p(0, "less"), same.interval(0.05)) == (0, 1, (1, 1))


def test_degrees_of_freedom_are_at_least_those_of_the_seeds() -> None:
    """Where training accuracy takes back what the examples add, nothing is left to scatter."""
    correct = RNG.random((6, 300)) < 0.7
    constant = sample(np.full(6, 0.1) + RNG.normal(0, 1e-6, 6), None, {"test": -1 * correct})
    estimate = contrast([(1.0, constant)])
    assert estimate.p(0, "greater") < 0.01


@given(st.integers(0, 2**32 - 1), st.integers(4, 8), st.integers(4, 8), st.booleans())
def test_ranks_are_exact(seed: int, n: int, m: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.5, 1, n), rng.normal(0, 1, m)
    if ties:
        a, b = a.round(), b.round()
    found = Ranks(a, b, paired=False, example_variance=0).p(0, "greater") if n else 0
    ranks = stats.rankdata([*a, *b])
    sums = [sum(ranks[list(c)]) for c in itertools.combinations(range(n + m), n)]
    expected = np.mean(np.array(sums) >= ranks[:n].sum() - 1e-9)
    assert found == pytest.approx(expected)
    within = Ranks(a, None, paired=True, example_variance=0).p(0, "greater")
    sizes = stats.rankdata(np.abs(a))[a != 0]
    signs = itertools.product((0, 1), repeat=len(sizes))
    all_sums = np.array([np.dot(s, sizes) for s in signs])
    assert within == pytest.approx(np.mean(all_sums >= sizes[a[a != 0] > 0].sum() - 1e-9))


def test_ranks_agree_with_scipy() -> None:
    a, b = RNG.normal(1, 1, 12), RNG.normal(0, 1, 9)
    for side in SIDES:
        whitney = stats.mannwhitneyu(a - 0.3, b, alternative=side, method="exact").pvalue
        assert Ranks(a, b, False, 0).p(0.3, side) == pytest.approx(whitney)
        wilcoxon = stats.wilcoxon(a - 0.3, alternative=side, method="exact").pvalue
        assert Ranks(a, None, True, 0).p(0.3, side) == pytest.approx(wilcoxon)
        sign = stats.binomtest(int((a > 0.3).sum()), 12, alternative=side).pvalue
        assert Ranks(a, None, False, 0).p(0.3, side) == pytest.approx(sign)


def test_a_collapsed_seed_lets_ranks_decide() -> None:
    a, b = sample([0.9, 0.91, 0.92, 0.1], gone=[3]), sample([0.8, 0.81, 0.82, 0.83])
    assert isinstance(difference(a, b), Ranks)
    assert difference(a, b).value == pytest.approx(0.09, abs=0.011)
    assert isinstance(difference(sample([0.9, 0.8]), b), Mean)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.1, 0.05]), st.booleans())
def test_a_bound_is_where_p_passes_the_level(seed: int, level: float, ranks: bool) -> None:
    rng = np.random.default_rng(seed)
    gone = [0] if ranks else []
    estimate = difference(
        sample(rng.normal(0.3, 1, 9), gone=gone), sample(rng.normal(0, 1, 9), range(20, 29))
    )
    low, high = estimate.interval(level)
    for bound, side, way in ((low, "greater", -1), (high, "less", 1)):
        assert estimate.p(bound + way * 1e-6, side) <= level + 1e-9
        assert estimate.p(bound - way * 1e-6, side) >= level - 1e-9


def test_so_few_seeds_have_no_bound_by_ranks() -> None:
    a, b = sample([0.9, 0.91, 0.1], gone=[2]), sample([0.8, 0.81, 0.82])
    assert difference(a, b).interval(0.01) == (-math.inf, math.inf)
    assert 3 < difference(a, b).seeds_to_decide(0, 0.01) < MOST_SEEDS


def test_ranks_are_no_surer_than_the_examples() -> None:
    a, b = RNG.normal(0.003, 0.001, 30), RNG.normal(0, 0.001, 30)
    assert Ranks(a, b, False, 0).p(0, "greater") < 1e-6
    assert Ranks(a, b, False, 0.01**2).p(0, "greater") == pytest.approx(
        stats.norm.sf(0.3), abs=0.05
    )


def test_equivalence_is_two_one_sided_tests() -> None:
    estimate = difference(sample([0.1, 0.2, 0.15]), sample([0.12, 0.18, 0.16]))
    assert estimate.within(0.3) == max(estimate.p(-0.3, "greater"), estimate.p(0.3, "less"))
    assert estimate.within(0.3) < 0.05 < estimate.within(0.01)


@pytest.mark.parametrize("scatter", [0.01, 0.02])
def test_as_many_seeds_as_it_names_decide_four_times_in_five(scatter: float) -> None:
    pilot = [scatter, -scatter, scatter * 0.7, -scatter * 0.7]  # a sample of about that scatter
    spread = float(np.std(pilot, ddof=1))
    estimate = difference(sample(np.array(pilot) + 0.01), sample(pilot, range(9, 13)))
    n = int(estimate.seeds_to_decide(0.0, 0.05))
    decided = [
        difference(
            sample(RNG.normal(0.01, spread, n)), sample(RNG.normal(0, spread, n), range(n, 2 * n))
        ).p(0, "greater")
        < 0.05
        for _ in range(500)
    ]
    assert 0.72 < np.mean(decided) < 0.9


def test_only_the_examples_can_leave_it_open_for_ever() -> None:
    wide = difference(sample(RNG.normal(0.001, 1, 5)), sample(RNG.normal(0, 1, 5), range(9, 14)))
    assert wide.seeds_to_decide(wide.value - 1e-4, 0.05) == MOST_SEEDS
    first, second = (np.tile(RNG.random(30) < 0.7, (3, 1)) for _ in range(2))
    few = difference(answered(first), answered(second, range(9, 12)))
    assert few.seeds_to_decide(few.value + 0.01, 0.05) == math.inf


def test_what_chance_cannot_touch() -> None:
    exact = Exact(2.0)
    assert (exact.p(1, "greater"), exact.p(2, "greater"), exact.p(1, "less")) == (0, 1, 1)
    assert exact.seeds == ()


def test_how_often_one_run_beats_one() -> None:
    assert superiority(np.array([3.0, 4]), np.array([1.0, 2]), 0.05)[0] == 1
    found, low, high = superiority(np.array([1.0, 2, 2]), np.array([2.0, 2, 3]), 0.05)
    assert found == pytest.approx(2 / 9)  # four ties of nine, which count by half
    assert 0 < low < found < high < 1
    all_, low, high = superiority(NINE, NOUGHT, 0.025)
    assert (all_, high) == (1, 1)
    assert 0.5 < low < 1
    assert superiority(NOUGHT, NINE, 0.025)[0] == 0


def test_the_interval_of_how_often_covers() -> None:
    truth = stats.norm.cdf(1 / math.sqrt(2))
    covered = []
    for _ in range(500):
        _, low, high = superiority(RNG.normal(1, 1, 8), RNG.normal(0, 1, 8), 0.025)
        covered.append(low <= truth <= high)
    assert 0.92 < np.mean(covered) <= 0.99


def test_rates_of_collapse_are_compared_exactly() -> None:
    none, all_ = np.zeros(6, bool), np.ones(6, bool)
    assert collapse_p(none, none) == 1
    assert collapse_p(none, all_) < 0.01
    assert collapse_p(none, np.array([True, False, False, False, False, False])) > 0.3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_levels_and_corrected_p_values_agree(p_values: list[float], level: float) -> None:
    levels = holm_levels(p_values, level)
    for p, corrected, of_this in zip(p_values, holm(p_values), levels, strict=True):
        if abs(corrected - level) > 1e-9:
            assert (p < of_this) == (corrected < level)
    assert (holm([]), holm_levels([], level)) == ([], [])


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_levels([0.01, 0.04, 0.03], 0.05) == pytest.approx([0.05 / 3, 0.025, 0.025])


def test_one_more_run_falls_into_the_prediction_interval() -> None:
    inside = []
    for _ in range(2000):
        *known, one_more = RNG.normal(0, 1, 6)
        low, high = prediction_interval(np.array(known))
        inside.append(low <= one_more <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert within_0_and_1((-0.1, 1.2)) == (0, 1)
