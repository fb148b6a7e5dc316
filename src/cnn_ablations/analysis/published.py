"""Published figures beside ours: how far apart, and whether seeds alone explain it.

What was published is one run. It is within seed noise where all its figures lie inside the
prediction intervals for one more run of ours, which Student's t draws from our seeds, together with
a probability of 95 % (Bonferroni). Where an accuracy's interval is wider than 10 points, or a
loss's than a factor of 2, almost anything would pass, and nothing is said.

Seeds that collapsed to chance are left out of that interval and counted beside it, since every
published network had learned: with them it would reach from chance to beyond perfection. Where
every seed collapsed, they are all there is, and the interval is theirs. Losses are taken by their
logarithms: a penalty can differ a hundredfold between seeds, and no loss is negative.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import CONFIDENCE, prediction_interval, within_0_and_1
from cnn_ablations.config.studies import Study

WIDE = 0.1
"""Of an accuracy's interval."""
WIDE_RATIO = 2.0
"""Of a loss's."""
WITHIN, OUTSIDE = "within seed noise", "outside"
TOO_FEW, TOO_WIDE = "too few seeds to say", "too much scatter to say"
NOT_RUN = "not run yet"
RUN_VERDICTS = (WITHIN, OUTSIDE, TOO_WIDE, TOO_FEW, NOT_RUN)
_GRAVITY = (WITHIN, TOO_WIDE, TOO_FEW, OUTSIDE)
FEW = 6
"""Seeds: with fewer, more of them narrow a wide interval."""


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
    verdict: str = NOT_RUN
    """On this figure."""
    run: str = NOT_RUN
    """On the run that it belongs to: outside if one of its figures is, within if all are."""

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
        published = study.published.get(variant, {})
        if variant not in results:
            yield from (
                PublishedFigure(variant, metric, value) for metric, value in published.items()
            )
            continue
        confidence = 1 - (1 - CONFIDENCE) / max(len(published), 1)
        figures = [
            _compare(results[variant], metric, value, confidence)
            for metric, value in published.items()
        ]
        run = max((f.verdict for f in figures), key=_GRAVITY.index, default=WITHIN)
        yield from (PublishedFigure(**vars(figure) | {"run": run}) for figure in figures)


def _compare(
    result: VariantResult, metric: str, published: float, confidence: float
) -> PublishedFigure:
    values = result.per_seed(metric)
    finite = np.isfinite(values)
    learned = values[finite & (~result.collapsed | result.collapsed.all())]
    median = float(np.median(np.nan_to_num(values, nan=np.inf, posinf=np.inf)))
    low, high, verdict = None, None, TOO_FEW
    if len(learned) > 1:
        is_loss = metric.endswith("_loss") and (learned > 0).all()
        if is_loss:
            low, high = np.exp(prediction_interval(np.log(learned), confidence)).tolist()
        else:
            low, high = within_0_and_1(prediction_interval(learned, confidence))
        # What no seed changes, such as a baseline, has an interval without any width.
        agrees = low <= published <= high or np.isclose(median, published)
        verdict = WITHIN if agrees else OUTSIDE
        if agrees and (high > WIDE_RATIO * low if is_loss else high - low > WIDE):
            verdict = TOO_FEW if len(learned) < FEW else TOO_WIDE
    return PublishedFigure(
        variant=result.name,
        metric=metric,
        published=published,
        reproduced=median if np.isfinite(median) else None,
        low=low,
        high=high,
        seeds=len(values),
        collapsed=int(result.collapsed.sum()),
        verdict=verdict,
    )
