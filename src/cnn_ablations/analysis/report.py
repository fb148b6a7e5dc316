"""All studies together: published against reproduced, every claim, and the README's tables.

It reads the tables that `compare` wrote, study by study in the order of params.yaml. A study
without tables was not run yet, and says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import pandas as pd

from cnn_ablations.analysis.claims import judge
from cnn_ablations.analysis.edges import QUESTION, edges_claim
from cnn_ablations.analysis.evidence import gather
from cnn_ablations.analysis.published import compare_published
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.study import NOT_RUN_TEXT, published_text, tests_text
from cnn_ablations.analysis.tables import (
    claims_markdown,
    claims_table,
    published_markdown,
    published_table,
    read_table,
    variants_markdown,
    variants_table,
)
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import Paths


@dataclass(frozen=True)
class StudyTables:
    """What `compare` found, as data frames."""

    variants: pd.DataFrame
    published: pd.DataFrame
    claims: pd.DataFrame
    was_run: bool


def write_report(params: Params, paths: Paths) -> None:
    """Write reports/comparison.md and .csv and reports/claims.md, and refill README.md's tables.

    Also reports/timings/README.md: measurements, and so, like README.md, no stage's output.

    Raises ProjectError where README.md is missing or has a marker that no table fits.
    """
    studies = {name: load_tables(study, paths, name) for name, study in params.studies.items()}
    readme = paths.root / "README.md"
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProjectError(f"{readme} is missing; `git restore README.md` brings it back") from None
    edges = edges_claim(pd.read_csv(paths.edges) if paths.edges.is_file() else None)
    filled = fill_tables(text, readme_tables(params.studies, studies, edges))
    reports = paths.root / "reports"
    comparison = comparison_table(params.studies, studies)
    write_atomically(reports / "comparison.csv", comparison.to_csv(index=False).encode())
    write_atomically(reports / "comparison.md", comparison_text(params.studies, studies).encode())
    write_atomically(reports / "claims.md", claims_text(params.studies, studies, edges).encode())
    write_atomically(reports / "timings" / "README.md", timings_text(params, paths).encode())
    if filled != text:
        write_atomically(readme, filled.encode())


def load_tables(study: Study, paths: Paths, name: str) -> StudyTables:
    """The tables of a study; if it was not run yet, the same tables without results."""
    folder = paths.tables(name)
    if not folder.is_dir():
        if load_results(paths, study.group, study.variants):
            raise ProjectError(
                f"{folder} is missing, but its variants were trained; "
                f"run `dvc repro -s compare@{name}`, which trains nothing"
            )
        evidence = gather(study, {})
        return StudyTables(
            variants=variants_table(evidence, {}),
            published=published_table(study, compare_published(study, {})),
            claims=claims_table(judge(evidence)),
            was_run=False,
        )
    try:
        variants, published, claims = (
            read_table(folder, table) for table in ("variants", "published", "claims")
        )
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ProjectError(
            f"the tables in {folder} are not whole ({error}); run `dvc repro compare@{name}`"
        ) from None
    return StudyTables(variants, published, claims, was_run=bool(variants["seeds"].notna().any()))


def timings_text(params: Params, paths: Paths) -> str:
    """What each trained variant took where it was trained last: minutes and memory. Beside it the
    minutes that were published, of which the variants' studies hold one figure each.
    """
    published = {
        variant: f"{minutes:.2f}"
        for study in params.studies.values()
        for variant, minutes in study.published_minutes.items()
    }
    rows = []
    for variant in params.variants.values():
        measured = load_timings(paths.timings(variant.group, variant.name))
        if measured is None:
            continue
        seeds = measured.seeds.values()
        minutes = [seed.seconds / 60 for seed in seeds]
        rows.append(
            f"| {variant.name} | {len(seeds)} | {median(minutes):.2f} "
            f"| {published.get(variant.name, '–')} | {sum(minutes):.1f} "
            f"| {max(seed.peak_memory_mb for seed in seeds):,} |"
        )
    head = (
        "| variant | seeds | minutes a seed (median) | published minutes | minutes in all "
        "| peak memory, MB |"
    )
    rule = "| :-- | --: | --: | --: | --: | --: |"
    return "\n".join([TIMINGS_INTRODUCTION, "", head, rule, *rows, ""])


def comparison_table(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables]
) -> pd.DataFrame:
    """The published figures of all studies beside ours, one row a figure."""
    frames = [
        tables[name].published.assign(study=name, source=study.source)
        for name, study in studies.items()
        if study.published
    ]
    if not frames:
        return pd.DataFrame(columns=["study", "source"])
    joined = pd.concat(frames, ignore_index=True).round(6)
    return joined[["study", "source", *joined.columns.drop(["study", "source"])]]


def comparison_text(studies: Mapping[str, Study], tables: Mapping[str, StudyTables]) -> str:
    """reports/comparison.md."""
    parts = ["# Published against reproduced", COMPARISON_INTRODUCTION]
    for name, study in studies.items():
        if study.published:
            published, was_run = tables[name].published, tables[name].was_run
            parts += [f"## {study.title}", f"Study `{name}`; source: {study.source}."]
            parts += [published_text(study, published, was_run=was_run)]
    return "\n\n".join(parts) + "\n"


def claims_text(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> str:
    """reports/claims.md. `edges` is the claim that no study tests."""
    parts = ["# Claims and verdicts", CLAIMS_INTRODUCTION]
    for name, study in studies.items():
        if study.claims:
            claims, source = tables[name].claims, study.source or "this project"
            parts += [f"## {study.title}", f"Study `{name}`; claims by {source}. {study.question}"]
            parts += [claims_markdown(claims), "The tests behind the verdicts:", tests_text(claims)]
    parts += ["## Convolution by hand", f"Notebook `convolution`; a claim by report R4. {QUESTION}"]
    parts += [claims_markdown(edges), *edges["remark"]]
    return "\n\n".join(parts) + "\n"


def readme_tables(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> dict[str, str]:
    """What README.md may show, by the name in its markers: of each study `<study>` (the
    variants), `<study>-published` and `<study>-claims`, and of all together `studies` (what
    they ask) and `claims`.
    """
    shown = {"studies": studies_markdown(studies, tables, edges)}
    verdicts = []
    for name, study in studies.items():
        of_study = tables[name]
        shown[name] = variants_markdown(of_study.variants) if of_study.was_run else NOT_RUN_TEXT
        shown[f"{name}-published"] = published_markdown(of_study.published)
        shown[f"{name}-claims"] = claims_markdown(of_study.claims)
        if study.claims:
            verdicts += [f"**{study.title}**", claims_markdown(of_study.claims)]
    return shown | {"claims": "\n\n".join(verdicts)}


def studies_markdown(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> str:
    """What each study asks, whose question it is, and how its claims fared."""
    rows = []
    for name, study in studies.items():
        notebook = f"[{name}](reports/notebooks/studies/{name}.ipynb)"
        verdicts = tables[name].claims.drop_duplicates("claim")["claim_verdict"].value_counts()
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.sort_index().items())
        was_run = tables[name].was_run
        rows.append(
            f"| {notebook if was_run else name} | {study.source or 'this project'} "
            f"| {study.question} | {len(study.variants)} | {counts if was_run else NOT_RUN_TEXT} |"
        )
    notebook, (verdict,) = "[convolution](reports/notebooks/convolution.ipynb)", edges.claim_verdict
    rows.append(f"| {notebook} | report R4 | {QUESTION} | – | 1 {verdict} |")
    head = "| study | source | question | variants | claims |"
    return "\n".join([head, "| :-- | :-- | :-- | --: | :-- |", *rows])


def fill_tables(text: str, tables: Mapping[str, str]) -> str:
    """The text with each `<!-- table:NAME -->` ... `<!-- /table -->` block holding that table.

    Raises ProjectError where a block is not closed or no table has its name.
    """

    def fill(block: re.Match[str]) -> str:
        name = block["name"]
        if name not in tables:
            raise ProjectError(
                f"README.md has a marker 'table:{name}', but there is no such table; "
                f"known are: {', '.join(tables)}"
            )
        if "<!-- table:" in block["content"]:
            raise ProjectError(f"README.md: 'table:{name}' is not closed by '<!-- /table -->'")
        return f"<!-- table:{name} -->\n\n{tables[name]}\n\n<!-- /table -->"

    filled, blocks = _BLOCK.subn(fill, text)
    if text.count("<!-- table:") != blocks:
        raise ProjectError("README.md: a 'table:' marker is not closed by '<!-- /table -->'")
    return filled


_BLOCK = re.compile(
    r"<!-- table:(?P<name>[\w-]+) -->(?P<content>.*?)<!-- /table -->", flags=re.DOTALL
)
TIMINGS_INTRODUCTION = """\
# What the trainings took

