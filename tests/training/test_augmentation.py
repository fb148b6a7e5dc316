from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from cnn_ablations.config.variants import Augmentation
from cnn_ablations.training import augmentation as module
from cnn_ablations.training.augmentation import affine_transforms, augmentation_layer, is_affine

IMAGES = np.random.default_rng(0).random((6, 9, 12, 3), np.float32)
ALL: dict[str, Any] = {"rotation": 15.0, "shift": 0.1, "shear": 20.0, "zoom": 0.2}


def by_imagedatagenerator(
    image: NDArray[np.float32],
    angle: float,
    down: float,
    right: float,
    shear: float,
    zoom_height: float,
    zoom_width: float,
) -> NDArray[np.float32]:
    """Keras 2's `apply_affine_transform`, matrix by matrix."""
    sine, cosine = np.sin(angle), np.cos(angle)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    shift = np.array([[1, 0, down], [0, 1, right], [0, 0, 1]])
    shearing = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([zoom_height, zoom_width, 1])
    row, column = image.shape[0] / 2 - 0.5, image.shape[1] / 2 - 0.5
    offset = np.array([[1, 0, row], [0, 1, column], [0, 0, 1]])
    reset = np.array([[1, 0, -row], [0, 1, -column], [0, 0, 1]])
    matrix = offset @ rotation @ shift @ shearing @ zoom @ reset
    channels = [
        affine_transform(channel, matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest")
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def test_an_image_is_mapped_as_imagedatagenerator_mapped_it(keras: ModuleType) -> None:
    rng = np.random.default_rng(1)
    names = ("angle", "down", "right", "shear", "zoom_height", "zoom_width")
    places = np.array([0, 0, 0, 0, 1, 1])
    numbers = places + rng.uniform(-0.5, 0.5, (6, 6)) * [1, 4, 5, 1, 0.8, 0.8]
    numbers = numbers.astype(np.float32)
    transforms = affine_transforms(9, 12, **dict(zip(names, numbers.T, strict=True)))
    found = keras.ops.image.affine_transform(
        IMAGES, transforms, interpolation="bilinear", fill_mode="nearest"
    )
    expected = [by_imagedatagenerator(i, *n) for i, n in zip(IMAGES, numbers, strict=True)]
    np.testing.assert_allclose(np.asarray(found), expected, atol=2e-5)


@pytest.mark.parametrize("name", ALL)
def test_each_kind_changes_each_image_in_its_own_way_while_training_only(
    keras: ModuleType, name: str
) -> None:
    layer = augmentation_layer(Augmentation(**{name: ALL[name]}))
    many = np.repeat(IMAGES[:1], 16, axis=0)
    np.testing.assert_array_equal(np.asarray(layer(many, training=False)), many)
    np.testing.assert_array_equal(np.asarray(layer(many)), many)
    changed = np.asarray(layer(many, training=True))
    assert len(np.unique(changed.round(4), axis=0)) >= 16
    again = np.asarray(layer(many, training=True))
    assert np.abs(changed - again).max() > 0.01

    blank = np.ones_like(many)  # stays so, since edges are repeated
    np.testing.assert_allclose(np.asarray(layer(blank, training=True)), 1, rtol=1e-5)


def test_what_is_not_asked_for_changes_nothing(keras: ModuleType) -> None:
    layer = augmentation_layer(Augmentation())
    np.testing.assert_allclose(np.asarray(layer(IMAGES, training=True)), IMAGES, atol=1e-5)


def test_numbers_are_drawn_evenly_and_as_far_as_asked(
    keras: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, NDArray[np.float64]] = {}

    def noted(height: int, width: int, **numbers: Any) -> Any:
        drawn.update({name: np.asarray(values, np.float64) for name, values in numbers.items()})
        return affine_transforms(height, width, **numbers)

    monkeypatch.setattr(module, "affine_transforms", noted)
    keras.utils.set_random_seed(0)
    layer = augmentation_layer(Augmentation(**ALL))
    layer(np.zeros((4000, 9, 12, 1), np.float32), training=True)
    before = dict(drawn)
    layer(np.zeros((4000, 9, 12, 1), np.float32), training=True)
    assert [name for name in drawn if np.array_equal(drawn[name], before[name])] == []
    ends = {
        "angle": (-np.radians(15), np.radians(15)),
        "down": (-0.9, 0.9),
        "right": (-1.2, 1.2),
        "shear": (-np.radians(20), np.radians(20)),
        "zoom_height": (0.8, 1.2),
        "zoom_width": (0.8, 1.2),
    }
    assert drawn.keys() == ends.keys()
    for name, (low, high) in ends.items():
        values = drawn[name]
        assert values.shape == (4000,)
        margin = (high - low) / 100
        assert low - 1e-6 <= values.min() < low + margin
        assert high - margin < values.max() <= high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 5 * margin
    correlations = np.corrcoef(list(drawn.values())) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.08  # each is drawn for itself


def test_only_what_needs_an_affine_map_gets_one() -> None:
    assert not is_affine(Augmentation(mirror="random", crop=2, cutout=3))
    assert all(is_affine(Augmentation(**{name: value})) for name, value in ALL.items())
