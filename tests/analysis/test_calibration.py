"""How often the statistics err, and how much they see, in studies that are made up.

The situations are those that the method was chosen by. Errors are bounded above and below: a test
that never errs is as wrong as one that errs too often, since it finds too little. Generators have
fixed seeds, so a test fails only where the method has changed. `make test-faults` runs each with
ten times as many studies, which narrows what chance may do to a third.
`python tests/analysis/test_calibration.py` writes the rates into docs/calibration.csv.
"""

import gc
import math
import sys
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from cnn_ablations.analysis.statistics import (
    Bools,
    Estimate,
    Floats,
    Mean,
    Ranks,
    Sample,
    by_class,
    contrast,
    holm,
    holm_levels,
)

ACCURACY = 0.85
POINT = 0.01
RATES = Path(__file__).parents[2] / "docs" / "calibration.csv"
Record = Callable[[str, str, str, "Bools | list[bool]"], None]


@pytest.fixture(params=[1, pytest.param(10, marks=pytest.mark.faults)], ids=["short", "long"])
def times(request: pytest.FixtureRequest) -> int:
    """By how much the numbers of studies are multiplied."""
    return int(request.param)


@pytest.fixture
def record(times: int, record_property: Callable[[str, object], None]) -> Record:
    """Keeps how often something happened, and asserts that docs/calibration.csv says the same."""

    def keep(decision: str, situation: str, measure: str, happened: Bools | list[bool]) -> None:
        row = {"decision": decision, "situation": situation, "measure": measure}
        counts = {"studies": len(happened), "happened": int(np.sum(happened))}
        record_property("rate", row | counts)
        if times == 1 and RATES.is_file():
            assert row | counts in pd.read_csv(RATES).to_dict("records"), (
                "write them anew, or mend the code"
            )

    return keep


@dataclass(frozen=True)
class Situation:
    """Two variants, their seeds and the images that they are tested on."""

    seeds: tuple[int, int]
    images: int
    """0 for numbers that have seeds only."""
    spread: float = 0.003
    """Of accuracies over seeds, besides what single images add."""
    correlation: float = 0.0
    """Of equal seeds of the two, in accuracy and in what collapses."""
    collapse: float = 0.0
    differing: float = 0.045
    """The share of images that one of the variants finds easier than the other."""
    classes: tuple[int, ...] = ()
    """How many of the images are of each, where they are unequal and accuracies balanced."""

    def draw(self, rng: np.random.Generator, difference: float) -> Estimate:
        """What one study finds, where the first variant is better by this much."""
        common = rng.normal(size=(2, max(self.seeds)))
        # Most images are found easy or hard by all networks: the share that seeds disagree about
        # gives accuracies on 1,000 images a standard deviation of 0.65 points.
        shared, samples = rng.beta(0.44, 0.0776, self.images), []
        for n, better in zip(self.seeds, (difference, 0.0), strict=True):
            own = rng.normal(size=(2, n))
            accuracy, luck = (
                math.sqrt(self.correlation) * common[:, :n] + math.sqrt(1 - self.correlation) * own
            )
            shift = better + self.spread * accuracy
            collapsed = luck < stats.norm.ppf(self.collapse) if self.collapse else luck < -math.inf
            answers: dict[Hashable, NDArray[Any]] = {}
            values = np.where(collapsed, 0.1 - ACCURACY + 0.001 * accuracy, shift)
            if self.images:
                differs = rng.random(self.images) < self.differing / 2
                easy = np.where(differs, rng.beta(0.44, 0.0776, self.images), shared)
                up, down = np.maximum(shift, 0)[:, None], np.maximum(-shift, 0)[:, None]
                chance = easy + up * (1 - easy) / (1 - ACCURACY) - down * easy / ACCURACY
                chance[collapsed] = 0.1
                right = rng.random(chance.shape, dtype=np.float32) < chance
                answers["test"], values = right, right.mean(axis=1)
                if self.classes:
                    labels = np.repeat(np.arange(len(self.classes)), self.classes)
                    answers = by_class(labels, right)
                    values = np.sum([part.mean(axis=1) for part in answers.values()], axis=0)
            samples.append(Sample(np.arange(n), values, collapsed, answers))
        return contrast([(1.0, samples[0]), (-1.0, samples[1])])

    def study(self, count: int, difference: float = 0.0, key: int = 0) -> Iterator[Estimate]:
        unlike = round(1e6 * (self.spread + self.correlation + self.collapse))
        rng = np.random.default_rng([key, *self.seeds, self.images, unlike])
        return (self.draw(rng, difference) for _ in range(count))