Wall-clock time of training and evaluation on one thread, as measured where each seed was trained
last; another load of that machine changes it. The files beside this one have every seed, the CPU
and the versions of the libraries. Published minutes are those of one training on a machine that
the report does not name, so only their ratios can be held against ours. Studies count cost in
arithmetic, which does not change."""
COMPARISON_INTRODUCTION = """\
A published figure is a single run. Beside it stand the median over our seeds, and where one more
run of ours would fall with a probability of 95 % (Student's prediction interval from the seeds
that learned; seeds that collapsed to chance are counted beside it, and are part of the median). A
published figure inside that interval is within seed noise; of figures that differ by nothing
else, one in twenty falls outside all the same. Accuracies are in per cent, losses in nats with
the L1 and L2 penalty, their intervals taken on a logarithmic scale; where such an interval spans
more than a factor of 100, or a single seed learned, the verdict is "unknown". Where all seeds
collapsed, the interval is that of the collapsed."""
CLAIMS_INTRODUCTION = """\
A claim is supported if all of its tests are, contradicted if one of them is, and undecided
otherwise. Accuracies are medians over seeds; intervals (95 %) and p values come from a bootstrap
over seeds and test examples, and p values are corrected for the number of tests in the study
(Holm), which the intervals are not. A verdict needs a corrected p value below 0.05. With fewer
than six seeds, intervals are widened by Student's t, and where one of them collapsed, p values are
no lower than an exact test of so many seeds could give; with one seed a verdict holds on this seed
only. Effects are in percentage points, costs are ratios of arithmetic operations, not of minutes:
those depend on the machine (reports/timings has the published ones beside ours)."""
