from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.splits import Images, Subset
from cnn_ablations.training.batches import crop, cut_out, epoch_batches, mirror

NUMBER = 50
PIXELS = np.random.default_rng(0).integers(1, 256, (NUMBER, 5, 4, 3), np.uint8)
TRAIN = Subset(Images(PIXELS, np.arange(NUMBER)), np.arange(NUMBER, dtype=np.uint8), "train")


def epoch(tiny: Variant, number: int = 1, seed: int = 0, **augmentation: Any) -> tuple[Any, Any]:
    """The images of an epoch, and the labels, which are their numbers, in one piece."""
    changes = {"batch_size": 8, "augmentation": augmentation or None}
    variant = Variant.model_validate({**tiny.model_dump(), **changes})
    images, labels = zip(*epoch_batches(TRAIN, variant, seed, number), strict=True)
    assert [len(batch) for batch in labels] == [8] * 6 + [2]
    return np.concatenate(images), np.concatenate(labels)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(tiny_variant: Variant) -> None:
    orders = []
    for number, seed in ((1, 0), (2, 0), (1, 1)):
        images, labels = epoch(tiny_variant, number, seed)
        np.testing.assert_array_equal(images, PIXELS[labels])
        np.testing.assert_array_equal(np.sort(labels), np.arange(NUMBER))
        orders.append(labels.tolist())
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert epoch(tiny_variant)[1].tolist() == orders[0]


@pytest.mark.parametrize("change", [{"mirror": "random"}, {"crop": 1}, {"cutout": 2}])
def test_changes_differ_between_epochs_and_seeds_and_leave_the_first_order(
    tiny_variant: Variant, change: dict[str, Any]
) -> None:
    plain = epoch(tiny_variant)
    first, again, later, other = (
        epoch(tiny_variant, number, seed, **change)
        for number, seed in ((1, 0), (1, 0), (2, 0), (1, 1))
    )
    np.testing.assert_array_equal(first[1], plain[1])
    np.testing.assert_array_equal(first[0], again[0])
    differs = first[0] != plain[0]
    assert differs.any()
    for images, labels in (later, other):
        by_number = images[np.argsort(labels)] != PIXELS
        assert not np.array_equal(by_number, differs[np.argsort(first[1])])


def mirrored(images: Any, labels: Any) -> Any:
    """Which images are mirrored, by their number."""
    flipped = (images == PIXELS[labels][:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (images == PIXELS[labels]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(flipped, ~kept)
    return flipped[np.argsort(labels)]


def test_alternating_mirrors_each_image_in_every_other_epoch(tiny_variant: Variant) -> None:
    epochs = [mirrored(*epoch(tiny_variant, n, mirror="alternating")) for n in (1, 2, 3, 4)]
    assert 10 < epochs[0].sum() < 40
    np.testing.assert_array_equal(epochs[1], ~epochs[0])
    np.testing.assert_array_equal(epochs[2], epochs[0])
    np.testing.assert_array_equal(epochs[3], epochs[1])
    other = mirrored(*epoch(tiny_variant, 1, seed=1, mirror="alternating"))
    assert not np.array_equal(other, epochs[0])


def test_at_random_each_epoch_mirrors_others(tiny_variant: Variant) -> None:
    epochs = [mirrored(*epoch(tiny_variant, n, mirror="random")) for n in (1, 2, 3)]
    both = [(a ^ b).mean() for a, b in ((epochs[0], epochs[1]), (epochs[1], epochs[2]))]
    assert all(0.2 < share < 0.8 for share in both)


def test_mirroring_exchanges_left_and_right_of_the_chosen() -> None:
    found = mirror(PIXELS[:2], np.array([True, False]))
    np.testing.assert_array_equal(found[0], PIXELS[0, :, ::-1])
    np.testing.assert_array_equal(found[1], PIXELS[1])


def test_cropping_moves_an_image_by_whole_pixels_in_every_direction() -> None:
    many = np.repeat(PIXELS[:1], 400, axis=0)
    found = crop(many, 1, np.random.default_rng(0))
    assert (found.shape, found.dtype.name) == (many.shape, "uint8")
    padded = np.pad(PIXELS[0], ((1, 1), (1, 1), (0, 0)))
    places = {
        (down, right): padded[down : down + 5, right : right + 4].tobytes()
        for down in range(3)
        for right in range(3)
    }
    counts = dict.fromkeys(places.values(), 0)
    for image in found:
        counts[image.tobytes()] += 1
    assert len(counts) == 9
    assert all(25 < count < 70 for count in counts.values())


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_square_about_any_pixel_is_cut_out(side: int) -> None:
    many = np.full((2000, 5, 4, 2), 9, np.uint8)
    found = cut_out(many, side, np.random.default_rng(0))
    blank = found == 0
    np.testing.assert_array_equal(blank[..., 0], blank[..., 1])
    sizes = blank[..., 0].sum(axis=(1, 2))
    assert sizes.max() == side**2
    assert sizes.min() == ((side + 1) // 2) ** 2
    assert (found[~blank] == 9).all()
    often = blank[..., 0].mean(axis=0)
    assert often.min() > 0.5 * side * ((side + 1) // 2) / 20
    assert np.ptp(blank[:, 2, 1:3, 0].mean(axis=0)) < 0.1
