"""What is said of one study, in its notebook and in the reports over all studies: tables and text.

Tables are data frames, for CSV. The Markdown is made from what the CSV holds, so a table read back
looks as it did at first.
"""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruamel.yaml import YAML

from cnn_ablations.analysis.claims import (
    NOT_RUN,
    ON_THIS_SEED,
    VERDICTS,
    ClaimResult,
    edges_claim,
    judge,
)
from cnn_ablations.analysis.evidence import (
    Evidence,
    interval,
    main_accuracy,
    measured,
    others,
    unit,
)
from cnn_ablations.analysis.published import (
    OUTSIDE,
    RUN_VERDICTS,
    WITHIN,
    compare_explanations,
    compare_published,
)
from cnn_ablations.analysis.results import MainAccuracy
from cnn_ablations.analysis.wording import METRICS, p_text
from cnn_ablations.config.params import Params
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import PACKAGE, Paths

CLAIM_COLUMNS = ["claim", "statement", "source", "remark", "claim_verdict", "claim_summary"]
CLAIM_COLUMNS += ["claim_p", "claim_outlook", "quantity", "of", "than", "verdict", "value", "unit"]
CLAIM_COLUMNS += ["low", "high", "p_for", "p_against", "seeds", "paired"]
CLAIM_COLUMNS += ["beats", "beats_low", "beats_high", "summary"]
EDGE_COLUMNS = ["photograph", "kernel", "flattest", "steepest"]
_TEXTS = ["variant", "label", "differences", "explained", "metric", "verdict", "run", "claim"]
_TEXTS += ["statement", "source", "remark", "claim_verdict", "claim_summary", "quantity", "of"]
_TEXTS += ["than", "unit", "summary", "photograph", "kernel"]
_NEVER_EMPTY = {"label", "metric", "run", "published", "statement", "claim_verdict"}
_NEVER_EMPTY |= {"claim_summary", *EDGE_COLUMNS}
_KNOWN = {"metric": METRICS, "run": RUN_VERDICTS, "claim_verdict": VERDICTS}
_KNOWN |= {"verdict": {*VERDICTS, *RUN_VERDICTS}}


@dataclass(frozen=True)
class StudyTables:
    """What `compare` found; of a study that was not run yet, the same tables without results."""

    variants: pd.DataFrame
    published: pd.DataFrame
    explanations: pd.DataFrame
    claims: pd.DataFrame

    @property
    def was_run(self) -> bool:
        return bool(self.variants["seeds"].notna().any())

    @property
    def main(self) -> MainAccuracy:
        """Which accuracy on the test images comes first: see `evidence.main_accuracy`."""
        return "test_balanced" if "test_balanced_accuracy" in self.variants else "test"

    def write(self, folder: Path) -> None:
        """Write each as CSV, and the claims as Markdown, too.

        Raises ProjectError where the folder cannot be written.
        """
        for name, table in vars(self).items():
            # All digits: what is read back is to be rounded as the same number in a sentence was.
            write_atomically(folder / f"{name}.csv", table.to_csv(index=False).encode())
        write_atomically(folder / "claims.md", f"{claims_markdown(self.claims)}\n".encode())


def study_tables(
    evidence: Evidence, differences: Mapping[str, Mapping[str, Any]] | None = None
) -> StudyTables:
    """The tables of a study.

    Args:
        evidence: the study and its results.
        differences: by variant, the keys that it sets otherwise than its protocol.

    Raises ProjectError where something is asked about what a variant did not record.
    """
    return StudyTables(
        variants=variants_table(evidence, differences or {}),
        published=compare_published(evidence.study, evidence.results),
        explanations=compare_explanations(evidence.study, evidence.results),
        claims=claims_table(judge(evidence)),
    )


def load_tables(study: Study, paths: Paths, name: str) -> StudyTables:
    """The tables that `compare` wrote; of a study that was not run yet, those without results.

    Raises ProjectError where they are damaged.
    """
    folder, empty = paths.tables(name), study_tables(Evidence(study, {}))
    if not folder.is_dir():
        return empty
    return StudyTables(
        **{
            table: _read_table(folder / f"{table}.csv", columns, f"compare@{name}")
            for table, columns in vars(empty).items()
        }
    )


