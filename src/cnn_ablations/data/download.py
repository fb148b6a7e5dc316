"""Fill data/raw with verified files: from a mirror, the official addresses, or a folder."""

import shutil
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pooch
import requests

from cnn_ablations.config.datasets import (
    Cifar10Dataset,
    Dataset,
    DigitsDataset,
    FolderDataset,
    IdxDataset,
    NpzDataset,
)
from cnn_ablations.data import digits
from cnn_ablations.data.folder import find_images, hash_of_images, open_tree
from cnn_ablations.data.images import Report
from cnn_ablations.data.verify import check_sha256, verified_members
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, remove, sha256_of
from cnn_ablations.paths import Paths

RETRIES = 5
"""Further attempts at an address that failed, after 1, 2, ... seconds. They go on where the last
one broke off, as some hosts do again and again.
"""
CHUNK = 2**16
"""Bytes that are written at a time."""
SIZE_LIMIT = 2**30
"""Bytes of a file. The largest, the CIFAR-10 archive, has 170 MB."""
UNPACKED = "cifar-10-batches-py"
"""The folder in that archive, whose members serve where a mirror holds it without the archive."""


def download(
    name: str,
    dataset: Dataset,
    paths: Paths,
    mirror: str | None,
    report: Report,
) -> None:
    """Fill data/raw/<name> with the verified files of a data set: all of them, or none.

    `mirror` is a folder, or the beginning of a URL, that holds `<name>/<file>`; it is tried before
    the data set's own addresses. `report` takes a line for each attempt and each failure. A file
    that is not what it should be is moved to data/scratch/quarantine. Raises ProjectError where no
    address gave a good file, and where a folder cannot be written.
    """
    raw, scratch = paths.raw(name), paths.scratch("downloads", name)
    new = raw.with_name(f".{name}.tmp")
    try:
        for folder in (new, scratch):
            remove(folder)  # what a killed run left
            folder.mkdir(parents=True)
        if isinstance(dataset, DigitsDataset):
            (new / digits.FILE).write_bytes(digits.bundled_digits())
        elif isinstance(dataset, FolderDataset) and "://" not in dataset.source:
            source = paths.root / Path(dataset.source).expanduser()
            if not source.exists():
                raise ProjectError(f"{source}, the source of {name} in params.yaml, is not there")
            _pack(dataset, new, report, source)
        else:
            addresses = [f"{mirror.rstrip('/')}/{name}"] if mirror else []
            addresses += [
                url.rstrip("/") if "://" in url else str(paths.root / Path(url).expanduser())
                for url in dataset.urls
            ]
            if isinstance(dataset, Cifar10Dataset) and dataset.archive:
                first = Path(addresses[0]).expanduser()
                if (first / UNPACKED).is_dir() and not (first / dataset.archive).exists():
                    dataset = dataset.model_copy(update={"archive": None})
                    addresses.insert(0, str(first / UNPACKED))
            quarantine = paths.scratch("quarantine", name)
            for file, keep in _wanted(dataset, new, report):
                _obtain(file, addresses, scratch, quarantine, keep, report)
        if raw.exists():
            shutil.rmtree(raw)
        new.replace(raw)
    except OSError as error:
        raise cannot_write(error.filename or raw, error) from None
    finally:
        for folder in (new, scratch):
            shutil.rmtree(folder, ignore_errors=True)


Keep = Callable[[Path], None]
"""Puts what is wanted of a file into the new folder, or raises ProjectError where it is another."""


def _wanted(
    dataset: IdxDataset | Cifar10Dataset | FolderDataset | NpzDataset, new: Path, report: Report
) -> list[tuple[str, Keep]]:
    """The files to download, and what to do with each."""
    if isinstance(dataset, FolderDataset):
        return [(PurePosixPath(dataset.source).name, partial(_pack, dataset, new, report))]
    if isinstance(dataset, NpzDataset):
        keep = partial(_keep_file, dataset.sha256, new / dataset.file)
        return [(PurePosixPath(dataset.source).name, keep)]
    if isinstance(dataset, IdxDataset):
        sha256 = {file.name: file.sha256 for file in dataset.files.values()}
    elif dataset.archive:
        return [(dataset.archive, partial(_keep_members, dataset.members, new))]
    else:
        sha256 = dataset.members
    return [(name, partial(_keep_file, of_file, new / name)) for name, of_file in sha256.items()]


def _keep_file(sha256: str, new: Path, copy: Path) -> None:
    check_sha256(sha256_of(copy), sha256, copy.name)
    shutil.move(copy, new)


