"""What variants are called: labels made from what they change, and texts that refer to them."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from cnn_ablations.config.base import nearest
from cnn_ablations.config.datasets import Dataset
from cnn_ablations.config.studies import Study
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError

REFERENCE = re.compile(r"\{([^{}.]*)(?:\.([^{}]*))?\}")
BASE = "base"
DROPOUTS = ("conv_dropout", "dense_dropout")
OF_CONVOLUTIONS = ("conv_dropout", "kernel_size", "pooling", "strides")
"""Keys whose value may be a list with an entry for each convolution."""
NOUNS = {
    "augmentation": "augmentation",
    "conv_dropout": "conv dropout",
    "dataset": "data set",
    "kernel_size": "kernel",
    "l1": "L1",
    "l1_on": "L1 on",
    "l2": "L2",
    "l2_on": "L2 on",
    "nesterov": "Nesterov momentum",
    "pooling": "max pooling",
    "strides": "stride",
    "train_images": "training images",
}
"""Of keys that are not words when their underscores are spaces."""
FORMS = {
    "batch_size": "batches of {}",
    "dataset": "on {}",
    "epochs": "{} epochs",
    "filters": "{} filters",
    "kernel_size": "kernel {0}×{0}",
    "pooling": "max pooling {0}×{0}",
    "train_images": "{} images",
}
"""How a value is said, where that is not the noun and then the value."""
SAID: dict[tuple[str, Any], str] = {
    ("model", "conv_net"): "plain network",
    ("model", "res_net"): "residual network",
    ("optimizer", "adam"): "Adam",
    ("optimizer", "adamw"): "AdamW",
    ("optimizer", "sgd"): "SGD",
    ("pooling", 1): "without max pooling",
    ("precision", "float32"): "float32",
    ("precision", "mixed_bfloat16"): "bfloat16",
    ("train_images", None): "all images",
    ("train_on", "train"): "trained on training images only",
    ("train_on", "train+val"): "trained on validation images too",
}


def in_words(
    study: Study, variants: Mapping[str, Variant], datasets: Mapping[str, Dataset], location: str
) -> Study:
    """The study with a label for each of its variants, and with labels and values in its texts.

    Raises ProjectError, which begins with `location` and the key, where two variants have one
    label or a text refers to what is not there.
    """
    given = [label for label in study.variants.values() if label is not None]
    for label in given:
        if given.count(label) > 1:
            raise ProjectError(f"{location}.variants: two of them have the label '{label}'")
    made = labels(study.variants, variants, datasets)

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


def labels(
    given: Mapping[str, str | None],
    variants: Mapping[str, Variant],
    datasets: Mapping[str, Dataset],
) -> dict[str, str]:
    """A label for each variant of a study, no two of them equal.

    It says what the variant changes of its protocol, but for what all of the study have in common.

    Args:
        given: the study's variants, each with the label that the study gives it, if any.
        variants: those of params.yaml, the study's among them.
        datasets: those of params.yaml.
    """
    settings = {name: _settings(variants[name], datasets) for name in given}
    first = settings[next(iter(given))]
    changed: dict[str, list[str]] = {}
    for name, own in settings.items():
        keys = [key for key in ("dataset",) if own[key] != first[key]]
        keys += sorted(variants[name].differences, key=lambda key: key != "model")
        changed[name] = [key for key in keys if key in own and _varies(key, own, settings.values())]
    at_all = list(dict.fromkeys(key for keys in changed.values() for key in keys))
    if len(at_all) == 1 or {*at_all} == {*DROPOUTS}:  # then that of the base says more than "base"
        changed = {
            name: keys or [key for key in at_all if key in settings[name]]
            for name, keys in changed.items()
        }
    short = {
        name: given[name] or _joined(keys, settings[name], settings.values()) or BASE
        for name, keys in changed.items()
    }
    made = dict(short)
    for name, label in short.items():
        others = [settings[other] for other in given if other != name and short[other] == label]
        if others and not given[name]:
            apart = [
                key
                for key, value in settings[name].items()
                if key not in changed[name] and any(o.get(key, value) != value for o in others)
            ]
            made[name] = ", ".join(filter(None, [label, _joined(apart, settings[name], [])]))
    said = list(made.values())
    return {
        name: f"{label} ({name})" if said.count(label) > 1 and not given[name] else label
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
        settings = {"dataset": variants[name].dataset, **variants[name].settings}
        if key not in settings:
            raise ProjectError(
                f"{reference[0]}: variant '{name}' has no key '{key}'{nearest(key, settings)}"
            )
        return as_text(settings[key])

    return REFERENCE.sub(value, text)


def noun(key: str) -> str:
    """What a key of a variant is called."""
    return NOUNS.get(key, key.replace("_", " "))


def dataset_name(name: str, datasets: Mapping[str, Dataset]) -> str:
    """A data set's name as its title spells it: CIFAR-10 for cifar10."""

    def plain(word: str) -> str:
        return word.replace("-", "").lower()

    words = datasets[name].title.split()
    return next((word for word in words if plain(word) == plain(name)), name)


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