def load_edges(paths: Paths) -> pd.DataFrame:
    """The claim that no study tests, by what notebooks/convolution.ipynb measured.

    Raises ProjectError where that is damaged.
    """
    is_there = paths.edges.is_file()
    return edges_claim(_read_table(paths.edges, EDGE_COLUMNS, "convolution") if is_there else None)


def _read_table(path: Path, columns: Iterable[str], stage: str) -> pd.DataFrame:
    """A table that the stage wrote. Raises ProjectError where it is missing or damaged."""
    try:
        # Only an empty cell is missing: a variant may be labelled "None".
        texts = dict.fromkeys(_TEXTS, str)
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=texts)
        if not {*columns} <= {*table}:
            raise ValueError("it has other columns")
        if table.empty and path.stem in ("variants", "convolution"):
            raise ValueError("it has no rows")
        for column, cells in table.items():
            if column not in _TEXTS:
                pd.to_numeric(cells)
            needed = table["verdict"].notna() if column == "summary" else column in _NEVER_EMPTY
            if (cells.isna() & needed).any():
                raise ValueError(f"a cell of {column} is empty")
            if column in _KNOWN:
                verdicts = cells.dropna().str.removesuffix(ON_THIS_SEED)
                if unknown := {*verdicts} - {*_KNOWN[column]}:
                    raise ValueError(f"{column} cannot be {min(unknown)!a}")
    except (OSError, ValueError) as error:  # of pandas' parser, too
        raise ProjectError(
            f"{path} is not whole ({' '.join(str(error).split())}); run `dvc repro -s {stage}`"
        ) from None
    return table


def answer(study: Study, paths: Paths, name: str) -> str:
    """What the data say of each claim, and the path of the notebook.

    Raises ProjectError where its tables are damaged.
    """
    claims = load_tables(study, paths, name).claims.drop_duplicates("claim")
    rows = zip(claims["claim_verdict"], claims["statement"], claims["claim_summary"], strict=True)
    lines = [f"{verdict}: {statement} {summary}" for verdict, statement, summary in rows]
    notebook = paths.notebook("studies", name).relative_to(paths.root)
    return "\n".join([*lines, f"{notebook} says why"])


