"""Numbers that only a slip of the hand can have written, which would fail late and unclearly."""

from collections.abc import Iterator, Mapping
from typing import Any

from cnn_ablations.config.base import shortly

ENTRIES = 1_000
"""Of a list: one for each layer or seed. Checks and networks take time with its square."""
LARGEST = 1e6
"""Filters, pixels, images, epochs, factors of a penalty: above it a layer, a batch or its loss fits
into no memory or no float32."""
# Seeds, as wide as generators take them; and counts of images, which are compared with the data.
LARGEST_OF = dict.fromkeys(("seeds", "split", "train_images"), 2**32 - 1)


def out_of_bounds(values: Any, key: str = "", largest: float = LARGEST) -> Iterator[str]:
    """What is too large in the keys of a variant, mappings and lists in it included: its key, and
    a sentence about it.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            within = f"{key}.{name}".removeprefix(".")
            yield from out_of_bounds(value, within, LARGEST_OF.get(name, largest))
    elif isinstance(values, list) and len(values) > ENTRIES:
        yield f"{key} has {len(values):,} entries, but at most {ENTRIES:,} are allowed"
    elif isinstance(values, list):
        for number, value in enumerate(values):
            yield from out_of_bounds(value, f"{key}.{number}", largest)
    elif isinstance(values, int | float) and values > largest:
        yield f"{key} is {shortly(values)}, but at most {largest:,.0f} is allowed"
