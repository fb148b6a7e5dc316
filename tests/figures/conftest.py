"""What every figure must satisfy."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from cnn_ablations.figures.style import png


@pytest.fixture
def texts() -> Callable[[Figure], list[str]]:
    """A function that draws a figure, fails if anything is cut off or its alternative text says
    nothing, and returns all its text.
    """

    def drawn(figure: Figure) -> list[str]:
        Image.open(BytesIO(png(figure))).verify()
        used = figure.get_tightbbox().padded(-0.02)  # inches; strokes have a width
        width, height = figure.get_size_inches()
        assert used.x0 >= 0, "cut off on the left"
        assert used.y0 >= 0, "cut off below"
        assert used.x1 <= width, "cut off on the right"
        assert used.y1 <= height, "cut off above"
        alt = str(figure.get_label())
        assert len(alt.split()) > 4, f"says nothing: {alt!r}"
        assert alt.endswith("."), f"no sentence: {alt!r}"
        assert "\n" not in alt
        found = figure.findobj(Text)
        return [text.get_text() for text in found if isinstance(text, Text) and text.get_text()]

    return drawn


@pytest.fixture
def pixels() -> Callable[[Figure], list[NDArray[np.float64]]]:
    """A function that returns the image in each axes of a figure, with NaN where it is blank."""

    def shown(figure: Figure) -> list[NDArray[np.float64]]:
        arrays = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        return [np.ma.filled(np.ma.asarray(array, dtype=np.float64), np.nan) for array in arrays]

    return shown
