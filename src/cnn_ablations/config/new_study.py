"""A new study: variants of a base that differ in some keys, and a claim for each of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cnn_ablations.config.base import nearest
from cnn_ablations.config.document import as_yaml, inserted, parsed, read_document
from cnn_ablations.config.labels import noun
from cnn_ablations.config.params import (
    Params,
    check_studies_are_listed,
    load_params,
    parse_params,
)
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
    variants: list[str]
    """Those that params.yaml did not have."""


def new_study(
    root: Path, name: str, base: str, vary: Sequence[str], *, grid: bool = False
) -> NewStudy:
    """The study `name` of the variant `base` and of others that differ from it.

    A variant that params.yaml has with the same values already is taken as it is.

    Args:
        root: of the checkout.
        name: of the study, and the beginning of the new variants' names.
        base: the variant that the others are compared with, and whose keys they have.
        vary: for each key that changes `KEY=V1,V2`, the values in YAML.
        grid: all combinations of the values and of the base's, instead of one change at a time.

    Raises ProjectError where something of it cannot be; nothing is written.
    """
    params = load_params(root / "params.yaml")
    check_studies_are_listed(root)
    if name in params.studies:
        raise ProjectError(f"there is a study '{name}' already; choose another name")
    levels = _levels(vary, params.variant(base))
    document = read_document(root / "params.yaml")
    try:
        by_variant = _variants(name, base, list(_choices(levels, grid)), document, params)
        new = {
            variant: {**document["variants"][base], **changes}
            for variant, changes in by_variant.items()
            if variant not in params.variants
        }
        unequal = params.dataset(params.variant(base).dataset).unequal_classes
        study = {name: _study(params.variant(base), by_variant, levels, unequal=unequal)}
        variants = {**document["variants"], **new}
        checked = parse_params({**document, "variants": variants, "studies": study})
        lines = "\n".join(f"  {key}: {as_yaml(of, flow=True)}" for key, of in new.items())
        file = f"studies/{name}.yaml"
        texts = {
            "params.yaml": _with(root / "params.yaml", "variants", lines),
            file: as_yaml({"studies": study}) + "\n",
            "dvc.yaml": _with(root / "dvc.yaml", "vars", f"  - {file}"),
        }
    except ProjectError as error:
        first = str(error).splitlines()[0].removeprefix("params.yaml: ")
        raise ProjectError(f"study '{name}' was not written: {first}") from None
    contents = {root / file: text.encode() for file, text in texts.items()}
    return NewStudy(contents, checked.study(name), list(new))


def _levels(vary: Sequence[str], base: Variant) -> dict[str, list[Any]]:
    """The values of each key to vary."""
    settings = {"dataset": base.dataset, **base.settings}
    levels: dict[str, list[Any]] = {}
    for text in vary:
        key, _, values = text.partition("=")
        if key not in settings:
            hint = nearest(key, settings)
            raise ProjectError(f"--vary {key}: variant '{base.name}' has no such key{hint}")
        try:
            levels.setdefault(key, []).extend(parsed(f"[{values}]"))
            if not levels[key]:
                raise ProjectError("no value")
        except ProjectError:
            raise ProjectError(
                f"--vary {text}: must be KEY=V1,V2 with values as in params.yaml, "
                "such as l2=0.01,0.001 or filters=[16],[16, 16]"
            ) from None
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
    text = f"{key.replace('_', '-')}-{as_yaml(value, flow=True).replace('.', '_')}".lower()
    return re.sub("[^a-z0-9_]+", "-", text).strip("-")


def _study(
    base: Variant, variants: Mapping[str, Changes], keys: Iterable[str], *, unequal: bool
) -> dict[str, Any]:
    nouns = [noun(key) for key in keys]
    accuracy = "balanced test accuracy" if unequal else "test accuracy"
    quantity = "test_balanced_accuracy" if unequal else "test_accuracy"
    title = f"{' and '.join(nouns)} on {base.dataset}"
    claims = {
        f"{'-'.join(_slug(key, value) for key, value in changes.items())}-helps": {
            "statement": f"{{{variant}}} gives a higher {accuracy} than {{{base.name}}}.",
            "tests": [{"quantity": quantity, "of": variant, "than": base.name}],
        }
        for variant, changes in variants.items()
    }
    return {
        "title": title[0].upper() + title[1:],
        "group": base.group,
        "question": f"Does it help to change {' or '.join(nouns)}?",
        "variants": [base.name, *variants],
        "margin": MARGIN,
        "claims": claims,
    }


def _with(path: Path, section: str, lines: str) -> str:
    text = path.read_text()
    return inserted(path.name, text, section, lines) if lines else text
