import contextlib
import gzip
import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.data.verify import verified_members
from cnn_ablations.errors import ProjectError

MEMBERS = {"batches.meta": b"names", "data_batch_1": bytes(range(256)) * 5}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in MEMBERS.items()}


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


GOOD = [entry(f"cifar-10-batches-py/{name}", content) for name, content in MEMBERS.items()]


def tar(
    entries: list[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read(folder: Path, content: bytes) -> dict[str, bytes]:
    path = folder / "a.tar.gz"
    path.write_bytes(content)
    return dict(verified_members(path, SHA256))


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_takes_the_wanted_members_and_nothing_else(tmp_path: Path, tar_format: int) -> None:
    folder = entry("cifar-10-batches-py", kind=tarfile.DIRTYPE)
    long_name = entry("cifar-10-batches-py/" + "x" * 90 + "/data_batch_1.html", b"read me")
    extension = entry("PaxHeaders/data_batch_1", b"13 comment=x\n", tarfile.XHDTYPE)
    in_another_folder = entry("./data_batch_1", MEMBERS["data_batch_1"])
    content = tar([folder, long_name, extension, in_another_folder, GOOD[0]], tar_format)
    assert read(tmp_path, gzip.compress(content)) == MEMBERS
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("data_batch_1", kind=tarfile.SYMTYPE, link="/etc/passwd")], "not a plain file"),
        ([entry("readme", kind=tarfile.LNKTYPE, link="../x")], "'readme', which is not a plain"),
        ([entry("readme", kind=tarfile.CHRTYPE)], "not a plain file"),
        ([entry("readme", kind=tarfile.BLKTYPE)], "not a plain file"),
        ([entry("readme", kind=tarfile.FIFOTYPE)], "not a plain file"),
        ([entry("readme", kind=tarfile.GNUTYPE_SPARSE)], "not a plain file"),
        ([entry("../data_batch_1", b"x")], "not a plain file"),
        ([entry("a/../../readme", b"x")], "not a plain file"),
        ([entry("/etc/cron.d/data_batch_1", b"x")], "not a plain file"),
        ([entry("other/data_batch_1", MEMBERS["data_batch_1"])], "holds data_batch_1 twice"),
        ([entry(str(number)) for number in range(100)], "holds more than 100 entries"),
    ],
)
def test_refuses_a_tricky_entry(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    with pytest.raises(ProjectError, match=rf"^a\.tar\.gz .*{message}"):
        read(tmp_path, gzip.compress(tar(GOOD + entries)))


WRONG_HASH = f"{hashlib.sha256(b'x').hexdigest()} instead of {SHA256['data_batch_1']}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " lacks batches.meta, data_batch_1"),
        (gzip.compress(tar(GOOD[:1])), " lacks data_batch_1$"),
        (gzip.compress(tar([entry("data_batch_1", b"x")])), f": data_batch_1 .* {WRONG_HASH}$"),
        (b"<html>404</html>", " is not a gzipped tar archive"),
        (gzip.compress(b"<html>404</html>"), " is not a gzipped tar archive"),
        (gzip.compress(tar(GOOD))[:10] + b"\xff" * 9, " is not a gzipped tar archive"),
        (gzip.compress(tar(GOOD))[:-60], " is not a gzipped tar archive"),
        (gzip.compress(tar(GOOD)[: 4 * 512]), " ends within 'cifar-10-batches-py/data_batch_1'"),
        (tar(GOOD), " is not a gzipped tar archive"),
    ],
)
def test_refuses_a_damaged_archive(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ProjectError, match=rf"^a\.tar\.gz{message}"):
        read(tmp_path, content)


def announcing(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo("readme")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "unpacked",
    [
        [announcing(65 * 2**20)],
        [announcing(8 * 2**30)],
        [announcing(8 * 2**30, tarfile.XHDTYPE)],
        [announcing(-(2**30))],
        [announcing(60 * 2**20), *[bytes(2**20)] * 60] * 20,
    ],
    ids=["large member", "huge member", "large extension header", "negative size", "many members"],
)
def test_a_bomb_ends_within_bounds(tmp_path: Path, unpacked: list[bytes]) -> None:
    compressed = {part: gzip.compress(part, 1) for part in set(unpacked)}
    tracemalloc.start()
    with pytest.raises(ProjectError, match="unpacks to more than 64 MiB a member or 256 MiB in"):
        read(tmp_path, b"".join(compressed[part] for part in unpacked))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20


@settings(deadline=None)
@given(st.data())
def test_gives_the_members_or_a_project_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(tar(GOOD, tarfile.GNU_FORMAT)[: 7 * 512])
    headers = st.integers(0, 511) | st.integers(1024, 1535)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(headers)] = data.draw(st.integers(0, 255))
    for start in (0, 1024):  # a header with a wrong checksum would be refused at once
        header = content[start : start + 512]
        header[148:156] = b" " * 8
        content[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    with contextlib.suppress(ProjectError):
        assert read(tmp_path_factory.getbasetemp(), gzip.compress(content, 1)) == MEMBERS
