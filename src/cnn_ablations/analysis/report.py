"""All studies together: published against reproduced, every claim, and the README's tables.

It reads the tables that `compare` wrote, study by study in the order of their names. A study
without tables was not run yet, and says so.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from cnn_ablations.analysis.claims import (
    CONTRADICTED,
    NO_DIFFERENCE,
    NOT_RUN,
    ON_THIS_SEED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    judge,
)
from cnn_ablations.analysis.edges import QUESTION, SOURCE, edges_claim
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.published import RUN_VERDICTS, compare_published
from cnn_ablations.analysis.results import load_results
from cnn_ablations.analysis.statistics import MOST_SEEDS
from cnn_ablations.analysis.study import NOT_RUN_TEXT, bullets, published_text, tests_text
from cnn_ablations.analysis.tables import (
    CLAIM_COLUMNS,
    PUBLISHED_COLUMNS,
    claims_markdown,
    claims_table,
    published_table,
    read_table,
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
    """Write reports/README.md, claims.md, comparison.md and .csv, and refill README.md's tables.

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
    write_atomically(reports / "README.md", overview_text(params.studies, studies, edges).encode())
    write_atomically(
        reports / "timings" / "README.md", timings_text(params, paths, studies).encode()
    )
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
        evidence = Evidence(study, {})
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
        if [*published, *claims] != PUBLISHED_COLUMNS + CLAIM_COLUMNS:
            raise ValueError("they have other columns")
    except (FileNotFoundError, ValueError) as error:  # of pandas' parser, too
        raise ProjectError(
            f"the tables in {folder} are not whole ({error}); run `dvc repro -s compare@{name}`"
        ) from None
    return StudyTables(variants, published, claims, was_run=bool(variants["seeds"].notna().any()))


def timings_text(params: Params, paths: Paths, tables: Mapping[str, StudyTables]) -> str:
    """What each trained variant took where it was trained last: minutes and memory. Beside it the
    minutes that were published, of which the variants' studies hold one figure each; below it, what
    it would take to decide the claims that are undecided.
    """
    published = {
        variant: f"{minutes:.2f}"
        for study in params.studies.values()
        for variant, minutes in study.published_minutes.items()
    }
    rows, of_seed = [], {}
    for variant in params.variants.values():
        measured = load_timings(paths.timings(variant.group, variant.name))
        if measured is None:
            continue
        seeds = measured.seeds.values()
        minutes = [seed.seconds / 60 for seed in seeds]
        of_seed[variant.name] = (len(minutes), median(minutes))
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
    text = "\n".join([TIMINGS_INTRODUCTION, "", head, rule, *rows, ""])
    outlooks = outlook_rows(tables, of_seed)
    if outlooks:
        text += "\n".join(["", OUTLOOK_INTRODUCTION, "", _OUTLOOK_HEAD, *outlooks, ""])
    return text


def outlook_rows(
    tables: Mapping[str, StudyTables], of_seed: Mapping[str, tuple[int, float]]
) -> list[str]:
    """What would likely decide each undecided claim: rows of a Markdown table.

    Args:
        tables: by study.
        of_seed: by variant, how many seeds it has and the minutes that one takes.
    """
    rows = []
    for name, of_study in tables.items():
        for claim, tests in of_study.claims.groupby("claim", sort=False):
            needed = tests["claim_outlook"].iloc[0]
            if pd.isna(needed) or needed == math.inf or needed >= MOST_SEEDS:
                continue
            named = " ".join(
                f"{row['of']} {row['than']}" for row in tests.fillna("").to_dict("records")
            )
            there = {v: of_seed[v] for v in dict.fromkeys(named.split()) if v in of_seed}
            minutes = sum(max(0.0, needed - n) * each for n, each in there.values())
            fewest = min((n for n, _ in there.values()), default=0)
            rows.append(f"| {name} | {claim} | {fewest} | {needed:.0f} | {minutes:,.0f} |")
    return rows


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
    """reports/comparison.md: how many runs agree, then every figure; of a study that was not run
    yet, a line.
    """
    chosen = {name: study for name, study in studies.items() if study.published}
    parts = ["# Published against reproduced"]
    if chosen:
        runs = [tables[name].published.drop_duplicates("variant")["run"] for name in chosen]
        parts += [f"**Of {_counted(pd.concat(runs), RUN_VERDICTS, 'published run')}.**"]
    parts += [COMPARISON_INTRODUCTION]
    for name, study in chosen.items():
        parts += [
            f"## {study.title}",
            f"Study {_link(name, tables[name])}; source: {study.source}.",
        ]
        was_run, published = tables[name].was_run, tables[name].published
        parts += [published_text(study, published) if was_run else NOT_RUN_TEXT]
    return "\n\n".join(parts) + "\n"


