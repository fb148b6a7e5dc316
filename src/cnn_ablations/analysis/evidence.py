"""What the results say about the quantities that claims are about: estimates, what they find of a
test, and its words.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cnn_ablations.analysis.results import MainAccuracy, VariantResult
from cnn_ablations.analysis.statistics import (
    Estimate,
    Exact,
    Floats,
    Sample,
    Terms,
    by_class,
    contrast,
    within_0_and_1,
)
from cnn_ablations.analysis.wording import METRICS, Unit, curve_name, measure
from cnn_ablations.config.studies import ACCURACIES, COSTS, RATIOS, Study, Test
from cnn_ablations.errors import ProjectError


@dataclass(frozen=True)
class Finding:
    """What the data say about one test, before any correction."""

    test: Test
    estimate: Estimate
    null: float
    """What the quantity is compared with: a value, or a difference from the others."""
    centre: float
    """The value that it is to be near, where it is; else 0."""
    p_for: float
    p_against: float
    p_no_difference: float
    """That a difference of accuracies is smaller than the study's margin; 1 of other quantities."""
    margin: float
    guessing: bool
    """Whether all seeds behind it collapsed to chance."""

    @property
    def one_seed(self) -> bool:
        return min(self.estimate.seeds, default=2) == 1

    def outlook(self, level: float) -> float:
        """How many seeds of each variant would show what is likely here: see `seeds_to_decide`."""
        if self.guessing:
            return math.inf
        value, nulls = self.estimate.value, [self.null]
        if self.test.within is not None:
            nulls = [self.centre + math.copysign(self.null, value - self.centre)]
        elif self.p_no_difference < 1 and abs(value) < self.margin:
            nulls.append(math.copysign(self.margin, value))
        return min(self.estimate.seeds_to_decide(null, level) for null in nulls)


@dataclass(frozen=True)
class Evidence:
    """The results of a study's variants: none at all of a study that was not run yet."""

    study: Study
    results: Mapping[str, VariantResult]

    def estimate(self, test: Test) -> Estimate:
        """The quantity of a test: a difference or, by its logarithm, a ratio, where it names others
        to compare with.

        Raises ProjectError where a variant did not record it.
        """
        than, quantity = others(test), test.quantity
        if quantity in COSTS:
            ours, theirs = (self.cost(side, quantity) for side in (test.of, than))
            return Exact(math.log(ours / theirs))
        if quantity == "layer_share":
            shares = [_layer_share(self.results[variant], test.layers) for variant in test.of]
            return Exact(float(np.mean(shares)))
        other = test.model_copy(update={"quantity": test.than_quantity or quantity})
        plain = [(-1.0, test, test.over[:1]), (1.0, test, test.over[1:])] if test.over else []
        sides = [(1.0, test, test.of), (-1.0, other, than), *plain]
        terms: Terms = [
            (sign / len(side), self._sample(asked, variant))
            for sign, asked, side in sides
            for variant in side
        ]
        return contrast(terms)

    def find(self, test: Test) -> Finding:
        """Compare the quantity of a test with what it is to be above, below, or near.

        Raises ProjectError where a variant did not record it.
        """
        estimate, margin = self.estimate(test), self.study.margin
        wanted = next((x for x in (test.above, test.below, test.within) if x is not None), None)
        threshold: float = margin if wanted == "margin" else wanted or 0.0
        if test.quantity in RATIOS:
            threshold = math.log(threshold or 1.0)
        centre = test.than if isinstance(test.than, float | int) else 0.0
        null, p_no_difference = centre + threshold, 1.0
        if test.within is not None:
            null = threshold
            low, high = centre - null, centre + null
            p_for = max(estimate.p(low, "greater"), estimate.p(high, "less"))
            p_against = min(1.0, 2 * min(estimate.p(low, "less"), estimate.p(high, "greater")))
        else:
            p_for, p_against = estimate.p(null, "greater"), estimate.p(null, "less")
            if test.below is not None:
                p_for, p_against = p_against, p_for
            if null == 0 and test.quantity in (*ACCURACIES, "gap") and others(test):
                p_no_difference = estimate.within(margin)
        if not estimate.seeds:  # one or the other, also where it is just what it is compared with
            p_against = 1 - p_for
        guessing = bool(estimate.seeds) and all(
            self.results[variant].collapsed.all() for variant in test.variants
        )
        return Finding(
            test, estimate, null, centre, p_for, p_against, p_no_difference, margin, guessing
        )

    def _sample(self, test: Test, variant: str) -> Sample:
        result = self.results[variant]
        if test.quantity == "gap":
            on_test = measured(result, "test_accuracy")
            answers = {name: -right.astype(np.int8) for name, right in on_test.answers.items()}
            values = result.train_accuracy - on_test.values
            return Sample(result.seeds, values, result.collapsed, answers)
        if test.epoch is not None or test.after is not None:
            values = _of_curve(result, test)
        elif test.quantity in _OF_WEIGHTS:
            by_seed = _OF_WEIGHTS[test.quantity](result, test.layers)
            values = by_seed.loc[result.seeds.tolist()].to_numpy(dtype=np.float64)
        else:
            return measured(result, test.quantity)
        return Sample(result.seeds, values, result.collapsed)

    def cost(self, variants: Sequence[str], measure: str) -> float:
        """The mean cost of variants: see `cnn_ablations.config.studies.Cost`."""
        costs = []
        for variant in variants:
            result, seen = self.results[variant], 1.0
            if measure == "training_flops":
                seen = float(result.train_label_counts.sum()) * result.curves["epoch"].max()
            metric = "parameters" if measure == "parameters" else "flops"
            costs.append(float(result.metrics[metric] or 0) * seen)
        return float(np.mean(costs))

    def name(self, variants: Sequence[str], average: str = " (mean of {})") -> str:
        """The variants as a sentence names them; several of them by the first and the last."""
        first, last = (f"“{self.study.labels[variants[end]]}”" for end in (0, -1))
        return first if len(variants) == 1 else f"{first} to {last}{average.format(len(variants))}"