def _keep_members(sha256: dict[str, str], new: Path, copy: Path) -> None:
    for member, content in verified_members(copy, sha256):
        (new / member).write_bytes(content)


def _pack(dataset: FolderDataset, new: Path, report: Report, source: Path) -> None:
    """Pack the images of a folder or an archive into one file: DVC takes long with many."""
    with open_tree(source) as tree, zipfile.ZipFile(new / dataset.file, "w") as packed:
        found = find_images(tree, dataset.skip)

        def keep(name: str, content: bytes) -> None:
            packed.writestr(zipfile.ZipInfo(name), content)  # of 1980: always the same bytes

        if (sha256 := hash_of_images(tree, found, report, keep)) != dataset.sha256:
            raise ProjectError(
                f"{source} does not hold the images that params.yaml describes; bring them back, "
                f"or, if they are meant to be others, set sha256 of the data set to {sha256}"
            )


def _obtain(
    file: str,
    addresses: list[str],
    scratch: Path,
    quarantine: Path,
    keep: Keep,
    report: Report,
) -> None:
    """Try the addresses in order until one gives a file that `keep` accepts."""
    failures = []
    for address in addresses:
        report(f"fetching {address}/{file}")
        (scratch / file).unlink(missing_ok=True)  # pooch would take what an attempt has left
        try:
            copy = _fetch(address, file, scratch)
            try:
                return keep(copy)
            except ProjectError as error:
                kept = quarantine / f"{sha256_of(copy)[:12]}-{file}"
                quarantine.mkdir(parents=True, exist_ok=True)
                shutil.move(copy, kept)
                raise ProjectError(f"{error}, so it is in quarantine as {kept}") from None
        except ProjectError as error:
            failures.append(f"{address}/{file}: {error}")
            report(f"failed: {failures[-1]}")
    raise ProjectError(
        f"no address gave a good {file} ({'; '.join(failures)}); check the network, or set "
        f"CNN_ABLATIONS_MIRROR to a folder or URL that holds {scratch.name}/{file}"
    )


def _fetch(address: str, file: str, folder: Path) -> Path:
    """Copy `file` from a folder or a URL into `folder`. Raises ProjectError with the reason."""
    if "://" not in address:
        return _copy(Path(address).expanduser() / file, folder / file)
    pooch.get_logger().setLevel("WARNING")  # `report` says it
    # No hash for pooch to check: it would delete a wrong file instead of showing it.
    store = pooch.create(folder, address, registry={file: None}, retry_if_failed=RETRIES)
    part = folder / f"{file}.part"

    def resumed(url: str, output: str, store: pooch.Pooch) -> None:
        with part.open("ab") as copy:

            def restart(response: requests.Response, **_: Any) -> None:
                if response.status_code == requests.codes.ok:  # it knows nothing of ranges
                    copy.truncate(0)

            http = pooch.HTTPDownloader(
                progressbar=sys.stderr.isatty(),
                chunk_size=CHUNK,
                # Else requests may unpack a .gz on the way.
                headers={"Accept-Encoding": "identity", "Range": f"bytes={copy.tell()}-"},
                hooks={"response": restart},
            )
            http(url, _Limited(copy), store)
        part.replace(output)

    try:
        return Path(store.fetch(file, downloader=resumed))
    except (requests.RequestException, ValueError) as error:
        raise ProjectError(_reason(error)) from None
    finally:
        part.unlink(missing_ok=True)  # another address may have another file


def _copy(source: Path, target: Path) -> Path:
    try:
        if not source.is_file():  # opening a pipe would wait for a writer
            raise ProjectError("it is not there, or not a file")
        stream = source.open("rb")
    except OSError as error:
        raise ProjectError(str(error.strerror)) from None
    with stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, _Limited(copy))
    return target


class _Limited:
    """A file that refuses to grow beyond `SIZE_LIMIT`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.flush = file.flush

    def write(self, chunk: bytes) -> int:
        if self.file.tell() + len(chunk) > SIZE_LIMIT:
            raise ProjectError(f"it has more than {SIZE_LIMIT // 2**20} MiB")
        return self.file.write(chunk)


def _reason(error: Exception) -> str:
    match error:
        case requests.HTTPError(response=requests.Response(status_code=status, reason=reason)):
            return f"the server answered {status} {reason}"
        case requests.exceptions.ChunkedEncodingError():
            return "the connection broke off before the end of the file"
        case requests.ConnectionError() | requests.Timeout():
            return f"no connection ({type(error).__name__})"
        case _:
            return str(error)
