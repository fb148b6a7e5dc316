"""What every part of the schema shares: closed models, and errors that name the key."""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from cnn_ablations.errors import ProjectError

T = TypeVar("T")


class ClosedModel(BaseModel):
    """Immutable, strict about types, and closed: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_the_nearest_key(cls, values: Any) -> Any:
        known = cls.model_fields
        unknown = [key for key in values if key not in known] if isinstance(values, Mapping) else []
        if unknown:
            errors: list[InitErrorDetails] = []
            for key in map(str, unknown):
                hint = {"hint": nearest(key, known)}
                kind = PydanticCustomError("unknown_key", "is an unknown key{hint}", hint)
                errors.append({"type": kind, "loc": (key,), "input": None})
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return values


def shortly(value: Any) -> str:
    """A value as Python writes it, or the beginning of it."""
    return f"{reprlib.repr(value):.80}"


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message: the known word nearest to `word`, else all of them."""
    names = list(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are: {', '.join(names) or 'none'}"


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
        for failure in error.errors(include_url=False):
            found.setdefault(_keys(values, failure["loc"], failure["type"]), failure)
        # Where a union reports each of its alternatives, the deepest came closest to fitting.
        deepest = [
            keys
            for keys in found
            if not any(len(other) > len(keys) and other[: len(keys)] == keys for other in found)
        ]
        sentences = [
            f"{file}: {'.'.join([location, *keys])} {_sentence(found[keys])}" for keys in deepest
        ]
        raise ProjectError("\n".join(sentences)) from None


def _sentence(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in ("unknown_key", "value_error"):
        return message
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        kind = context["discriminator"].strip("'")
        return f"has an unknown {kind} {context['tag']!r}; known are: {context['expected_tags']}"
    return f"is wrong: {message[0].lower()}{message[1:]}, but it is {shortly(error['input'])}"


def _keys(values: Any, location: tuple[int | str, ...], kind: str) -> tuple[str, ...]:
    """The parts of an error's location that are keys of the file, without a union's tags."""
    keys = []
    for depth, part in enumerate(location):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if kind not in ("missing", "unknown_key") or depth < len(location) - 1:
                continue
        keys.append(str(part))
    return tuple(keys)