def claims_text(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> str:
    """reports/claims.md: how the claims fared, then each; of a study that was not run yet, a line.
    `edges` is the claim that no study tests.
    """
    chosen = {name: study for name, study in studies.items() if study.claims}
    verdicts = [tables[name].claims.drop_duplicates("claim")["claim_verdict"] for name in chosen]
    all_verdicts = pd.concat([*verdicts, edges["claim_verdict"]])
    parts = ["# Claims and verdicts", f"**Of {_counted(all_verdicts, VERDICTS, 'claim')}.**"]
    parts += [CLAIMS_INTRODUCTION]
    for name, study in chosen.items():
        claims, source = tables[name].claims, study.source or "this project"
        parts += [f"## {study.title}"]
        parts += [f"Study {_link(name, tables[name])}; claims by {source}. {study.question}"]
        if tables[name].was_run:
            parts += [claims_markdown(claims), "The tests behind them:", tests_text(claims)]
        else:
            parts += [NOT_RUN_TEXT]
    parts += ["## Convolution by hand", f"Notebook `convolution`; a claim by {SOURCE}. {QUESTION}"]
    parts += [claims_markdown(edges), *edges["remark"]]
    return "\n\n".join(parts) + "\n"


def overview_text(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> str:
    """reports/README.md: by source, what holds, what does not, and what is open."""
    parts = ["# What came out", OVERVIEW_INTRODUCTION]
    sources = dict.fromkeys([*(s.source for s in studies.values() if s.source), ""])
    for source in sources:
        of_source = {name: study for name, study in studies.items() if study.source == source}
        if not of_source:
            continue
        claims = pd.concat(
            [tables[name].claims.drop_duplicates("claim").assign(study=name) for name in of_source]
        )
        if source == SOURCE:
            claims = pd.concat([claims, edges.assign(study="convolution")])
        title = f"{source[0].upper()}{source[1:]}" if source else "This project's own questions"
        parts += [f"## {title}"]
        published = [tables[n].published.drop_duplicates("variant") for n in of_source]
        if any(len(of_study) for of_study in published):
            runs = pd.concat(published).drop_duplicates("variant")["run"]
            parts += [f"Of {_counted(runs, RUN_VERDICTS, 'published run')}."]
        for name in of_source:
            if not tables[name].was_run:
                count = len(of_source[name].claims)
                parts += [f"Study {name} ({count} claim{'s' * (count != 1)}): {NOT_RUN_TEXT}"]
        for verdict in VERDICTS:
            rows = claims[claims["claim_verdict"].str.removesuffix(ON_THIS_SEED) == verdict]
            if len(rows) and verdict != NOT_RUN:
                parts += [
                    f"**{_HEADS[verdict]}**",
                    bullets([*map(_overview_line, rows.to_dict("records"))]),
                ]
    return "\n\n".join(parts) + "\n"


def _overview_line(row: Mapping[Any, Any]) -> str:
    folder = "" if row["study"] == "convolution" else "studies/"
    link = f"([{row['study']}](notebooks/{folder}{row['study']}.ipynb))"
    return f"{row['statement']} *{row['claim_summary']}* {link}"


def _link(name: str, tables: StudyTables) -> str:
    return f"[{name}](notebooks/studies/{name}.ipynb)" if tables.was_run else f"`{name}`"


def _counted(verdicts: pd.Series, known: Sequence[str], what: str) -> str:
    """Such as "7 claims: 4 supported, 3 undecided"."""
    return f"{len(verdicts)} {what}{'s' * (len(verdicts) != 1)}: {_counts(verdicts, known)}"


def _counts(verdicts: pd.Series, known: Sequence[str]) -> str:
    counts = verdicts.str.removesuffix(ON_THIS_SEED).value_counts()
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in known if verdict in counts)


def readme_tables(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> dict[str, str]:
    """What README.md may show, by the name in its markers: `studies`, what all of them ask and how
    their claims fared, and of each study `<study>-claims`.
    """
    claims = {f"{name}-claims": claims_markdown(tables[name].claims) for name in studies}
    return {"studies": studies_markdown(studies, tables, edges)} | claims


def studies_markdown(
    studies: Mapping[str, Study], tables: Mapping[str, StudyTables], edges: pd.DataFrame
) -> str:
    """What each study asks, whose question it is, and how its claims fared."""
    rows = []
    for name, study in studies.items():
        notebook = f"[{name}](reports/notebooks/studies/{name}.ipynb)"
        claims = tables[name].claims.drop_duplicates("claim")
        fared = _counts(claims["claim_verdict"], VERDICTS)
        was_run = tables[name].was_run
        rows.append(
            f"| {notebook if was_run else name} | {study.source or 'this project'} "
            f"| {study.question} | {len(study.variants)} | {fared if was_run else NOT_RUN_TEXT} |"
        )
    notebook, (verdict,) = "[convolution](reports/notebooks/convolution.ipynb)", edges.claim_verdict
    rows.append(f"| {notebook} | {SOURCE} | {QUESTION} | – | 1 {verdict} |")
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
OUTLOOK_INTRODUCTION = """\
## What would decide what is undecided

If the differences are as they look, so many seeds of each variant would decide the claim four times
in five; the minutes are those of the seeds that are missing, one after another. Claims that no
affordable number of seeds decides are not listed."""
_OUTLOOK_HEAD = """\
| study | claim | seeds now, at least | seeds needed, about | minutes more |
| :-- | :-- | --: | --: | --: |"""
OVERVIEW_INTRODUCTION = """\
What the reports got right, what does not hold, and what is open, in generated sentences.
[claims.md](claims.md) has every claim with the numbers behind it,
[comparison.md](comparison.md) every published figure beside ours,
[timings](timings/README.md) what the trainings took and what would decide the rest, and
`notebooks/` the executed notebooks."""
_HEADS = {
    SUPPORTED: "Holds",
    CONTRADICTED: "Does not hold",
    NO_DIFFERENCE: "Makes no difference that matters",
    UNDECIDED: "Is open",
}
COMPARISON_INTRODUCTION = """\
What was published is a single run of each network. Beside each of its figures stand the median over
our seeds, and where one more run of ours would fall. A run is within seed noise if all its figures
lie there. [How a verdict comes about](../docs/statistics.md) says more. Accuracies are in per cent,
losses in nats with the L1 and L2 penalty; seeds that collapsed are counted beside the interval, and
are part of the median. Where all seeds collapsed, the interval is theirs."""
CLAIMS_INTRODUCTION = """\
A claim is *supported* if all its tests hold, *contradicted* if one surely does not, and there is
*no difference that matters* if one difference is surely smaller than the study's margin. "Surely"
means that a bound holds with 95 % confidence for all claims of a study together, over other seeds
and other images like these. Else it is *undecided*: these seeds and images cannot tell. With one
seed a verdict holds on this seed only. Costs are ratios of arithmetic, not of minutes, which depend
on the machine.
[How a verdict comes about](../docs/statistics.md) says more."""