def two_sided(estimate: Estimate, null: float = 0.0) -> float:
    return 2 * min(estimate.p(null, "greater"), estimate.p(null, "less"))


def assert_rate(happened: Bools | list[bool], low: float, high: float) -> None:
    """The rate lies between these, but for chance: one time in a hundred, at either end."""
    count, n = int(np.sum(happened)), len(happened)
    least, most = stats.binom.ppf(0.01, n, low), stats.binom.ppf(0.99, n, high)
    assert least <= count <= most, f"{count} of {n}: {100 * count / n:.2f} %"


def assert_power(found: Bools | list[bool], promised: float) -> None:
    error = math.sqrt(promised * (1 - promised) * (1 / 300 + 1 / len(found)))
    assert np.mean(found) >= promised - 2 * error


# Each with the number of studies, the power for one point that it is to have at least, and how
# often it may err at 5 %: three seeds against ten leave Satterthwaite's freedom less certain.
CROSSED = {
    "1,000 images, 3 seeds": (Situation((3, 3), 1000), 2000, 0.25, 0.06),
    "1,000 images, 5 seeds": (Situation((5, 5), 1000), 2000, 0.41, 0.06),
    "1,000 images, 10 seeds": (Situation((10, 10), 1000), 2000, 0.62, 0.06),
    "1,000 images, 30 seeds": (Situation((30, 30), 1000), 1500, 0.85, 0.06),
    "10,000 images, 3 seeds": (Situation((3, 3), 10_000), 1000, 0.54, 0.06),
    "10,000 images, 10 seeds": (Situation((10, 10), 10_000, 0.01), 1000, 0.49, 0.06),
    "shared seeds": (Situation((10, 10), 10_000, 0.013, correlation=0.8), 1000, 0.86, 0.06),
    "3 and 10 seeds": (Situation((3, 10), 1000), 2000, 0.33, 0.068),
}


@pytest.mark.parametrize("name", CROSSED)
def test_accuracies_differ_by_chance_one_time_in_twenty(
    name: str, times: int, record: Record
) -> None:
    """And the interval of 95 % leaves the truth out as often, on either side."""
    situation, count, _, most = CROSSED[name]
    errors, missed = [], []
    for estimate in situation.study(count * times):
        assert isinstance(estimate, Mean)
        low, high = estimate.interval(0.025) or (0, 0)
        errors.append(two_sided(estimate) < 0.05)
        missed.append((low > 0, high < 0))
    record("accuracies", name, "false alarm", errors)
    assert_rate(errors, 0.042, most)
    assert errors == [any(sides) for sides in missed]
    for side in np.transpose(missed):
        assert_rate(side, 0.02, most / 2 + 0.002)


@pytest.mark.parametrize("name", CROSSED)
def test_a_difference_of_a_point_is_found_as_often_as_the_method_promises(
    name: str, times: int, record: Record
) -> None:
    """The numbers come from simulations of some 300 studies, so they have an error as well. The
    interval of 95 % leaves out this truth as rarely as it does none.
    """
    situation, _, power, most = CROSSED[name]
    found, missed = [], []
    for estimate in situation.study(300 * times, POINT, key=1):
        low, high = estimate.interval(0.025) or (0, 0)
        found.append(two_sided(estimate) < 0.05)
        missed.append(not low <= POINT <= high)
    record("accuracies", name, "found", found)
    record("accuracies", name, "missed", missed)
    assert_power(found, power)
    assert_rate(missed, 0.042, most)


FEW = (8, 16, 36, 80, 160)
UNEQUAL = {
    "40 to 1,000 images, 5 seeds": Situation((5, 5), 1610, classes=(40, 90, 160, 320, 1000)),
    "8 to 160 images, 5 seeds": Situation((5, 5), 300, differing=0.3, classes=FEW),
    "8 to 160 images, 10 seeds": Situation((10, 10), 300, differing=0.3, classes=FEW),
}
"""Images of each class."""


@pytest.mark.parametrize("name", UNEQUAL)
def test_balanced_accuracies_of_unequal_classes_differ_by_chance_as_rarely(
    name: str, times: int, record: Record
) -> None:
    errors = [two_sided(e) < 0.05 for e in UNEQUAL[name].study(2000 * times, key=8)]
    record("balanced accuracies", name, "false alarm", errors)
    assert_rate(errors, 0.03, 0.06)


