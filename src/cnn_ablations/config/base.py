"""What every part of the schema shares: closed models, and errors that name the key."""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cnn_ablations.errors import ProjectError

T = TypeVar("T")


class ClosedModel(BaseModel):
    """Immutable, strict about types, and closed: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_the_nearest_key(cls, values: Any) -> Any:
        for key in values if isinstance(values, Mapping) else ():
            if key not in cls.model_fields:
                hint = nearest(str(key), cls.model_fields)
                raise ValueError(f"has an unknown key '{key}'{hint}")
        return values


MOST_NAMED = 12
"""How many known words a message names."""


def shortly(value: Any) -> str:
    """A value as Python writes it, or the beginning of it."""
    return f"{reprlib.repr(value):.80}"


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message: the known word nearest to `word`, else some of them."""
    names = list(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"; known are: {', '.join(names[:MOST_NAMED]) or 'none'}{more}"


def validated(
    validate: Callable[[Any], T], values: Any, location: str, file: str = "params.yaml"
) -> T:
    """`validate(values)`, with a sentence a failure about the key at `location` of `file`.

    Raises ProjectError.
    """
    try:
        return validate(values)
    except ValidationError as error:
        found: dict[tuple[str, ...], ErrorDetails] = {}
        for failure in sorted(error.errors(), key=_vagueness):
            found.setdefault(_keys(values, failure), failure)
        # Where a union reports each of its alternatives, the deepest came closest to fitting.
        deepest = [
            keys
            for keys in found
            if not any(len(other) > len(keys) and other[: len(keys)] == keys for other in found)
        ]
        sentences = [
            f"{file}: {'.'.join(filter(None, [location, *keys])) or 'the top level'} "
            f"{_sentence(found[keys])}"
            for keys in deepest
        ]
        raise ProjectError("\n".join(sentences)) from None


def _vagueness(error: ErrorDetails) -> int:
    """Of a union's alternatives, one of another type says least of what is wrong."""
    return 0 if error["type"] == "value_error" else 2 if error["type"].endswith("_type") else 1


def _sentence(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return message
    if error["type"] in ("model_type", "dict_type"):
        return f"must be a mapping, but it is {shortly(error['input'])}"
    return f"is wrong: {message[0].lower()}{message[1:]}, but it is {shortly(error['input'])}"


def _keys(values: Any, error: ErrorDetails) -> tuple[str, ...]:
    """The parts of an error's location that are keys of the file, without a union's tags."""
    keys = []
    for part in error["loc"]:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            continue
        keys.append(str(part))
    return (*keys, str(error["loc"][-1])) if error["type"] == "missing" else tuple(keys)
