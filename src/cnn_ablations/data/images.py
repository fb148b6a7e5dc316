"""What an image's file holds: its pixels as an array has them, and what is unusual about it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnn_ablations.config.datasets import Fit
from cnn_ablations.data.arrays import UInt8s
from cnn_ablations.progress import tracked

# What Pillow warns of names no file. Files that unpack to gigabytes are errors.
warnings.filterwarnings("ignore", module="PIL")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

T = TypeVar("T")
R = TypeVar("R")
Report = Callable[[str], None]
SUFFIXES = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"},
    **{".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF"},
}
"""The format that a file's suffix stands for."""


class UnreadableError(ValueError):
    """Why an image's file cannot be read, in words that follow its name."""


class Look(NamedTuple):
    """What a file holds before it becomes an array."""

    height: int
    width: int
    form: str
    """PNG, JPEG, ..."""
    grey: bool
    odd: list[str]
    """What is unusual, in words that follow "images"."""


def look_at(content: bytes, name: str) -> Look:
    """What the image in the file `name` is. Raises UnreadableError."""
    with _opened(content) as image:
        form = "JPEG" if image.format == "MPO" else str(image.format)
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")
        suffix = PurePosixPath(name).suffix.lower()
        odd = {
            f"in {form} under another suffix": form != SUFFIXES.get(suffix),
            "with 16 bits a channel, brought to 8": image.mode.startswith("I;16"),
            "with a palette": image.mode in ("P", "PA"),
            "in CMYK, brought to RGB": image.mode == "CMYK",
            "with transparency, put on white": image.has_transparency_data,
            "turned upright as their EXIF data say": image.getexif().get(0x0112, 1) != 1,
            "with several frames, the first taken": getattr(image, "n_frames", 1) > 1
            and form != "JPEG",
        }
        width, height = _flat(image, 1 if grey else 3).size
    return Look(height, width, form, grey, [what for what, holds in odd.items() if holds])


def read_image(content: bytes, shape: Sequence[int], fit: Fit) -> UInt8s:
    """The pixels (height, width, channels) of an image's file, brought to this shape.

    An image that has the size keeps its pixels. Raises UnreadableError.
    """
    height, width, channels = shape
    with _opened(content) as image:
        side = 2 * max(height, width)
        image.draft(None, (side, side))  # a JPEG is decoded at a fraction of its size: faster
        flat = _flat(image, channels)
        if flat.size != (width, height):
            to_size = {"pad": ImageOps.pad, "crop": ImageOps.fit}.get(fit, Image.Image.resize)
            flat = to_size(flat, (width, height), Image.Resampling.BICUBIC)
    return np.asarray(flat, np.uint8).reshape(height, width, channels)


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """An image's file, open. What is wrong with it becomes an UnreadableError."""
    if not content:
        raise UnreadableError("it is empty")
    try:
        with Image.open(BytesIO(content), formats=[*{*SUFFIXES.values()}]) as image:
            yield image
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("it is no image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception:  # a broken file can fail in any way, and Pillow's words name no file
        raise UnreadableError("it is damaged, or its end is missing") from None


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """An image upright, on white where it is transparent, in 8 bits of grey or of each colour."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F"):
        raise UnreadableError("its pixels are 32-bit numbers, and nobody knows which one is white")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("L" if channels == 1 else "RGB")


def in_chunks(
    function: Callable[[T], R], items: Sequence[T], size: int, report: Report, done: str
) -> Iterator[list[R]]:
    """`function` of all items, `size` of them at a time, on all cores.

    Now and then `report` takes a line: how many are `done`, and how long the others take.
    """
    with ThreadPoolExecutor() as pool:  # Pillow decodes without Python's lock
        for start in tracked(range(0, len(items), size), len(items), report, done):
            yield list(pool.map(function, items[start : start + size]))
