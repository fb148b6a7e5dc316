"""Files that appear whole or not at all, that are read up to a limit, and their fingerprints."""

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cnn_ablations.errors import ProjectError
from cnn_ablations.faults import reach

if TYPE_CHECKING:  # who only writes should not wait for it
    from pydantic import TypeAdapter

T = TypeVar("T")
CONFLICT_MARKER = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
"""What git leaves in a file of which two branches hold different versions."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` such that a crash leaves the old file or the new one.

    Raises ProjectError where the folder cannot be written or the disk is full.
    """
    # Always the same name: what a killed process left is overwritten by the next one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            half = len(content) // 2
            file.write(content[:half])
            reach(f"write {path.name}")
            file.write(content[half:])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> ProjectError:
    """What to raise where a file or folder cannot be written."""
    return ProjectError(
        f"cannot write {path}: {error.strerror or error}; free space or change its permissions, "
        "then run the same command again"
    )


def read_limited(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
        ValueError: where it is larger, or no plain file (a device has no end).
        OSError: where it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no plain file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(limit, size) + 1)  # Python makes room for all that is asked for
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return content


def read_json(path: Path, limit: int, form: "TypeAdapter[T]") -> T:
    """The JSON in a file of at most `limit` bytes.

    Raises:
        ValueError: as `read_limited` does, and where it is not of this form.
        OSError: where it cannot be read.
    """
    from pydantic import ValidationError

    content = read_limited(path, limit)
    try:
        return form.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}".removeprefix(": ")) from None


def remove(path: Path) -> None:
    """Remove what is at `path`, if anything: a folder with all it holds, a file, a link.

    Raises OSError where something of it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def json_bytes(value: Any) -> bytes:
    """JSON in a stable form: given order, two spaces, a final newline; NaN is an error."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
