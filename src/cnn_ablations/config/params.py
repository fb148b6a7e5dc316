"""params.yaml as a whole: read, checked and cross-checked before any work begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cnn_ablations.config.base import nearest, validated
from cnn_ablations.config.datasets import Dataset, dataset_adapter
from cnn_ablations.config.document import read_document
from cnn_ablations.config.studies import Study, study_variants
from cnn_ablations.config.variants import Variant, resolve_protocol, resolve_variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import check_factors

T = TypeVar("T")
SECTIONS = ("datasets", "protocols", "variants", "studies")


@dataclass(frozen=True)
class Params:
    """The four sections, by name. Variants are resolved: a protocol with its differences."""

    datasets: dict[str, Dataset]
    protocols: dict[str, dict[str, Any]]
    variants: dict[str, Variant]
    studies: dict[str, Study]

    def dataset(self, name: str) -> Dataset:
        return _lookup("data set", name, self.datasets)

    def variant(self, name: str) -> Variant:
        return _lookup("variant", name, self.variants)

    def study(self, name: str) -> Study:
        return _lookup("study", name, self.studies)


def load_params(path: Path) -> Params:
    """The checked content of params.yaml. Raises ProjectError, naming the key at fault."""
    return parse_params(read_document(path))


def parse_params(document: Any) -> Params:
    """The checked form of what params.yaml holds. Raises ProjectError."""
    sections = _mapping(document, "the top level")
    for key in sections:
        if key not in SECTIONS:
            raise ProjectError(
                f"params.yaml: the top level has an unknown key '{key}'"
                f"{nearest(str(key), SECTIONS)}"
            )
    raw = {name: _mapping(sections.get(name, {}), name) for name in SECTIONS}

    datasets = {
        name: validated(dataset_adapter.validate_python, values, f"datasets.{name}")
        for name, values in raw["datasets"].items()
    }
    protocols = {name: resolve_protocol(name, values) for name, values in raw["protocols"].items()}
    variants = {
        name: resolve_variant(name, values, raw["protocols"])
        for name, values in raw["variants"].items()
    }
    for variant in variants.values():
        location = f"params.yaml: variants.{variant.name}"
        if variant.dataset not in datasets:
            hint = nearest(variant.dataset, datasets)
            raise ProjectError(
                f"{location}.dataset: there is no data set '{variant.dataset}'{hint}"
            )
        shape = datasets[variant.dataset].image_shape
        _check_augmentation(variant, shape)
        try:
            check_factors(variant.model, shape, variant.factors)
        except ProjectError as error:
            raise ProjectError(f"{location}: {error}") from None
    studies = {}
    for name, values in raw["studies"].items():
        study = validated(Study.model_validate, values, f"studies.{name}")
        _check_study(name, study, variants)
        studies[name] = study
    return Params(datasets, protocols, variants, studies)


def _check_augmentation(variant: Variant, image_shape: Sequence[int]) -> None:
    smallest = min(image_shape[:2])
    if variant.augmentation is None:
        return
    for key, most in (("crop", smallest - 1), ("cutout", 2 * smallest)):
        pixels = getattr(variant.augmentation, key)
        if pixels > most:
            raise ProjectError(
                f"params.yaml: variants.{variant.name}.augmentation.{key} is {pixels}, but at most "
                f"{most} makes sense for images of {smallest} pixels"
            )


def _check_study(name: str, study: Study, variants: Mapping[str, Variant]) -> None:
    for key, variant in study_variants(study):
        location = f"params.yaml: studies.{name}.{key}"
        if variant not in variants:
            hint = nearest(variant, variants)
            raise ProjectError(f"{location}: there is no variant '{variant}'{hint}")
        if variants[variant].group != study.group:
            raise ProjectError(
                f"{location}: variant '{variant}' is of group '{variants[variant].group}', "
                f"but the study is about group '{study.group}'"
            )
        if variant not in study.variants:
            raise ProjectError(
                f"{location}: variant '{variant}' is not listed in studies.{name}.variants"
            )

    for key in study.along:
        for variant in study.variants:
            settings = variants[variant].model_dump() | variants[variant].factors
            if key not in settings:
                raise ProjectError(
                    f"params.yaml: studies.{name}.along: variant '{variant}' has no key '{key}'"
                    f"{nearest(key, settings)}"
                )
            if not isinstance(settings[key], int | float) and {key} >= set(
                variants[variant].differences
            ):
                raise ProjectError(
                    f"params.yaml: studies.{name}.along: '{key}' of variant '{variant}' is "
                    f"{settings[key]!r}, not a number"
                )


def _mapping(value: Any, location: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ProjectError(f"params.yaml: {location} must be a mapping, but it is {value!r:.60}")
    for key in value:
        if not isinstance(key, str) or not key or set(key) - _NAME_CHARACTERS:
            raise ProjectError(
                f"params.yaml: {location} has a key {key!r}, but names are lower-case letters, "
                "digits, '-' and '_' (quote a name that looks like a number)"
            )
    return value


# A name becomes a folder and a DVC stage.
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise ProjectError(f"params.yaml has no {kind} '{name}'{nearest(name, known)}")
    return known[name]
