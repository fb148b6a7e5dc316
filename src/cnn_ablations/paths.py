"""Where everything lies, relative to the project's root. No other module spells out a path."""

from dataclasses import dataclass
from pathlib import Path

from cnn_ablations.errors import ProjectError

PACKAGE = Path(__file__).parent


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

    def inputs(self, *parts: str) -> Path:
        """What decides a variant's stages: `inputs("train", "r2-2conv-none.json")`."""
        return self.root.joinpath("data", "inputs", *parts)

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

    @property
    def site(self) -> Path:
        """The pages that `cnn-ablations site` makes of all this; ignored by git."""
        return self.root / "site"


def find_project(start: Path | None = None) -> Paths:
    """The checkout that `start` (default: the working directory) lies in.

    Raises ProjectError where there is none, or where it has code of its own but that of another
    one runs: what is recorded would not be what ran.
    """
    root = project_root(start)
    if root is None:
        where = (start or Path.cwd()).resolve()
        raise ProjectError(f"no params.yaml in {where} or above it; run this inside a checkout")
    source = other_source(root)
    if source is not None:
        raise ProjectError(
            f"{root} has code of its own, but that in {PACKAGE} runs; "
            f"set PYTHONPATH={source} and start anew"
        )
    return Paths(root)


def project_root(start: Path | None = None) -> Path | None:
    """The first folder from `start` (default: the working directory) upwards with a params.yaml.

    Raises ProjectError where the working directory was deleted.
    """
    try:
        start = (start or Path.cwd()).resolve()
    except FileNotFoundError:
        raise ProjectError("the working directory is gone; change to a checkout") from None
    folders = (start, *start.parents)
    return next((folder for folder in folders if (folder / "params.yaml").is_file()), None)


def other_source(root: Path) -> Path | None:
    """The `src` of a checkout if it holds this package, but the one that runs lies elsewhere: in a
    worktree, a clone or a queued experiment an editable install of another checkout is found.
    """
    source = root / "src"
    package = source / PACKAGE.name
    there = (package / "__init__.py").is_file()
    return source if there and not package.samefile(PACKAGE) else None
