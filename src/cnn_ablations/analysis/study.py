"""What is said of one study in words, in its notebook and in the reports over all studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import OUTSIDE, WITHIN
from cnn_ablations.analysis.tables import judgements_markdown, published_markdown
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Measure, Study

NOT_RUN_TEXT = "*Not run yet.*"


def study_parameters(params: Params, name: str) -> dict[str, Any]:
    """The parameters of the study's notebook. Raises ProjectError where there is no such study.

    Its name alone: all that params.yaml says of it, the notebook shows as tables and text.
    """
    params.study(name)
    return {"name": name}


def recipe_and_differences(
    params: Params, study: Study
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The keys that all variants of the study share and, by variant, those that it sets itself."""
    variants = [params.variant(variant) for variant in study.variants]
    datasets = dict.fromkeys(variant.dataset for variant in variants)
    recipe = {"dataset": ", ".join(datasets), **params.protocols[study.group]}
    differences = {
        variant.name: {key: variant.settings[key] for key in variant.differences}
        for variant in variants
    }
    return recipe, differences


def introduction(study: Study, name: str, *, was_run: bool) -> str:
    """The head of a study's notebook: the question, who says what, and what is our choice."""
    parts = [f"## {study.title}", f"**{study.question}**"]
    if not was_run:
        parts += [
            f"*Not run yet*: `dvc repro compare@{name}` trains the variants that are missing."
        ]
    statements: dict[str, list[str]] = {}
    for claim in study.claims.values():
        statements.setdefault(claim.source or study.source, []).append(claim.statement)
    for source, of_source in statements.items():
        verb = "asks" if source == "this project" else "says"
        whose = f"What {source} {verb}" if source else "What is to be tested here"
        parts += [f"{whose}:", bullets(of_source)]
    if study.choices:
        parts += ["What is this project's own choice:", bullets(study.choices)]
    return "\n\n".join(parts)


def published_text(study: Study, published: pd.DataFrame, *, was_run: bool) -> str:
    """The published figures beside ours, how many agree, and why the others may not."""
    if published.empty:
        return "Nothing was published of this study: it is this project's own."
    parts = [tally(published) if was_run else NOT_RUN_TEXT, published_markdown(published)]
    if study.reasons and (published["within_seed_noise"] == OUTSIDE).any():
        parts += ["Why ours may differ:", bullets(study.reasons)]
    return "\n\n".join(parts)


def tests_text(claims: pd.DataFrame) -> str:
    """The tests behind the verdicts, and how the claims were read."""
    readings = dict(zip(claims["claim"], claims["remark"], strict=True))
    remarks = [f"{claim}: {how}" for claim, how in readings.items() if isinstance(how, str) and how]
    parts = [judgements_markdown(claims) or NOT_RUN_TEXT]
    if remarks:
        parts += ["How claims were read:", bullets(remarks)]
    return "\n\n".join(parts)


def tally(published: pd.DataFrame) -> str:
    """How many of the published figures are within seed noise, as a sentence."""
    within = (published["within_seed_noise"] == WITHIN).sum()
    differ = published[published["within_seed_noise"] == OUTSIDE]
    outside = len(differ)
    named = f" ({', '.join(dict.fromkeys(differ['label']))})"
    unknown = len(published) - within - outside
    if within == len(published):
        return f"**All {within} published figures are within seed noise.**"
    parts = [f"{within} of {len(published)} published figures {_are(within)} within seed noise"]
    if outside:
        parts.append(f"{outside} {_are(outside)} not{named}")
    if unknown:
        parts.append(f"of {unknown} it cannot be told")
    return f"**{'; '.join(parts)}.**"


def variants_along(
    key: str,
    study: Study,
    differences: Mapping[str, Mapping[str, Any]],
    recipe: Mapping[str, Any],
) -> dict[float, str]:
    """The variants by their value of `key`: those that set it and nothing else, and the one that
    sets nothing. Seeds, which `differences` does not hold, may differ.
    """
    chosen = {}
    for variant in study.variants:
        if set(differences.get(variant, {})) <= {key}:
            value = differences.get(variant, {}).get(key, recipe[key])
            chosen[float(value)] = variant
    return chosen


def cost_measure(evidence: Evidence) -> Measure | None:
    """What the cost of a study's variants is counted in: operations for one image, or, where their
    trainings do not see equally many images, for all of a training. None where all cost the same.
    """
    flops, of_training = (
        [evidence.cost([variant], measure) for variant in evidence.results]
        for measure in ("flops", "training_flops")
    )
    images = {round(all_ / one) for one, all_ in zip(flops, of_training, strict=True)}
    if len(images) > 1:
        return "training_flops"
    return "flops" if len(set(flops)) > 1 else None


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def bullets(items: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {item}" for item in items)
