from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_ablations.figures.feature_maps import feature_maps, maps_through_depth

Texts = Callable[[Figure], list[str]]
Pixels = Callable[[Figure], list[NDArray[np.float64]]]
rng = np.random.default_rng(0)
image = rng.integers(0, 255, (28, 28, 1)).astype(np.uint8)


def test_a_row_a_layer_with_its_size(texts: Texts) -> None:
    maps = {"conv1": rng.random((26, 26, 16)), "conv2": rng.random((11, 11, 4))}
    figure = feature_maps(image, maps, caption="correct: Bag", pixel_max=255, channels=8)
    written = texts(figure)
    assert "correct: Bag" in written
    assert "conv1: first 8 of 16 maps of 26×26 pixels" in written
    assert "conv2: 4 maps of 11×11 pixels" in written


def test_each_map_is_scaled_on_its_own_and_flat_ones_are_counted(
    texts: Texts, pixels: Pixels
) -> None:
    maps = np.zeros((1, 2, 3))
    maps[0, 1, 0], maps[0, 1, 1] = 5, 50
    figure = feature_maps(image, {"conv1": maps}, caption="", pixel_max=255, channels=3)
    shown = pixels(figure)[1][1]
    assert shown[[1, 2, 4, 5, 7, 8]].tolist() == [0, 1, 0, 1, 0, 0]
    assert "conv1: 3 maps of 1×2 pixels (1 of 3 flat)" in texts(figure)


def test_maps_of_one_pixel_are_compared_with_each_other(texts: Texts, pixels: Pixels) -> None:
    maps = np.array([0.0, 1.0, 2.0]).reshape(1, 1, 3)
    figure = feature_maps(image, {"conv3": maps}, caption="", pixel_max=255, channels=3)
    shown = pixels(figure)[1][1]
    assert shown[[1, 3, 5]].tolist() == [0, 0.5, 1]
    assert "conv3: 3 maps of 1×1 pixels" in texts(figure)


def test_maps_that_are_no_numbers_are_pale(texts: Texts) -> None:
    maps = {"conv1": np.full((4, 4, 2), np.nan)}
    texts(feature_maps(image, maps, caption="", pixel_max=255, channels=2))


def test_each_image_has_a_row_with_the_first_map_of_each_layer(
    texts: Texts, pixels: Pixels
) -> None:
    images = np.stack([image, image // 2])
    maps = [
        {"conv1": factor * rng.random((28, 28, 8)), "conv2": factor * rng.random((14, 14, 4))}
        for factor in (1, 5)
    ]
    figure = maps_through_depth(
        images, maps, captions=["4 (99 %)", "4 (62 %)\nis 9"], pixel_max=255
    )
    shown = pixels(figure)
    assert len(shown) == 6
    for row, of_image, photo in zip((shown[:3], shown[3:]), maps, images, strict=True):
        np.testing.assert_array_equal(row[0], photo[..., 0])
        for drawn, of_layer in zip(row[1:], of_image.values(), strict=True):
            first = of_layer[..., 0]
            np.testing.assert_allclose(drawn, (first - first.min()) / np.ptp(first))
    written = texts(figure)
    assert {"image", "conv1\n28×28", "conv2\n14×14", "4 (99 %)", "4 (62 %)\nis 9"} <= set(written)


def test_the_value_of_a_flat_map_is_written_below_it(texts: Texts) -> None:
    maps = {"conv1": np.zeros((28, 28, 2)), "conv2": np.full((1, 1, 2), -0.125)}
    written = texts(maps_through_depth(image[None], [maps], captions=["x"], pixel_max=255))
    assert {"flat: 0", "flat: −0.12"} <= set(written)


def test_long_captions_stay_beside_their_image(texts: Texts) -> None:
    maps = {f"conv{i}": rng.random((4, 4, 2)) for i in range(1, 7)}
    caption = f"{'American Staffordshire terrier ' * 2}\n{'IMG_2019' * 9}"
    for figure in (
        maps_through_depth(image[None], [maps], captions=[caption], pixel_max=255),
        feature_maps(image, maps, caption=caption, pixel_max=255, channels=8),
    ):
        texts(figure)
        boxes = [box for axes in figure.axes if (box := axes.get_tightbbox())]
        assert not any(boxes[0].overlaps(other) for other in boxes[1:])
        assert figure.axes[0].get_window_extent().width > 90