def variants_table(
    evidence: Evidence, differences: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row a variant: how it differs, what it costs, its accuracies with 95 % intervals."""
    rows = []
    for name, label in evidence.study.labels.items():
        result = evidence.results.get(name)
        metrics = result.metrics if result else {}
        row: dict[str, Any] = {"variant": name, "label": label}
        row["differences"] = as_yaml(differences.get(name, {}))
        for key in ("parameters", "flops", "seeds", "collapsed_seeds", "train_accuracy"):
            row[key] = metrics.get(key)
        for split in dict.fromkeys(["val", "test", main_accuracy(evidence.results.values())]):
            metric, low, high = f"{split}_accuracy", f"{split}_low", f"{split}_high"
            row |= {metric: metrics.get(metric), low: None, high: None}
            if result and split.removesuffix("_balanced") in result.labels:
                sample = measured(result, metric)
                row[low], row[high] = interval(sample)
                # Of equal classes no metrics hold the balanced accuracy.
                row[metric] = metrics.get(metric, float(np.median(sample.values)))
        rows.append(row)
    return pd.DataFrame(rows)


def claims_table(claims: Iterable[ClaimResult]) -> pd.DataFrame:
    """One row a test, with its claim's verdict; a single row where a claim was not tested yet."""
    rows: list[dict[str, Any]] = []
    for result in claims:
        of_claim = {
            "claim": result.name,
            "statement": result.claim.statement,
            "source": result.claim.source,
            "remark": result.claim.remark,
            "claim_verdict": result.verdict,
            "claim_summary": result.summary,
            "claim_p": result.p,
            "claim_outlook": result.outlook,
        }
        for judgement in result.judgements:
            test, estimate = judgement.finding.test, judgement.finding.estimate
            row = of_claim | vars(judgement.finding) | vars(judgement)
            row |= {"quantity": test.quantity, "value": estimate.value, "unit": unit(test)}
            row |= {"of": " ".join(test.of), "than": " ".join(others(test))}
            row |= {"seeds": min(estimate.seeds, default=None), "paired": estimate.paired}
            row |= zip(("low", "high"), judgement.interval or (), strict=False)
            row["beats"], row["beats_low"], row["beats_high"] = judgement.beats or (None,) * 3
            rows.append(row)
        if not result.judgements:
            rows.append(of_claim)
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Keys and values on one line, as params.yaml would have them."""
    yaml: Any = YAML(typ="safe")
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = True, False, 10_000
    flow = io.StringIO()
    yaml.dump(dict(settings), flow)
    return flow.getvalue().strip().removeprefix("{").removesuffix("}")


def render(name: str, **content: Any) -> str:
    """The text that a template makes of the content."""
    return _TEMPLATES.get_template(name).render(content).strip()


def variants_markdown(table: pd.DataFrame) -> str:
    """Accuracies in per cent: the median over seeds and, in brackets, a 95 % interval."""
    return render("variants.md.j2", rows=records(table))


def claims_markdown(table: pd.DataFrame) -> str:
    """One row a claim: its verdict, its statement, what decides it, and p of the verdict."""
    return render("verdicts.md.j2", rows=records(table.drop_duplicates("claim")))


def records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a table, with None where nothing is known."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _number(value: float | None, form: str = ".0f", scale: float = 1.0) -> str:
    """A number in a table, or a dash."""
    return "–" if value is None else f"{scale * value:{form}}".replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else p_text(p).removeprefix("= ").replace(" ", "\u00a0")


def _fitting(figures: Sequence[Mapping[str, Any]]) -> str:
    """How many of a run's figures lie where one more run would, or a dash where a single seed does
    not tell.
    """
    if figures[0]["low"] is None:
        return "–"
    return f"{sum(of['verdict'] != OUTSIDE for of in figures)} of {len(figures)}"


_TEMPLATES = Environment(
    loader=FileSystemLoader(PACKAGE / "analysis" / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"cell": lambda text: text.replace("|", "\\|"), "number": _number, "p": _p}
_TEMPLATES.filters["fitting"] = _fitting


def recipe_and_differences(
    params: Params, study: Study
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The keys of the study's protocol and the data set of its first variant; by variant, those
    that it sets otherwise.
    """
    variants = [params.variant(variant) for variant in study.variants]
    recipe = {"dataset": variants[0].dataset, **params.protocols[study.group]}
    differences = {
        variant.name: ({"dataset": variant.dataset} if variant.dataset != recipe["dataset"] else {})
        | {key: variant.settings[key] for key in variant.differences}
        for variant in variants
    }
    return recipe, differences


def in_use(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a protocol that switch something on, and where a penalty that is on applies; not
    the seeds, which the table of variants counts.
    """
    off = {"seeds", *(f"{penalty}_on" for penalty in ("l1", "l2") if not recipe.get(penalty))}
    return {key: value for key, value in recipe.items() if value and key not in off}


def variants_along(
    key: str,
    study: Study,
    differences: Mapping[str, Mapping[str, Any]],
    recipe: Mapping[str, Any],
) -> dict[float, str]:
    """The variants by their value of `key`: those that set it and nothing else, and the one that
    sets nothing. Seeds, which `differences` does not hold, may differ.
    """
    return {
        float(differences[variant].get(key, recipe[key])): variant
        for variant in study.variants
        if set(differences[variant]) <= {key}
    }


def headline(evidence: Evidence, name: str, claims: pd.DataFrame) -> str:
    """The head of a study's notebook: the question, the answer claim by claim, and what it rests
    on.
    """
    study = evidence.study
    parts = [f"# {study.title}", f"**{study.question}**"]
    rows = claims.drop_duplicates("claim").to_dict("records")
    if any(row["claim_verdict"] == NOT_RUN for row in rows):
        parts += [
            f"*Not run yet*: `cnn-ablations repro compare@{name}` trains the variants that are "
            "missing. These claims are to be tested:",
            bullets([row["statement"] for row in rows]),
        ]
    else:
        verdicts = [
            f"**{row['claim_verdict'].capitalize()}:** *{row['statement']}* {row['claim_summary']}"
            for row in rows
        ]
        parts += [bullets(verdicts), _facts(evidence)]
    return "\n\n".join(parts)


def _facts(evidence: Evidence) -> str:
    """How many trainings and images the verdicts rest on, and what they call sure."""
    results = evidence.results.values()
    trainings = sum(len(result.seeds) for result in results)
    images = sorted({len(result.labels["test"]) for result in results})
    unequal = ""
    if main_accuracy(results) == "test_balanced":
        of_class = [np.unique(of.labels["test"], return_counts=True)[1] for of in results]
        least, most = min(map(min, of_class)), max(map(max, of_class))
        unequal = (
            f" A class has {least:,} to {most:,} test images, so that plain accuracy says little "
            "about the rare ones: the first column of accuracies, and figures of test accuracy, "
            "show the *balanced* accuracy, the share of a class's images that is recognised, "
            "averaged over the classes."
        )
    single = " or, of a single seed, over images only: what another one would give is unknown"
    return (
        f"From {trainings} trainings of {len(results)} variants, tested on "
        f"{' to '.join(f'{count:,}' for count in images)} images. *Surely* means that a bound "
        "holds with 95\u00a0% confidence or more, over other seeds and images like these"
        f"{single * any(len(result.seeds) == 1 for result in results)}. Verdicts are corrected for "
        f"all claims of the study.{unequal}"
    )


def choices_text(study: Study) -> str:
    """Whose study it is, and what this project decided where the source leaves it open."""
    parts = []
    if study.source:
        parts += [f"The claims are those of {study.source}, if nothing else is said."]
    if study.choices:
        parts += ["What is this project's own choice:", bullets(study.choices)]
    return "\n\n".join(parts)


def published_text(study: Study, tables: StudyTables) -> str:
    """How many published runs agree, their figures beside ours, why the others may not, and how
    many figures of theirs each explanation fits. Accuracies in per cent, losses in nats. A run's
    verdict stands beside its first figure.
    """
    runs = tables.published.drop_duplicates("variant")["run"]
    tried = tables.explanations.groupby(["explained", "label"], sort=False)
    return render(
        "published.md.j2",
        rows=records(tables.published),
        explanations=[records(of_one) for _, of_one in tried],
        metrics=METRICS,
        runs=tally_text(runs, RUN_VERDICTS, "published run"),
        reasons=study.reasons if (runs != WITHIN).any() else [],
    )


def tests_text(claims: pd.DataFrame) -> str:
    """The tests behind the verdicts, one row each, and how the claims were read."""
    tests = claims[claims["verdict"].notna()]
    return render(
        "tests.md.j2", rows=records(tests), claims=records(claims.drop_duplicates("claim"))
    )


def tally(verdicts: Iterable[str], known: Iterable[str]) -> dict[str, int]:
    """How often each of the known verdicts is there, without those that never are."""
    counts = Counter(verdict.removesuffix(ON_THIS_SEED) for verdict in verdicts)
    return {verdict: counts[verdict] for verdict in known if counts[verdict]}


def tally_text(verdicts: Iterable[str], known: Iterable[str], what: str = "") -> str:
    """Such as "4 supported, 3 undecided" or, of a kind of thing, "7 claims: 4 supported, ...", and
    how many of them hold on a single seed only.
    """
    verdicts = list(verdicts)
    counts, one = tally(verdicts, known), sum(v.endswith(ON_THIS_SEED) for v in verdicts)
    text, total = ", ".join(f"{n} {verdict}" for verdict, n in counts.items()), sum(counts.values())
    text += f" ({one} of them on one seed)" if one else ""
    return f"{total} {what}{'s' * (total != 1)}: {text}" if what else text


def bullets(items: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {item}" for item in items)
