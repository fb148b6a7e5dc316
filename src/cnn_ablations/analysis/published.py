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

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cnn_ablations.analysis.evidence import measured
from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.statistics import CONFIDENCE, prediction_interval, within_0_and_1
from cnn_ablations.config.studies import Study

WIDE = 0.1
"""Of an accuracy's interval."""
WIDE_RATIO = 2.0
"""Of a loss's."""
FEW = 6
"""Seeds: with fewer, more of them narrow a wide interval."""
WITHIN, OUTSIDE = "within seed noise", "outside"
TOO_FEW, TOO_WIDE = "too few seeds to say", "too much scatter to say"
NOT_RUN = "not run yet"
RUN_VERDICTS = (WITHIN, OUTSIDE, TOO_WIDE, TOO_FEW, NOT_RUN)
_GRAVITY = (WITHIN, TOO_WIDE, TOO_FEW, OUTSIDE, NOT_RUN)
PUBLISHED_COLUMNS = ["variant", "label", "metric", "published", "reproduced", "difference"]
PUBLISHED_COLUMNS += ["low", "high", "seeds", "collapsed", "verdict", "run"]


def compare_published(study: Study, results: Mapping[str, VariantResult]) -> pd.DataFrame:
    """The study's published figures in the order of its variants, each beside ours: one row a
    figure. Accuracies are fractions, losses are in nats.

    `reproduced` is the median over all seeds, those that collapsed included, if it is finite, and
    `difference` how far it is above the published figure; `low` and `high` are the ends of the
    prediction interval; `verdict` is on the figure, `run` on the run that it belongs to: outside if
    one of its figures is, within if all are.

    Raises ProjectError where a variant did not record what was published of it.
    """
    rows = [row for variant in study.labels for row in _run(study, results, variant, variant)]
    return pd.DataFrame(rows, columns=PUBLISHED_COLUMNS)


def compare_explanations(study: Study, results: Mapping[str, VariantResult]) -> pd.DataFrame:
    """The same of variants that may explain a published run, each beside that run's figures:
    `explained` is the label of the variant that it was published of.

    Raises ProjectError where a variant did not record what was published.
    """
    rows = [
        row | {"explained": study.labels[published]}
        for published, variants in study.explanations.items()
        for variant in variants
        for row in _run(study, results, published, variant)
    ]
    return pd.DataFrame(rows, columns=["explained", *PUBLISHED_COLUMNS])


def _run(
    study: Study, results: Mapping[str, VariantResult], published: str, variant: str
) -> list[dict[str, Any]]:
    """What was published of one variant beside the results of this or of another one."""
    of_run = study.published.get(published, {})
    confidence = 1 - (1 - CONFIDENCE) / max(len(of_run), 1)
    figures = [
        {"variant": variant, "label": study.labels[variant], "metric": metric, "published": value}
        | _compare(results.get(variant), metric, value, confidence)
        for metric, value in of_run.items()
    ]
    run = max((f["verdict"] for f in figures), key=_GRAVITY.index, default=NOT_RUN)
    return [figure | {"run": run} for figure in figures]


def _compare(
    result: VariantResult | None, metric: str, published: float, confidence: float
) -> dict[str, Any]:
    if result is None:
        return {"seeds": 0, "collapsed": 0, "verdict": NOT_RUN}
    values = measured(result, metric).values
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
    return {
        "reproduced": median if np.isfinite(median) else None,
        "difference": median - published if np.isfinite(median) else None,
        "low": low,
        "high": high,
        "seeds": len(values),
        "collapsed": int(result.collapsed.sum()),
        "verdict": verdict,
    }
