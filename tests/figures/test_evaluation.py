from collections.abc import Callable
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from cnn_ablations.figures.evaluation import confusion_matrix, final_accuracies

Texts = Callable[[Figure], list[str]]
FASHION = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]


def test_every_seed_and_the_median_are_there(texts: Texts) -> None:
    accuracies = {"train": np.array([0.9, 0.1, 0.8]), "test": np.array([0.7, 0.1, 0.6])}
    figure = final_accuracies(accuracies)
    (axes,) = figure.axes
    for points, of_split in zip(axes.collections, accuracies.values(), strict=True):
        np.testing.assert_allclose(np.asarray(points.get_offsets())[:, 0], of_split)
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert lines == [[0.8], [0.6]]
    assert {"training", "test", "accuracy after training"} <= set(texts(figure))


def test_cells_hold_images_and_below_shares_of_their_row(texts: Texts) -> None:
    counts = {"train": np.array([[9, 0], [1, 4]]), "test": np.array([[3, 1], [0, 0]])}
    figure = confusion_matrix(counts, ["cat", "dog"])
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        ["9", "", "1", "4"],
        ["3", "1", "", ""],
        ["100", "", "20", "80"],
        ["75", "25", "", ""],
    ]
    written = set(texts(figure))
    assert {"cat", "dog", "true class", "predicted class"} <= written
    assert {"training: number of images", "test: per cent of the true class"} <= written


def test_twelve_classes_with_long_names_are_readable(texts: Texts) -> None:
    names = [f"$^$ class {i} of the Staffordshire terriers" for i in range(12)]
    counts = np.full((12, 12), 100)
    figure = confusion_matrix({"train": counts, "test": counts}, names)
    assert "$^$ class 11 of the Sta…" in texts(figure)
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts[:12]]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_number_contrasts_with_its_cell() -> None:
    figure = confusion_matrix({"test": np.array([[99, 1], [50, 50]])}, ["a", "b"])
    assert [text.get_color() for text in figure.axes[0].texts] == [
        *("white", "black"),
        *("white", "white"),
    ]
