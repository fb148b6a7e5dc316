"""How often a verdict errs where nothing differs, and how often it finds what does.

Made-up experiments: images that are hard for all networks, seeds with luck of their own, and seeds
that share their luck between variants. Bounds are on both sides: a test that never errs is as wrong
as one that errs too often, since it finds nothing either. Each situation has its own generator, so
that the figures are the same every time; `CNN_ABLATIONS_REPLICATES` asks for more of them.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from cnn_ablations.analysis.statistics import Estimate, Sample, contrast, holm_levels

MORE = int(os.environ.get("CNN_ABLATIONS_REPLICATES", "1"))
LEVEL = 0.05


class Situation(NamedTuple):
    """Two variants on the same images."""

    seeds: tuple[int, int]
    images: int = 1000
    scatter: float = 0.003
    """Of the seeds' true accuracies."""
    shared: float = 0.0
    """The correlation between variants that share seeds; at 0 they share none."""
    collapse: float = 0.0
    """The share of seeds that stay at chance, the same ones in both where seeds are shared."""


SITUATIONS = {
    "three seeds": Situation((3, 3)),
    "five": Situation((5, 5)),
    "ten": Situation((10, 10)),
    "thirty": Situation((30, 30)),
    "many images": Situation((3, 3), images=10_000, scatter=0.01),
    "unequal": Situation((3, 10), scatter=0.01),
    "shared luck": Situation((10, 10), scatter=0.01, shared=0.8),
    "shared luck, six": Situation((6, 6), scatter=0.01, shared=0.8),
}


def draw(rng: np.random.Generator, what: Situation, shift: float = 0.0) -> Estimate:
    """The first variant less the second one, of which the first is truly better by `shift`."""
    hard = rng.normal(0, 1.5, what.images)
    luck = rng.normal(0, 1, max(what.seeds))
    gone = rng.random(max(what.seeds)) < what.collapse
    sides = []
    for number, n in enumerate(what.seeds):
        own = rng.normal(0, 1, n)
        seeds = np.sqrt(what.shared) * luck[:n] + np.sqrt(1 - what.shared) * own
        easy = stats.logistic.cdf(1.3 + hard + rng.normal(0, 0.3, what.images))
        right = np.clip(easy + (shift if number == 0 else 0) + what.scatter * seeds[:, None], 0, 1)
        collapsed = gone[:n] if what.shared else rng.random(n) < what.collapse
        right = np.where(collapsed[:, None], 0.1, right)
        correct = rng.random((n, what.images)) < right
        numbers = np.arange(n) + (0 if what.shared else 100 * number)
        sides.append(Sample(numbers, correct.mean(axis=1), collapsed, {"test": correct}))
    return contrast([(1.0, sides[0]), (-1.0, sides[1])])


def rate(count: int, event: Callable[[np.random.Generator], Any], seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    return float(np.mean([bool(event(rng)) for _ in range(count * MORE)]))


def bounds(expected: float, count: int, slack: float = 0.0) -> tuple[float, float]:
    """Between which a rate lies, 999 times of 1,000, if it is the expected one."""
    n = count * MORE
    low, high = (float(stats.binom.ppf(q, n, expected)) / n for q in (0.0005, 0.9995))
    return low - slack, high + slack


@pytest.mark.parametrize("name", SITUATIONS)
def test_it_errs_as_often_as_it_says(name: str) -> None:
    what, count = SITUATIONS[name], 150 if SITUATIONS[name].images > 1000 else 500
    errors = rate(
        count,
        lambda rng: min((e := draw(rng, what)).p(0, "greater"), e.p(0, "less")) < LEVEL / 2,
    )
    low, high = bounds(LEVEL, count, slack=0.01)
    assert low <= errors <= high


@pytest.mark.parametrize(
    ("name", "power"),
    # In situations like these, the bootstrap of medians found 4, 16 and 14 % of them.
    [("three seeds", 0.17), ("ten", 0.55), ("shared luck", 0.55)],
)
def test_it_finds_a_difference_of_a_point(name: str, power: float) -> None:
    found = rate(200, lambda rng: draw(rng, SITUATIONS[name], 0.013).p(0, "greater") < LEVEL)
    assert found > power


def test_its_interval_covers_the_truth() -> None:
    def covers(rng: np.random.Generator) -> bool:
        low, high = draw(rng, SITUATIONS["five"], 0.0).interval(0.05) or (0, 0)
        return low <= 0 <= high

    low, high = bounds(0.9, 400, slack=0.01)
    assert low <= rate(400, covers) <= high


@pytest.mark.parametrize("n", [3, 6, 10])
@pytest.mark.parametrize("level", [0.05, 0.005])
def test_numbers_of_seeds_alone_are_right_far_out_in_the_tail(n: int, level: float) -> None:
    def errs(rng: np.random.Generator) -> bool:
        a, b = (Sample(np.arange(n), rng.normal(0, 1, n), np.zeros(n, bool)) for _ in range(2))
        return contrast([(1.0, a), (-1.0, b)]).p(0, "greater") < level

    low, high = bounds(level, 2000)
    # Welch's t is a little careful with three seeds.
    assert (low if n > 3 else low / 3) <= rate(2000, errs) <= high


def test_the_tail_holds_where_examples_scatter() -> None:
    errors = rate(2000, lambda rng: draw(rng, Situation((5, 5), 300)).p(0, "greater") < 0.005)
    low, high = bounds(0.005, 2000, slack=0.002)
    assert low <= errors <= high


def test_equivalence_errs_at_the_margin_only_so_often() -> None:
    what = Situation((10, 10), images=3000, scatter=0.005, shared=0.8)
    margin = 0.02
    errors = rate(300, lambda rng: draw(rng, what, margin).within(margin) < LEVEL)
    low, high = bounds(LEVEL, 300, slack=0.01)
    assert low <= errors <= high


def test_collapsed_seeds_do_not_fool_it() -> None:
    what = Situation((10, 10), scatter=0.01, shared=0.8, collapse=0.3)
    errors = rate(300, lambda rng: draw(rng, what).p(0, "greater") < LEVEL)
    low, high = bounds(LEVEL, 300, slack=0.01)
    assert low <= errors <= high
    assert rate(150, lambda rng: draw(rng, what, 0.035).p(0, "greater") < LEVEL) > 0.5


def test_examples_bind_ranks_of_many_seeds() -> None:
    """Thirty seeds tell apart what differs on these images only."""
    what = Situation((30, 30), images=300, scatter=0.001, collapse=0.1)
    errors = rate(200, lambda rng: draw(rng, what).p(0, "greater") < LEVEL)
    assert errors <= bounds(LEVEL, 200, slack=0.01)[1]


def test_a_claim_of_many_tests_errs_no_more_often() -> None:
    """Supported is a claim by its largest p; where one test's truth is nil, so is the claim's."""

    def errs(rng: np.random.Generator) -> bool:
        p_for = [
            draw(rng, Situation((5, 5), 300), shift).p(0, "greater") for shift in (0.2, 0, 0.2)
        ]
        return max(p_for) < LEVEL

    low, high = bounds(LEVEL, 300, slack=0.01)
    assert low <= rate(300, errs) <= high


def test_a_study_of_many_claims_errs_once_in_twenty() -> None:
    def errs(rng: np.random.Generator) -> bool:
        p_values = [draw(rng, Situation((5, 5), 200)).p(0, "greater") for _ in range(5)]
        levels = holm_levels(p_values, LEVEL)
        return any(p < level for p, level in zip(p_values, levels, strict=True))

    low, high = bounds(LEVEL, 300, slack=0.01)
    assert low <= rate(300, errs) <= high
