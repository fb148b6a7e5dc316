"""Where everything lies, relative to the project's root. No other module spells out a path."""

from dataclasses import dataclass
from pathlib import Path

from cnn_ablations.errors import ProjectError


@dataclass(frozen=True)
class Paths:
    """The layout of a checkout. `group` is the name of a protocol: its variants are a group."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    def template(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    # data/: DVC's, ignored by git.
    @property
    def checked(self) -> Path:
        """Always the same words: that params.yaml is valid."""
        return self.root / "data" / "params-are-valid.txt"

    def raw(self, dataset: str) -> Path:
        return self.root / "data" / "raw" / dataset

    def arrays(self, dataset: str) -> Path:
        return self.root / "data" / "arrays" / dataset

    def run(self, group: str, variant: str) -> Path:
        return self.root / "data" / "runs" / group / variant

    def scratch(self, *parts: str) -> Path:
        """Nobody's output: checkpoints, downloads under way, notebooks that failed."""
        return self.root.joinpath("data", "scratch", *parts)

    def progress(self, group: str, variant: str) -> Path:
        """How far a training is, as JSON that is replaced after every epoch."""
        return self.scratch("progress", group, f"{variant}.json")

    # reports/: in git.
    def metrics(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "metrics" / group / f"{variant}.json"

    def details(self, group: str, variant: str) -> Path:
        """The numbers beside the metrics, which nobody compares from day to day."""
        return self.root / "reports" / "details" / group / f"{variant}.json"

    def curves(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "curves" / group / f"{variant}.csv"

    def predictions(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "predictions" / group / f"{variant}.npz"

    def weights(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "weights" / group / f"{variant}.csv"

    def features(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "features" / group / f"{variant}.csv"

    def timings(self, group: str, variant: str) -> Path:
        return self.root / "reports" / "timings" / group / f"{variant}.json"

    def notebook(self, *parts: str) -> Path:
        """An executed notebook: `notebook("r2", "2conv-none", "train")`."""
        return self.root.joinpath("reports", "notebooks", *parts[:-1], f"{parts[-1]}.ipynb")

    def tables(self, study: str) -> Path:
        return self.root / "reports" / "tables" / study

    @property
    def edges(self) -> Path:
        """What notebooks/convolution.ipynb measured."""
        return self.root / "reports" / "tables" / "convolution.csv"

    def figures(self, study: str) -> Path:
        return self.root / "reports" / "figures" / study


def find_project(start: Path | None = None) -> Paths:
    """The checkout that `start` (default: the working directory) lies in.

    Raises ProjectError where no folder from `start` upwards holds a params.yaml.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return Paths(folder)
    raise ProjectError(f"no params.yaml in {start} or above it; run this inside a checkout")