def test_a_difference_as_large_as_the_margin_is_rarely_taken_for_none(
    times: int, record: Record
) -> None:
    margin, decision = 2 * POINT, "no difference that matters"
    on_the_edge = Situation((10, 10), 1000).study(1500 * times, margin, key=2)
    wrong = [e.within(margin) < 0.05 for e in on_the_edge]
    record(decision, "1,000 images, 10 seeds", "false alarm", wrong)
    assert_rate(wrong, 0.042, 0.06)
    inside = Situation((10, 10), 1000).study(200 * times, 0.0, key=3)
    right = [e.within(margin) < 0.05 for e in inside]
    record(decision, "1,000 images, 10 seeds", "found", right)
    assert np.mean(right) > 0.95


@pytest.mark.parametrize(("seeds", "most"), [(3, (2.0, 3.5)), (10, (1.4, 1.6))])
def test_small_p_values_of_accuracies_are_nearly_as_rare_as_they_say(
    seeds: int, most: tuple[float, float], times: int
) -> None:
    """With three seeds, Satterthwaite's freedom is uncertain itself, so that the tail is longer."""
    estimates = Situation((seeds, seeds), 1000).study(4000 * times, key=4)
    p_values = np.array([[e.p(0.0, "greater"), e.p(0.0, "less")] for e in estimates]).ravel()
    for level, factor in zip((0.005, 0.001), most, strict=True):
        assert_rate(p_values < level, 0.8 * level, factor * level)


