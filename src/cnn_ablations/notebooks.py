"""Executing a notebook template, and the one form in which an executed notebook is kept."""

import copy
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pprint import pformat
from typing import Any

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.processes import stderr_to

# What an executed notebook must not depend on: hash order, log noise, the date, core counts.
KERNEL_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "SOURCE_DATE_EPOCH": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
PERSONAL = ("JUPYTER_", "KERAS_", "PYTHONSTARTUP")
"""How the variables begin by which a user has settings and code of their own in every kernel."""


def execute(template: str, output: Path, parameters: Mapping[str, Any], paths: Paths) -> None:
    """Run `notebooks/<template>.ipynb` with `parameters` and keep it as `output`.

    The kernel works in the project's root. `output` appears only when every cell has run.

    Raises:
        ProjectError: where a parameter is not one of the template's, the template is damaged, a
            cell fails, the kernel dies, or the output cannot be written. The failed notebook is
            kept in scratch.
    """
    # The kernel imports TensorFlow, the process that waits for it must not: papermill only.
    # jsonschema would compile a grammar of web addresses, for seconds, which no notebook needs.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import nbformat
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from papermill.exceptions import PapermillExecutionError
    from papermill.translators import PythonTranslator, papermill_translators
    from traitlets.config import Config

    class WrappedLines(PythonTranslator):  # type: ignore[misc]
        """Papermill's own writes a dictionary on one line, which no page is wide enough for."""

        @classmethod
        def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
            lines = [
                f"{name} = {pformat(value, width=96, sort_dicts=False)}"
                for name, value in parameters.items()
            ]
            return "\n".join([f"# {comment}", *lines])

    papermill_translators.register("python", WrappedLines)

    source = paths.template(template)
    damaged = f"{source} is not a notebook that can be run: {{}}; `git restore` brings it back"
    try:
        nbformat.validate(json.loads(source.read_text(encoding="utf-8")))
        known = papermill.inspect_notebook(str(source))
    except Exception as error:  # it is missing, or nbformat stumbles over it in one of many ways
        raise ProjectError(damaged.format(str(error).partition("\n")[0])) from None
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ProjectError(f"{source.name} has no parameter {unknown[0]!r}; it has {sorted(known)}")

    name = "-".join(output.relative_to(paths.root / "reports" / "notebooks").with_suffix("").parts)
    working_copy = paths.scratch("notebooks", f"{name}.ipynb")
    log = working_copy.with_suffix(".log")
    address = working_copy.with_suffix(".kernel.json")  # which a killed process leaves
    kept = f"{working_copy.relative_to(paths.root)} shows how far it came"
    try:
        working_copy.parent.mkdir(parents=True, exist_ok=True)
        variables = {
            **KERNEL_ENVIRONMENT,
            "IPYTHONDIR": str(paths.scratch("ipython")),  # without a user's startup files
            "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's Python before a user's kernel
        }
        with _environment(variables), stderr_to(log):
            papermill.execute_notebook(
                str(source),
                str(working_copy),
                parameters=dict(parameters),
                cwd=str(paths.root),
                progress_bar=False,
                record_timing=False,
                coalesce_streams=True,
                config=Config(KernelManager={"connection_file": str(address)}),
            )
    except PapermillExecutionError as error:
        if error.ename == "ProjectError":
            raise ProjectError(f"{error.evalue} ({kept})") from None
        what = " ".join(f"{error.ename}: {error.evalue}".split())
        raise ProjectError(
            f"{source.name} failed in cell {error.cell_index}: {what}; {kept}"
        ) from None
    except (NoSuchKernel, ValueError) as error:  # of a template that names none
        raise ProjectError(damaged.format(error)) from None
    except RuntimeError as error:
        # nbclient's: a kernel that died or never came to life, of which the cells say nothing.
        raise ProjectError(
            f"the kernel of {source.name} died ({error}): most likely it was killed or "
            "ran out of memory; run the same command again, a training goes on from its last "
            f"checkpoint (the kernel's last words are in {log.relative_to(paths.root)})"
        ) from None
    except OSError as error:
        raise cannot_write(working_copy, error) from None
    finally:
        with suppress(OSError):
            address.unlink()
    notebook = canonical(json.loads(working_copy.read_bytes()))
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    write_atomically(output, (text + "\n").encode())
    working_copy.unlink()
    log.unlink()


def canonical(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook's JSON without what differs from run to run or from machine to machine.

    Numbered cell ids, no timing or papermill metadata, no interpreter version, no stderr. The
    cell with the injected parameters is folded away where the one with their defaults is.
    """
    clean = copy.deepcopy(notebook)
    defaults, injected = (_tagged(clean, tag) for tag in ("parameters", "injected-parameters"))
    if defaults and injected:
        tags = ["injected-parameters", *(t for t in defaults["tags"] if t != "parameters")]
        injected |= {**defaults, "tags": tags}
    clean["metadata"].pop("papermill", None)
    clean["metadata"].get("language_info", {}).pop("version", None)
    for number, cell in enumerate(clean["cells"]):
        cell["id"] = f"cell-{number:02d}"
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code":
            cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
    return clean


def _tagged(notebook: dict[str, Any], tag: str) -> dict[str, Any] | None:
    """The metadata of the first cell that has this tag."""
    cells = (cell["metadata"] for cell in notebook["cells"])
    return next((metadata for metadata in cells if tag in metadata.get("tags", ())), None)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in before:
        if name.startswith(PERSONAL):
            del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
