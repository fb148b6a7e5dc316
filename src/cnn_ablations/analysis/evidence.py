"""What the tests of a study's claims look at: results by variant, as numbers of each seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cnn_ablations.analysis import statistics
from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import Floats, Sample
from cnn_ablations.config.studies import Measure, Study
from cnn_ablations.errors import ProjectError


@dataclass(frozen=True)
class Evidence:
    """The results of a study's variants, with the resampled accuracies that all tests share."""

    study: Study
    results: Mapping[str, VariantResult]
    draws: Mapping[tuple[str, str], Floats]
    """(resamples, seeds) by variant and split."""

    def accuracy(self, variant: str, metric: str) -> Sample:
        """An accuracy of each seed after training (or Keras's running average in the last epoch).

        Raises ProjectError where the variant did not record it.
        """
        result = self.results[variant]
        values, split = result.per_seed(metric), metric.removesuffix("_accuracy")
        if (variant, split) in self.draws:
            return Sample(values, self.draws[variant, split], int(result.collapsed.sum()))
        # Single answers to training images are not kept, and a network's accuracy on the very
        # images that it was fitted to is no estimate: only the seeds scatter.
        return self.of_seeds(variant, values)

    def of_seeds(self, variant: str, values: Floats) -> Sample:
        """One number a seed, (seeds,), that no resampling of examples changes."""
        collapsed = int(self.results[variant].collapsed.sum())
        return Sample(values, np.tile(values, (statistics.RESAMPLES, 1)), collapsed)

    def gap(
        self, variant: str, metric: str = "train_accuracy", than_metric: str = "val_accuracy"
    ) -> Sample:
        """How far one accuracy of each network is above another one of the same network."""
        above, below = self.accuracy(variant, metric), self.accuracy(variant, than_metric)
        return Sample(above.values - below.values, above.draws - below.draws, above.collapsed)

    def curve(self, variant: str, metric: str, epoch: int) -> Floats:
        """A metric after each epoch, (epochs, seeds).

        Raises ProjectError where the variant did not record it, or not as far as `epoch`.
        """
        result = self.results[variant]
        if metric not in result.curves:
            raise ProjectError(
                f"variant '{variant}' recorded no {metric} by epoch; evaluate that split after "
                "each epoch (evaluate_each_epoch), or take it out of the study's tests"
            )
        by_seed = result.curves.pivot(index="epoch", columns="seed", values=metric)
        if epoch > len(by_seed):
            raise ProjectError(
                f"variant '{variant}' was trained for {len(by_seed)} epochs, so that a test of "
                f"epoch {epoch} cannot be about it"
            )
        return np.asarray(by_seed[result.seeds.tolist()], dtype=np.float64)

    def weights(self, variant: str, layers: Sequence[str] = ()) -> pd.DataFrame:
        """The summaries of the weights and biases of these layers (default: all), of all seeds.

        Raises ProjectError where the variant has no such layer.
        """
        weights = self.results[variant].weights
        for layer in layers:
            if layer not in set(weights["layer"]):
                raise ProjectError(
                    f"variant '{variant}' has no layer '{layer}' with weights; it has "
                    f"{', '.join(weights['layer'].drop_duplicates())}"
                )
        return weights[weights["layer"].isin(layers)] if layers else weights

    def cost(self, variants: Sequence[str], measure: Measure) -> float:
        """The mean cost of variants: parameters, floating-point operations for one image, or
        those for all images of all epochs of a training (forward passes).
        """
        return float(np.mean([self._cost(variant, measure) for variant in variants]))

    def _cost(self, variant: str, measure: Measure) -> float:
        result = self.results[variant]
        if measure != "training_flops":
            return float(result.metrics[measure] or 0)
        images, epochs = result.train_label_counts.sum(), result.curves["epoch"].max()
        return float(result.metrics["flops"] or 0) * float(images) * float(epochs)

    def name(self, variants: Sequence[str], average: str = " (mean of {})") -> str:
        """The variants as a sentence names them; several of them by the first and the last."""
        first, last = (f"“{self.study.variants[variants[end]]}”" for end in (0, -1))
        return first if len(variants) == 1 else f"{first} to {last}{average.format(len(variants))}"


def gather(study: Study, results: Mapping[str, VariantResult]) -> Evidence:
    """Resample the examples of each split once, for all variants that were tested on them.

    Variants whose true labels agree were tested on the same examples, so share their resamples.
    """
    networks: dict[tuple[str, bytes], list[str]] = {}
    for name, result in results.items():
        for split, labels in result.labels.items():
            networks.setdefault((split, labels.tobytes()), []).append(name)
    draws = {}
    for (split, _), names in networks.items():
        correct = [results[name].correct(split) for name in names]
        resampled = statistics.resampled_accuracies(np.concatenate(correct))
        ends = np.cumsum([len(of_seeds) for of_seeds in correct])
        for name, of_seeds in zip(names, np.split(resampled, ends[:-1], axis=1), strict=True):
            draws[name, split] = of_seeds
    return Evidence(study, results, draws)
