"""A YAML file as plain values, and its text with lines added: YAML 1.2, by the library that DVC
reads it with.
"""

import re
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import ScalarNode

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import CONFLICT_MARKER


class UnmergedError(ProjectError):
    """A file has conflict markers of git's."""


class _Constructor(SafeConstructor):
    """Refuses what would command the terminal that shows it."""

    def construct_scalar(self, node: ScalarNode) -> Any:
        text = super().construct_scalar(node)
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text):
            problem = f"{text!a} has a control character; write it without"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark)
        return text


def read_document(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises ProjectError where it cannot be read, is no valid YAML, has a key twice in one mapping,
    has a tag that asks for more than plain values, or control characters besides line ends and
    tabs; UnmergedError, which is one, where it has conflict markers.
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
        yaml = YAML(typ="safe")
        yaml.Constructor = _Constructor
        return yaml.load(content)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"line {mark.line + 1}: {error.problem}" if mark else error.problem
    except Exception as error:  # of a value that is none, such as the date 2001-13-01, any kind
        what = str(error)
    raise ProjectError(" ".join(what.split()))


def inserted(file: str, text: str, section: str, lines: str) -> str:
    """`text`, of a file, with `lines` at the end of a section: below all that is indented there.

    Raises ProjectError where they would not come to be part of it.
    """
    place = re.search(rf"^{section}:.*\n(?:(?:[ #].*)?\n)*[ ]+[^ #\n].*\n?", text, re.MULTILINE)
    end = place.end() if place else len(text)
    changed = "\n".join([text[:end].removesuffix("\n"), lines, text[end:]])
    document, new = parsed(text), parsed(lines)
    old = document.get(section) or type(new)()
    both = {**old, **new} if isinstance(new, dict) else [*old, *new]
    with suppress(ProjectError):
        if parsed(changed) == {**document, section: both}:
            return changed
    first = lines.partition("\n")[0].strip()
    raise ProjectError(f"{file}: {section} has no plain place for new lines; add by hand: {first}")


def as_yaml(value: Any, *, flow: bool = False) -> str:
    """A value in YAML without its last line end; with `flow` in one line."""
    yaml, text = YAML(typ="rt"), StringIO()
    yaml.default_flow_style, yaml.width = flow, 1_000_000
    yaml.indent(sequence=4, offset=2)
    yaml.dump(value, text)
    return text.getvalue().removesuffix("...\n").rstrip("\n")
