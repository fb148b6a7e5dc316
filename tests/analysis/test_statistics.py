import time

import numpy as np
import pytest
from scipy import stats

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.statistics import (
    Estimate,
    Sample,
    contrast,
    equivalence_p,
    interval,
    p_value,
    resampled_accuracies,
    seeds_to_decide,
    two_sided_p,
    within_0_and_1,
)

RNG = np.random.default_rng(0)


def answers(accuracies: list[float], examples: int = 2000) -> statistics.Bools:
    return RNG.random((len(accuracies), examples)) < np.array(accuracies)[:, None]


def sample(correct: statistics.Bools, resamples: int = 2000) -> Sample:
    return Sample(correct.mean(axis=1), resampled_accuracies(correct, resamples=resamples))


def seeds_only(values: statistics.Floats, resamples: int = 500, collapsed: int = 0) -> Sample:
    """A sample without any scatter from examples."""
    return Sample(values, np.tile(values, (resamples, 1)), collapsed)


def test_resampled_accuracies_scatter_like_a_binomial_proportion() -> None:
    correct = answers([0.9, 0.5])
    draws = resampled_accuracies(correct)
    p = correct.mean(axis=1)
    assert draws.shape == (statistics.RESAMPLES, 2)
    np.testing.assert_allclose(draws.mean(axis=0), p, atol=0.001)
    np.testing.assert_allclose(draws.std(axis=0), np.sqrt(p * (1 - p) / 2000), rtol=0.05)


def test_all_networks_meet_the_same_resampled_examples() -> None:
    first = answers([0.8])
    draws = resampled_accuracies(np.concatenate([first, first, ~first]), resamples=300)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    np.testing.assert_allclose(draws[:, 0], 1 - draws[:, 2])
    again = resampled_accuracies(first, resamples=300)
    np.testing.assert_array_equal(draws[:, :1], again)


def test_interval_of_one_seed_is_that_of_a_proportion() -> None:
    correct = answers([0.85])
    low, high = interval(contrast([sample(correct, statistics.RESAMPLES)]))
    expected = stats.binomtest(int(correct.sum()), correct.size).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.002)


def test_interval_of_accuracies_stays_between_0_and_1() -> None:
    correct = answers([1.0, 1.0, 0.97], examples=100)
    low, high = within_0_and_1(interval(contrast([sample(correct)])))
    assert 0 <= low < 1
    assert high == 1


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.88), (5, 0.92), (10, 0.9)])
def test_interval_covers_the_true_median(seeds: int, least: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        low, high = interval(contrast([seeds_only(rng.normal(0.9, 0.01, seeds))]))
        covered += low <= 0.9 <= high
    assert least <= covered / 400 <= 0.995


@pytest.mark.parametrize("collapse", [0.0, 0.3])
@pytest.mark.parametrize("seeds", [3, 10])
def test_equal_variants_are_rarely_told_apart(seeds: int, collapse: float) -> None:
    rng = np.random.default_rng(2)

    def variant() -> Sample:
        values = rng.normal(0.8, 0.02, seeds)
        collapsed = rng.random(seeds) < collapse
        values[collapsed] = rng.normal(0.1, 0.001, collapsed.sum())
        return seeds_only(values, collapsed=int(collapsed.sum()))

    rejected = sum(two_sided_p(contrast([variant()], [variant()])) < 0.05 for _ in range(400))
    assert rejected / 400 < 0.075


@pytest.mark.parametrize("seeds", [3, 10])
def test_clear_differences_are_found(seeds: int) -> None:
    rng = np.random.default_rng(3)
    better, worse = (seeds_only(rng.normal(m, 0.003, seeds), 10_000) for m in (0.9, 0.86))
    assert two_sided_p(contrast([better], [worse])) < 0.02
    assert p_value(contrast([worse], [better]), 0.0, "greater") == 1


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_p_value_and_interval_agree(seeds: int) -> None:
    rng = np.random.default_rng(4)
    for _ in range(25):
        estimate = contrast(
            [sample(answers(list(rng.normal(0.80, 0.01, seeds)), 500), 1000)],
            [sample(answers(list(rng.normal(0.84, 0.01, seeds)), 500), 1000)],
        )
        p = two_sided_p(estimate)
        if abs(p - 0.05) > 0.005:
            low, high = interval(estimate)
            assert (p < 0.05) == (low > 0 or high < 0)


def test_the_order_of_the_sides_changes_the_sign_only() -> None:
    first, second = sample(answers([0.9] * 3)), sample(answers([0.85] * 3))
    forth, back = contrast([first], [second]), contrast([second], [first])
    assert forth.value == -back.value
    assert two_sided_p(forth) == pytest.approx(two_sided_p(back), rel=0.5)


def test_a_contrast_is_of_means_over_variants_of_medians_over_seeds() -> None:
    a, b, c = (seeds_only(np.array(v)) for v in ([0.1, 0.8, 0.9], [0.6, 0.7, 0.9], [0.2, 0.3, 0.9]))
    assert contrast([a, b], [c]).value == pytest.approx((0.8 + 0.7) / 2 - 0.3)


def test_the_variance_from_seeds_is_corrected_for_their_number() -> None:
    """The median of three resampled values is the lowest in 7 of 27 cases, as is the highest."""
    estimate = contrast([seeds_only(np.array([-1.0, 0.0, 1.0]), 20_000)])
    assert estimate.seed_variances[0] == pytest.approx(14 / 27 * 3 / 2, rel=0.03)
    assert estimate.example_variance == 0


def test_the_same_answers_make_no_difference() -> None:
    one = sample(answers([0.9]))
    estimate = contrast([one], [one])
    assert interval(estimate) == (0, 0)
    assert two_sided_p(estimate) == 1
    assert equivalence_p(estimate, 0.01) < 0.001


def test_a_minority_of_collapsed_seeds_does_not_fool_the_median() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0.85, 0.005, 10)
    values[0] = 0.1
    low, high = interval(contrast([seeds_only(values, 5000, collapsed=1)]))
    assert 0.83 < low < high < 0.87


