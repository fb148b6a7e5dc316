"""The pages themselves: templates filled, and written where they changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cnn_ablations.analysis.claims import EDGES_QUESTION, EDGES_SOURCE, VERDICTS
from cnn_ablations.analysis.study import (
    choices_text,
    load_edges,
    published_text,
    tally,
    tests_text,
)
from cnn_ablations.analysis.wording import METRICS, points
from cnn_ablations.config.params import Params
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import PACKAGE, Paths
from cnn_ablations.site.content import (
    Claim,
    Row,
    StudyPage,
    claims_about,
    claims_of,
    curves,
    figures,
    published_points,
    rates,
    rows_of,
    study_pages,
    trained,
    variant_rows,
)
from cnn_ablations.site.notebook import markdown, read_notebook

HERE = PACKAGE / "site"
MARKS = dict(zip(VERDICTS, "✓✗≈?…", strict=True))
"""Of the verdicts, so that colour never stands alone."""


def build_site(params: Params, paths: Paths, folder: Path) -> Path:
    """Write the pages into `folder` from what git holds, and return the front page. Nothing is
    executed. Files that did not change are left alone, those of what is gone are removed.

    Raises ProjectError where results are damaged or the folder cannot be written.
    """
    files = pages(params, paths)
    files |= {f"static/{file.name}": file.read_bytes() for file in (HERE / "static").iterdir()}
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    return folder / "index.html"


def pages(params: Params, paths: Paths) -> dict[str, bytes]:
    """All pages and figures, by their place in `site/`; the front page last."""
    environment = templates()
    files: dict[str, bytes] = {}

    def write(place: str, template: str, **content: Any) -> None:
        files[place] = render(environment, template, place, **content)

    studies, results = study_pages(params, paths), trained(params, paths)
    rows = variant_rows(params, studies, results)
    for name, page in studies.items():
        cells = read_notebook(paths.notebook("studies", name)) if page.tables.was_run else []
        if cells:
            title = f"{page.study.title}: the notebook"
            write(f"studies/{name}-notebook.html", "notebook", title=title, back=name, cells=cells)
        of_study = rows_of(page, rows)
        drawn = figures(paths.figures(name), METRICS[f"{page.tables.main}_accuracy"])
        for figure in drawn:
            files[f"figures/{name}/{figure['file'].name}"] = figure["file"].read_bytes()
        write(
            f"studies/{name}.html",
            "study",
            page=page,
            rows=of_study,
            curves=curves(page.study, results),
            figures=drawn,
            points=published_points(page.tables),
            has_notebook=bool(cells),
            published=published_text(page.study, page.tables),
            tests=tests_text(page.tables.claims),
            choices=choices_text(page.study),
        )
    for row in rows:
        executed = {
            kind: read_notebook(paths.notebook(row.group, row.name, kind))
            for kind in ("inspect", "train")
        }
        write(
            f"variants/{row.name}.html",
            "variant",
            row=row,
            claims={name: claims_about(row.name, studies[name]) for name in row.studies},
            studies=studies,
            notebooks={kind: cells for kind, cells in executed.items() if cells},
        )
    for name, dataset in params.datasets.items():
        write(
            f"datasets/{name}.html",
            "dataset",
            name=name,
            dataset=dataset,
            rows=[row for row in rows if row.dataset == name],
            cells=read_notebook(paths.notebook("datasets", name)),
        )
    cells = read_notebook(paths.notebook("convolution"))
    write("convolution.html", "notebook", title=EDGES_QUESTION, back=None, cells=cells)
    text, calibration = (paths.root / "docs" / n for n in ("statistics.md", "calibration.csv"))
    files["calibration.csv"] = calibration.read_bytes()
    known = rates(pd.read_csv(calibration))
    write("methods.html", "methods", text=text.read_text(encoding="utf-8"), rates=known)
    by_hand = claims_of(load_edges(paths).to_dict("records"))
    files["index.html"] = front_page(environment, studies, rows, by_hand)
    return files


def front_page(
    environment: Environment,
    studies: Mapping[str, StudyPage],
    rows: list[Row],
    by_hand: list[Claim],
) -> bytes:
    """The page to open. `by_hand` is the claim that no study tests."""
    claims = [claim for page in studies.values() for claim in page.claims] + by_hand
    return render(
        environment,
        "index",
        "index.html",
        studies=studies,
        rows=rows,
        by_hand={"claims": by_hand, "question": EDGES_QUESTION, "source": EDGES_SOURCE},
        counts=tally((claim.verdict for claim in claims), MARKS),
        one_seed=sum(claim.one_seed for claim in claims),
        published=[point for page in studies.values() for point in published_points(page.tables)],
        rows_of=rows_of,
    )


def templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "markdown": markdown,
        "points": points,
        "inline": lambda text: Markup(markdown(text).removeprefix("<p>").rstrip()[:-4]),
    }
    environment.globals |= {"marks": MARKS}
    environment.policies["json.dumps_kwargs"] = {"default": vars, "allow_nan": False}
    return environment


def render(environment: Environment, template: str, place: str, **content: Any) -> bytes:
    """A page for its place in `site/`, which links to others relatively."""
    root = "../" * place.count("/")
    page = environment.get_template(f"{template}.html.j2").render(root=root, **content)
    return page.encode()
