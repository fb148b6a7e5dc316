"""Starting a kernel takes seconds: few tests do, and each asks for more than one thing."""

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter
from traitlets.config import Config

from cnn_ablations.errors import ProjectError
from cnn_ablations.notebooks import canonical, execute
from cnn_ablations.paths import Paths

Template = Callable[..., None]
WriteTemplate = Callable[..., None]


@pytest.fixture
def output(paths: Paths) -> Path:
    return paths.notebook("group", "variant", "train")


@pytest.fixture
def template(paths: Paths, write_template: WriteTemplate) -> Template:
    """Writes notebooks/train.ipynb with one parameter, `mode`, and the given cells."""

    def write(*cells: str) -> None:
        write_template(paths.template("train"), "mode = 0", *cells)

    return write


FIGURE = """
from IPython.display import display
from cnn_ablations.figures.style import new_figure
figure = new_figure(3, 2, "A line goes up and down.")
figure.subplots().plot([1, 3, 2])
display(figure)
"""
FIGURE_AND_TABLE = f"""
import builtins, os, sys
import pandas as pd

assert not hasattr(builtins, "personal")
assert not [name for name in os.environ if name.startswith("KERAS_")]
print("mode", mode, "in", os.path.basename(os.getcwd()))
print("noise", os.getpid(), file=sys.stderr)
os.write(2, b"noise from below Python\\n")
{FIGURE}
print(*{{"hash", "order", "of", "strings"}})
pd.DataFrame({{"epoch": [1, 2], "accuracy": [0.5, 0.75]}})
"""


@pytest.fixture
def users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has set and runs in every kernel, which must not reach this project's."""
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "mine.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("import builtins; builtins.personal = True")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")


@pytest.mark.usefixtures("users_own")
def test_executed_twice_a_notebook_is_the_same_to_the_byte(
    paths: Paths, output: Path, template: Template, capfd: pytest.CaptureFixture[str]
) -> None:
    template(FIGURE_AND_TABLE)
    before = dict(os.environ)
    execute("train", output, {"mode": {"nested": [1, None, "ü"]}}, paths)
    first = output.read_bytes()
    execute("train", output, {"mode": {"nested": [1, None, "ü"]}}, paths)
    assert output.read_bytes() == first

    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    assert list(paths.scratch("notebooks").iterdir()) == []

    cells = json.loads(first)["cells"]
    assert [cell["id"] for cell in cells] == ["cell-00", "cell-01", "cell-02"]
    assert "".join(cells[1]["source"]) == "# Parameters\nmode = {'nested': [1, None, 'ü']}"
    printed, figure, table = cells[2]["outputs"]
    where, order = "".join(printed["text"]).splitlines()
    assert where == f"mode {{'nested': [1, None, 'ü']}} in {paths.root.name}"
    assert sorted(order.split()) == ["hash", "of", "order", "strings"]
    assert base64.b64decode(figure["data"]["image/png"]).startswith(b"\x89PNG")
    assert figure["metadata"] == {"image/png": {"alt": "A line goes up and down."}}
    assert "0.75" in "".join(table["data"]["text/html"])
    assert str(paths.root).encode() not in first


def folded(tag: str) -> dict[str, Any]:
    return {"jupyter": {"source_hidden": True}, "tags": [tag, "hide-input"]}


def test_a_page_made_of_it_shows_no_folded_code_and_describes_its_figures(
    paths: Paths, output: Path, checkout: Paths, template: Template
) -> None:
    template(FIGURE, FIGURE, "for_all_to_see = 1")
    source = json.loads(paths.template("train").read_bytes())
    for cell in source["cells"][:-1]:
        cell["metadata"] = folded(*cell["metadata"].get("tags", ["other"]))
    paths.template("train").write_text(json.dumps(source))
    mode = {f"for no page {number}": list(range(number)) for number in range(60)}
    execute("train", output, {"mode": mode}, paths)

    notebook = nbformat.read(output, as_version=4)  # type: ignore[no-untyped-call]
    injected = notebook.cells[1].source.splitlines()
    assert injected[1].startswith("mode = {'for no page 0': [],")
    assert max(map(len, injected)) <= 104
    assert notebook.cells[1].metadata == folded("injected-parameters")
    config = Config(json.loads(checkout.template("html").with_suffix(".json").read_bytes()))
    exporter = HTMLExporter(config=config)  # type: ignore[no-untyped-call]
    page, _ = exporter.from_notebook_node(notebook)
    images = re.findall("<img[^>]*>", page)
    assert len(images) == 2
    for image in images:
        assert 'alt="A line goes up and down."' in image
    assert "for no page" not in page
    assert "new_figure" not in page
    assert "for_all_to_see" in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, None),
        (b"{", b""),
        (b'"cells": [', b'"cells": [\n<<<<<<< HEAD'),
        (b"train", b"\xff"),
        (b'"python3"', b'"of another machine"'),
        (b'"nbformat": 4', b'"nbformat": "four"'),
        (None, b""),
        (None, b"[]"),
        (None, b'{"cells": 3}'),
    ],
)
def test_a_damaged_or_missing_template_is_named_with_the_way_back(
    paths: Paths, output: Path, template: Template, old: bytes | None, new: bytes | None
) -> None:
    template("'train'")
    file = paths.template("train")
    content = file.read_bytes()
    file.unlink()
    if new is not None:
        file.write_bytes(content.replace(old, new, 1) if old else new)
        assert file.read_bytes() != content
    with pytest.raises(ProjectError, match=r"train.ipynb is not a notebook.*`git restore` brings"):
        execute("train", output, {}, paths)
    assert not output.exists()


