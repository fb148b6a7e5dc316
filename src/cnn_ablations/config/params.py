"""params.yaml and the studies: read, checked and cross-checked before any work begins."""

from collections.abc import Mapping
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
    """The sections of params.yaml, and the studies, by name. Variants are resolved: a protocol with
    its differences.
    """

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
    """The checked content of params.yaml and of the studies beside it, by the name of their files.

    Raises ProjectError, naming the key at fault.
    """
    document = read_document(path)
    if not isinstance(document, Mapping):
        return parse_params(document)
    if "studies" in document:
        raise ProjectError("params.yaml: studies: a study is a file of its own, studies/NAME.yaml")
    studies: dict[str, Any] = {}
    for file in _study_files(path.parent):
        content = read_document(file)
        study = content.get("studies") if isinstance(content, Mapping) else None
        if len(content or ()) != 1 or not isinstance(study, Mapping) or [*study] != [file.stem]:
            raise ProjectError(
                f"studies/{file.name} must hold one study of the file's name, and nothing else: "
                f"'studies:', and below it '{file.stem}:'"
            )
        studies |= study
    return parse_params({**document, "studies": studies})


def check_studies_are_listed(root: Path) -> None:
    """Raise ProjectError where dvc.yaml in `root` lists other studies than there are: DVC would
    know nothing of a study, or end at its missing file.
    """
    pipeline = root / "dvc.yaml"
    if not pipeline.is_file():
        return
    content = read_document(pipeline)
    files = content.get("vars") if isinstance(content, Mapping) else None
    listed = {str(file) for file in files or [] if str(file).startswith("studies/")}
    there = {f"studies/{file.name}" for file in _study_files(root)}
    for file in sorted(there - listed):
        raise ProjectError(f"dvc.yaml: vars does not list {file}; add the line '- {file}'")
    for file in sorted(listed - there):
        raise ProjectError(f"dvc.yaml: vars lists {file}, which does not exist; remove the line")


def _study_files(root: Path) -> list[Path]:
    return sorted((root / "studies").glob("*.yaml"))


def parse_params(document: Any) -> Params:
    """The checked form of what params.yaml and the studies hold together. Raises ProjectError."""
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
        try:
            check_factors(
                variant.architecture, datasets[variant.dataset].image_shape, variant.factors
            )
        except ProjectError as error:
            raise ProjectError(f"{location}: {error}") from None
    studies = {}
    for name, values in raw["studies"].items():
        study = validated(
            Study.model_validate, values, f"studies.{name}", file=f"studies/{name}.yaml"
        )
        _check_study(name, study, variants)
        studies[name] = study
    return Params(datasets, protocols, variants, studies)


def _check_study(name: str, study: Study, variants: Mapping[str, Variant]) -> None:
    whole = f"studies/{name}.yaml: studies.{name}"
    for key, variant in study_variants(study):
        location = f"{whole}.{key}"
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
                    f"{whole}.along: variant '{variant}' has no key '{key}'{nearest(key, settings)}"
                )
            if not isinstance(settings[key], int | float) and {key} >= set(
                variants[variant].differences
            ):
                raise ProjectError(
                    f"{whole}.along: '{key}' of variant '{variant}' is "
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
        raise ProjectError(f"there is no {kind} '{name}'{nearest(name, known)}")
    return known[name]
