"""Markdown and executed notebooks as HTML. Nothing is executed."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import mistune
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from cnn_ablations.errors import ProjectError

# Not nbconvert: its lexers and sanitiser take half a minute for the notebooks of this project,
# whose outputs are of four kinds.
_to_html = mistune.create_markdown(escape=False, plugins=["table"])


@cache
def markdown(text: str, shift: int = 0) -> Markup:
    """Markdown as HTML, its headings `shift` levels further down; what is wide scrolls."""
    return _tidied(str(_to_html(text)), shift)


@cache
def python(source: str) -> Markup:
    """Python code with its words marked by kind."""
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))


def read_notebook(path: Path) -> list[dict[str, Any]]:
    """The cells of an executed notebook, if there is one: `markdown`, or `code` and its `outputs`,
    in HTML.

    Raises ProjectError where the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        cells = json.loads(path.read_bytes())["cells"]
        return [_cell(cell) for cell in cells]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"{path} cannot be read ({type(error).__name__}: {error}); `git restore` brings it back"
        ) from None


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return {"markdown": markdown(source, 1)}
    return {"code": python(source), "outputs": [_output(output) for output in cell["outputs"]]}


def _output(output: dict[str, Any]) -> dict[str, Any]:
    """An output in the best of its forms: `png` with its `alt`, or `html`."""
    data = {form: "".join(content) for form, content in output.get("data", {}).items()}
    if "image/png" in data:
        alt = output["metadata"].get("image/png", {}).get("alt", "")
        return {"png": data["image/png"].strip(), "alt": alt}
    if "text/html" in data:
        return {"html": _tidied(data["text/html"], 0)}
    if "text/markdown" in data:
        return {"html": markdown(data["text/markdown"], 1)}
    text = data.get("text/plain") or "".join(output.get("text", []))
    return {"html": Markup('<pre tabindex="0">{}</pre>').format(text)}


def _tidied(html: str, shift: int) -> Markup:
    """Without pandas' own looks; what is wide scrolls where the keyboard reaches it."""
    html = re.sub(r"<style.*?</style>| border=\"1\"| valign=\"top\"", "", html, flags=re.DOTALL)
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace("<table", '<div class="table" tabindex="0"><table')
    html = html.replace("</table>", "</table></div>")
    return Markup(re.sub(r"(</?h)([1-5])\b", lambda m: f"{m[1]}{int(m[2]) + shift}", html))
