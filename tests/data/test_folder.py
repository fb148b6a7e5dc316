"""What real folders hold, from the source to the arrays."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnn_ablations.config.datasets import DrawnSplit, FolderDataset
from cnn_ablations.config.params import load_params
from cnn_ablations.data import new_dataset
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays, load_file_names
from cnn_ablations.data.download import download
from cnn_ablations.data.folder import find_images, open_tree
from cnn_ablations.data.images import look_at, read_image
from cnn_ablations.data.preprocess import preprocess
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

rng = np.random.default_rng(0)
EXIF_TURNED = 6  # to be turned by 90° clockwise


@pytest.fixture
def paths(project: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.chdir(project.root)
    return project


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


def add(paths: Paths, source: Path | str, size: str = "", **changes: Any) -> list[str]:
    """Add the data set `own`, with changes to its entry. What was said about it."""
    text, lines = new_dataset.new_dataset(paths.root, "own", str(source), size, Path, print)
    document = yaml.safe_load(text)
    document["datasets"]["own"] |= changes
    paths.params.write_text(yaml.safe_dump(document, sort_keys=False))
    return lines


def entry(paths: Paths) -> FolderDataset:
    dataset = load_params(paths.params).dataset("own")
    assert isinstance(dataset, FolderDataset)
    return dataset


def made(paths: Paths) -> Arrays:
    download("own", entry(paths), paths, None, print)
    preprocess("own", entry(paths), paths)
    return load_arrays(paths.arrays("own"))


def added(paths: Paths, source: Path | str, size: str = "", **changes: Any) -> Arrays:
    add(paths, source, size, **changes)
    return made(paths)


def pixels_by_file(paths: Paths, arrays: Arrays) -> dict[str, UInt8s]:
    named: dict[str, UInt8s] = {}
    for part, pixels in (("train", arrays.train_images), ("test", arrays.test_images)):
        names = load_file_names(paths.arrays("own"), part)  # type: ignore[arg-type]
        assert names is not None
        named |= dict(zip(names, pixels, strict=True))
    return named


def test_images_of_the_right_size_keep_their_pixels_and_lead_back_to_their_files(
    paths: Paths, source: Path
) -> None:
    arrays = added(paths, source)
    named = pixels_by_file(paths, arrays)
    assert {*named} == {p.relative_to(source).as_posix() for p in source.rglob("*.png")}
    for name, pixels in named.items():
        np.testing.assert_array_equal(pixels, Image.open(source / name))
    assert arrays.classes == ["cat", "dog"]
    assert (len(arrays.train_labels), len(arrays.test_labels)) == (8, 2)
    assert np.bincount(arrays.test_labels).tolist() == [1, 1]
    assert entry(paths).split is not None


@pytest.mark.real_data
def test_fashion_mnist_as_files_gives_the_arrays_of_its_idx_files(
    paths: Paths, tmp_path: Path, checkout: Paths
) -> None:
    real = load_params(checkout.params).dataset("fashion-mnist")
    download("fashion-mnist", real, paths, os.environ["CNN_ABLATIONS_MIRROR"], print)
    preprocess("fashion-mnist", real, paths)
    idx = load_arrays(paths.arrays("fashion-mnist"))
    for part in ("train", "test"):
        labels = getattr(idx, f"{part}_labels")[:200]
        for number, (pixels, label) in enumerate(zip(getattr(idx, f"{part}_images"), labels)):  # noqa: B905
            save(tmp_path / "fm" / part / str(label) / f"{number}.png", pixels[..., 0])
    own = added(paths, tmp_path / "fm")
    for kind in ("train_images", "train_labels", "test_images", "test_labels"):
        assert getattr(own, kind).tobytes() == getattr(idx, kind)[:200].tobytes()
        assert getattr(own, kind).dtype == getattr(idx, kind).dtype


def test_train_and_test_folders_are_taken_as_they_are(paths: Paths, tmp_path: Path) -> None:
    for part, count in (("Train", 3), ("test", 2)):
        for label in ("9", "10"):
            for number in range(count):
                save(tmp_path / "pets" / part / label / f"{number}.png", noise(4, 4))
    arrays = added(paths, tmp_path / "pets")
    assert arrays.classes == ["9", "10"]
    assert arrays.train_labels.tolist() == [1, 0] * 3  # 10/0.png, 9/0.png, 10/1.png, ...
    assert arrays.test_labels.tolist() == [1, 0] * 2
    assert arrays.image_shape == (4, 4, 1)
    changed = entry(paths).model_copy(update={"split": DrawnSplit(test=0.2)})
    with pytest.raises(ProjectError, match=r"datasets\.own\.split: .* train and test, so remove"):
        preprocess("own", changed, paths)


def test_a_source_without_test_images_needs_a_split(paths: Paths, source: Path) -> None:
    added(paths, source)
    with pytest.raises(ProjectError, match=r"datasets\.own\.split is missing"):
        preprocess("own", entry(paths).model_copy(update={"split": None}), paths)


def test_a_folder_and_an_archive_of_it_have_the_same_hash_and_arrays(
    paths: Paths, source: Path, tmp_path: Path
) -> None:
    arrays = added(paths, source)
    sha256 = entry(paths).sha256
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tmp_path.glob("pets/**/*"), reverse=True):
            archive.write(path, path.relative_to(tmp_path))
        archive.writestr("__MACOSX/pets/cat/._cat0.png", b"x")
    document = yaml.safe_load(paths.params.read_bytes())
    del document["datasets"]["own"], document["variants"]["own-base"]
    paths.params.write_text(yaml.safe_dump(document))
    again = added(paths, tmp_path / "pets.zip")
    assert entry(paths).sha256 == sha256
    assert again.sha256 == arrays.sha256


def test_a_folder_that_changed_is_refused_until_its_new_hash_is_written_down(
    paths: Paths, source: Path
) -> None:
    add(paths, source)
    save(source / "cat" / "new.png", noise(6, 4, 3))
    with pytest.raises(ProjectError, match=f"{source} does not hold .* set sha256 .* to [0-9a-f]"):
        made(paths)
    assert not paths.raw("own").exists()


def test_what_is_packed_is_verified_before_it_is_read(paths: Paths, source: Path) -> None:
    added(paths, source)
    with zipfile.ZipFile(paths.raw("own") / "images.zip", "a") as packed:
        packed.writestr("cat/more.png", encoded(noise(6, 4, 3), "PNG"))
    with pytest.raises(ProjectError, match=r"images\.zip does not hold .* download@own`$"):
        preprocess("own", entry(paths), paths)


# The oddities of real files.


def test_names_in_any_case_of_any_suffix_are_read(paths: Paths, source: Path) -> None:
    for name, form in (("a.JPG", "JPEG"), ("b.jpeg", "JPEG"), ("c.TIF", "TIFF"), ("d.bmp", "BMP")):
        (source / "cat" / name).write_bytes(encoded(noise(6, 4, 3), form))
    (source / "dog" / "e.webp").write_bytes(encoded(noise(6, 4, 3), "WEBP", lossless=True))
    (source / "dog" / "f.gif").write_bytes(encoded(Image.fromarray(noise(6, 4)), "GIF"))
    lines = add(paths, source)
    (line,) = (line for line in lines if line.startswith("files: 10 PNG, 2 JPEG, "))
    assert all(f"1 {form}" in line for form in ("TIFF", "BMP", "GIF", "WEBP"))
    assert line.endswith("; from 6×4 to 6×4 pixels (height×width)")
    assert len(pixels_by_file(paths, made(paths))) == 16


PNG = encoded(noise(40, 40, 3), "PNG")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("half.png", PNG[: len(PNG) // 2], "truncated"),
        ("half.jpg", encoded(noise(40, 40, 3), "JPEG")[:900], "truncated"),
        ("half.bmp", encoded(noise(40, 40, 3), "BMP")[:900], "truncated"),
        ("empty.jpg", b"", "it is empty"),
        ("page.jpg", b"<html>not found</html>", "no image of a known format"),
        ("depth.tiff", encoded(np.ones((4, 4), np.float32), "TIFF"), "32-bit numbers"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_out_by_its_name_or_refused(
    paths: Paths, source: Path, name: str, content: bytes, reason: str
) -> None:
    (source / "cat" / name).write_bytes(content)
    lines = add(paths, source)
    assert entry(paths).skip == [f"cat/{name}"]
    said = [line for line in lines if line.startswith("left out: files that cannot be read: 1, ")]
    assert f"cat/{name}" in said[0]
    assert reason in said[0]
    assert len(pixels_by_file(paths, made(paths))) == 10
    with zipfile.ZipFile(paths.raw("own") / "images.zip", "a") as packed:
        packed.writestr(f"cat/{name}", content)
    with pytest.raises(ProjectError, match=r"set sha256 .* to [0-9a-f]{64}$") as refused:
        download("own", entry(paths).model_copy(update={"skip": []}), paths, None, print)
    meant = {"skip": [], "sha256": str(refused.value)[-64:]}
    dataset = entry(paths).model_copy(update=meant)
    download("own", dataset, paths, None, print)
    before = paths.arrays("own").joinpath("meta.json").read_bytes()
    with pytest.raises(ProjectError, match=rf"'cat/{name}' cannot be read .*{reason}.* skip"):
        preprocess("own", dataset, paths)
    assert paths.arrays("own").joinpath("meta.json").read_bytes() == before
    assert [*paths.arrays("own").parent.glob(".*")] == []


def test_a_source_of_many_unreadable_files_is_refused(
    paths: Paths, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_dataset, "MOST_SKIPPED", 1)
    for number in range(2):
        (source / "cat" / f"empty{number}.png").touch()
    with pytest.raises(ProjectError, match=r"2 files cannot be read .*'cat/empty0.png': it is em"):
        add(paths, source)
    assert "  own:" not in paths.params.read_text()


def test_a_decompression_bomb_is_left_out(paths: Paths, source: Path) -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = PNG[:8] + struct.pack(">I", 13) + header + PNG[29:]
    (source / "cat" / "bomb.png").write_bytes(bomb)
    for side in (10_000, 9_500):  # beyond the limit of Pillow's error, and of its warning only
        save(source / "dog" / f"large{side}.png", Image.new("1", (side, side)))
    lines = add(paths, source)
    assert entry(paths).skip == ["cat/bomb.png", "dog/large10000.png", "dog/large9500.png"]
    assert "decompression bomb" in str(lines) or "exceeds limit" in str(lines)


def looked_at(image: Any, form: str, name: str, **options: Any) -> tuple[list[str], UInt8s]:
    content = encoded(image, form, **options)
    look = look_at(content, name)
    size = (look.height, look.width, 1 if look.grey else 3)
    return look.odd, read_image(content, size, "resize")


def test_a_picture_under_another_suffix_is_read_and_reported() -> None:
    pixels = noise(5, 5, 3)
    odd, read = looked_at(pixels, "PNG", "a.jpg")
    assert odd == ["PNG under another suffix"]
    np.testing.assert_array_equal(read, pixels)
    assert looked_at(noise(5, 5), "GIF", "a.jpg")[0][0] == "GIF under another suffix"


def test_16_bits_become_8() -> None:
    pixels = noise(5, 5)
    odd, read = looked_at(pixels.astype(np.uint16) * 257, "PNG", "a.png")
    assert odd == ["with 16 bits a channel, brought to 8"]
    np.testing.assert_array_equal(read[..., 0], pixels)


def test_a_palette_becomes_its_colours() -> None:
    image = Image.fromarray(noise(5, 5, 3)).quantize(8)
    odd, read = looked_at(image, "PNG", "a.png")
    assert odd == ["with a palette"]
    np.testing.assert_array_equal(read, image.convert("RGB"))


def test_cmyk_becomes_rgb() -> None:
    odd, read = looked_at(Image.new("CMYK", (3, 3), (255, 0, 0, 0)), "TIFF", "a.tif")
    assert odd == ["in CMYK, brought to RGB"]
    assert read[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (10, 10, 10, 255))
    image.putpixel((0, 0), (10, 10, 10, 0))
    odd, read = looked_at(image.convert(mode), "PNG", "a.png")
    assert "with transparency, put on white" in odd
    assert read[0, 0].tolist() == [255] * read.shape[-1]
    assert read[0, 1].tolist() == [10] * read.shape[-1]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_data_turn_an_image_upright(form: str) -> None:
    image = Image.new("RGB", (8, 16))
    image.paste("white", (0, 0, 8, 8))  # the upper half, which belongs to the right
    exif = Image.Exif()
    exif[0x0112] = EXIF_TURNED
    odd, read = looked_at(image, form, f"a.{form}", exif=exif)
    assert read.shape == (8, 16, 3)
    assert read[:, 12].mean() > 200 > 50 > read[:, 4].mean()
    if form != "TIFF":  # Pillow has turned it
        assert odd == ["turned upright as their EXIF data say"]


@pytest.mark.parametrize(("form", "suffix"), [("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp")])
def test_of_several_frames_the_first_is_taken(form: str, suffix: str) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    odd, read = looked_at(
        first, form, f"a.{suffix}", save_all=True, append_images=[second], **options
    )
    assert "with several frames, the first taken" in odd
    assert read[0, 0].tolist() == [255, 0, 0]


def test_foreign_and_hidden_files_are_no_images(paths: Paths, source: Path) -> None:
    for name in (".DS_Store", "cat/.DS_Store", "cat/._cat0.png", ".git/x.png", "dog/.x/y.png"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    for name in ("readme.txt", "cat/Thumbs.db", "cover.png"):
        (source / name).write_bytes(b"x")
    lines = add(paths, source)
    (line,) = (line for line in lines if "left out" in line)
    assert line.startswith("left out: files that are no images of a class: 3, such as ")
    assert len(pixels_by_file(paths, made(paths))) == 10


def test_a_class_without_images_is_reported(paths: Paths, source: Path) -> None:
    (source / "fish").mkdir()
    lines = add(paths, source)
    assert "left out: folders without images to train on: 1, such as fish" in lines
    assert entry(paths).classes == ["cat", "dog"]


def test_a_class_with_one_image_is_refused(paths: Paths, source: Path) -> None:
    save(source / "fish" / "only.png", noise(6, 4, 3))
    with pytest.raises(ProjectError, match="the class 'fish' has a single image"):
        add(paths, source)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "has none$"),
        (["pets/cat"], "has one only, 'cat'$"),
        (["pets/Cat", "pets/cat"], "'Cat' and 'cat' differ only in case"),
        (["train/a", "train/b", "test/a", "test/c"], "class 'c' has images in test and none in"),
        (["train/a", "train/b", "test/a", "test/B"], "'(b|B)' and '(b|B)' differ only in case"),
    ],
)
def test_folders_that_make_no_classes_are_refused(
    paths: Paths, tmp_path: Path, folders: list[str], message: str
) -> None:
    (tmp_path / "own").mkdir()
    for folder in folders:
        for number in range(2):
            save(tmp_path / "own" / folder / f"{number}.png", noise(4, 4))
    before = paths.params.read_bytes()
    with pytest.raises(ProjectError, match=message):
        add(paths, tmp_path / "own")
    assert paths.params.read_bytes() == before


def test_names_in_other_scripts_are_kept(paths: Paths, tmp_path: Path) -> None:
    for label in ("猫", "собака", "گربه‌ها"):
        for number in range(3):
            save(tmp_path / "own" / label / f"écran {number}.png", noise(4, 4))
    lines = add(paths, tmp_path / "own")
    assert "odd: classes whose names figures show as boxes: 1, such as 猫" in lines
    arrays = made(paths)
    assert arrays.classes == sorted(["猫", "собака", "گربه‌ها"])
    assert "猫/écran 0.png" in pixels_by_file(paths, arrays)


def test_a_name_that_is_no_text_is_refused(paths: Paths, source: Path) -> None:
    Path(os.fsdecode(os.fsencode(source / "cat") + b"/\xff.png")).touch()
    with pytest.raises(ProjectError, match=r"'cat/\\udcff.png' is not plain text in UTF-8"):
        add(paths, source)


def test_file_names_that_differ_only_in_case_are_two_images(paths: Paths, source: Path) -> None:
    save(source / "cat" / "CAT0.PNG", noise(6, 4, 3))
    assert {"cat/CAT0.PNG", "cat/cat0.png"} < {*pixels_by_file(paths, added(paths, source))}


def test_the_same_picture_twice_is_reported(paths: Paths, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("a", "b"):
            for number in range(3):
                save(tmp_path / "own" / part / label / f"{number}.png", noise(4, 4))
    content = (tmp_path / "own/train/a/0.png").read_bytes()
    (tmp_path / "own/test/b/copy.png").write_bytes(content)
    content = (tmp_path / "own/train/a/1.png").read_bytes()
    (tmp_path / "own/train/b/copy.png").write_bytes(content)
    (line,) = (line for line in add(paths, tmp_path / "own") if "more than once" in line)
    assert "pictures that are there more than once: 2, such as train/a/0.png, test/b/co" in line
    assert line.endswith("; 1 of them to train on and to test on, 2 in two classes")


def test_very_unequal_classes_are_reported(paths: Paths, source: Path) -> None:
    for number in range(60):
        save(source / "cat" / f"more{number}.png", noise(6, 4, 3))
    assert any("so unequal that accuracy misleads" in line for line in add(paths, source))


def test_a_thousand_classes_have_labels_of_two_bytes(paths: Paths, tmp_path: Path) -> None:
    content = encoded(noise(2, 2), "PNG")
    for label in range(1000):
        (folder := tmp_path / "own" / str(label)).mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(content)
    arrays = added(paths, tmp_path / "own")
    assert arrays.classes == [str(label) for label in range(1000)]
    assert arrays.train_labels.dtype == np.uint16
    assert np.bincount(arrays.test_labels).tolist() == [1] * 1000


def test_arrays_are_written_as_images_are_read(
    paths: Paths, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        save(source / "cat" / f"more{number}.png", Image.new("RGB", (8, 8)))
    add(paths, source, "256")
    download("own", entry(paths), paths, None, print)
    monkeypatch.setattr("cnn_ablations.data.folder.CHUNK", 2**20)
    preprocess("own", entry(paths), paths)  # imports what it needs
    tracemalloc.start()
    preprocess("own", entry(paths), paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20 < paths.arrays("own").joinpath("train_images.npy").stat().st_size


def test_long_work_says_how_long_it_takes(
    paths: Paths, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_ablations.progress.LINE_SECONDS", 0)
    monkeypatch.setattr(new_dataset, "FILES", 4)
    said: list[str] = []
    new_dataset.new_dataset(paths.root, "own", str(source), "", Path, said.append)
    assert said[0].startswith("4 of 10 images looked at, 0:00:0")


@pytest.mark.parametrize(
    ("fit", "row"),
    [
        ("resize", [255] * 8),
        ("pad", [0, 0, 255, 255, 255, 255, 0, 0]),
        ("crop", [255] * 8),
    ],
)
def test_images_come_to_their_size(fit: Any, row: list[int]) -> None:
    content = encoded(np.full((16, 8), 255, np.uint8), "PNG")
    assert read_image(content, (8, 8, 1), fit)[4, :, 0].tolist() == row


def test_crop_keeps_the_middle_and_resize_the_whole() -> None:
    pixels = np.zeros((24, 8), np.uint8)
    pixels[8:16] = 200
    content = encoded(pixels, "PNG")
    assert read_image(content, (8, 8, 1), "crop").mean() > 190
    assert 60 < read_image(content, (8, 8, 1), "resize").mean() < 75


@pytest.mark.parametrize(("size", "shape"), [("", (4, 4)), ("7", (7, 7)), ("5x9", (5, 9))])
def test_the_size_is_that_which_suits_or_that_was_asked_for(
    paths: Paths, source: Path, size: str, shape: tuple[int, int]
) -> None:
    save(source / "cat" / "other.png", noise(9, 9, 3))
    assert added(paths, source, size).image_shape == (*shape, 3)


def test_a_size_that_is_none_is_refused(paths: Paths, source: Path) -> None:
    with pytest.raises(ProjectError, match=r"--size 1x2x3: must be SIDE or HEIGHTxWIDTH"):
        add(paths, source, "1x2x3")


def test_colour_can_be_asked_for_in_grey(paths: Paths, source: Path) -> None:
    arrays = added(paths, source, image_shape=[6, 4, 1])
    grey = np.asarray(Image.open(source / "cat/cat0.png").convert("L"))
    np.testing.assert_array_equal(pixels_by_file(paths, arrays)["cat/cat0.png"][..., 0], grey)


def test_the_text_around_a_new_entry_stays_as_it_was(
    paths: Paths, source: Path, checkout: Paths
) -> None:
    text = checkout.params.read_text()
    paths.params.write_text(text)
    new = new_dataset.new_dataset(paths.root, "own", str(source), "", Path, print)[0]
    place = new.index("  own:\n")
    end = new.index("\nprotocols:")
    base = "  own-base: {protocol: own-images, dataset: own, pooling: 1, epochs: 500}\n"
    assert new[:place] + new[end:].replace(base, "") == text[:place] + text[place:]
    assert new[place - 1 :].startswith("\n")


@pytest.mark.parametrize("name", ["digits", "A", "-x", "a/b"])
def test_a_name_that_is_taken_or_none_is_refused(paths: Paths, source: Path, name: str) -> None:
    with pytest.raises(ProjectError, match=f"'{name}' cannot be the name of a new data set"):
        new_dataset.new_dataset(paths.root, name, str(source), "", Path, print)


def test_a_source_that_is_not_there_or_is_none_is_refused(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no file or folder .*nowhere"):
        add(paths, tmp_path / "nowhere")
    (tmp_path / "pets.tar.gz").write_bytes(b"x")
    with pytest.raises(ProjectError, match=r"pets.tar.gz is neither a folder nor a zip archive"):
        add(paths, tmp_path / "pets.tar.gz")


def test_a_damaged_member_of_an_archive_is_named(paths: Paths, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png"):
            archive.writestr(name, encoded(noise(4, 4), "PNG"))
        offset = archive.getinfo("b/2.png").header_offset
    content = bytearray((tmp_path / "own.zip").read_bytes())
    content[offset + 60] ^= 255
    (tmp_path / "own.zip").write_bytes(content)
    lines = add(paths, tmp_path / "own.zip")
    assert entry(paths).skip == ["b/2.png"]
    assert "Bad CRC-32" in str(lines)


def test_links_that_lead_in_circles_are_not_followed(paths: Paths, source: Path) -> None:
    (source / "cat" / "loop").symlink_to(source)
    with open_tree(source) as tree:
        assert len(find_images(tree).images) == 10
