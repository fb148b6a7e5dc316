import json
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.errors import ProjectError
from cnn_ablations.site.notebook import markdown, read_notebook


def code(**data: Any) -> dict[str, Any]:
    output = {"output_type": "display_data", "data": data, "metadata": {"image/png": {"alt": "A."}}}
    return {"cell_type": "code", "source": ["x = 1\n", "x"], "metadata": {}, "outputs": [output]}


def read(folder: Path, *cells: dict[str, Any]) -> list[dict[str, Any]]:
    file = folder / "n.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    return read_notebook(file)


def test_headings_go_down_below_the_title_of_the_page(tmp_path: Path) -> None:
    cell = {"cell_type": "markdown", "source": ["# Top\n", "## Next"], "metadata": {}}
    (shown,) = read(tmp_path, cell)
    assert shown["markdown"] == "<h2>Top</h2>\n<h3>Next</h3>\n"


def test_a_figure_keeps_its_alternative_text(tmp_path: Path) -> None:
    (shown,) = read(tmp_path, code(**{"image/png": "abc\n", "text/plain": "Figure"}))
    assert shown["outputs"] == [{"png": "abc", "alt": "A."}]


def test_a_table_of_pandas_has_the_looks_of_the_page(tmp_path: Path) -> None:
    table = '<style scoped>\nth {}\n</style><table border="1" class="dataframe"><tr></tr></table>'
    (shown,) = read(tmp_path, code(**{"text/html": table}))
    (output,) = shown["outputs"]
    inner = '<table class="dataframe"><tr></tr></table>'
    assert output["html"] == f'<div class="table" tabindex="0">{inner}</div>'


def test_plain_text_stays_plain(tmp_path: Path) -> None:
    (shown,) = read(tmp_path, code(**{"text/plain": "<b>"}))
    assert "&lt;b&gt;" in shown["outputs"][0]["html"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cells": [{}]}', '{"cells": [1]}'])
def test_a_damaged_notebook_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(content)
    with pytest.raises(ProjectError, match=r"n\.ipynb cannot be read \(.+\); `git restore`"):
        read_notebook(tmp_path / "n.ipynb")


def test_markdown_tables_scroll() -> None:
    assert str(markdown("| a |\n| :-- |\n| b |")).startswith('<div class="table" tabindex="0">')