def measured(result: VariantResult, metric: str) -> Sample:
    """An accuracy or loss of each seed after training (or Keras's running average in the last
    epoch).

    Single answers to training images are not kept, and a network's accuracy on the very images
    that it was fitted to is no estimate: of these, only the seeds scatter.

    Raises ProjectError where the variant did not record it.
    """
    split, answers = metric.removesuffix("_accuracy"), dict[Hashable, NDArray[Any]]()
    if split == "test_balanced":
        answers = dict(by_class(result.labels["test"], result.correct("test")))
    elif split in result.labels:  # equal labels: the same examples
        answers = {(split, result.labels[split].tobytes()): result.correct(split)}
    return Sample(result.seeds, result.per_seed(metric), result.collapsed, answers)


def interval(sample: Sample) -> tuple[float, float]:
    """Of an accuracy, 95 % over other seeds and other images."""
    return within_0_and_1(contrast([(1.0, sample)]).interval(0.025) or (0.0, 1.0))


def main_accuracy(results: Iterable[VariantResult]) -> MainAccuracy:
    """Which accuracy on the test images comes first in a study of these variants."""
    firsts = {result.main_accuracy for result in results}
    return "test_balanced" if "test_balanced" in firsts else "test"


def others(test: Test) -> list[str]:
    """The variants that a test compares with, if any."""
    return test.than if isinstance(test.than, list) else []