def message_of(paths: Paths, output: Path, **parameters: Any) -> str:
    with pytest.raises(ProjectError) as caught:
        execute("train", output, parameters, paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_failing_cell_keeps_the_failed_copy_and_the_old_output(
    paths: Paths, output: Path, template: Template
) -> None:
    template("print('so far')", "raise ValueError(f'no {mode}\\nat all')", "print('never')")
    output.parent.mkdir(parents=True)
    output.write_text("the notebook of before")
    message = message_of(paths, output, mode="luck")
    assert message == (
        "train.ipynb failed in cell 3: ValueError: no luck at all; "
        "data/scratch/notebooks/group-variant-train.ipynb shows how far it came"
    )
    assert output.read_text() == "the notebook of before"
    failed = (paths.scratch("notebooks") / "group-variant-train.ipynb").read_text()
    assert "so far" in failed
    assert "never\\n" not in failed


def test_a_problem_that_the_user_can_mend_comes_through_as_its_sentence(
    paths: Paths, output: Path, template: Template
) -> None:
    template(
        "from cnn_ablations.errors import ProjectError",
        "raise ProjectError('data/arrays/x is missing; run this')",
    )
    message = message_of(paths, output)
    assert message.startswith("data/arrays/x is missing; run this (data/scratch/notebooks/group-")
    assert not output.exists()


def test_a_kernel_that_is_killed_is_no_success(
    paths: Paths, output: Path, template: Template
) -> None:
    template(
        "import os, signal, sys\nprint('last words', file=sys.__stderr__, flush=True)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    message = message_of(paths, output)
    assert message.startswith("the kernel of train.ipynb died (Kernel died)")
    assert "run the same command again" in message
    assert not output.exists()
    log = paths.scratch("notebooks") / "group-variant-train.log"
    assert str(log.relative_to(paths.root)) in message
    assert "last words" in log.read_text()


def test_an_unknown_parameter_is_refused_before_anything_runs(
    paths: Paths, output: Path, template: Template
) -> None:
    template("1 / 0")
    message = message_of(paths, output, mode=1, moode=2)
    assert message == "train.ipynb has no parameter 'moode'; it has ['mode']"
    assert not paths.scratch().exists()


def test_scratch_that_cannot_be_written_is_named(
    paths: Paths, output: Path, template: Template
) -> None:
    template("mode")
    blocked = paths.root / "data" / "scratch"
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    message = message_of(paths, output)
    assert message.startswith(
        f"cannot write {paths.scratch('notebooks')}/group-variant-train.ipynb"
    )


def executed() -> dict[str, Any]:
    """An executed notebook's JSON, with everything in it that differs from run to run."""
    return {
        "cells": [
            {"cell_type": "markdown", "id": "a1b2", "metadata": {"papermill": {}}, "source": "#"},
            {
                "cell_type": "code",
                "id": "c3d4",
                "metadata": {
                    "tags": ["injected-parameters"],
                    "papermill": {"duration": 0.1},
                    "execution": {"iopub.execute_input": "2026-11-21T08:00:00Z"},
                },
                "execution_count": 1,
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": "kept"},
                    {"output_type": "stream", "name": "stderr", "text": "noise"},
                    {"output_type": "execute_result", "data": {}, "metadata": {}},
                ],
                "source": "",
            },
        ],
        "metadata": {
            "kernelspec": {"name": "python3"},
            "language_info": {"name": "python", "version": "3.11.7"},
            "papermill": {"input_path": "/home/someone"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_the_canonical_form_drops_what_differs_from_run_to_run() -> None:
    notebook = executed()
    once = canonical(notebook)
    assert notebook == executed()
    assert canonical(once) == once
    assert once == {
        "cells": [
            {"cell_type": "markdown", "id": "cell-00", "metadata": {}, "source": "#"},
            {
                "cell_type": "code",
                "id": "cell-01",
                "metadata": {"tags": ["injected-parameters"]},
                "execution_count": 1,
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": "kept"},
                    {"output_type": "execute_result", "data": {}, "metadata": {}},
                ],
                "source": "",
            },
        ],
        "metadata": {"kernelspec": {"name": "python3"}, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_injected_parameters_are_folded_where_their_defaults_are() -> None:
    notebook = executed()
    notebook["cells"][0]["metadata"] = folded("parameters")
    assert canonical(notebook)["cells"][1]["metadata"] == folded("injected-parameters")
    notebook["cells"][0]["metadata"] = {"tags": ["parameters"]}
    assert canonical(notebook)["cells"][1]["metadata"] == {"tags": ["injected-parameters"]}
