"""All studies together: what came out, every claim, published figures beside ours, the README.

It reads the tables that `compare` wrote, study by study in the order of their names. A study
without tables was not run yet, and says so. The texts are in `templates/`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import pandas as pd

from cnn_ablations.analysis.claims import (
    CONTRADICTED,
    EDGES_QUESTION,
    EDGES_SOURCE,
    NO_DIFFERENCE,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from cnn_ablations.analysis.published import OUTSIDE, RUN_VERDICTS, TOO_FEW
from cnn_ablations.analysis.statistics import MOST_SEEDS
from cnn_ablations.analysis.study import (
    StudyTables,
    claims_markdown,
    load_edges,
    load_tables,
    published_text,
    records,
    render,
    tally_text,
    tests_text,
)
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import Paths

OWN = "this project"
"""The source of a claim that the study of a report adds."""
HEADS = {
    SUPPORTED: "Holds",
    CONTRADICTED: "Does not hold",
    NO_DIFFERENCE: "Makes no difference that matters",
    UNDECIDED: "Is open",
}


def write_report(params: Params, paths: Paths) -> None:
    """Write reports/README.md, claims.md and comparison.md, and refill README.md's tables.

    Also reports/timings/README.md: measurements, and so, like README.md, no stage's output.

    Raises ProjectError where a study's tables are damaged, or README.md has a marker that no table
    fits.
    """
    tables = {name: load_tables(study, paths, name) for name, study in params.studies.items()}
    edges = load_edges(paths)
    texts = report_texts(params.studies, tables, edges)
    readme = paths.root / "README.md"
    text = readme.read_text(encoding="utf-8")
    shown = {f"{name}-claims": claims_markdown(of.claims) for name, of in tables.items()}
    filled = fill_tables(text, {"studies": texts.pop("studies.md"), **shown})
    texts["timings/README.md"] = timings_text(params, paths, tables)
    for name, content in texts.items():
        write_atomically(paths.root / "reports" / name, f"{content}\n".encode())
    if filled != text:
        write_atomically(readme, filled.encode())


def report_texts(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> dict[str, str]:
    """README.md, claims.md and comparison.md of reports/ and, for README.md, the list of studies.
    `edges` is the claim that no study tests.
    """
    by_hand = {"study": "convolution", "notebook": "convolution", "by": EDGES_SOURCE}
    claims = [
        row | {"study": name, "notebook": f"studies/{name}", "by": study.source}
        for name, study in studies.items()
        for row in records(tables[name].claims.drop_duplicates("claim"))
    ] + [row | by_hand for row in records(edges)]
    sources = [
        {
            "title": source[0].upper() + source[1:] if source else "This project's own questions",
            "runs": _runs([n for n, study in studies.items() if study.source == source], tables),
            "outside": _outside([n for n, s in studies.items() if s.source == source], tables),
            "studies": {n: study for n, study in studies.items() if study.source == source},
            "claims": [row for row in claims if row["by"] == source],
        }
        for source in sorted({study.source for study in studies.values()}, key=lambda s: (not s, s))
    ]
    content = {
        "claims": tally_text([row["claim_verdict"] for row in claims], VERDICTS, "claim"),
        "own": sum(not row["by"] or row["source"] == OWN for row in claims),
        "runs": _runs(studies, tables),
        "edges": {"source": EDGES_SOURCE, "question": EDGES_QUESTION, "claim": records(edges)[0]},
        "edges_table": claims_markdown(edges),
        "fared": {
            name: tally_text(of_study.claims.drop_duplicates("claim")["claim_verdict"], VERDICTS)
            for name, of_study in tables.items()
            if of_study.was_run
        },
        "heads": HEADS,
        "sources": sources,
        "studies": studies,
        "tables": tables,
        "claims_markdown": claims_markdown,
        "published_text": published_text,
        "tests_text": tests_text,
    }
    names = ("README.md", "claims.md", "comparison.md", "studies.md")
    return {name: render(f"{name}.j2", **content) for name in names}


def _runs(studies: Iterable[str], tables: Mapping[str, StudyTables]) -> str:
    """How many published runs agree, each counted once; nothing where none was published."""
    runs: dict[str, str] = {}
    for name in studies:
        published = tables[name].published
        runs = dict(zip(published["variant"], published["run"], strict=True)) | runs
    return tally_text(runs.values(), RUN_VERDICTS, "published run") if runs else ""


def _outside(studies: Iterable[str], tables: Mapping[str, StudyTables]) -> list[dict[str, Any]]:
    """The published runs outside seed noise, each with the explanations that were tried."""
    found: dict[str, dict[str, Any]] = {}
    for name in studies:
        published, tried = tables[name].published, tables[name].explanations
        for run in records(published[published["run"] == OUTSIDE].drop_duplicates("variant")):
            of_run = tried[tried["explained"] == run["label"]].groupby("label", sort=False)
            row = {"study": name, "label": run["label"]}
            found[run["variant"]] = row | {"tried": [records(figures) for _, figures in of_run]}
    return list(found.values())


def timings_text(params: Params, paths: Paths, tables: Mapping[str, StudyTables]) -> str:
    """What each trained variant took where it was trained last: minutes and memory. Beside it the
    minutes that were published, of which the variants' studies hold one figure each; below it, what
    it would take to decide the claims that are undecided, and published runs with too few seeds.
    """
    published = {
        variant: minutes
        for study in params.studies.values()
        for variant, minutes in study.published_minutes.items()
    }
    rows: list[dict[str, Any]] = []
    for variant in params.variants.values():
        measured = load_timings(paths.timings(variant.group, variant.name))
        if measured is not None:
            seeds = measured.seeds.values()
            minutes = [seed.seconds / 60 for seed in seeds]
            row = {"variant": variant.name, "minutes": minutes, "median": median(minutes)}
            row["memory"] = max(seed.peak_memory_mb for seed in seeds)
            rows.append(row | {"published": published.get(variant.name)})
    of_seed = {row["variant"]: (len(row["minutes"]), row["median"]) for row in rows}
    outlooks = []
    for name, of_study in tables.items():
        for claim, tests in of_study.claims.groupby("claim", sort=False):
            needed = tests["claim_outlook"].iloc[0]
            if pd.isna(needed) or needed == math.inf or needed >= MOST_SEEDS:
                continue
            named = dict.fromkeys(
                " ".join(tests[["of", "than"]].fillna("").to_numpy().ravel()).split()
            )
            there = [of_seed[variant] for variant in named if variant in of_seed]
            outlooks.append(
                {
                    "study": name,
                    "claim": claim,
                    "fewest": min((n for n, _ in there), default=0),
                    "needed": needed,
                    "minutes": sum(max(0.0, needed - n) * each for n, each in there),
                }
            )
    few = [
        {"study": name, "variant": variant, "seeds": seeds, "minutes": of_seed[variant][1]}
        for name, of_study in tables.items()
        for variant, seeds in _few(of_study.published)
        if variant in of_seed
    ]
    return render("timings.md.j2", rows=rows, outlooks=outlooks, few=few)


def _few(published: pd.DataFrame) -> list[tuple[str, int]]:
    """The variants that have too few seeds to say whether a published run agrees, and how many."""
    few = published[published["run"] == TOO_FEW].drop_duplicates("variant")
    return list(zip(few["variant"], few["seeds"], strict=True))


def fill_tables(text: str, tables: Mapping[str, str]) -> str:
    """The text with each `<!-- table:NAME -->` ... `<!-- /table -->` block holding that table.

    Raises ProjectError where no table has its name.
    """

    def fill(block: re.Match[str]) -> str:
        if block[1] not in tables:
            raise ProjectError(
                f"README.md has a marker 'table:{block[1]}', but there is no such table; "
                f"known are: {', '.join(tables)}"
            )
        return f"<!-- table:{block[1]} -->\n\n{tables[block[1]]}\n\n<!-- /table -->"

    return _BLOCK.sub(fill, text)


# What is not closed is no block: it would swallow the text up to the next one's end.
_BLOCK = re.compile(r"<!-- table:([\w-]+) -->(?:(?!<!-- table:).)*?<!-- /table -->", re.DOTALL)
