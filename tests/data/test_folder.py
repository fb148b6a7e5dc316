"""What real folders hold, from the source to the arrays."""

import difflib
import io
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn_ablations.config.datasets import DrawnSplit
from cnn_ablations.config.params import Params
from cnn_ablations.data import new_dataset
from cnn_ablations.data.arrays import NAMES, PARTS, UInt8s, load_arrays
from cnn_ablations.data.download import download
from cnn_ablations.data.images import look_at, read_image
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

rng = np.random.default_rng(0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five distinct 6x4 images of cats and five of dogs."""
    for label in ("cat", "dog"):
        for number in range(5):
            save(tmp_path / "pets" / label / f"{label}{number}.png", noise(6, 4, 3))
    return tmp_path / "pets"


def noise(*shape: int) -> UInt8s:
    return rng.integers(0, 256, shape, np.uint8)


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


def encoded(image: Any, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        stream, form, **options
    )
    return stream.getvalue()


def test_images_of_the_right_size_keep_their_pixels_and_lead_back_to_their_files(
    own: Any, source: Path
) -> None:
    own.add(source)
    named, arrays = own.pixels(), own.arrays()
    assert {*named} == {p.relative_to(source).as_posix() for p in source.rglob("*.png")}
    for name, pixels in named.items():
        np.testing.assert_array_equal(pixels, Image.open(source / name))
    assert arrays.classes == ["cat", "dog"]
    assert np.bincount(arrays.train_labels).tolist() == [4, 4]
    assert np.bincount(arrays.test_labels).tolist() == [1, 1]


@pytest.mark.real_data
def test_fashion_mnist_as_files_gives_the_arrays_of_its_idx_files(
    own: Any, tmp_path: Path, real_params: Params
) -> None:
    real = real_params.dataset("fashion-mnist")
    download("fashion-mnist", real, own.paths, os.environ["CNN_ABLATIONS_MIRROR"], print)
    preprocess("fashion-mnist", real, own.paths)
    idx = load_arrays(own.paths.arrays("fashion-mnist"))
    for part in PARTS:
        labels = getattr(idx, f"{part}_labels")[:200]
        for number, (pixels, label) in enumerate(zip(getattr(idx, f"{part}_images"), labels)):  # noqa: B905
            save(tmp_path / "fm" / part / str(label) / f"{number}.png", pixels[..., 0])
    own.add(tmp_path / "fm")
    arrays = own.arrays()
    for kind in NAMES:
        assert getattr(arrays, kind).tobytes() == getattr(idx, kind)[:200].tobytes()
        assert getattr(arrays, kind).dtype == getattr(idx, kind).dtype


def test_train_and_test_folders_are_taken_as_they_are(own: Any, tmp_path: Path) -> None:
    for part, count in (("Train", 3), ("test", 2)):
        for label in ("9", "10"):
            for number in range(count):
                save(tmp_path / "pets" / part / label / f"{number}.png", noise(4, 4))
    own.add(tmp_path / "pets")
    arrays = own.arrays()
    assert arrays.classes == ["9", "10"]
    assert arrays.train_labels.tolist() == [1, 0] * 3  # 10/0.png, 9/0.png, 10/1.png, ...
    assert arrays.test_labels.tolist() == [1, 0] * 2
    assert arrays.image_shape == (4, 4, 1)
    with pytest.raises(ProjectError, match=r"datasets\.own\.split must be there where"):
        own.preprocess(split=DrawnSplit())


def test_a_folder_and_an_archive_of_it_have_the_same_hash_and_arrays(
    own: Any, source: Path, tmp_path: Path
) -> None:
    params = own.paths.params.read_bytes()
    own.add(source)
    arrays, sha256 = own.arrays(), own.entry().sha256
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tmp_path.glob("pets/**/*"), reverse=True):
            archive.write(path, path.relative_to(tmp_path))
        for name in ("__MACOSX/pets/cat/._cat0.png", "../cat/x.png", "/dog/x.png"):
            archive.writestr(name, b"x")
    own.paths.params.write_bytes(params)
    own.add(tmp_path / "pets.zip")
    assert own.entry().sha256 == sha256
    assert own.arrays().sha256 == arrays.sha256


def test_a_folder_that_changed_is_refused_until_its_new_hash_is_written_down(
    own: Any, source: Path
) -> None:
    own.add(source)
    save(source / "cat" / "new.png", noise(6, 4, 3))
    with pytest.raises(ProjectError, match=f"{source} does not hold .* set sha256 .* to [0-9a-f]"):
        own.arrays()
    assert not own.paths.raw("own").exists()


def test_what_is_packed_is_verified_before_it_is_read(own: Any, source: Path) -> None:
    own.add(source)
    own.arrays()
    with zipfile.ZipFile(own.paths.raw("own") / "images.zip", "a") as packed:
        packed.writestr("cat/more.png", encoded(noise(6, 4, 3), "PNG"))
    with pytest.raises(ProjectError, match=r"images\.zip does not hold .* download@own`$"):
        own.preprocess()


# The oddities of real files.


def test_names_in_any_case_of_any_suffix_are_read(own: Any, source: Path) -> None:
    for name, form in (("a.JPG", "JPEG"), ("b.jpeg", "JPEG"), ("c.TIF", "TIFF"), ("d.bmp", "BMP")):
        (source / "cat" / name).write_bytes(encoded(noise(6, 4, 3), form))
    (source / "dog" / "e.webp").write_bytes(encoded(noise(6, 4, 3), "WEBP", lossless=True))
    (source / "dog" / "f.gif").write_bytes(encoded(Image.fromarray(noise(6, 4)), "GIF"))
    save(source / "dog" / "DOG0.PNG", noise(6, 4, 3))
    (line,) = (line for line in own.add(source) if line.startswith("files: 11 PNG, 2 JPEG, "))
    assert all(f"1 {form}" in line for form in ("TIFF", "BMP", "GIF", "WEBP"))
    assert line.endswith("; 6×4 pixels (height×width)")
    assert {"dog/DOG0.PNG", "dog/dog0.png"} < {*own.pixels()}


PNG = encoded(noise(40, 40, 3), "PNG")


def png_that_claims(side: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", side, side) + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("half.png", PNG[: len(PNG) // 2], "it is damaged, or its end is missing"),
        ("half.jpg", encoded(noise(40, 40, 3), "JPEG")[:900], "its end is missing"),
        ("half.bmp", encoded(noise(40, 40, 3), "BMP")[:900], "its end is missing"),
        ("empty.jpg", b"", "it is empty"),
        ("page.jpg", b"<html>not found</html>", "no image of a known format"),
        (
            "depth.tiff",
            encoded(np.ones((4, 4), np.float32), "TIFF"),
            "32-bit numbers, and nobody knows which one is white",
        ),
        ("bomb.png", png_that_claims(60_000), "it has more than 89,478,485 pixels"),
        ("large.png", png_that_claims(9_500), "it has more than 89,478,485 pixels"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_out_by_its_name_or_refused(
    own: Any, source: Path, name: str, content: bytes, reason: str
) -> None:
    (source / "cat" / name).write_bytes(content)
    lines = own.add(source)
    assert own.entry().skip == [f"cat/{name}"]
    assert any(
        line.startswith(f"left out: files that cannot be read: 'cat/{name}' (it") and reason in line
        for line in lines
    )
    assert len(own.pixels()) == 10
    before = own.paths.arrays("own").joinpath("meta.json").read_bytes()
    # Whoever takes it out of `skip` is told the new hash, and then which file it is.
    with pytest.raises(ProjectError, match=r"set sha256 .* to [0-9a-f]{64}$") as refused:
        own.download(skip=[])
    changes = {"skip": [], "sha256": str(refused.value)[-64:]}
    own.download(**changes)
    with pytest.raises(ProjectError, match=rf"'cat/{name}' cannot be read: .*{reason}; .* skip"):
        own.preprocess(**changes)
    assert own.paths.arrays("own").joinpath("meta.json").read_bytes() == before
    assert [*own.paths.arrays("own").parent.glob(".*")] == []


def test_a_source_of_many_unreadable_files_is_refused(
    own: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_dataset, "MOST_SKIPPED", 1)
    for number in range(2):
        (source / "cat" / f"empty{number}.png").touch()
    before = own.paths.params.read_bytes()
    with pytest.raises(ProjectError, match=r"cannot be read: 'cat/empty0.png' \(it is empty\), "):
        own.add(source)
    assert own.paths.params.read_bytes() == before


def test_a_damaged_member_of_an_archive_is_named(own: Any, source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for path in source.rglob("*.png"):
            archive.write(path, path.relative_to(source))
        offset = archive.getinfo("dog/dog2.png").header_offset
    content = bytearray((tmp_path / "own.zip").read_bytes())
    content[offset + 60] ^= 255
    (tmp_path / "own.zip").write_bytes(content)
    said = str(own.add(tmp_path / "own.zip"))
    assert "read: 'dog/dog2.png' (the archive is damaged there, or encrypted)" in said
    assert own.entry().skip == ["dog/dog2.png"]


GREY, COLOUR = noise(5, 5), noise(5, 5, 3)
PALETTE = Image.fromarray(COLOUR).quantize(8)
CLEAR = Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]] * 2, np.uint8))  # its left is
RED, BLUE = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
FRAMES: dict[str, Any] = {"save_all": True, "append_images": [BLUE]}
UPRIGHT = Image.new("RGB", (8, 16))
UPRIGHT.paste("white", (0, 0, 8, 8))
EXIF = Image.Exif()
EXIF[0x0112] = 6  # to be turned by 90° clockwise, which takes what is above to the right
ON_WHITE, FIRST = "with transparency, put on white", "with several frames, the first taken"
TURNED = "turned upright as their EXIF data say"


@pytest.mark.parametrize(
    ("image", "form", "options", "odd", "pixels"),
    [
        (COLOUR, "PNG", {}, "in PNG under another suffix", COLOUR),
        (GREY, "GIF", {}, "in GIF under another suffix", np.dstack([GREY] * 3)),
        (GREY.astype(np.uint16) * 257, "PNG", {}, "with 16 bits a channel, brought to 8", GREY),
        (PALETTE, "PNG", {}, "with a palette", PALETTE.convert("RGB")),
        (RED.convert("CMYK"), "TIFF", {}, "in CMYK, brought to RGB", RED),
        (CLEAR, "PNG", {}, ON_WHITE, [[[255] * 3, [9] * 3]] * 2),
        (CLEAR.convert("P"), "PNG", {}, ON_WHITE, [[[255] * 3, [9] * 3]] * 2),
        (CLEAR.convert("LA"), "PNG", {}, ON_WHITE, [[255, 9]] * 2),
        (RED, "GIF", FRAMES, FIRST, RED),
        (RED, "PNG", FRAMES, FIRST, RED),
        (RED, "WEBP", {**FRAMES, "lossless": True}, FIRST, RED),
        (UPRIGHT, "PNG", {"exif": EXIF}, TURNED, UPRIGHT.rotate(-90, expand=True)),
        (UPRIGHT, "JPEG", {"exif": EXIF}, TURNED, UPRIGHT.rotate(-90, expand=True)),
        # Which Pillow has turned.
        (UPRIGHT, "TIFF", {"exif": EXIF}, None, UPRIGHT.rotate(-90, expand=True)),
    ],
)
def test_pictures_of_any_kind_are_read_and_reported(
    image: Any, form: str, options: dict[str, Any], odd: str | None, pixels: Any
) -> None:
    content = encoded(image, form, **options)
    look = look_at(content, "a.jpg")
    assert odd is None or odd in look.odd
    read = read_image(content, (look.height, look.width, 1 if look.grey else 3), "resize")
    np.testing.assert_allclose(read.squeeze(), pixels, atol=2)


def test_foreign_and_hidden_files_are_no_images(own: Any, source: Path) -> None:
    for name in (".DS_Store", "cat/.DS_Store", "cat/._cat0.png", ".git/x.png", "dog/.x/y.png"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    for name in ("readme.txt", "cat/Thumbs.db", "cover.png"):
        (source / name).write_bytes(b"x")
    (source / "fish").mkdir()
    (source / "cat" / "loop").symlink_to(source)
    lines = [line for line in own.add(source) if "left out" in line]
    assert lines[0].startswith("left out: files that are no images or in no class: 3, such as ")
    assert lines[1:] == ["left out: folders without images to train on: fish"]
    assert own.entry().classes == ["cat", "dog"]
    assert len(own.pixels()) == 10


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has none$"),
        (["pets/cat/0"], "has one only, 'cat'$"),
        (["cat/0", "0"], "has one only, 'cat'; '0.png' is no image that can be read, or in no"),
        (["a/0", "a/1", "b/0"], "class 'b' has a single image"),
        (["pets/Cat/0", "pets/cat/0"], "'(C|c)at' and '(C|c)at' differ only in case"),
        (["train/a/0", "train/b/0", "test/c/0"], "class 'c' has images in test and none in"),
        (["train/a/0", "train/b/0", "test/B/0"], "'(b|B)' and '(b|B)' differ only in case"),
        ([os.fsdecode(b"cat/\xff")], r"'cat/\\udcff.png' is not plain text in UTF-8"),
    ],
)
def test_folders_that_make_no_classes_are_refused(
    own: Any, tmp_path: Path, files: list[str], message: str
) -> None:
    (tmp_path / "own").mkdir()
    for file in files:
        save(tmp_path / "own" / f"{file}.png", noise(4, 4))
    before = own.paths.params.read_bytes()
    with pytest.raises(ProjectError, match=message):
        own.add(tmp_path / "own")
    assert own.paths.params.read_bytes() == before


def test_names_in_other_scripts_are_kept(own: Any, tmp_path: Path) -> None:
    classes = ["猫", "собака", "گربه‌ها", "बिल्ली"]
    for label in classes:
        for number in range(3):
            save(tmp_path / "own" / label / f"écran {number}.png", noise(4, 4))
    lines = own.add(tmp_path / "own")
    assert "odd: classes whose names figures show as boxes: बिल्ली, 猫" in lines
    assert own.entry().classes == sorted(classes)
    assert "猫/écran 0.png" in own.pixels()


def test_the_same_picture_twice_is_reported(own: Any, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("a", "b"):
            for number in range(3):
                save(tmp_path / "own" / part / label / f"{number}.png", noise(4, 4))
    for original, copy in (("train/a/0", "test/b/copy"), ("train/a/1", "train/b/copy")):
        shutil.copy(tmp_path / f"own/{original}.png", tmp_path / f"own/{copy}.png")
    one, other = "train/a/0.png = test/b/copy.png", "train/a/1.png = train/b/copy.png"
    lines = [line for line in own.add(tmp_path / "own") if line.startswith("odd: pictures")]
    assert {
        *lines[0].removeprefix("odd: pictures that are there more than once: ").split(", ")
    } == {
        one,
        other,
    }
    assert lines[1] == f"odd: pictures to train on that are also there to test on: {one}"
    assert lines[2].startswith("odd: pictures in more than one class: train/a/")


def test_very_unequal_classes_are_reported(own: Any, source: Path) -> None:
    for number in range(60):
        save(source / "cat" / f"more{number}.png", noise(6, 4, 3))
    assert any("so unequal that accuracy misleads" in line for line in own.add(source))
    assert own.entry().unequal_classes


def test_a_thousand_classes_have_labels_of_two_bytes(own: Any, tmp_path: Path) -> None:
    content = encoded(noise(2, 2), "PNG")
    for label in range(1000):
        (folder := tmp_path / "own" / str(label)).mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(content)
    own.add(tmp_path / "own")
    arrays = own.arrays()
    assert arrays.classes == [str(label) for label in range(1000)]
    assert arrays.train_labels.dtype == np.uint16
    assert np.bincount(arrays.test_labels).tolist() == [1] * 1000


def test_arrays_are_written_as_images_are_read(
    own: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        save(source / "cat" / f"more{number}.png", Image.new("RGB", (8, 8)))
    own.add(source, 256)
    monkeypatch.setattr("cnn_ablations.data.folder.CHUNK", 2**20)
    own.arrays()  # imports what it needs
    tracemalloc.start()
    own.preprocess()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20 < own.paths.arrays("own").joinpath("train_images.npy").stat().st_size


def test_long_work_says_how_long_it_takes(
    own: Any, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cnn_ablations.progress.LINE_SECONDS", 0)
    monkeypatch.setattr(new_dataset, "FILES", 4)
    own.add(source)
    assert capsys.readouterr().out.startswith("4 of 10 images looked at, 0:00:0")


@pytest.mark.parametrize(
    ("fit", "row", "mean"),
    [("resize", [50] * 8, 50), ("pad", [0, 0, 0, 50, 50, 0, 0, 0], 12), ("crop", [200] * 8, 200)],
)
def test_images_come_to_their_size(fit: Any, row: list[int], mean: int) -> None:
    pixels = np.zeros((32, 8), np.uint8)
    pixels[12:20] = 200
    read = read_image(encoded(pixels, "PNG"), (8, 8, 1), fit)[..., 0]
    np.testing.assert_allclose(read.mean(axis=0), row, atol=6)
    assert read.mean() == pytest.approx(mean, abs=3)


@pytest.mark.parametrize(("size", "shape"), [(None, (4, 4, 3)), (7, (7, 7, 3))])
def test_the_size_is_that_which_suits_or_that_was_asked_for(
    own: Any, source: Path, size: int | None, shape: tuple[int, ...]
) -> None:
    save(source / "cat" / "other.png", noise(9, 9, 3))
    own.add(source, size)
    assert own.arrays().image_shape == shape


def test_colour_can_be_asked_for_in_grey(own: Any, source: Path) -> None:
    own.add(source, image_shape=[6, 4, 1])
    grey = np.asarray(Image.open(source / "cat/cat0.png").convert("L"))
    np.testing.assert_array_equal(own.pixels()["cat/cat0.png"][..., 0], grey)


def test_the_text_around_what_is_new_stays_as_it_was(
    own: Any, source: Path, checkout: Paths
) -> None:
    text = checkout.params.read_text()
    own.paths.params.write_text(text)
    new = new_dataset.new_dataset(own.paths.root, "own", source, None, print)[0]
    lines = [*difflib.ndiff(text.splitlines(), new.splitlines())]
    assert {line[0] for line in lines} == {" ", "+"}
    added = [line[2:] for line in lines if line[0] == "+"]
    assert [line for line in added if line[2] != " "] == [
        "  own:",
        "  own: # a recipe to start from, up to 96×96 pixels: every line is there to be varied",
        "  own-base: {protocol: own, dataset: own}",
    ]
    assert any(line.startswith("    epochs: 2000 # some 2,000 batches: ") for line in added)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own", "has 'own' among .* already, .* go on with `.* --base own-base .*; or delete them"),
        ("tiny", "has 'tiny' among its data sets or protocols already, .*: choose another name"),
        ("A", "'A' cannot be the name of a data set"),
        ("-x", "'-x' cannot be"),
        ("a/b", "'a/b' cannot be"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(
    own: Any, source: Path, name: str, message: str
) -> None:
    own.add(source)
    with pytest.raises(ProjectError, match=message):
        new_dataset.new_dataset(own.paths.root, name, source, None, print)


def test_a_source_that_is_not_there_or_is_none_is_refused(own: Any, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no file or folder .*nowhere"):
        own.add(tmp_path / "nowhere")
    (tmp_path / "pets.tar.gz").write_bytes(b"x")
    with pytest.raises(ProjectError, match=r"pets.tar.gz is neither a folder nor a zip archive"):
        own.add(tmp_path / "pets.tar.gz")