GOOD = np.array([0.85, 0.86, 0.855])
CHANCE = np.array([0.1, 0.1, 0.101])


def fallen(values: statistics.Floats, collapsed: int) -> Sample:
    return seeds_only(values, 10_000, collapsed=collapsed)


@pytest.mark.parametrize(
    ("above", "below", "limit"),
    [
        # Some collapsed: the permutation test, with as many seeds as each side has.
        ([fallen(GOOD, 0)], [fallen(CHANCE, 2)], 1 / 20),
        ([fallen(GOOD, 0)], [fallen(np.tile(CHANCE, 4)[:10], 6)], 1 / 286),
        ([fallen(np.tile(CHANCE, 4)[:10], 6)], [fallen(GOOD, 0)], 1 / 286),
        ([fallen(GOOD, 0)] * 2, [fallen(CHANCE, 3), fallen(CHANCE, 2)], 1 / 20),
        ([fallen(CHANCE, 3)], [fallen(CHANCE, 3)], 1 / 20),
        # All of one side: Barnard's test.
        ([fallen(GOOD, 0)], [fallen(CHANCE, 3)], 1 / 64),
        ([fallen(CHANCE, 3)], [fallen(GOOD, 0)], 1 / 64),
        ([fallen(GOOD, 0)], [fallen(np.tile(CHANCE, 4)[:10], 10)], 3**3 * 10**10 / 13**13),
        # Against a value: the sign test.
        ([fallen(CHANCE, 3)], [], 1 / 8),
        ([fallen(GOOD, 0)], [fallen(GOOD, 0)], 0),
    ],
)
def test_collapsed_seeds_limit_p_values_to_those_of_an_exact_test(
    above: list[Sample], below: list[Sample], limit: float
) -> None:
    estimate = contrast(above, below)
    assert estimate.exact_limit == pytest.approx(limit)
    side: statistics.Side = "greater" if estimate.value > 0 else "less"
    assert p_value(estimate, 0.0, side) >= limit


def test_the_limit_where_one_side_collapsed_is_that_of_barnards_test() -> None:
    for n, m in ((3, 3), (3, 10), (5, 2)):
        samples = (fallen(np.full(n, 0.9), 0), fallen(np.full(m, 0.1), m))
        barnard = stats.barnard_exact([[0, m], [n, 0]], alternative="less", n=2**10).pvalue
        assert statistics.exact_limit(samples[:1], samples[1:]) == pytest.approx(barnard, rel=1e-3)


