"""The notebooks that papermill executes: committed without outputs, and the same everywhere."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_bytes())


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_valid_notebook(notebook: Any) -> None:
    nbformat.validate(notebook)


def test_it_has_no_outputs(notebook: Any) -> None:
    assert [c["id"] for c in code_cells(notebook) if c["outputs"] or c["execution_count"]] == []


def test_it_has_one_cell_with_parameters(notebook: Any) -> None:
    tagged = [c["id"] for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1


def test_cells_hold_no_metadata_but_tags_and_folding(notebook: Any) -> None:
    known = {"tags", "jupyter"}
    assert [c["id"] for c in notebook["cells"] if set(c["metadata"]) - known] == []


def test_it_names_the_kernel_that_everyone_has_and_no_version(notebook: Any) -> None:
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert "version" not in notebook["metadata"]["language_info"]


def is_folded(cell: Any) -> bool:
    """In JupyterLab and in the pages that notebooks/html.json makes."""
    metadata = cell["metadata"]
    hidden = metadata.get("jupyter", {}).get("source_hidden", False)
    assert hidden == ("hide-input" in metadata.get("tags", []))
    return bool(hidden)


def test_it_begins_with_a_title_or_with_the_cells_that_make_one(notebook: Any) -> None:
    first, second = notebook["cells"][:2]
    if first["cell_type"] == "markdown":
        assert "".join(first["source"]).startswith("# ")
    else:
        assert "parameters" in first["metadata"]["tags"]
        assert "headline(" in second["source"][-1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_that_a_reader_need_not_see_is_folded_away(path: Path) -> None:
    folded = [is_folded(cell) for cell in code_cells(json.loads(path.read_bytes()))]
    explained = path.stem in {"convolution", "dataset", "playground"}  # code is what they show
    assert folded == [not explained] * len(folded)
