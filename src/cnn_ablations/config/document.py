"""A YAML file as plain values, and its text with lines added: YAML 1.2, by the library that DVC
reads it with.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import CONFLICT_MARKER


class UnmergedError(ProjectError):
    """A file has conflict markers of git's."""


def read_document(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises ProjectError where it cannot be read, is no valid YAML, has a key twice in one mapping,
    or has a tag that asks for more than plain values; UnmergedError, which is one, where it has
    conflict markers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}") from None
    if CONFLICT_MARKER.search(content):
        raise UnmergedError(
            f"{path.name} has the conflict markers of a merge: settle it in an editor, or keep one "
            f"side with `git checkout --ours {path.name}` or `git checkout --theirs {path.name}`; "
            "then `cnn-ablations plan` says what is left to run"
        )
    try:
        return parsed(content)
    except ProjectError as error:
        raise ProjectError(f"{path} is not valid YAML: {error}") from None


def parsed(content: bytes | str) -> Any:
    """The plain values in YAML. Raises ProjectError with what is wrong, and in which line."""
    try:
        return YAML(typ="safe").load(content)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"line {mark.line + 1}: {error.problem}" if mark else error.problem
    except Exception as error:  # of a value that is none, such as the date 2001-13-01, any kind
        what = str(error)
    raise ProjectError(" ".join(what.split()))


def inserted(file: str, text: str, after: int, lines: Sequence[str], expected: Any) -> str:
    """`text` with lines below the one in which what is before its character `after` ends.

    Raises ProjectError where it does not come to say what is `expected`.
    """
    place = text.find("\n", len(text[:after].rstrip())) + 1
    above, below = (text[:place], text[place:]) if place else (f"{text}\n", "")
    end = "\r\n" if above.endswith("\r\n") else "\n"
    changed = above + "".join(f"{line}{end}" for line in lines) + below
    if parsed(changed) != expected:
        raise ProjectError(f"{file} has no plain place for this line; add it: {lines[0].strip()}")
    return changed


def end_of(node: Node) -> int:
    """Where a value ends in its text, without the comments below it."""
    parts: list[Node] = []
    if isinstance(node, MappingNode) and not node.flow_style:
        parts = [part for entry in node.value for part in entry]
    elif isinstance(node, SequenceNode) and not node.flow_style:
        parts = node.value
    return max(map(end_of, parts), default=node.end_mark.index)


def value_of(text: str, key: str) -> Node | None:
    """The value of a key at the top of a document, with its place in the text."""
    document = YAML(typ="safe", pure=True).compose(text)
    entries = document.value if isinstance(document, MappingNode) else []
    return next((value for name, value in entries if name.value == key), None)


def flow(value: Any) -> str:
    """A value in one line of YAML, as params.yaml has it."""
    if isinstance(value, Mapping):
        entries = ", ".join(f"{flow(key)}: {flow(of)}" for key, of in value.items())
        return f"{{ {entries} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    yaml, text = YAML(typ="safe"), StringIO()
    yaml.default_flow_style, yaml.width = True, 1_000_000
    yaml.dump([value], text)
    plain = text.getvalue().strip()[1:-1]
    return json.dumps(value, ensure_ascii=False) if plain[:1] in ("'", '"') else plain