def _settings(variant: Variant, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """What labels are made of: the variant's settings, without those that change nothing."""
    settings = {
        key: value
        for key, value in variant.settings.items()
        if not key.endswith("_on") or variant.settings.get(key.removesuffix("_on"), 1)
    }
    largest = 16 if datasets[variant.dataset].format == "digits" else 255
    settings["pixels"] = "0..1" if variant.pixels == "unit" else f"0..{largest}"
    return {"dataset": dataset_name(variant.dataset, datasets), **settings}


def _varies(key: str, own: Mapping[str, Any], study: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the variants of a study differ in a key.

    Those that do not have it do not count: they are of another model. Of a list for convolutions,
    nor do networks with more or fewer of them, where it cannot be the same.
    """
    others = [other for other in study if key in other]
    if key in OF_CONVOLUTIONS and isinstance(own[key], list):
        others = [other for other in others if _convolutions(other) == _convolutions(own)]
    return any(other[key] != own[key] for other in others)


def _convolutions(settings: Mapping[str, Any]) -> int:
    filters = settings.get("filters")
    return len(filters) if isinstance(filters, list) else 0


def _joined(keys: Iterable[str], own: Mapping[str, Any], study: Iterable[Mapping[str, Any]]) -> str:
    """What a variant's `keys` are, in words."""
    values = {key: own[key] for key in keys}
    if values.keys() >= {*DROPOUTS} and len({as_text(values[key]) for key in DROPOUTS}) == 1:
        values = {"dropout" if key == DROPOUTS[0] else key: of for key, of in values.items()}
        del values[DROPOUTS[1]]
    return ", ".join(_said(key, value, study) for key, value in values.items())


def _said(key: str, value: Any, study: Iterable[Mapping[str, Any]]) -> str:
    if isinstance(value, Mapping):  # only what of it varies
        others = [other for one in study if isinstance(other := one.get(key), Mapping)]
        part = {
            name: of
            for name, of in value.items()
            if any(name not in other or other[name] != of for other in others)
        }
        if key == "augmentation":
            return f"augmented ({as_text(part)})" if part else "augmented"
        return f"{noun(key)} ({as_text(part or value)})"
    if isinstance(value, list) and key not in ("filters", "dense") and len(set(value)) == 1:
        value = value[0]
    if isinstance(value, list) and value and key != "filters":
        plural = {"kernel_size": "kernels", "strides": "strides"}
        return f"{plural.get(key, noun(key))} {as_text(value)}"
    if not isinstance(value, list) and (key, value) in SAID:
        return SAID[key, value]
    if value is True:
        return noun(key)
    if not value:
        return f"without {noun(key)}"
    return FORMS.get(key, f"{noun(key)} {{}}").format(as_text(value))
