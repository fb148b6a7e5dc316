"""What every part of the schema shares: closed models, and errors that name the key."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from cnn_ablations.errors import ProjectError

T = TypeVar("T")


class ClosedModel(BaseModel):
    """Immutable, strict about types, and closed: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_the_nearest_key(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    hint = nearest(str(key), cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "has an unknown key '{key}'{hint}",
                        {"key": str(key), "hint": hint},
                    )
        return values


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
    """`validate(values)`, with a failure as one sentence about the key at `location` of `file`.

    Raises ProjectError.
    """
    try:
        return validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # Where a union reports each of its alternatives, the deepest came closest to fitting, and
        # of two that came as close a misspelt key says more.
        first = max(errors, key=lambda found: (len(found["loc"]), found["type"] == "unknown_key"))
        where = ".".join([location, *_keys(values, first["loc"], first["type"] == "missing")])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            message = "is missing"
        elif first["type"] not in ("unknown_key", "value_error"):
            message = f"is wrong: {message[0].lower()}{message[1:]}, but it is {first['input']!r}"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ProjectError(f"{file}: {where} {message}{more}") from None


def _keys(values: Any, location: tuple[int | str, ...], missing: bool) -> list[str]:
    """The parts of an error's location that are keys of the file, without a union's tags."""
    keys = []
    for depth, part in enumerate(location):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if not (missing and depth == len(location) - 1):
                continue
        keys.append(str(part))
    return keys
