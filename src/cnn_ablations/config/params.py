"""params.yaml and the studies: read, checked and cross-checked before any work begins."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field

from cnn_ablations.config.base import ClosedModel, nearest, shortly, validated
from cnn_ablations.config.datasets import Dataset
from cnn_ablations.config.document import read_document
from cnn_ablations.config.labels import in_words
from cnn_ablations.config.studies import ACCURACIES, LOSSES, Study, Test, study_variants
from cnn_ablations.config.variants import (
    StratifiedSplit,
    Variant,
    resolve_protocol,
    resolve_variant,
)
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import check_factors, layer_names

T = TypeVar("T")
NAME = re.compile("[a-z0-9][a-z0-9_-]{0,59}")
"""It becomes a folder, a DVC stage and an argument of commands; two of them make a file's name."""
MOST_WEIGHTS = 1_000_000_000
"""Between two layers: they take 4 GB, and thrice that in training."""


def _named(name: Any) -> Any:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"has the name {shortly(name)}, but names are lower-case letters, digits, '-' and '_', "
            "at most 60 of them, and begin with a letter or a digit (quote one that looks like a "
            "number)"
        )
    return name


Name = Annotated[str, BeforeValidator(_named)]


class _Sections(ClosedModel):
    datasets: dict[Name, Annotated[Dataset, Field(discriminator="format")]] = {}
    protocols: dict[Name, Any] = {}
    variants: dict[Name, Any] = {}
    studies: dict[Name, Any] = {}


class _Pipeline(BaseModel):
    vars: list[Any] = []


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
    studies: dict[str, Any] = {}
    for file in _study_files(path.parent):
        content = read_document(file)
        match content:
            case {"studies": {**study}} if [*study] == [file.stem] and len(content) == 1:
                studies[file.stem] = study[file.stem]
            case _:
                raise ProjectError(
                    f"studies/{file.name} must hold one study of the file's name, and nothing "
                    f"else: 'studies:', and below it '{file.stem}:'"
                )
    if isinstance(document, Mapping):
        if "studies" in document:
            raise ProjectError(
                "params.yaml: studies: a study is a file of its own, studies/NAME.yaml"
            )
        document = {**document, "studies": studies}
    return parse_params(document)


def check_studies_are_listed(root: Path) -> None:
    """Raise ProjectError where dvc.yaml in `root` lists other studies than there are: DVC would
    know nothing of a study, or end at its missing file.
    """
    path = root / "dvc.yaml"
    if not path.is_file():
        return
    pipeline = validated(_Pipeline.model_validate, read_document(path), "", "dvc.yaml")
    listed = {str(file) for file in pipeline.vars if str(file).startswith("studies/")}
    there = {f"studies/{file.name}" for file in _study_files(root)}
    for file in sorted(there ^ listed):
        problem, way_out = ("lacks", "add") if file in there else ("lists the missing", "remove")
        raise ProjectError(f"dvc.yaml: vars {problem} {file}; {way_out} the line '- {file}'")


def _study_files(root: Path) -> list[Path]:
    return sorted((root / "studies").glob("*.yaml"))


def parse_params(document: Any) -> Params:
    """The checked form of what params.yaml and the studies hold together.

    Raises ProjectError with a line for each mistake of a section.
    """
    raw = validated(_Sections.model_validate, document, "")

    def variant(name: str, values: Any) -> Variant:
        resolved = resolve_variant(name, values, raw.protocols)
        _check_variant(resolved, raw.datasets)
        return resolved

    def study(name: str, values: Any) -> Study:
        file = f"studies/{name}.yaml"
        parsed = validated(Study.model_validate, values, f"studies.{name}", file)
        mistakes = [f"{file}: studies.{name}.{what}" for what in _mistakes(parsed, variants)]
        if mistakes:
            raise ProjectError("\n".join(mistakes))
        return in_words(parsed, variants, f"{file}: studies.{name}")

    protocols = _each(raw.protocols, resolve_protocol)
    variants = _each(raw.variants, variant)
    return Params(raw.datasets, protocols, variants, _each(raw.studies, study))


def _each(section: Mapping[str, Any], parse: Callable[[str, Any], T]) -> dict[str, T]:
    """The entries of a section, parsed. Raises ProjectError with the mistakes of all of them."""
    parsed, mistakes = {}, []
    for name, values in section.items():
        try:
            parsed[name] = parse(name, values)
        except ProjectError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ProjectError("\n".join(mistakes))
    return parsed


