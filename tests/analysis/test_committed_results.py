"""What git holds of the studies is what this code makes of the results that git holds."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cnn_ablations.analysis.report import write_report
from cnn_ablations.config.params import Params
from cnn_ablations.paths import Paths
from cnn_ablations.training.backend import cpu_class

STUDIES = ("quickstart", "r2-regularisation", "r3-mnist", "r4-l1")
"""With all kinds of figures, verdicts and tests among them, and seeds that collapsed."""
DRAWN_ON = "x86-64-v4"
"""On other processors the last digits of coordinates may differ."""


@pytest.fixture
def paths(tmp_path: Path, checkout: Paths) -> Paths:
    """This project's results, without what studies made of them."""
    shutil.copy(checkout.params, tmp_path)
    (tmp_path / "studies").symlink_to(checkout.root / "studies")
    for folder in (tmp_path / "reports", tmp_path / "reports" / "tables"):
        folder.mkdir()
    for kind in ("curves", "details", "features", "metrics", "predictions", "timings", "weights"):
        (tmp_path / "reports" / kind).symlink_to(checkout.root / "reports" / kind)
    return Paths(tmp_path)


def made(paths: Paths, study: str) -> dict[str, Path]:
    files = [*paths.tables(study).iterdir(), *paths.figures(study).iterdir()]
    return {file.name: file for file in files}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_makes_the_tables_and_figures_that_git_holds(
    paths: Paths, checkout: Paths, run_cells: Any, monkeypatch: pytest.MonkeyPatch, study: str
) -> None:
    monkeypatch.chdir(paths.root)
    run_cells(checkout.template("study"), name=study, write=True)
    found, expected = made(paths, study), made(checkout, study)
    assert found.keys() == expected.keys()
    for name, file in found.items():
        if file.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(file), pd.read_csv(expected[name]))
        elif file.suffix == ".md" or cpu_class() == DRAWN_ON:
            # Without a kernel's hash seed, the grey lines of curves are drawn in any order.
            lines, wanted = (sorted(f.read_text().splitlines()) for f in (file, expected[name]))
            assert lines == wanted, name


def test_the_report_is_the_one_that_git_holds(
    paths: Paths, checkout: Paths, real_params: Params, git: Callable[..., str]
) -> None:
    if git(checkout.root, "status", "--porcelain", "reports/tables"):
        pytest.skip("studies were compared anew here, after the report")
    paths.tables("").rmdir()
    for kind in ("tables", "notebooks"):
        (paths.root / "reports" / kind).symlink_to(checkout.root / "reports" / kind)
    readme = (checkout.root / "README.md").read_text()
    tables = re.compile("(<!-- table:.*? -->).*?(<!-- /table -->)", re.DOTALL)
    (paths.root / "README.md").write_text(tables.sub(r"\1\2", readme))
    write_report(real_params, paths)
    for name in ("README.md", "reports/README.md", "reports/claims.md", "reports/comparison.md"):
        assert (paths.root / name).read_text() == (checkout.root / name).read_text(), name


def test_git_keeps_line_ends_and_results_whatever_a_user_has_set(
    checkout: Paths, git: Callable[..., str]
) -> None:
    """An output-stripping filter would empty executed notebooks, other line ends change hashes."""
    notebook = "reports/notebooks/studies/quickstart.ipynb"
    kept = git(checkout.root, "check-attr", "eol", "filter", "--", "params.yaml", notebook)
    assert {"params.yaml: eol: lf", f"{notebook}: eol: lf", f"{notebook}: filter: unset"} <= {
        *kept.splitlines()
    }
