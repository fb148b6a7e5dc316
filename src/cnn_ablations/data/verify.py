"""What a downloaded file must pass before anything else reads it."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from cnn_ablations.errors import ProjectError

MEMBER_LIMIT = 64 * 2**20
"""Bytes. The largest member of the CIFAR-10 archive has 31 MB."""
ARCHIVE_LIMIT = 256 * 2**20
"""Bytes unpacked. The whole CIFAR-10 archive has 186 MB."""
ENTRY_LIMIT = 100

_BLOCK = tarfile.BLOCKSIZE
# They give the next member a long name, for instance: no wanted member needs one.
_EXTENSIONS = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_KINDS = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, *_EXTENSIONS}


def check_sha256(found: str, expected: str, source: str) -> None:
    """Raises ProjectError, naming `source`, where the two hashes differ."""
    if found != expected:
        raise ProjectError(f"{source} has the sha256 {found} instead of {expected}")


def verified_members(archive: Path, sha256: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted members of a gzipped tar archive, each checked by its hash.

    `sha256` gives the hash of each wanted member by its name, without the folders before it. Raises
    ProjectError where the archive is damaged, lacks a member or holds it twice, holds a link, a
    device or a path that leads out of it, or unpacks to more than the limits above.
    """
    # The archive's own hash is unknown, so every byte of it may be hostile. TarFile would read an
    # extension header of any size into memory (135 MB of them took it 17 s and 1.2 GB); walking
    # from header to header bounds each read before it happens.
    missing = dict(sha256)
    unpacked = 0
    try:
        with gzip.open(archive) as stream:
            for _ in range(ENTRY_LIMIT):
                block = stream.read(_BLOCK)
                if not any(block):  # the archive ends with empty blocks
                    break
                entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                unpacked += entry.size
                if not 0 <= entry.size <= MEMBER_LIMIT or unpacked > ARCHIVE_LIMIT:
                    raise ProjectError(
                        f"{archive.name} unpacks to more than {MEMBER_LIMIT // 2**20} MiB a member "
                        f"or {ARCHIVE_LIMIT // 2**20} MiB in all"
                    )
                _check_entry(entry, archive.name)
                content = stream.read(entry.size)
                if len(content) < entry.size:
                    raise ProjectError(f"{archive.name} ends within {entry.name!r:.200}")
                stream.read(-entry.size % _BLOCK)
                name = PurePosixPath(entry.name).name
                if name not in sha256 or entry.type in _EXTENSIONS:
                    continue
                if name not in missing:
                    raise ProjectError(f"{archive.name} holds {name} twice")
                check_sha256(
                    hashlib.sha256(content).hexdigest(),
                    missing.pop(name),
                    f"{archive.name}: {name}",
                )
                yield name, content
            else:
                raise ProjectError(f"{archive.name} holds more than {ENTRY_LIMIT} entries")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ProjectError(f"{archive.name} is not a gzipped tar archive ({error})") from None
    if missing:
        raise ProjectError(f"{archive.name} lacks {', '.join(missing)}")


def _check_entry(entry: tarfile.TarInfo, archive: str) -> None:
    path = PurePosixPath(entry.name)
    if entry.type not in _KINDS or path.is_absolute() or ".." in path.parts:
        raise ProjectError(
            f"{archive} holds {entry.name!r:.200}, which is not a plain file or folder inside it"
        )
