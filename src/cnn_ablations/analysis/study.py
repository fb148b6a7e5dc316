"""What is said of one study in words, in its notebook and in the reports over all studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cnn_ablations.analysis.claims import NOT_RUN
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import OUTSIDE, RUN_VERDICTS, TOO_FEW, TOO_WIDE, WITHIN
from cnn_ablations.analysis.tables import judgements_markdown, published_markdown
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study

NOT_RUN_TEXT = "*Not run yet.*"


def study_parameters(params: Params, name: str) -> dict[str, Any]:
    """The parameters of the study's notebook. Raises ProjectError where there is no such study.

    Only its name: all that is said of it elsewhere, the notebook shows as tables and text.
    """
    params.study(name)
    return {"name": name, "write": True}


def recipe_and_differences(
    params: Params, study: Study
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The keys of the study's protocol and, by variant, those that it sets itself."""
    variants = [params.variant(variant) for variant in study.variants]
    datasets = dict.fromkeys(variant.dataset for variant in variants)
    recipe = {"dataset": ", ".join(datasets), **params.protocols[study.group]}
    differences = {
        variant.name: {key: variant.settings[key] for key in variant.differences}
        for variant in variants
    }
    return recipe, differences


def in_use(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a protocol that switch something on, and where a penalty that is on applies."""
    off = {f"{penalty}_on" for penalty in ("l1", "l2") if not recipe.get(penalty)}
    return {key: value for key, value in recipe.items() if value and key not in off}


def headline(evidence: Evidence, name: str, claims: pd.DataFrame) -> str:
    """The head of a study's notebook: the question, the answer claim by claim, and what it rests
    on.
    """
    study = evidence.study
    parts = [f"# {study.title}", f"**{study.question}**"]
    rows = claims.drop_duplicates("claim").to_dict("records")
    if any(row["claim_verdict"] == NOT_RUN for row in rows):
        parts += [
            f"*Not run yet*: `dvc repro compare@{name}` trains the variants that are missing. "
            "These claims are to be tested:",
            bullets([row["statement"] for row in rows]),
        ]
    else:
        parts += [bullets([verdict_line(row) for row in rows]), facts(evidence)]
    return "\n\n".join(parts)


def verdict_line(row: Mapping[Any, Any]) -> str:
    """One claim of `claims_table` in a line: verdict, statement, effect."""
    verdict = row["claim_verdict"]
    return f"**{verdict[0].upper()}{verdict[1:]}:** *{row['statement']}* {row['claim_summary']}"


def facts(evidence: Evidence) -> str:
    """How many trainings and images the verdicts rest on, and what they call sure."""
    results = evidence.results.values()
    images = {
        "training": [int(result.train_label_counts.sum()) for result in results],
        "validation": [len(result.labels["val"]) for result in results if "val" in result.labels],
        "test": [len(result.labels["test"]) for result in results],
    }
    counted = [f"{_span(counts)} {split}" for split, counts in images.items() if counts]
    seeds = [len(result.seeds) for result in results]
    return (
        f"From {sum(seeds)} trainings: {len(seeds)} variants with {_span(seeds)} seeds each. "
        f"{', '.join(counted)} images. *Surely* means that a bound holds with 95\u00a0% "
        "confidence for all claims of the study together, over other seeds and images like these."
    )


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def choices_text(study: Study) -> str:
    """Whose study it is, and what this project decided where the source leaves it open."""
    whose = (
        f"The claims are those of {study.source}, if nothing else is said." if study.source else ""
    )
    chosen = f"What is this project's own choice:\n\n{bullets(study.choices)}"
    return "\n\n".join(filter(None, [whose, chosen if study.choices else ""]))


def published_text(study: Study, published: pd.DataFrame) -> str:
    """The published figures beside ours, how many runs agree, and why the others may not."""
    if published.empty:
        return ""
    parts = [f"**{tally(published)}**", published_markdown(published)]
    if study.reasons and (published["run"] == OUTSIDE).any():
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
    """How many of the published runs are within seed noise, as a sentence."""
    runs = published.drop_duplicates("variant")
    counts = {verdict: runs[runs["run"] == verdict] for verdict in RUN_VERDICTS}
    parts = [
        f"{len(counts[WITHIN])} of {len(runs)} published runs {_are(len(counts[WITHIN]))} {WITHIN}"
    ]
    for verdict in (OUTSIDE, TOO_WIDE, TOO_FEW, NOT_RUN):
        if len(counts[verdict]):
            parts.append(f"{verdict}: {', '.join(counts[verdict]['label'])}")
    return f"{'; '.join(parts)}."


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


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def bullets(items: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {item}" for item in items)