def test_three_seeds_of_which_some_collapsed_never_decide() -> None:
    assert two_sided_p(contrast([fallen(GOOD, 0)], [fallen(CHANCE, 2)])) >= 0.1


def test_three_seeds_tell_a_variant_that_always_collapses_from_one_that_never_does() -> None:
    assert two_sided_p(contrast([fallen(GOOD, 0)], [fallen(CHANCE, 3)])) == pytest.approx(1 / 32)


def test_ten_seeds_with_collapses_can_decide() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(0.80, 0.01, 10)
    values[:7] = 0.1
    mostly_collapsed = seeds_only(values, 10_000, collapsed=7)
    better = seeds_only(rng.normal(0.85, 0.005, 10), 10_000)
    assert two_sided_p(contrast([better], [mostly_collapsed])) < 0.001


def test_p_values_are_never_zero() -> None:
    far = contrast([seeds_only(np.full(10, 0.9))], [seeds_only(np.full(10, 0.1))])
    assert two_sided_p(far) == pytest.approx(2 / 501)


def test_equivalence_is_two_one_sided_tests() -> None:
    near = contrast([sample(answers([0.9] * 6, 9000))], [sample(answers([0.9] * 6, 9000))])
    assert equivalence_p(near, 0.02) < 0.01
    assert equivalence_p(near, 0.0001) > 0.2
    apart = contrast([sample(answers([0.91] * 6, 9000))], [sample(answers([0.9] * 6, 9000))])
    margin = interval(apart, confidence=0.9)[1]
    assert equivalence_p(apart, margin * 1.02) < 0.05 < equivalence_p(apart, margin * 0.98)


def test_mcnemar_is_a_binomial_test_of_the_discordant_answers() -> None:
    first, second = answers([0.9])[0], answers([0.88])[0]
    only_first, only_second = (first & ~second).sum(), (~first & second).sum()
    expected = stats.binomtest(int(only_first), int(only_first + only_second)).pvalue
    assert statistics.mcnemar_p(first, second) == pytest.approx(expected)
    assert statistics.mcnemar_p(first, first) == 1


def test_holm() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_prediction_interval_is_students() -> None:
    values = np.array([0.80, 0.82, 0.85, 0.81])
    scale = values.std(ddof=1) * np.sqrt(1 + 1 / 4)
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=scale)
    assert statistics.prediction_interval(values) == pytest.approx(expected)


def test_seeds_to_decide_is_the_textbook_sample_size() -> None:
    """Medians of normal values have pi / 2 times the variance of means; z of 5 % and of 80 %.

    The bootstrap overestimates the variance of a median of few values by up to a half.
    """
    rng = np.random.default_rng(8)

    def needed(distance: float) -> float:
        guesses = []
        for _ in range(40):
            pair = [seeds_only(rng.normal(mean, 0.01, 25)) for mean in (0.8 + distance, 0.8)]
            guesses.append(seeds_to_decide(contrast(pair[:1], pair[1:]), distance, level=0.025))
        return float(np.median(np.array(guesses, dtype=float)))

    textbook = np.pi / 2 * 2 * (1.96 + 0.84) ** 2
    assert 0.8 < needed(0.005) / (4 * textbook) < 1.6
    assert 0.8 < needed(0.0025) / (16 * textbook) < 1.6


def test_no_number_of_seeds_makes_up_for_few_examples() -> None:
    estimate = Estimate(0.01, np.zeros(10), (3, 3), (0.0, 0.0), 0.01**2)
    assert seeds_to_decide(estimate, 0.01, level=0.025) is None
    assert seeds_to_decide(estimate, 0.1, level=0.025) == 4


def test_a_comparison_of_ten_seeds_on_9000_examples_is_fast() -> None:
    samples = [sample(answers([0.87] * 10, 9000), statistics.RESAMPLES) for _ in range(2)]
    start = time.process_time()
    estimate = contrast(samples[:1], samples[1:])
    two_sided_p(estimate)
    interval(estimate)
    assert time.process_time() - start < 1
