"""What variants are called: labels made from what they change, and texts that refer to them."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cnn_ablations.config.base import nearest
from cnn_ablations.config.studies import Study
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError

REFERENCE = re.compile(r"\{([^{}.]*)(?:\.([^{}]*))?\}")
BASE = "base"


def in_words(study: Study, variants: Mapping[str, Variant], location: str) -> Study:
    """The study with a label for each of its variants, and with labels and values in its texts.

    Raises ProjectError, which begins with `location` and the key, where a text refers to what is
    not there.
    """
    made = labels(study.variants, variants)

    def filled(key: str, text: str) -> str:
        try:
            return fill(text, made, variants)
        except ProjectError as error:
            raise ProjectError(f"{location}.{key}: {error}") from None

    claims = {
        name: claim.model_copy(
            update={
                key: filled(f"claims.{name}.{key}", getattr(claim, key))
                for key in ("statement", "remark")
            }
        )
        for name, claim in study.claims.items()
    }
    texts = {key: filled(key, getattr(study, key)) for key in ("title", "question")}
    return study.model_copy(update={**texts, "variants": made, "claims": claims})


def labels(given: Mapping[str, str | None], variants: Mapping[str, Variant]) -> dict[str, str]:
    """A label for each variant of a study, no two of them equal.

    It says what the variant changes of its protocol, but for what all of the study have in common.

    Args:
        given: the study's variants, each with the label that the study gives it, if any.
        variants: those of params.yaml, the study's among them.
    """
    settings = {name: _settings(variants[name]) for name in given}

    def changes(name: str) -> str:
        own = settings[name]
        varied = [
            key
            for key in ("dataset", *variants[name].differences)
            if any(other.get(key) != own[key] for other in settings.values())
        ]
        return ", ".join(_said(key, own[key]) for key in varied)

    made = {name: label or changes(name) or BASE for name, label in given.items()}
    said = list(made.values())
    return {
        name: label if said.count(label) == 1 else f"{label} ({name})"
        for name, label in made.items()
    }


def fill(text: str, labels: Mapping[str, str], variants: Mapping[str, Variant]) -> str:
    """`text` with each `{variant}` as “its label” and each `{variant.key}` as that key's value.

    Raises ProjectError where `labels` have no such variant, or the variant no such key.
    """

    def value(reference: re.Match[str]) -> str:
        name, key = reference.groups()
        if name not in labels:
            raise ProjectError(
                f"{reference[0]} stands for no variant of the study{nearest(name, labels)}"
            )
        if key is None:
            return f"“{labels[name]}”"
        settings = _settings(variants[name])
        if key not in settings:
            raise ProjectError(
                f"{reference[0]}: variant '{name}' has no key '{key}'{nearest(key, settings)}"
            )
        return as_text(settings[key])

    return REFERENCE.sub(value, text)


def noun(key: str) -> str:
    """What a key of a variant is called."""
    return key.replace("_", " ").replace("l1", "L1").replace("l2", "L2")


def as_text(value: Any) -> str:
    """A value of params.yaml as people write it: 10,000; 0.00001; 16, 16."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return f"{Decimal(str(value)).normalize():,f}"
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {as_text(of)}" for key, of in value.items())
    return str(value)


def _settings(variant: Variant) -> dict[str, Any]:
    return {"dataset": variant.dataset, **variant.settings}


def _said(key: str, value: Any) -> str:
    """A key and its value, in words."""
    if value is True or not value:
        return noun(key) if value else f"without {noun(key)}"
    text = as_text(value)
    return f"{noun(key)} ({text})" if isinstance(value, Mapping) else f"{noun(key)} {text}"
