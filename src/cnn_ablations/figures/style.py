"""What all figures share: colours, markers, lines, type sizes, and how a figure becomes bytes."""

from io import BytesIO

from matplotlib import rcdefaults, rcParams
from matplotlib.figure import Figure
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette for all kinds of colour vision, without its yellow, which vanishes on
white. Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
"""One a colour: whoever cannot tell two colours apart tells the lines or the markers."""
SPLITS = {"train": 0, "val": 1, "test": 2, "test_balanced": 3}
"""The place in the three tuples above of each split that an accuracy is of, and of the balanced
accuracy, so that it looks the same everywhere."""
SPLIT_NAMES = {
    "train": "training",
    "val": "validation",
    "test": "test",
    "test_balanced": "balanced test",
}
GREY = "#666666"
"""Of what is context: reference lines, remarks."""
WIDTH = 9.0
"""Inches: a notebook's column."""

# For good, and after the defaults, so that nobody's own matplotlibrc changes a figure. Artists
# read these when they are made, so a context manager around `new_figure` would not reach them.
rcdefaults()
rcParams.update(
    {
        "font.family": "DejaVu Sans",  # matplotlib ships it: the same letters on every machine
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.7,
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "image.interpolation": "nearest",
        "image.cmap": "gray",
        "savefig.dpi": 100,
    }
)


class _NotebookFigure(Figure):
    """A Figure that Jupyter shows without pyplot, whose bytes depend on what it shows only."""

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, object], dict[str, object]]:
        alt = str(self.get_label())
        # Where nbconvert looks for the alternative text of an image.
        return {"image/png": png(self), "text/plain": alt}, {"image/png": {"alt": alt}}


def new_figure(width: float, height: float, alt: str) -> Figure:
    """An empty figure that lays itself out and clips no text.

    As the last expression of a notebook's cell it shows itself.

    Args:
        width: in inches.
        height: in inches.
        alt: a sentence for those who cannot see it: what it shows, with the main numbers.
    """
    figure = _NotebookFigure(figsize=(width, height), layout="constrained")
    figure.set_label(alt)
    return figure


def percent(fraction: float) -> str:
    """A fraction 0..1 with one decimal, for alternative texts."""
    return f"{100 * fraction:.1f} %"


def png(figure: Figure) -> bytes:
    """The figure as PNG, byte-identical whenever the figure and matplotlib are the same.

    A palette of 256 colours makes it a third of the size: git keeps every version.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
