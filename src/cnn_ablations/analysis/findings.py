"""What the data say about one test of a claim: one function a kind of test.

To add a kind, add its model to `cnn_ablations.config.studies` and a function like `_higher` to
`KINDS`: it says whether the data point to the claim, by how much, and how surely.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.statistics import Estimate, Floats, Sample, contrast
from cnn_ablations.analysis.wording import METRICS, curve_name, points
from cnn_ablations.config.studies import (
    Ahead,
    BeatsMajority,
    Concentrates,
    ConcentratesMore,
    CostsMore,
    FallsOn,
    Higher,
    LargestLayer,
    LessDetail,
    LooksNormal,
    NarrowerGap,
    Near,
    NotHigher,
    Overfits,
    Reaches,
    Settles,
    Similar,
)

SETTLED = 0.1
"""A curve has settled where less than this share of its range is still to come."""
NORMAL = 1.25
"""Weights look normal where their tails are within this factor of a normal distribution's."""
Unit = Literal["points", "percent", "share", "ratio", "nats"]
"""Of an effect: a difference of accuracies, a value in per cent, a difference of other shares in
percentage points, a ratio, a difference of losses."""


@dataclass(frozen=True)
class Finding:
    """What the data say about one test, before the correction for the study's other tests."""

    statement: str
    """The effect in words."""
    holds: bool
    """Whether the data point towards the claim (else: away from it)."""
    effect: float
    """Accuracies, shares and their differences as fractions."""
    unit: Unit = "points"
    condition: str = ""
    """What the effect is measured against, in words, where that is not 0."""
    interval: tuple[float, float] | None = None
    p: float | None = None
    """Of the hypothesis that the truth lies the other way; None where nothing is left to chance,
    and where a single seed says nothing about other seeds."""
    estimate: Estimate | None = None
    distance: float = 0.0
    """From the estimate to that hypothesis."""
    tails: int = 2
    """Whether `p` is one-sided or two-sided."""


