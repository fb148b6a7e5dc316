import hashlib
import io
import os
import re
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pooch.core
import pytest

from cnn_ablations.config.datasets import Dataset, dataset_adapter
from cnn_ablations.data.download import RETRIES, download
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

FILES = {
    f"{role}.gz": role.encode() * 1000
    for role in ("train_images", "train_labels", "test_images", "test_labels")
}
MEMBERS = {
    name: name.encode() * 1000
    for name in ("batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
}
ARCHIVE = "cifar.tar.gz"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def dataset(kind: str, *urls: str) -> Dataset:
    """A data set of FILES ("idx"), of an archive of MEMBERS ("cifar10"), or the digits."""
    specific: dict[str, object] = {"urls": list(urls)} if urls else {}
    if kind == "idx":
        specific["files"] = {
            name.removesuffix(".gz"): {"name": name, "sha256": sha256(content)}
            for name, content in FILES.items()
        }
    elif kind == "cifar10":
        specific["archive"] = ARCHIVE
        specific["members"] = {name: sha256(content) for name, content in MEMBERS.items()}
    common = {"title": "", "image_shape": [8, 8, 1], "classes": ["a", "b"], "citation": ""}
    return dataset_adapter.validate_python({"format": kind, **common, **specific})


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Site:
    """A web server on this machine: what it serves by path, and what it was asked for."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    claimed_length: int | None = None
    """The Content-Length to announce instead of the true one."""
    breaks_off_after: int | None = None
    """Bytes that it sends at a time, of a longer page."""
    knows_ranges: bool = True
    """Else it sends the page from its beginning, and the second time as a whole."""


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            content = served.pages.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start, at_a_time = 0, served.breaks_off_after
            if not served.knows_ranges and served.requests.count(self.path) > 1:
                at_a_time = None
            elif at_a_time and served.knows_ranges:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                self.send_header("Content-Encoding", "gzip")  # as some servers do for a .gz
            length = served.claimed_length or len(content) - start
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content[start:][:at_a_time])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Site(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield served
        server.shutdown()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "project")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that pooch would have made between its attempts."""
    pauses: list[float] = []
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def quarantined(paths: Paths, name: str) -> list[bytes]:
    return [path.read_bytes() for path in paths.scratch("quarantine", name).glob("*")]


def assert_nothing_is_half_written(paths: Paths) -> None:
    assert not paths.raw("d").exists() or contents(paths.raw("d")) == FILES  # of before
    assert not list(paths.root.glob("data/raw/.*"))
    assert not list(paths.root.glob("data/scratch/downloads/*"))


def silent(line: str) -> None:
    pass


def test_downloads_from_the_official_address(
    site: Site, paths: Paths, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pooch.get_logger().setLevel("INFO")
    site.pages = {f"/d/{name}": content for name, content in FILES.items()}
    lines: list[str] = []
    download("d", dataset("idx", f"{site.url}/d/"), paths, None, lines.append)
    assert contents(paths.raw("d")) == FILES
    assert lines == [f"fetching {site.url}/d/{name}" for name in FILES]
    assert not list(paths.root.glob("data/scratch/*/*"))
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("mirror", ["a folder", "/m", "/m/"])
def test_a_mirror_comes_first_be_it_a_folder_or_the_beginning_of_a_url(
    site: Site, paths: Paths, tmp_path: Path, mirror: str
) -> None:
    put(tmp_path / "a folder" / "d", FILES)
    put(paths.raw("d"), {"stale": b""})
    site.pages = {f"/m/d/{name}": content for name, content in FILES.items()}
    by_url = mirror.startswith("/")
    place = f"{site.url}{mirror}" if by_url else str(tmp_path / mirror)
    download("d", dataset("idx", f"{site.url}/official/"), paths, place, silent)
    assert contents(paths.raw("d")) == FILES
    assert contents(tmp_path / "a folder" / "d") == FILES
    assert site.requests == [f"/m/d/{name}" for name in FILES] * by_url


def test_the_official_address_serves_what_the_mirror_lacks(
    site: Site, paths: Paths, tmp_path: Path
) -> None:
    first, *others = FILES
    mirror = put(tmp_path / "mirror" / "d", {name: FILES[name] for name in others}).parent
    site.pages = {f"/{first}": FILES[first]}
    lines: list[str] = []
    download("d", dataset("idx", site.url), paths, str(mirror), lines.append)
    assert contents(paths.raw("d")) == FILES
    assert f"failed: {mirror}/d/{first}: it is not there, or not a file" in lines


def test_the_second_address_serves_after_a_404(
    site: Site, paths: Paths, pauses: list[float]
) -> None:
    site.pages = {f"/b/{name}": content for name, content in FILES.items()}
    download("d", dataset("idx", f"{site.url}/a/", f"{site.url}/b/"), paths, None, silent)
    assert contents(paths.raw("d")) == FILES
    assert pauses == [*range(1, 1 + RETRIES)] * len(FILES)


@pytest.mark.parametrize("kind", ["idx", "cifar10"])
def test_a_wrong_file_is_quarantined_and_the_next_address_tried(
    site: Site, paths: Paths, kind: str
) -> None:
    if kind == "idx":
        good, wrong = FILES, {**FILES, "test_images.gz": b"wrong"}
        refused = wrong["test_images.gz"]
    else:
        good = {ARCHIVE: archive(MEMBERS)}
        refused = archive({**MEMBERS, "test_batch": b"wrong"})
        wrong = {ARCHIVE: refused}
    site.pages = {f"/a/{name}": content for name, content in wrong.items()}
    site.pages |= {f"/b/{name}": content for name, content in good.items()}
    lines: list[str] = []
    urls = f"{site.url}/a/", f"{site.url}/b/"
    download("d", dataset(kind, *urls), paths, None, lines.append)
    assert contents(paths.raw("d")) == (FILES if kind == "idx" else MEMBERS)
    assert quarantined(paths, "d") == [refused]
    (failure,) = [line for line in lines if line.startswith("failed")]
    expected = sha256(FILES["test_images.gz"] if kind == "idx" else MEMBERS["test_batch"])
    assert f"has the sha256 {sha256(b'wrong')} instead of {expected}" in failure
    assert len(site.requests) == len(set(site.requests))


def test_an_unpacked_archive_serves_in_its_place(paths: Paths, tmp_path: Path) -> None:
    mirror = put(tmp_path / "mirror" / "d" / "cifar-10-batches-py", MEMBERS).parents[1]
    cifar = dataset("cifar10", "http://127.0.0.1:1")
    download("d", cifar, paths, str(mirror), silent)
    assert contents(paths.raw("d")) == MEMBERS
    put(mirror / "d" / "cifar-10-batches-py", {"test_batch": b"wrong"})
    failure = rf"/test_batch: test_batch has the sha256 {sha256(b'wrong')} instead of"
    with pytest.raises(ProjectError, match=failure):
        download("d", cifar, paths, str(mirror), silent)
    put(mirror / "d", {ARCHIVE: archive(MEMBERS)})  # comes first
    download("d", cifar, paths, str(mirror), silent)
    assert contents(paths.raw("d")) == MEMBERS


def test_a_truncated_download_is_tried_again_and_refused(site: Site, paths: Paths) -> None:
    site.pages = {f"/{name}": content for name, content in FILES.items()}
    site.claimed_length = 10**6
    broken = r"http://.*/train_images\.gz: the connection broke off before the end of the file"
    way_out = r"set CNN_ABLATIONS_MIRROR to a folder or URL that holds d/train_images\.gz"
    with pytest.raises(
        ProjectError, match=rf"no address gave a good train_images\.gz \({broken}\); .* {way_out}$"
    ):
        download("d", dataset("idx", site.url), paths, None, silent)
    assert len(site.requests) == 1 + RETRIES
    assert_nothing_is_half_written(paths)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_was_or_begins_anew(
    site: Site, paths: Paths, monkeypatch: pytest.MonkeyPatch, knows_ranges: bool
) -> None:
    monkeypatch.setattr("cnn_ablations.data.download.CHUNK", 100)
    site.pages = {f"/{name}": content for name, content in FILES.items()}
    longest = max(map(len, FILES.values()))
    site.breaks_off_after = longest // RETRIES  # of which less than a chunk is lost
    site.knows_ranges = knows_ranges
    download("d", dataset("idx", site.url), paths, None, silent)
    assert contents(paths.raw("d")) == FILES
    assert len(site.requests) >= 2 * len(FILES)


def test_another_address_does_not_go_on_where_one_broke_off(
    site: Site, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_ablations.data.download.CHUNK", 100)
    longest = max(map(len, FILES.values()))
    site.pages = {f"/b/{name}": content for name, content in FILES.items()}
    site.pages |= {f"/a/{name}": b"another file" * longest for name in FILES}
    site.breaks_off_after = longest // RETRIES
    download("d", dataset("idx", f"{site.url}/a/", f"{site.url}/b/"), paths, None, silent)
    assert contents(paths.raw("d")) == FILES


def test_a_failure_names_every_address_and_its_reason_and_leaves_earlier_files_alone(
    site: Site, paths: Paths, tmp_path: Path
) -> None:
    names = list(FILES)
    put(paths.raw("d"), FILES)
    mirror = put(tmp_path / "mirror" / "d", FILES | {names[2]: b"wrong"}).parent
    closed = "http://127.0.0.1:1"
    urls = closed, site.url, "gopher://127.0.0.1"
    with pytest.raises(ProjectError) as caught:
        download("d", dataset("idx", *urls), paths, str(mirror), silent)
    message = str(caught.value)
    assert message.startswith(f"no address gave a good {names[2]} (")
    assert f"{names[2]} has the sha256 {sha256(b'wrong')} instead of" in message
    assert f"{closed}/{names[2]}: no connection (ConnectionError)" in message
    assert f"{site.url}/{names[2]}: the server answered 404 Not Found" in message
    assert "gopher://127.0.0.1/" in message
    assert "\n" not in message
    assert quarantined(paths, "d") == [b"wrong"]
    assert_nothing_is_half_written(paths)
    assert paths.raw("d").exists()


@pytest.mark.parametrize("by_url", [False, True])
def test_a_file_without_an_end_is_given_up(
    site: Site, paths: Paths, tmp_path: Path, by_url: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_ablations.data.download.SIZE_LIMIT", 2**20)
    files = FILES | {"train_images.gz": bytes(2**20 + 1)}
    mirror = put(tmp_path / "mirror" / "d", files).parent
    site.pages = {f"/d/{name}": content for name, content in files.items()}
    source = site.url if by_url else str(mirror)
    with pytest.raises(ProjectError, match=r"/d/train_images\.gz: it has more than 1 MiB;"):
        download("d", dataset("idx", "http://127.0.0.1:1"), paths, source, silent)
    assert len(site.requests) == by_url  # and not tried again
    assert quarantined(paths, "d") == []
    assert_nothing_is_half_written(paths)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(paths: Paths, tmp_path: Path, kind: str) -> None:
    source = put(tmp_path / "mirror" / "d", {}) / "train_images.gz"
    make = {"device": lambda p: p.symlink_to("/dev/zero"), "pipe": os.mkfifo, "folder": Path.mkdir}
    make[kind](source)
    with pytest.raises(ProjectError, match=r"/d/train_images\.gz: it is not .* a file;"):
        download("d", dataset("idx", "http://127.0.0.1:1"), paths, str(tmp_path / "mirror"), silent)
    assert_nothing_is_half_written(paths)


def test_an_interruption_leaves_nothing_half_written(paths: Paths, tmp_path: Path) -> None:
    mirror = put(tmp_path / "mirror" / "d", FILES).parent

    def interrupt(line: str) -> None:
        if "test_labels" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("d", dataset("idx", "http://127.0.0.1:1"), paths, str(mirror), interrupt)
    assert_nothing_is_half_written(paths)


def test_a_killed_run_leaves_nothing_that_the_next_one_takes(paths: Paths, tmp_path: Path) -> None:
    mirror = put(tmp_path / "mirror" / "d", FILES).parent
    put(paths.root / "data/raw/.d.tmp", {"stale": b""})
    put(paths.scratch("downloads", "d"), {"train_images.gz": b"half"})
    download("d", dataset("idx", "http://127.0.0.1:1"), paths, str(mirror), silent)
    assert contents(paths.raw("d")) == FILES


@pytest.mark.parametrize("blocked", ["data", "data/raw", "data/scratch", "data/raw/d"])
def test_names_a_folder_that_cannot_be_written(paths: Paths, tmp_path: Path, blocked: str) -> None:
    mirror = put(tmp_path / "mirror" / "d", FILES).parent
    path = paths.root / blocked
    put(path.parent, {path.name: b"a file where a folder should be"})
    with pytest.raises(ProjectError, match=rf"^cannot write {path}.*: .+; free space or change"):
        download("d", dataset("idx", "http://127.0.0.1:1"), paths, str(mirror), silent)
    assert path.is_file()


@pytest.mark.parametrize("by_url", [False, True])
def test_names_what_a_full_disk_cannot_take(
    site: Site, paths: Paths, tmp_path: Path, by_url: bool, room_for: Callable[[int], Any]
) -> None:
    mirror = site.url if by_url else str(put(tmp_path / "mirror" / "d", FILES).parent)
    site.pages = {f"/d/{name}": content for name, content in FILES.items()}
    full = pytest.raises(ProjectError, match=r"^cannot write .*: File too large; free space or")
    with room_for(5000), full:
        download("d", dataset("idx", site.url), paths, mirror, silent)
    assert_nothing_is_half_written(paths)


def test_a_terminal_sees_bytes_and_remaining_time(
    site: Site, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    site.pages = {f"/{name}": content for name, content in FILES.items()}
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    download("d", dataset("idx", site.url), paths, None, silent)
    assert re.search(r"12\.0k/12\.0k \[00:00<00:00, .*B/s\]", terminal.getvalue())
