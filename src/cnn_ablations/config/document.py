"""A YAML file as plain values: YAML 1.2, read by the library that DVC reads it with."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

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
