"""Images that are there more than once."""

import hashlib
from collections import defaultdict

from cnn_ablations.data.arrays import PARTS, Arrays, Part


def same_images(arrays: Arrays) -> list[list[tuple[Part, int]]]:
    """For each image that is there more than once, the part and the place of each of its copies."""
    places: dict[bytes, list[tuple[Part, int]]] = defaultdict(list)
    for part in PARTS:
        for place, image in enumerate(getattr(arrays, f"{part}_images")):
            places[hashlib.sha256(image.tobytes()).digest()].append((part, place))
    return [copies for copies in places.values() if len(copies) > 1]
