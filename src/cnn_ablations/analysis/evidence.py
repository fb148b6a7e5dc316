"""What the results say about the quantities that claims are about: estimates, and their words."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import (
    Estimate,
    Exact,
    Floats,
    Sample,
    Terms,
    contrast,
    within_0_and_1,
)
from cnn_ablations.analysis.wording import METRICS, Unit, curve_name, measure, points
from cnn_ablations.config.studies import ACCURACIES, COSTS, RATIOS, Cost, Study, Test
from cnn_ablations.errors import ProjectError


@dataclass(frozen=True)
class Evidence:
    """The results of a study's variants: none at all of a study that was not run yet."""

    study: Study
    results: Mapping[str, VariantResult]

    def accuracy(self, variant: str, metric: str) -> Sample:
        """An accuracy of each seed after training (or Keras's running average in the last epoch).

        Single answers to training images are not kept, and a network's accuracy on the very images
        that it was fitted to is no estimate: of these, only the seeds scatter.

        Raises ProjectError where the variant did not record it.
        """
        result, split = self.results[variant], metric.removesuffix("_accuracy")
        answers: dict[Hashable, NDArray[np.bool_]] = {}
        if split in result.labels:  # equal labels: the same examples
            answers = {(split, result.labels[split].tobytes()): result.correct(split)}
        return Sample(result.seeds, result.per_seed(metric), result.collapsed, answers)

    def interval(self, variant: str, split: str, level: float = 0.025) -> tuple[float, float]:
        """Of the accuracy of a variant, over other seeds and other images."""
        sample = self.accuracy(variant, f"{split}_accuracy")
        return within_0_and_1(contrast([(1.0, sample)]).interval(level) or (0.0, 1.0))

    def estimate(self, test: Test) -> Estimate:
        """The quantity of a test: a difference or, by its logarithm, a ratio, where it names others
        to compare with.

        Raises ProjectError where a variant did not record it.
        """
        than = test.than if isinstance(test.than, list) else []
        quantity = test.quantity
        if quantity in COSTS:
            ours, theirs = (self.cost(side, quantity) for side in (test.of, than))
            return Exact(math.log(ours / theirs))
        if quantity == "layer_share":
            return Exact(float(np.mean([self._layer_share(v, test.layers) for v in test.of])))
        other = test.model_copy(update={"quantity": test.than_quantity or quantity})
        plain = [(-1.0, test, test.over[:1]), (1.0, test, test.over[1:])] if test.over else []
        sides = [(1.0, test, test.of), (-1.0, other, than), *plain]
        terms: Terms = [
            (sign / len(side), self._sample(asked, variant))
            for sign, asked, side in sides
            for variant in side
        ]
        return contrast(terms)

    def _sample(self, test: Test, variant: str) -> Sample:
        result = self.results[variant]
        if test.quantity == "gap":
            tested = self.accuracy(variant, "test_accuracy")
            answers = {name: -right.astype(np.int8) for name, right in tested.answers.items()}
            values = result.train_accuracy - tested.values
            return Sample(result.seeds, values, result.collapsed, answers)
        if test.epoch is not None or test.after is not None:
            values = self._of_curve(test, variant)
        elif test.quantity in ACCURACIES:
            return self.accuracy(variant, test.quantity)
        elif test.quantity == "near_zero":
            values = self._near_zero(variant)
        elif test.quantity == "tail":
            values = self._tail(variant, test.layers)
        elif test.quantity == "detail":
            values = self._detail(variant)
        else:
            values = result.per_seed(test.quantity)
        return Sample(result.seeds, values, result.collapsed)

    def _of_curve(self, test: Test, variant: str) -> Floats:
        """A curve after an epoch, or its change from there to the end as a share of its range: the
        ends are means of a twentieth of all epochs, so that the jitter of one does not decide.
        """
        result, epoch = self.results[variant], test.epoch or test.after or 1
        if test.quantity not in result.curves:
            raise ProjectError(
                f"variant '{variant}' recorded no {test.quantity} by epoch; evaluate that split "
                "after each epoch (evaluate_each_epoch), or take it out of the study's tests"
            )
        by_seed = result.curves.pivot(index="epoch", columns="seed", values=test.quantity)
        if epoch > len(by_seed):
            raise ProjectError(
                f"variant '{variant}' was trained for {len(by_seed)} epochs, so that a test of "
                f"epoch {epoch} cannot be about it"
            )
        curve = np.asarray(by_seed[result.seeds.tolist()], dtype=np.float64)
        if test.epoch is not None:
            return np.asarray(curve[epoch - 1])
        some, reach = max(1, len(curve) // 20), np.ptp(curve, axis=0)
        change = curve[-some:].mean(axis=0) - curve[epoch - 1 :][:some].mean(axis=0)
        return np.asarray(np.divide(change, reach, out=np.zeros_like(reach), where=reach > 0))

    def _weights(self, variant: str, layers: Sequence[str] = ()) -> pd.DataFrame:
        """The summaries of the weights and biases of these layers (default: all), of all seeds."""
        weights = self.results[variant].weights
        for layer in layers:
            if layer not in set(weights["layer"]):
                raise ProjectError(
                    f"variant '{variant}' has no layer '{layer}' with weights; it has "
                    f"{', '.join(weights['layer'].drop_duplicates())}"
                )
        return weights[weights["layer"].isin(layers)] if layers else weights

    def _near_zero(self, variant: str) -> Floats:
        kernels = self._weights(variant).query("kind == 'weights'")
        by_seed = kernels.assign(near=kernels["near_zero"] * kernels["count"]).groupby("seed")
        return self._by_seed(variant, by_seed["near"].sum() / by_seed["count"].sum())

    def _tail(self, variant: str, layers: Sequence[str]) -> Floats:
        """The logarithm of the factor by which the worst tail is off."""
        of_layers = self._weights(variant, layers).query("kind == 'weights'")
        sigma = (of_layers["q75"] - of_layers["q25"]) / (2 * stats.norm.ppf(0.75))
        expected = np.maximum(sigma, 1e-12) * stats.norm.ppf(0.99)
        tails = [of_layers["median"] - of_layers["q01"], of_layers["q99"] - of_layers["median"]]
        off = [np.abs(np.log(np.maximum(tail / expected, 1e-6))) for tail in tails]
        worst = of_layers.assign(off=np.maximum(*off)).groupby("seed")["off"].max()
        return self._by_seed(variant, worst)

    def _detail(self, variant: str) -> Floats:
        """The logarithm of the greatest ratio of the detail of a convolution to the one before."""
        features = self.results[variant].features
        by_layer = features.pivot(index="seed", columns="layer", values="detail")
        by_layer = by_layer[features["layer"].drop_duplicates()]
        # A layer whose maps are all flat, or single pixels, shows no detail at all.
        logs = by_layer.fillna(0.0).clip(lower=1e-3).map(math.log)
        steps = np.diff(logs.to_numpy(dtype=np.float64), axis=1).max(axis=1)
        return self._by_seed(variant, pd.Series(steps, by_layer.index))

    def _by_seed(self, variant: str, values: pd.Series) -> Floats:
        return np.asarray(values.loc[self.results[variant].seeds.tolist()], dtype=np.float64)

    def _layer_share(self, variant: str, layers: Sequence[str]) -> float:
        self._weights(variant, layers)  # raises where there is no such layer
        counts = self._weights(variant).drop_duplicates(["layer", "kind"])
        return float(
            counts.loc[counts["layer"].isin(layers), "count"].sum() / counts["count"].sum()
        )

    def cost(self, variants: Sequence[str], measure: str) -> float:
        """The mean cost of variants: see `cnn_ablations.config.studies.Cost`."""
        return float(np.mean([self._cost(variant, measure) for variant in variants]))

    def _cost(self, variant: str, measure: str) -> float:
        result = self.results[variant]
        if measure != "training_flops":
            return float(result.metrics[measure] or 0)
        images, epochs = result.train_label_counts.sum(), result.curves["epoch"].max()
        return float(result.metrics["flops"] or 0) * float(images) * float(epochs)

    def cost_measure(self) -> Cost | None:
        """What the cost of the variants is best counted in: operations for one image, or, where
        their trainings do not see equally many images, for all of a training. None where all cost
        the same.
        """
        flops, of_training = (
            [self.cost([variant], measure) for variant in self.results]
            for measure in ("flops", "training_flops")
        )
        images = {round(all_ / one) for one, all_ in zip(flops, of_training, strict=True)}
        if len(images) > 1:
            return "training_flops"
        return "flops" if len(set(flops)) > 1 else None

    def name(self, variants: Sequence[str], average: str = " (mean of {})") -> str:
        """The variants as a sentence names them; several of them by the first and the last."""
        first, last = (f"“{self.study.labels[variants[end]]}”" for end in (0, -1))
        return first if len(variants) == 1 else f"{first} to {last}{average.format(len(variants))}"


def unit(test: Test) -> Unit:
    """What the effect of a test is measured in."""
    if test.quantity in RATIOS:
        return "ratio"
    if test.after is not None or test.quantity == "layer_share":
        return "share"
    if test.quantity in ACCURACIES and not isinstance(test.than, list):
        return "percent"
    return "nats" if test.quantity.endswith("_loss") else "points"


def statement(evidence: Evidence, test: Test, value: float) -> str:
    """The effect of a test in words, without a full stop."""
    quantity, of = test.quantity, evidence.name(test.of)
    than = evidence.name(test.than) if isinstance(test.than, list) else ""
    epoch = f"After epoch {test.epoch} the" if test.epoch else "The"
    ratio = f"{math.exp(value):.2f}" if quantity in RATIOS else ""
    size = measure(abs(value), unit(test))
    if test.after is not None:
        way = "rises" if value >= 0 else "falls"
        size = f"{points(abs(value))} % of its range over all epochs"
        return f"After epoch {test.after} the {curve_name(quantity)} of {of} {way} by {size}"
    if quantity == "gap":
        if not than:
            return f"The training accuracy of {of} is {size} {_above(value)} its test accuracy"
        width = "wider" if value >= 0 else "narrower"
        gap = f"The gap from training to test accuracy of {of}"
        return f"{gap} is {size} {width} than that of {than}"
    if quantity == "near_zero":
        share = "The share of weights smaller than 0.01 in size"
        if test.over:
            plain = [evidence.name([variant]) for variant in test.over]
            steps = f"from {plain[0]} to {of} than from {plain[1]} to {than}"
            return f"{share} grows by {size} {'more' if value >= 0 else 'less'} {steps}"
        return f"{share} is {size} {'higher' if value >= 0 else 'lower'} in {of} than in {than}"
    layers = " and ".join(filter(None, [", ".join(test.layers[:-1]), *test.layers[-1:]]))
    if quantity == "tail":
        tails = f"The tails of the weights of {layers} of {of}"
        return f"{tails} are off those of a normal distribution by a factor of up to {ratio}"
    if quantity == "detail":
        step = f"From each convolution of {of} to the next"
        return f"{step}, the detail of its feature maps changes by a factor of at most {ratio}"
    if quantity == "layer_share":
        hold = "s {} of {} hold" if len(test.layers) > 1 else " {} of {} holds"
        return f"The layer{hold.format(layers, of)} {points(value)} % of all weights and biases"
    if quantity in COSTS:
        what, scale, digits, of_what = _COSTS[quantity]
        theirs = test.than if isinstance(test.than, list) else []
        both = [f"{evidence.cost(side, quantity) / scale:{digits}}" for side in (test.of, theirs)]
        times = f"The {what} of {of} is {ratio} times that of {than}"
        return f"{times}: {both[0]} against {both[1]}{of_what}"
    name = curve_name(quantity) if test.epoch else METRICS[quantity]
    if not than:
        return f"{epoch} {name} of {of} is {size}"
    other = f"that of {than}"
    if test.than_quantity:
        metric = METRICS[test.than_quantity]
        other = f"its {metric}" if test.than == test.of else f"the {metric} of {than}"
    return f"{epoch} {name} of {of} is {size} {_above(value)} {other}"


def _above(value: float) -> str:
    return "above" if value >= 0 else "below"


_COSTS = {
    "parameters": ("number of parameters", 1.0, ",.0f", ""),
    "flops": ("arithmetic", 1e6, ",.2f", " million operations an image"),
    "training_flops": ("arithmetic", 1e12, ",.2f", " trillion operations in all forward passes"),
}
