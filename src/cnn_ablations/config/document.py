"""A YAML file as plain values; whatever else YAML can do is refused before it does it."""

from pathlib import Path
from typing import Any

import yaml

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import CONFLICT_MARKER, read_limited

SIZE_LIMIT = 2**23
"""Bytes."""
DEPTH_LIMIT = 50
"""Mappings and lists within each other."""
VALUE_LIMIT = 200_000
"""Six times those of this project's dvc.lock. A few lines of aliases can stand for billions."""
NUMBER_LIMIT = 100
"""Characters: the longest numbers take minutes to convert, and cannot be printed."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class UnmergedError(ProjectError):
    """A file has conflict markers of git's."""


def read_document(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises ProjectError where it cannot be read, is no valid YAML, has a tag that asks for more
    than plain values, has a key twice in one mapping (of which PyYAML would take the last), or is
    larger than the limits above; UnmergedError, which is one, where it has conflict markers.
    """
    try:
        content = read_limited(path, SIZE_LIMIT)
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ProjectError(f"{path.name} is refused: {error}") from None
    if CONFLICT_MARKER.search(content):
        raise UnmergedError(
            f"{path.name} has the conflict markers of a merge: settle it in an editor, or keep one "
            f"side with `git checkout --ours {path.name}` or `git checkout --theirs {path.name}`; "
            "then `cnn-ablations plan` says what is left to run"
        )
    try:
        _check_events(content)
        return yaml.load(content, Loader=_Loader)
    # PyYAML says YAMLError where the syntax is wrong, and anything where a value is.
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise ProjectError(f"{path.name} is not valid YAML: {what}") from None


class _Loader(yaml.CSafeLoader):
    def construct_document(self, node: yaml.Node) -> Any:
        _check(node, {})
        return super().construct_document(node)


def _check_events(content: bytes) -> None:
    """Before the parser builds anything: it calls itself, and a deep document is its end; and a
    byte of a document becomes hundreds in memory.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(content, Loader=yaml.CSafeLoader)):
        if number > 2 * VALUE_LIMIT:
            raise yaml.YAMLError(f"it has more than {VALUE_LIMIT:,} values")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            raise yaml.YAMLError(f"it is nested more than {DEPTH_LIMIT} levels deep")


def _check(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for and how deep they are, with every alias written out.

    `known` has what was found of the nodes met before. Raises YAMLError.
    """
    if node in known:
        return known[node]
    known[node] = VALUE_LIMIT, DEPTH_LIMIT  # for an alias to it that is inside of it
    line = node.start_mark.line + 1
    children = []
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > NUMBER_LIMIT:
            raise yaml.YAMLError(f"line {line} has a number of {len(node.value)} characters")
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        _check_keys([key for key, _ in node.value])
        children = [child for pair in node.value for child in pair]
    found = [_check(child, known) for child in children]
    values = 1 + sum(values for values, _ in found)
    depth = 1 + max((depth for _, depth in found), default=-1)
    if values > VALUE_LIMIT or depth > DEPTH_LIMIT:
        raise yaml.YAMLError(
            f"what begins in line {line} stands for more than {VALUE_LIMIT:,} values or "
            f"{DEPTH_LIMIT} levels"
        )
    known[node] = values, depth
    return known[node]


def _check_keys(keys: list[yaml.Node]) -> None:
    seen = set()
    for key in keys:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise yaml.YAMLError(
                    f"line {key.start_mark.line + 1} has the key '{key.value}' a second time"
                )
            seen.add((key.tag, key.value))