def _higher(evidence: Evidence, test: Higher) -> Finding:
    estimate = _difference(evidence, test)
    first, second = (evidence.results[side[0]] for side in (test.variants, test.than))
    split, p = test.metric.removesuffix("_accuracy"), None
    if estimate.seeds == (1, 1) and split in first.labels and split in second.labels:
        same = first.labels[split].tobytes() == second.labels[split].tobytes()
        if same:
            p = statistics.mcnemar_p(first.correct(split)[0], second.correct(split)[0])
    return _beside(
        estimate,
        0.0,
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
    estimate = _difference(evidence, test)
    return _within(
        estimate,
        evidence.study.margin,
        statement=_comparison(evidence, test, estimate),
        condition=f", where less than {points(evidence.study.margin)} points counts as similar",
    )


def _overfits(evidence: Evidence, test: Overfits) -> Finding:
    margin = evidence.study.margin
    estimate = contrast([evidence.gap(variant) for variant in test.variants])
    return _beside(
        estimate,
        margin,
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
        statement=(
            f"The gap from training to validation accuracy of {evidence.name(test.variants)} is "
            f"{_signed(estimate.value, 'narrower', 'wider')} than that of "
            f"{evidence.name(test.than)}"
        ),
    )


def _reaches(evidence: Evidence, test: Reaches) -> Finding:
    margin = evidence.study.margin
    estimate = _accuracy(evidence, test)
    return _beside(
        estimate,
        test.value - margin,
        statement=f"{_whose(evidence, test)} is {points(estimate.value)} %",
        condition=f", where {points(test.value)} % less {points(margin)} points is to be reached",
        unit="percent",
    )


def _near(evidence: Evidence, test: Near) -> Finding:
    estimate = _accuracy(evidence, test)
    return _within(
        _shifted(estimate, -test.value),
        test.within,
        statement=(
            f"{_whose(evidence, test)} is "
            f"{_signed(estimate.value - test.value, 'above', 'below')} {points(test.value)} %"
        ),
        condition=f", where less than {points(test.within)} points counts as near it",
    )


def _beats_majority(evidence: Evidence, test: BeatsMajority) -> Finding:
    of_variants = [evidence.results[v].per_seed(f"majority_{test.metric}") for v in test.variants]
    share = float(np.mean([of_seeds[0] for of_seeds in of_variants]))
    estimate = _accuracy(evidence, test)
    return _beside(
        estimate,
        test.times * share,
        statement=f"{_whose(evidence, test)} is {points(estimate.value)} %",
        condition=(
            f", where {test.times:g} times the share of the most common class "
            f"({points(share)} %) is to be beaten"
        ),
        unit="percent",
    )


def _costs_more(evidence: Evidence, test: CostsMore) -> Finding:
    ours, theirs = (evidence.cost(side, test.measure) for side in (test.variants, test.than))
    what, scale, unit = {
        "parameters": ("number of parameters", 1.0, ""),
        "flops": ("arithmetic", 1e6, " million operations an image"),
        "training_flops": (
            "arithmetic",
            1e12,
            " trillion operations in the forward passes of all epochs",
        ),
    }[test.measure]
    digits = ",.0f" if test.measure == "parameters" else ",.2f"
    ratio, at_least, at_most = ours / theirs, test.at_least or 1.0, test.at_most or np.inf
    bounds = {"least": test.at_least, "most": test.at_most}
    asked = " and ".join(f"at {which} × {bound:g}" for which, bound in bounds.items() if bound)
    return Finding(
        statement=(
            f"The {what} of {evidence.name(test.variants)} is {ratio:.2f} times that "
            f"of {evidence.name(test.than)}"
        ),
        holds=ratio > 1 and at_least <= ratio <= at_most,
        effect=ratio,
        unit="ratio",
        condition=(
            f": {ours / scale:{digits}} against {theirs / scale:{digits}}{unit}"
            f"{asked and f', where {asked} is asked for'}"
        ),
    )


def _largest_layer(evidence: Evidence, test: LargestLayer) -> Finding:
    shares = {}
    for variant in test.variants:
        evidence.weights(variant, [test.layer])  # raises where there is no such layer
        counts = evidence.weights(variant).drop_duplicates(["layer", "kind"])
        by_layer = counts.groupby("layer", sort=False)["count"].sum()
        shares[variant] = by_layer / by_layer.sum()
    share = float(np.mean([of_layer.get(test.layer, 0.0) for of_layer in shares.values()]))
    return Finding(
        statement=(
            f"The layer {test.layer} of {evidence.name(test.variants)} holds {points(share)} % of "
            "all weights and biases"
        ),
        holds=all(of_layer.idxmax() == test.layer for of_layer in shares.values()),
        effect=share,
        unit="percent",
        condition=f"; the largest layer is {next(iter(shares.values())).idxmax()}",
    )


def _settles(evidence: Evidence, test: Settles) -> Finding:
    def still_to_come(curve: Floats) -> Floats:
        after, last = _ends(curve, test.epoch)
        reach = np.ptp(curve, axis=0)
        return np.asarray(np.divide(last - after, reach, out=np.zeros_like(reach), where=reach > 0))

    estimate = contrast(_of_curves(evidence, test.variants, test, still_to_come))
    return _within(
        estimate,
        SETTLED,
        statement=(
            f"After epoch {test.epoch} the {curve_name(test.metric)} of "
            f"{evidence.name(test.variants)} {'rises' if estimate.value >= 0 else 'falls'} by "
            f"{points(abs(estimate.value))} % of its range over all epochs"
        ),
        condition=f", where less than {points(SETTLED)} % counts as settled",
        unit="share",
    )


def _falls_on(evidence: Evidence, test: FallsOn) -> Finding:
    def fall(curve: Floats) -> Floats:
        after, last = _ends(curve, test.epoch)
        return after - last

    estimate = contrast(_of_curves(evidence, test.variants, test, fall))
    return _beside(
        estimate,
        0.0,
        statement=(
            f"After epoch {test.epoch} the {curve_name(test.metric)} of "
            f"{evidence.name(test.variants)} {'falls' if estimate.value >= 0 else 'rises'} by "
            f"{abs(estimate.value):.3f} nats"
        ),
        unit="nats",
    )


def _ahead(evidence: Evidence, test: Ahead) -> Finding:
    def there(curve: Floats) -> Floats:
        return np.asarray(curve[test.epoch - 1])

    estimate = contrast(
        *[_of_curves(evidence, side, test, there) for side in (test.variants, test.than)]
    )
    return _beside(
        estimate,
        0.0,
        statement=(
            f"After epoch {test.epoch} the {curve_name(test.metric)} of "
            f"{evidence.name(test.variants)} is {_signed(estimate.value, 'above', 'below')} that "
            f"of {evidence.name(test.than)}"
        ),
    )


def _looks_normal(evidence: Evidence, test: LooksNormal) -> Finding:
    estimate = contrast(
        [
            evidence.of_seeds(variant, _tail_deviation(evidence, variant, test.layers))
            for variant in test.variants
        ]
    )
    layers = " and ".join([", ".join(test.layers[:-1]), test.layers[-1]][len(test.layers) < 2 :])
    finding = _beside(
        estimate,
        float(np.log(NORMAL)),
        holds=estimate.value < np.log(NORMAL),
        statement=(
            f"The tails of the weights of {layers} of {evidence.name(test.variants)} are off those "
            f"of a normal distribution by a factor of up to {np.exp(estimate.value):.2f}"
        ),
        condition=f", where less than {NORMAL:g} counts as normal",
    )
    return _as_ratio(finding)


def _concentrates(evidence: Evidence, test: Concentrates) -> Finding:
    estimate = contrast(
        *[[_near_zero(evidence, v) for v in side] for side in (test.variants, test.than)]
    )
    return _beside(
        estimate,
        0.0,
        statement=(
            f"The share of weights smaller than 0.01 in size is "
            f"{_signed(estimate.value, 'higher', 'lower')} in {evidence.name(test.variants)} than "
            f"in {evidence.name(test.than)}"
        ),
        unit="share",
    )


def _concentrates_more(evidence: Evidence, test: ConcentratesMore) -> Finding:
    (first, first_plain), (second, second_plain) = (
        [_near_zero(evidence, variant) for variant in side] for side in (test.variants, test.than)
    )
    # `contrast` takes means, so twice the mean of two is their sum.
    estimate = _scaled(contrast([first, second_plain], [first_plain, second]), 2)
    return _beside(
        estimate,
        0.0,
        statement=(
            f"The share of weights smaller than 0.01 in size grows by "
            f"{_signed(estimate.value, 'more', 'less')} from {evidence.name(test.variants[1:])} to "
            f"{evidence.name(test.variants[:1])} than from {evidence.name(test.than[1:])} to "
            f"{evidence.name(test.than[:1])}"
        ),
        unit="share",
    )


def _less_detail(evidence: Evidence, test: LessDetail) -> Finding:
    def least_loss(variant: str) -> Floats:
        features = evidence.results[variant].features
        by_layer = features.pivot(index="seed", columns="layer", values="detail")
        order = features["layer"].drop_duplicates()
        by_layer = by_layer.loc[evidence.results[variant].seeds, order]
        # A layer whose maps are all flat, or single pixels, shows no detail at all.
        logs = np.log(by_layer.fillna(0.0).clip(lower=1e-3).to_numpy(dtype=np.float64))
        return np.asarray(-np.diff(logs, axis=1).max(axis=1))

    estimate = contrast(
        [evidence.of_seeds(variant, least_loss(variant)) for variant in test.variants]
    )
    return _as_ratio(
        _beside(
            estimate,
            0.0,
            statement=(
                f"From each convolution of {evidence.name(test.variants)} to the next, the detail "
                f"of its feature maps falls by a factor of at least {np.exp(estimate.value):.2f}"
            ),
        )
    )


KINDS: Mapping[str, Callable[[Evidence, Any], Finding]] = {
    "higher": _higher,
    "not_higher": _not_higher,
    "similar": _similar,
    "overfits": _overfits,
    "narrower_gap": _narrower_gap,
    "reaches": _reaches,
    "near": _near,
    "beats_majority": _beats_majority,
    "costs_more": _costs_more,
    "largest_layer": _largest_layer,
    "settles": _settles,
    "falls_on": _falls_on,
    "ahead": _ahead,
    "looks_normal": _looks_normal,
    "concentrates": _concentrates,
    "concentrates_more": _concentrates_more,
    "less_detail": _less_detail,
}


def _beside(
    estimate: Estimate,
    null: float,
    *,
    statement: str,
    holds: bool | None = None,
    condition: str = "",
    unit: Unit = "points",
    p: float | None = None,
) -> Finding:
    """The finding of a two-sided test (its p value given or from the bootstrap) of `null`; unless
    said otherwise, the claim holds above it.
    """
    finding = Finding(
        statement=statement,
        holds=estimate.value > null if holds is None else holds,
        effect=estimate.value,
        unit=unit,
        condition=condition,
        estimate=estimate,
        distance=abs(estimate.value - null),
    )
    if min(estimate.seeds) == 1 and estimate.example_variance == 0:
        return finding
    return replace(
        finding,
        interval=statistics.interval(estimate),
        p=statistics.two_sided_p(estimate, null) if p is None else p,
    )


def _within(
    estimate: Estimate, margin: float, *, statement: str, condition: str, unit: Unit = "points"
) -> Finding:
    """The finding of a test that the truth is within `margin` of 0."""
    finding = _beside(
        estimate,
        float(np.copysign(margin, estimate.value)),
        holds=abs(estimate.value) < margin,
        statement=statement,
        condition=condition,
        unit=unit,
    )
    if not finding.holds or finding.p is None:
        return finding
    return replace(finding, p=statistics.equivalence_p(estimate, margin), tails=1)


def _as_ratio(finding: Finding) -> Finding:
    """A finding about logarithms, its numbers as the ratios that they are the logarithms of."""
    low, high = np.exp(finding.interval).tolist() if finding.interval else (0.0, 0.0)
    return replace(
        finding,
        effect=float(np.exp(finding.effect)),
        unit="ratio",
        interval=(low, high) if finding.interval else None,
    )


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return replace(estimate, value=estimate.value + by, draws=estimate.draws + by)


def _scaled(estimate: Estimate, by: float) -> Estimate:
    return replace(
        estimate,
        value=estimate.value * by,
        draws=estimate.draws * by,
        seed_variances=tuple(variance * by**2 for variance in estimate.seed_variances),
        example_variance=estimate.example_variance * by**2,
    )


def _accuracy(evidence: Evidence, test: Reaches | Near | BeatsMajority) -> Estimate:
    return contrast([evidence.accuracy(variant, test.metric) for variant in test.variants])


def _difference(evidence: Evidence, test: Higher | NotHigher | Similar) -> Estimate:
    than_metric = _than_metric(test)
    if test.variants == test.than:  # two accuracies of the same networks: paired by seed
        return contrast([evidence.gap(v, test.metric, than_metric) for v in test.variants])
    return contrast(
        [evidence.accuracy(variant, test.metric) for variant in test.variants],
        [evidence.accuracy(variant, than_metric) for variant in test.than],
    )


def _comparison(evidence: Evidence, test: Higher | NotHigher | Similar, estimate: Estimate) -> str:
    than_metric = _than_metric(test)
    that = "that" if than_metric == test.metric else f"the {METRICS[than_metric]}"
    return (
        f"{_whose(evidence, test)} is {_signed(estimate.value, 'above', 'below')} {that} of "
        f"{evidence.name(test.than)}"
    )


def _than_metric(test: Higher | NotHigher | Similar) -> str:
    return (None if isinstance(test, Higher) else test.than_metric) or test.metric


def _whose(
    evidence: Evidence, test: Higher | NotHigher | Similar | Reaches | Near | BeatsMajority
) -> str:
    return f"The {METRICS[test.metric]} of {evidence.name(test.variants)}"


def _of_curves(
    evidence: Evidence,
    variants: list[str],
    test: Settles | FallsOn | Ahead,
    number: Callable[[Floats], Floats],
) -> list[Sample]:
    """A number a seed from the curve (epochs, seeds) of each variant."""
    return [
        evidence.of_seeds(variant, number(evidence.curve(variant, test.metric, test.epoch)))
        for variant in variants
    ]


def _ends(curve: Floats, epoch: int) -> tuple[Floats, Floats]:
    """A curve (epochs, seeds) from `epoch` on and at its end, (seeds,): each the mean of a
    twentieth of all epochs, so that the jitter of a single one does not decide.
    """
    some = max(1, len(curve) // 20)
    return curve[epoch - 1 :][:some].mean(axis=0), curve[-some:].mean(axis=0)


def _tail_deviation(evidence: Evidence, variant: str, layers: list[str]) -> Floats:
    """By what factor (its logarithm) the worst tail is off, (seeds,).

    The distances from the median to the 1 % and the 99 % quantile are compared with those of the
    normal distribution that has the same median and quartiles.
    """
    weights = evidence.weights(variant, layers)
    of_layers = weights[weights["kind"] == "weights"]
    sigma = (of_layers["q75"] - of_layers["q25"]) / (2 * stats.norm.ppf(0.75))
    expected = np.maximum(sigma, 1e-12) * stats.norm.ppf(0.99)
    tails = [of_layers["median"] - of_layers["q01"], of_layers["q99"] - of_layers["median"]]
    off = [np.abs(np.log(np.maximum(tail / expected, 1e-6))) for tail in tails]
    worst = of_layers.assign(off=np.maximum(*off)).groupby("seed")["off"].max()
    return np.asarray(worst.loc[evidence.results[variant].seeds.tolist()], dtype=np.float64)


def _near_zero(evidence: Evidence, variant: str) -> Sample:
    """The share of a network's weights that are smaller than 0.01 in size, by seed."""
    weights = evidence.weights(variant)
    kernels = weights[weights["kind"] == "weights"]
    by_seed = kernels.assign(near=kernels["near_zero"] * kernels["count"]).groupby("seed")
    shares = by_seed["near"].sum() / by_seed["count"].sum()
    of_seeds = shares.loc[evidence.results[variant].seeds.tolist()]
    return evidence.of_seeds(variant, np.asarray(of_seeds, dtype=np.float64))


def _signed(difference: float, positive: str, negative: str) -> str:
    return f"{points(abs(difference))} points {positive if difference >= 0 else negative}"
