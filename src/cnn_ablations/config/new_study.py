"""A new study: variants of a base that differ in some keys, and a claim for each of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, SequenceNode

from cnn_ablations.config.base import nearest
from cnn_ablations.config.document import (
    end_of,
    flow,
    inserted,
    parsed,
    read_document,
    value_of,
)
from cnn_ablations.config.labels import dataset_name, noun
from cnn_ablations.config.params import NAME, Params, load_params, parse_params
from cnn_ablations.config.studies import Study
from cnn_ablations.config.variants import Variant, resolve_variant
from cnn_ablations.errors import ProjectError

Changes = dict[str, Any]
MARGIN = 0.01


@dataclass(frozen=True)
class NewStudy:
    """What `study new` writes."""

    files: dict[Path, bytes]
    """The new content of params.yaml, of the study's file and of dvc.yaml, to be written in this
    order: of what a crash leaves, `check` says how to go on."""
    study: Study
    """Labelled."""
    variants: dict[str, Variant]
    """All of the study: the base first."""
    new: list[str]
    """Those that params.yaml did not have."""


def new_study(
    root: Path,
    name: str,
    base: str,
    vary: Sequence[str],
    *,
    grid: bool = False,
    question: str = "",
) -> NewStudy:
    """The study `name` of the variant `base` and of others that differ from it.

    A variant that params.yaml has with the same values already is taken as it is.

    Args:
        root: of the checkout.
        name: of the study, and the beginning of the new variants' names.
        base: the variant that the others are compared with, and whose keys they have.
        vary: for each key that changes `KEY=V1,V2`, the values in YAML.
        grid: all combinations of the values and of the base's, instead of one change at a time.
        question: what is asked; by default, whether it helps to change the keys.

    Raises ProjectError where something of it cannot be; nothing is written.
    """
    params = load_params(root / "params.yaml")
    if not NAME.fullmatch(name):
        raise ProjectError(
            f"'{name}' cannot be the name of a study: names are lower-case letters, digits, '-' "
            "and '_', at most 60 of them, and begin with a letter or a digit"
        )
    if name in params.studies:
        raise ProjectError(f"there is a study '{name}' already; choose another name")
    levels = _levels(vary, params.variant(base))
    document = read_document(root / "params.yaml")
    read_document(root / "dvc.yaml")  # says what is wrong with it
    texts = {file: (root / file).read_bytes().decode() for file in ("params.yaml", "dvc.yaml")}
    try:
        by_variant = _variants(name, base, list(_choices(levels, grid)), document, params)
        new = {
            variant: {**document["variants"][base], **changes}
            for variant, changes in by_variant.items()
            if variant not in params.variants
        }
        texts["params.yaml"] = _with_variants(texts["params.yaml"], new, params, base)
        texts[f"studies/{name}.yaml"] = text = _study_text(
            name, base, by_variant, levels, params, question
        )
        texts["dvc.yaml"] = _with_file(texts["dvc.yaml"], f"studies/{name}.yaml")
        checked = parse_params({**parsed(texts["params.yaml"]), **parsed(text)})
    except ProjectError as error:
        first = str(error).splitlines()[0].removeprefix("params.yaml: ")
        raise ProjectError(f"study '{name}' was not written: {first}") from None
    order = ("params.yaml", f"studies/{name}.yaml", "dvc.yaml")
    return NewStudy(
        files={root / file: texts[file].encode() for file in order},
        study=checked.study(name),
        variants={variant: checked.variant(variant) for variant in checked.study(name).variants},
        new=list(new),
    )


def _levels(vary: Sequence[str], base: Variant) -> dict[str, list[Any]]:
    """The values of each key to vary."""
    settings = {"dataset": base.dataset, **base.settings}
    levels: dict[str, list[Any]] = {}
    for text in vary:
        key, _, values = text.partition("=")
        key = key.strip()
        if key == "protocol":
            raise ProjectError("--vary protocol: a study is about the variants of one protocol")
        if key == "seeds":
            raise ProjectError("--vary seeds: a variant is what all of its seeds show")
        if key not in settings:
            hint = nearest(key, settings)
            raise ProjectError(f"--vary {key}: variant '{base.name}' has no such key{hint}")
        if key in levels:
            raise ProjectError(f"--vary {key} stands there twice; write --vary {key}=V1,V2")
        try:
            levels[key] = parsed(f"[{values}]")
        except ProjectError:
            levels[key] = []
        if not isinstance(levels[key], list) or not levels[key]:
            raise ProjectError(
                f"--vary {text}: must be KEY=V1,V2 with values as in params.yaml, "
                "such as l2=0.01,0.001 or filters=[16],[16, 16]"
            )
    return levels


def _choices(levels: Mapping[str, list[Any]], grid: bool) -> Iterator[Changes]:
    """What each variant changes of the base."""
    if not grid:
        yield from ({key: value} for key, values in levels.items() for value in values)
        return
    of_keys = [[{}, *({key: value} for value in values)] for key, values in levels.items()]
    for chosen in product(*of_keys):
        yield {key: value for change in chosen for key, value in change.items()}


def _variants(
    study: str, base: str, choices: Sequence[Changes], document: Any, params: Params
) -> dict[str, Changes]:
    """What each variant of the study but the base changes of it, by its name."""
    known = [params.variant(base), *params.variants.values()]
    found: dict[str, Changes] = {}
    for changes in choices:
        name = "-".join([study, *(_slug(key, value) for key, value in changes.items())])
        variant = resolve_variant(
            name, {**document["variants"][base], **changes}, document["protocols"]
        )
        same = next((other.name for other in known if _same(other, variant)), None)
        if same is None and name in params.variants | found:
            raise ProjectError(f"there is another variant '{name}' already; choose another NAME")
        if same is None:
            known.append(variant)
        if same != base:
            found.setdefault(same or name, changes)
    if not found:
        raise ProjectError(f"nothing differs from '{base}'; name other values with --vary")
    return found


def _same(one: Variant, other: Variant) -> bool:
    """Whether two variants are one but for their names."""
    return (one.group, one.dataset, one.settings) == (other.group, other.dataset, other.settings)


def _slug(key: str, value: Any) -> str:
    """A key and its value as a part of names, which can have no dots and no commas."""
    text = f"{key.replace('_', '-')}-{flow(value).replace('.', '_')}".lower()
    return re.sub("[^a-z0-9_]+", "-", text).strip("-")


def _study_text(
    name: str,
    base: str,
    variants: Mapping[str, Changes],
    levels: Mapping[str, Any],
    params: Params,
    question: str,
) -> str:
    nouns = [noun(key) for key in levels]
    dataset = dataset_name(params.variant(base).dataset, params.datasets)
    title = f"{' and '.join(nouns)} on {dataset}"
    asked = question or f"Does it help to change {' or '.join(nouns)}?"
    lines = [
        "studies:",
        f"  {flow(name)}:",
        f"    title: {flow(title[0].upper() + title[1:])}",
        f"    group: {flow(params.variant(base).group)}",
        f"    question: {flow(asked)}",
        "    variants:",
        *(f"      - {flow(variant)}" for variant in (base, *variants)),
        f"    margin: {MARGIN}",
        "    claims:",
    ]
    for variant, changes in variants.items():
        statement = f"{{{variant}}} gives a higher test accuracy than {{{base}}}."
        test = {"quantity": "test_accuracy", "of": variant, "than": base}
        lines += [
            f"      {'-'.join(_slug(key, value) for key, value in changes.items())}-helps:",
            f"        statement: {flow(statement)}",
            "        tests:",
            f"          - {flow(test)}",
        ]
    return "\n".join([*lines, ""])


def _with_variants(text: str, new: Mapping[str, Any], params: Params, base: str) -> str:
    """params.yaml with variants below those of the base's group, and all else as it was."""
    section = value_of(text, "variants")
    if not isinstance(section, MappingNode) or section.flow_style:
        raise ProjectError("variants must be lines of their own, not one line in braces")
    group = params.variant(base).group
    *_, (key, value) = (
        entry for entry in section.value if params.variant(entry[0].value).group == group
    )
    indent = " " * key.start_mark.column
    lines = [f"{indent}{flow(name)}: {flow(values)}" for name, values in new.items()]
    document = parsed(text)
    expected = {**document, "variants": {**document["variants"], **new}}
    after = max(key.end_mark.index, end_of(value))
    return inserted("params.yaml", text, after, lines, expected)


def _with_file(text: str, file: str) -> str:
    """dvc.yaml with the file of a study under `vars`, in the order of the alphabet."""
    files = value_of(text, "vars")
    if not isinstance(files, SequenceNode) or files.flow_style or not files.value:
        raise ProjectError("dvc.yaml: vars must have a line for each study: '- studies/NAME.yaml'")
    document = parsed(text)
    listed = document["vars"]
    if file in listed:
        return text
    place = len([each for each in listed if not isinstance(each, str) or each < file])
    node = files.value[max(place - 1, 0)]
    begin = text.rfind("\n", 0, node.start_mark.index) + 1
    line = text[begin : node.start_mark.index] + file
    expected = {**document, "vars": [*listed[:place], file, *listed[place:]]}
    return inserted("dvc.yaml", text, end_of(node) if place else begin - 1, [line], expected)