NUMBERS = {
    "3 seeds": Situation((3, 3), 0, POINT),
    "6 shared seeds": Situation((6, 6), 0, POINT, correlation=0.8),
    "10 shared seeds": Situation((10, 10), 0, POINT, correlation=0.8),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_seeds_err_as_often_as_they_say(name: str, times: int, record: Record) -> None:
    """In the tail too, which is where Holm's procedure looks. Welch's t is careful at three."""
    estimates = NUMBERS[name].study(6000 * times, key=5)
    p_values = np.array([[e.p(0.0, "greater"), e.p(0.0, "less")] for e in estimates])
    record("numbers without images", name, "false alarm", (p_values < 0.025).max(axis=1))
    least = 0.6 if name == "3 seeds" else 0.95
    for level in (0.025, 0.005, 0.001):
        assert_rate(p_values.ravel() < level, least * level, 1.05 * level)


# Each with the number of studies, and the power for three points.
COLLAPSING = {
    "10 shared seeds": (Situation((10, 10), 1000, 0.003, 0.9, 0.3), 1500, 0.54),
    "5 and 10 seeds": (Situation((5, 10), 1000, collapse=0.3), 1500, 0.33),
    "10 shared seeds, few collapse": (Situation((10, 10), 1000, 0.003, 0.8, 0.1), 1500, 0.71),
    "30 shared seeds, few collapse": (Situation((30, 30), 1000, 0.003, 0.8, 0.1), 500, 0.95),
    # Here the scatter is that of the images, which ranks of seeds cannot see.
    "30 seeds, few images": (
        Situation((30, 30), 300, 0.001, 0.8, collapse=0.1, differing=0.3),
        1000,
        0.66,
    ),
}


@pytest.mark.parametrize("name", COLLAPSING)
def test_ranks_err_as_rarely_as_means_where_seeds_collapse(
    name: str, times: int, record: Record
) -> None:
    situation, count, power = COLLAPSING[name]
    estimates = list(situation.study(count * times, key=6))
    assert np.mean([isinstance(e, Ranks) for e in estimates]) > 0.8
    errors = [two_sided(e) < 0.05 for e in estimates]
    record("some seeds collapse", name, "false alarm", errors)
    assert_rate(errors, 0.035, 0.055)
    for estimate in estimates[:100]:
        # Where answers tie, a bound may be the null itself.
        low, high = estimate.interval(0.025) or (0, 0)
        beyond = max(low, -high)
        assert beyond >= -1e-9 if two_sided(estimate) < 0.05 else beyond <= 1e-9
    found = [two_sided(e) < 0.05 for e in situation.study(300 * times, 3 * POINT, key=7)]
    record("some seeds collapse", name, "found", found)
    assert_power(found, power)


def p_values_of_tests(rng: np.random.Generator, truths: Floats) -> Floats:
    """One-sided p values, (above or below 0, ...), of tests with five seeds for each difference."""
    p_values = np.empty((2, truths.size))
    for place, truth in enumerate(truths.ravel()):
        first, second = rng.normal(0, 1, (2, 5))
        none = np.zeros(5, bool)
        samples = [Sample(np.arange(5), values, none) for values in (first + truth, second)]
        estimate = contrast([(1.0, samples[0]), (-1.0, samples[1])])
        p_values[:, place] = estimate.p(0.0, "greater"), estimate.p(0.0, "less")
    return p_values.reshape(2, *truths.shape)


PLAIN, NOT = 20.0, 0.0
"""Differences in standard deviations: nobody can miss it, and none."""


def test_a_claim_of_several_tests_is_held_true_falsely_one_time_in_twenty(
    times: int, record: Record
) -> None:
    """An intersection-union test: where all but one of its tests hold plainly, it errs as often as
    that one; where none does, next to never.
    """
    rng = np.random.default_rng(20)
    one_wrong, all_wrong = (
        p_values_of_tests(rng, np.tile(truths, (2000 * times, 1)))[0].max(axis=1)
        for truths in ([PLAIN, NOT, PLAIN], [NOT, NOT, NOT])
    )
    record("claim of three tests", "one does not hold", "false alarm", one_wrong < 0.05)
    assert_rate(one_wrong < 0.05, 0.042, 0.052)
    assert_rate(all_wrong < 0.05, 0.0, 0.001)


def test_a_claim_of_several_tests_is_contradicted_falsely_one_time_in_twenty(
    times: int, record: Record
) -> None:
    """By the number of its tests times the smallest p value, where all are on the edge."""
    p_values = p_values_of_tests(np.random.default_rng(21), np.zeros((2000 * times, 3)))[1]
    wrong = 3 * p_values.min(axis=1) < 0.05
    record("claim of three tests", "all on the edge", "false alarm", wrong)
    assert_rate(wrong, 0.038, 0.051)


STUDIES = {
    "none is true": [NOT] * 4,
    "all but one are true": [PLAIN, PLAIN, PLAIN, NOT],
    "two are true": [PLAIN, NOT, PLAIN, NOT],
}


@pytest.mark.parametrize("name", STUDIES)
def test_one_study_in_twenty_holds_a_false_claim_true(
    name: str, times: int, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its claims are true: that is what Holm's order is for."""
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does each time
    truths = STUDIES[name]
    rng = np.random.default_rng([22, round(sum(truths))])
    p_values = p_values_of_tests(rng, np.tile(truths, (2000 * times, 1)))[0]
    false = np.array(truths) == NOT
    by_level = [(p < holm_levels(p.tolist(), 0.05))[false].any() for p in p_values]
    corrected = [(np.array(holm(p.tolist())) < 0.05)[false].any() for p in p_values]
    assert by_level == corrected
    record("study of four claims", name, "false alarm", corrected)
    assert_rate(corrected, 0.042, 0.052)


@pytest.mark.parametrize("looks", [(10, 25), (3, 10, 25)], ids=str)
def test_seeds_that_are_added_after_a_look_raise_false_alarms(
    looks: tuple[int, ...], times: int, record: Record
) -> None:
    """A claim that is not true, judged until it is supported or the last seeds are in."""
    rng, none = np.random.default_rng(looks), np.zeros(max(looks), bool)
    wrong = []
    for _ in range(2000 * times):
        first, second = (
            Sample(np.arange(max(looks)), values, none)
            for values in rng.normal(size=(2, max(looks)))
        )
        shared = (np.arange(n) for n in looks)
        found = (contrast([(1.0, first.of(n)), (-1.0, second.of(n))]) for n in shared)
        wrong.append(any(estimate.p(0.0, "greater") < 0.05 for estimate in found))
    seeds = " and ".join([", ".join(map(str, looks[:-1])), str(looks[-1])])
    record("seeds added", f"looked at with {seeds} seeds", "false alarm", wrong)
    assert_rate(wrong, 0.07, 0.13)


class Rates:
    """A plugin of pytest that collects what tests record."""

    def __init__(self) -> None:
        self.rows: list[object] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.rows += [value for _, value in report.user_properties]


if __name__ == "__main__":
    rates = Rates()
    RATES.unlink(missing_ok=True)  # tests compare with it
    if status := pytest.main([__file__], plugins=[rates]):
        sys.exit(status)
    pd.DataFrame(rates.rows).to_csv(RATES, index=False, lineterminator="\n")