def _check_variant(variant: Variant, datasets: Mapping[str, Dataset]) -> None:
    location = f"params.yaml: variants.{variant.name}"
    if variant.dataset not in datasets:
        hint = nearest(variant.dataset, datasets)
        raise ProjectError(f"{location}.dataset: there is no data set '{variant.dataset}'{hint}")
    dataset = datasets[variant.dataset]
    side, classes = min(dataset.image_shape[:2]), len(dataset.classes)
    if isinstance(variant.split, StratifiedSplit) and 1 <= variant.split.val < classes:
        raise ProjectError(
            f"{location}.split.val is {variant.split.val:g} images, but each of the {classes} "
            "classes needs one"
        )
    images = dataset.images or math.inf
    if (variant.train_images or 0) > images:
        raise ProjectError(
            f"{location}.train_images is {variant.train_images:,}, but data set "
            f"'{variant.dataset}' has {images:,}"
        )
    images = min(images, variant.train_images or math.inf)
    for key, held_out in variant.split.model_dump(include={"val", "held_out"}).items():
        if held_out >= images:
            raise ProjectError(
                f"{location}.split.{key} is {held_out:,.0f}, but there are {images:,} images: it "
                "leaves none to train on"
            )
    for key, most in (("crop", side - 1), ("cutout", side)) if variant.augmentation else ():
        if (pixels := getattr(variant.augmentation, key)) > most:
            raise ProjectError(
                f"{location}.augmentation.{key} is {pixels}, but images of {side} pixels need at "
                f"most {most}"
            )
    if variant.model == "conv_net":
        widths = [*variant.factors["filters"], *variant.factors["dense"]]
        if any(before * width > MOST_WEIGHTS for before, width in pairwise(widths)):
            raise ProjectError(
                f"{location}: filters and dense are {shortly(widths)}, but no two layers may have "
                f"more than {MOST_WEIGHTS:,} weights between them"
            )
    try:
        check_factors(variant.model, dataset.image_shape, variant.factors)
    except ProjectError as error:
        raise ProjectError(f"{location}: {error}") from None


def _mistakes(study: Study, variants: Mapping[str, Variant]) -> Iterator[str]:
    """What is wrong with a study, given the variants: the key, and a sentence about it."""
    for key, name in study_variants(study):
        if name not in variants:
            yield f"{key}: there is no variant '{name}'{nearest(name, variants)}"
        elif variants[name].group != study.group:
            yield (
                f"{key}: variant '{name}' is of group '{variants[name].group}', "
                f"but the study is about group '{study.group}'"
            )
        elif name not in study.variants:
            yield f"{key}: variant '{name}' is not listed under 'variants'"
    for key in study.along:
        for variant in (variants[name] for name in study.variants if name in variants):
            settings = variant.settings
            if key not in settings:
                yield f"along: variant '{variant.name}' has no key '{key}'{nearest(key, settings)}"
            elif not isinstance(settings[key], int | float) and {key} >= {*variant.differences}:
                yield (
                    f"along: '{key}' of variant '{variant.name}' is {settings[key]!r}, not a number"
                )
    for name in study.explanations:
        if name not in study.published:
            yield f"explanations: of '{name}' nothing is under 'published'"
    for name, figures in study.published.items():
        for of in [x for x in (name, *study.explanations.get(name, [])) if x in variants]:
            for metric in figures:
                yield from _unrecorded(f"published.{name}", metric, variants[of])
    for name, claim in study.claims.items():
        for number, test in enumerate(claim.tests):
            yield from _impossible(f"claims.{name}.tests.{number}", test, variants)


def _impossible(key: str, test: Test, variants: Mapping[str, Variant]) -> Iterator[str]:
    """Why a test cannot be about the variants that it names."""
    than = test.than if isinstance(test.than, list) else []
    sides = [(name, test.quantity) for name in [*test.of, *(test.along or [])]]
    sides += [(name, test.than_quantity or test.quantity) for name in than]
    epoch = test.epoch or test.after
    for name, quantity in sides:
        if name not in variants:
            continue
        variant, factors = variants[name], variants[name].factors
        if quantity in (*ACCURACIES, *LOSSES):
            yield from _unrecorded(key, quantity, variant, by_epoch=epoch is not None)
        if epoch is not None and epoch > variant.epochs:
            yield f"{key} is about epoch {epoch}, but '{name}' trains for {variant.epochs}"
        if quantity == "detail" and variant.model == "conv_net" and len(factors["filters"]) < 2:
            yield f"{key} compares convolutions, but '{name}' has fewer than two"
        known = layer_names(variant.model, factors) or test.layers
        for layer in test.layers:
            if layer not in known:
                yield f"{key}: variant '{name}' has no layer '{layer}'{nearest(layer, known)}"


def _unrecorded(
    key: str, metric: str, variant: Variant, *, by_epoch: bool = False
) -> Iterator[str]:
    """Whether a metric is none of those that are kept of a training."""
    validates = variant.train_on == "train"
    splits = ["train", "test", *(["val"] if validates else [])]
    if by_epoch:
        splits = [split for split in splits if split in variant.evaluate_each_epoch]
    kept = [
        f"{split}_{what}" for split in ("running_train", *splits) for what in ("accuracy", "loss")
    ]
    if not by_epoch:
        kept += ["test_balanced_accuracy", "majority_test_accuracy"]
        kept += ["train_val_accuracy", "majority_train_val_accuracy"] if validates else []
    if metric not in kept:
        when = " after each epoch" if by_epoch else ""
        yield f"{key}: variant '{variant.name}' records no {metric}{when}{nearest(metric, kept)}"


def _lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise ProjectError(f"there is no {kind} '{name}'{nearest(name, known)}")
    return known[name]