def _of_curve(result: VariantResult, test: Test) -> Floats:
    """A curve after an epoch, or its change from there to the end as a share of its range: the
    ends are means of a twentieth of all epochs, so that the jitter of one does not decide.
    """
    epoch = test.epoch or test.after or 1
    if test.quantity not in result.curves:
        raise ProjectError(
            f"variant '{result.name}' recorded no {test.quantity} by epoch; evaluate that split "
            "after each epoch (evaluate_each_epoch), or take it out of the study's tests"
        )
    by_seed = result.curves.pivot(index="epoch", columns="seed", values=test.quantity)
    if epoch > len(by_seed):
        raise ProjectError(
            f"variant '{result.name}' was trained for {len(by_seed)} epochs, so that a test of "
            f"epoch {epoch} cannot be about it"
        )
    curve = np.asarray(by_seed[result.seeds.tolist()], dtype=np.float64)
    if test.epoch is not None:
        return np.asarray(curve[epoch - 1])
    some, reach = max(1, len(curve) // 20), np.ptp(curve, axis=0)
    change = curve[-some:].mean(axis=0) - curve[epoch - 1 :][:some].mean(axis=0)
    return np.asarray(np.divide(change, reach, out=np.zeros_like(reach), where=reach > 0))


def _weights(result: VariantResult, layers: Sequence[str]) -> pd.DataFrame:
    """The summaries of the weights and biases of these layers (of none: of all), of all seeds."""
    chosen = _layers(result, result.weights, layers, "weights")
    return result.weights[result.weights["layer"].isin(chosen)]


def _layers(
    result: VariantResult, table: pd.DataFrame, layers: Sequence[str], what: str
) -> list[str]:
    """These layers, or all of the table. Raises ProjectError where it lacks one."""
    known = table["layer"].drop_duplicates().tolist()
    for layer in layers:
        if layer not in known:
            raise ProjectError(
                f"variant '{result.name}' has no layer '{layer}' with {what}; it has "
                f"{', '.join(known)}"
            )
    return list(layers) or known


def _near_zero(result: VariantResult, layers: Sequence[str]) -> pd.Series:
    kernels = _weights(result, layers).query("kind == 'weights'")
    by_seed = kernels.assign(near=kernels["near_zero"] * kernels["count"]).groupby("seed")
    return by_seed["near"].sum() / by_seed["count"].sum()


def _tail(result: VariantResult, layers: Sequence[str]) -> pd.Series:
    """The logarithm of the factor by which the worst tail is off."""
    kernels = _weights(result, layers).query("kind == 'weights'")
    sigma = (kernels["q75"] - kernels["q25"]) / (2 * stats.norm.ppf(0.75))
    expected = np.maximum(sigma, 1e-12) * stats.norm.ppf(0.99)
    tails = [kernels["median"] - kernels["q01"], kernels["q99"] - kernels["median"]]
    off = [np.abs(np.log(np.maximum(tail / expected, 1e-6))) for tail in tails]
    return kernels.assign(off=np.maximum(*off)).groupby("seed")["off"].max()


def _detail(result: VariantResult, layers: Sequence[str]) -> pd.Series:
    """The logarithm of the greatest ratio of the detail of a convolution to the one before, among
    these (of none: among all).
    """
    by_layer = result.features.pivot(index="seed", columns="layer", values="detail")
    by_layer = by_layer[_layers(result, result.features, layers, "feature maps")]
    # A layer whose maps are all flat, or single pixels, shows no detail at all.
    logs = by_layer.fillna(0.0).clip(lower=1e-3).map(math.log)
    return logs.diff(axis=1).max(axis=1)


_OF_WEIGHTS: Mapping[str, Callable[[VariantResult, Sequence[str]], pd.Series]] = {
    "near_zero": _near_zero,
    "tail": _tail,
    "detail": _detail,
}
"""Of weights and feature maps: a number by seed."""


def _layer_share(result: VariantResult, layers: Sequence[str]) -> float:
    all_, of_layers = (
        _weights(result, some).drop_duplicates(["layer", "kind"])["count"].sum()
        for some in ((), layers)
    )
    return float(of_layers / all_)


def unit(test: Test) -> Unit:
    """What the effect of a test is measured in."""
    if test.quantity in RATIOS:
        return "ratio"
    if test.after is not None or test.quantity == "layer_share":
        return "share"
    if test.quantity in ACCURACIES and not others(test):
        return "percent"
    return "nats" if test.quantity.endswith("_loss") else "points"


def statement(evidence: Evidence, test: Test, value: float, of_median: str = "") -> str:
    """The effect of a test in words, without a full stop. `of_median` says so before the name of an
    accuracy whose medians over seeds are compared.
    """
    of, than = (evidence.name(side) if side else "" for side in (test.of, others(test)))
    rises, above = value >= 0, "above" if value >= 0 else "below"
    ratio = unit(test) == "ratio"
    size = f"{math.exp(value):.2f}" if ratio else measure(abs(value), unit(test))
    layers = ", ".join(test.layers)
    share = "The share of weights smaller than 0.01 in size"
    match test.quantity:
        case quantity if test.after is not None:
            curve = f"After epoch {test.after} the {curve_name(quantity)} of {of}"
            return f"{curve} {'rises' if rises else 'falls'} by {size} of its range over all epochs"
        case "gap" if than:
            gap = f"The gap from training to test accuracy of {of}"
            return f"{gap} is {size} {'wider' if rises else 'narrower'} than that of {than}"
        case "gap":
            return f"The training accuracy of {of} is {size} {above} its test accuracy"
        case "near_zero" if test.over:
            first, second = (evidence.name([variant]) for variant in test.over)
            more = f"{size} {'more' if rises else 'less'}"
            return f"{share} grows by {more} from {first} to {of} than from {second} to {than}"
        case "near_zero":
            return f"{share} is {size} {'higher' if rises else 'lower'} in {of} than in {than}"
        case "tail":
            tails = f"The tails of the weights of {layers} of {of}"
            return f"{tails} are off those of a normal distribution by a factor of up to {size}"
        case "detail":
            step = " to ".join(test.layers) or "each convolution to the next"
            most = "" if len(test.layers) == 2 else "at most "
            maps = f"the detail of the feature maps of {of}"
            return f"From {step}, {maps} changes by a factor of {most}{size}"
        case "layer_share":
            place = f"layer{'s' * (len(test.layers) > 1)} {layers}"
            return f"Of all weights and biases of {of}, {size} are in the {place}"
        case "parameters":
            return f"The number of parameters of {of} is {size} times that of {than}"
        case "flops" | "training_flops" as cost:
            what = "an image" if cost == "flops" else "a training"
            return f"The arithmetic for {what} of {of} is {size} times that of {than}"
    name = METRICS[test.quantity]
    if test.epoch:
        name = curve_name(test.quantity)
    start = f"After epoch {test.epoch} the" if test.epoch else "The"
    other = f"that of {than}"
    if test.than_quantity:
        metric = METRICS[test.than_quantity]
        other = f"its {metric}" if test.than == test.of else f"the {metric} of {than}"
    return f"{start} {of_median}{name} of {of} is {size}{than and f' {above} {other}'}"
