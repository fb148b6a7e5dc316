"""Published figures beside ours: how far apart, and whether seeds alone explain it.

A published figure is one run. It is within seed noise where it lies inside the 95 % prediction
interval for one more run, which Student's t draws from our seeds. Seeds that collapsed to chance
are left out of that interval and counted beside it, since every published network had learned:
with them it would reach from chance to beyond perfection and let anything pass. Where every seed
collapsed, they are all there is, and the interval is theirs. Losses are taken
by their logarithms: a penalty can differ a hundredfold between seeds, and no loss is negative. Of
figures that differ by seed noise alone, one in twenty still falls outside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import prediction_interval, within_0_and_1
from cnn_ablations.config.studies import Study

TOO_WIDE = 100
"""An interval of losses that spans more than this factor says nothing: the verdict is open."""
WITHIN, OUTSIDE, UNKNOWN, NOT_RUN = "yes", "no", "unknown", "not run yet"


@dataclass(frozen=True)
class PublishedFigure:
    """One published figure and its counterpart. Accuracies are fractions, losses are in nats."""

    variant: str
    metric: str
    published: float
    reproduced: float | None = None
    """The median over all seeds, those that collapsed included; None if it is not finite."""
    low: float | None = None
    """The prediction interval, where at least two seeds learned, or all of several collapsed."""
    high: float | None = None
    seeds: int = 0
    collapsed: int = 0
    within_seed_noise: str = NOT_RUN
    """`yes`, `no`, `not run yet`, or `unknown`: a single seed learned, or losses differ so
    much between seeds that the interval spans more than a factor of `TOO_WIDE`."""

    @property
    def difference(self) -> float | None:
        """Reproduced less published."""
        return None if self.reproduced is None else self.reproduced - self.published


def compare_published(
    study: Study, results: Mapping[str, VariantResult]
) -> Iterator[PublishedFigure]:
    """The study's published figures in the order of its variants, each beside ours.

    Raises ProjectError where a variant did not record what was published of it.
    """
    for variant in study.variants:
        for metric, published in study.published.get(variant, {}).items():
            if variant in results:
                yield _compare(results[variant], metric, published)
            else:
                yield PublishedFigure(variant, metric, published)


def _compare(result: VariantResult, metric: str, published: float) -> PublishedFigure:
    values = result.per_seed(metric)
    finite = np.isfinite(values)
    learned = values[finite & (~result.collapsed | result.collapsed.all())]
    median = float(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))
    low, high, within = None, None, UNKNOWN
    if len(learned) > 1:
        if metric.endswith("_loss") and (learned > 0).all():
            low, high = np.exp(prediction_interval(np.log(learned))).tolist()
        elif metric.endswith("_accuracy"):
            low, high = within_0_and_1(prediction_interval(learned))
        else:
            low, high = prediction_interval(learned)
        # What no seed changes, such as a baseline, has an interval without any width.
        agrees = low <= published <= high or np.isclose(median, published)
        within = WITHIN if agrees else OUTSIDE
        if metric.endswith("_loss") and high > TOO_WIDE * low > 0:
            within = UNKNOWN
    return PublishedFigure(
        variant=result.name,
        metric=metric,
        published=published,
        reproduced=median if np.isfinite(median) else None,
        low=low,
        high=high,
        seeds=len(values),
        collapsed=int(result.collapsed.sum()),
        within_seed_noise=within,
    )
