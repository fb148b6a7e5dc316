"""Training variants again, from empty scratch, and comparing them with what git has in HEAD.

What is trained, and how, is as the working tree says. All happens in a temporary folder in
data/scratch, in folders that look like checkouts.

Where bytes differ, chance may explain it: another CPU rounds otherwise, and after some epochs that
is as good as another seed. So an accuracy of a repeated seed is within seed noise where it lies
in the prediction interval that Student's t draws from the committed seeds that learned; at 95 % it
holds all of a variant's repeated accuracies at once (Bonferroni; Hahn and Meeker, Statistical
Intervals, 1991, section 4.8). It is widened by one test image, the step in which accuracies move.
A repeated seed may stay at chance only where a committed one did. With fewer than two committed
seeds that learned, the scatter between seeds is unknown, and so is the verdict.

Chance explains no other data or network. And where the predictions, with the loss to all its
digits, are the same, it explains nothing: whatever else differs was not made by the same training.
"""

import io
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from cnn_ablations.analysis.results import VariantResult, load_result
from cnn_ablations.analysis.statistics import CONFIDENCE, prediction_interval, within_0_and_1
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.base import nearest
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import cannot_write, remove, write_atomically
from cnn_ablations.notebooks import execute
from cnn_ablations.paths import Paths
from cnn_ablations.processes import environment, mortal
from cnn_ablations.revision import extract, revision
from cnn_ablations.scheduling.display import counted, shown
from cnn_ablations.training.backend import circumstances

_GRAVITY = ("bit-identical", "within seed noise", "unknown", "different")
IDENTICAL, WITHIN, UNKNOWN, DIFFERENT = _GRAVITY


@dataclass(frozen=True)
class Finding:
    """A verdict on one output or one accuracy, and what it rests on."""

    subject: str
    verdict: str
    detail: str = ""


def verify(
    names: Sequence[str],
    params: Params,
    paths: Paths,
    console: Console,
    tell: Callable[[str], None],
    *,
    seeds: int | None,
) -> bool:
    """Train variants again, chosen as `plan` says, and `tell` what that shows; `console` has how
    far it is. Whether every output is bit-identical or within seed noise.

    Raises ProjectError where something is missing or damaged, cannot be trained or written.
    """
    scratch = paths.scratch()
    verdicts = []
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="verify-", dir=scratch, ignore_cleanup_errors=True) as place:
            head = Paths(Path(place, "committed"))
            extract(paths.root, "HEAD", ["reports"], head.root)
            variants = plan(names, params, head, seeds=seeds)
            console.print(announced(variants, paths), highlight=False, soft_wrap=True)
            provide_arrays({variant.dataset for variant in variants}, paths)
            for number, variant in enumerate(variants, start=1):
                repeated = Paths(Path(place, variant.name))
                label = f"{variant.name} ({number} of {len(variants)})"
                with shown(label, repeated.progress(variant.group, variant.name), console):
                    train_again(variant, paths, repeated)
                findings, notes = compare(variant, head, repeated)
                verdicts.append(worst(findings))
                width = max(len(finding.subject) for finding in findings)
                lines = [f"{f.subject:{width}}  {f.verdict:17}  {f.detail}" for f in findings]
                lines = [f"{variant.name}, seeds {_listed(variant.seeds)}: {verdicts[-1]}", *lines]
                tell("\n  ".join(line.rstrip() for line in [*lines, *notes]) + "\n")
                remove(repeated.root)
    except OSError as error:
        raise cannot_write(error.filename or scratch, error) from None
    tell(", ".join(f"{counted(verdicts.count(v), 'variant')} {v}" for v in dict.fromkeys(verdicts)))
    return {*verdicts} <= {IDENTICAL, WITHIN}


def plan(names: Sequence[str], params: Params, head: Paths, *, seeds: int | None) -> list[Variant]:
    """What to train again, each variant with the seeds to train.

    `names` are variants, or studies for all of theirs; without any, all that have results in
    `head`, the folder of the committed ones. `seeds`: only so many of each variant, the first.

    Raises ProjectError where a name is unknown, or results are not committed or damaged.
    """
    known = [*params.studies, *params.variants]
    for name in names:
        if name not in known:
            raise ProjectError(f"there is no variant or study '{name}'{nearest(name, known)}")
    named = [v for name in names for v in getattr(params.studies.get(name), "variants", [name])]
    chosen = [params.variant(name) for name in dict.fromkeys(named)] or [
        v for v in params.variants.values() if head.metrics(v.group, v.name).is_file()
    ]
    chosen = [variant.model_copy(update={"seeds": variant.seeds[:seeds]}) for variant in chosen]
    if not chosen:
        raise ProjectError("git's HEAD has no results; commit what `dvc repro train@VARIANT` makes")
    for variant in chosen:
        again = f"run `dvc repro train@{variant.name}` and commit what it writes"
        try:
            committed = load_result(head, variant.group, variant.name).seeds.tolist()
        except ProjectError as error:
            what = str(error).replace(f"{head.root}/", "").rpartition("; ")[0]
            raise ProjectError(f"in git's HEAD, {what}; {again}") from None
        if missing := {*variant.seeds} - {*committed}:
            raise ProjectError(f"git's HEAD has no seed {min(missing)} of {variant.name}; {again}")
    return chosen


def announced(variants: Sequence[Variant], paths: Paths) -> str:
    """What is going to be done, and what it is compared with."""
    state = revision(paths.root)
    other = ", from which code or parameters here differ" if state["modified"] else ""
    seeds = counted(sum(len(variant.seeds) for variant in variants), "seed")
    return (
        f"training {counted(len(variants), 'variant')}, {seeds}, again in a temporary folder "
        f"to compare with what git has in commit {state['commit']:.12}{other}"
    )


def provide_arrays(datasets: Iterable[str], paths: Paths) -> None:
    """Let DVC make the arrays that are missing or damaged. Raises ProjectError where it cannot."""
    stages = []
    for dataset in sorted(datasets):
        try:
            load_arrays(paths.arrays(dataset))
        except ProjectError:
            stages += [f"download@{dataset}", f"preprocess@{dataset}"]
    if not stages:
        return
    # All that they need of `check`, which itself would bring dvc.lock up to date.
    write_atomically(paths.checked, b"params.yaml is valid\n")
    command = mortal([sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", *stages])
    if subprocess.call(command, cwd=paths.root, env=environment(), stdout=2):  # 1 is for findings
        raise ProjectError(
            f"`dvc repro -s {' '.join(stages)}` failed, as it says above; mend that and run the "
            "same command again"
        )


def train_again(variant: Variant, paths: Paths, repeated: Paths) -> None:
    """Train `variant` in the folder `repeated`. Raises ProjectError where that fails."""
    for shared in (paths.params, paths.template("train"), paths.arrays(variant.dataset)):
        link = repeated.root / shared.relative_to(paths.root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shared)
    notebook = repeated.notebook(variant.group, variant.name, "train")
    try:
        execute("train", notebook, {"variant": variant.model_dump()}, repeated)
    except ProjectError as error:
        raise ProjectError(
            f"{variant.name} could not be trained again: {error} (all this in a folder that is "
            "removed; the checkout is as it was)"
        ) from None


def compare(variant: Variant, head: Paths, repeated: Paths) -> tuple[list[Finding], list[str]]:
    """Compare what training `variant` wrote in `repeated` with the same files in `head`: findings,
    and notes on what was left out and on what keeps bits from being the same.

    Files that hold medians over seeds, and the notebook, are compared where all seeds were trained.
    """
    own = (variant.group, variant.name)
    committed = load_result(head, *own)
    whole = variant.seeds == committed.seeds.tolist()
    files = {*(repeated.root / "reports").rglob("*.*")} - {repeated.timings(*own)}
    names = sorted(file.relative_to(repeated.root).as_posix() for file in files)
    outputs = {
        name: (_content(head.root / name), _content(repeated.root / name))
        for name in names
        if whole or name.endswith((".csv", ".npz"))
    }
    noise = compare_accuracies(committed, load_result(repeated, *own))
    findings = compare_outputs(outputs, noise, variant.seeds)
    identical = worst(findings) == IDENTICAL
    notes = [] if whole else ["not compared, for that takes all seeds: metrics and the notebook"]
    return findings + noise * (not identical), notes + _circumstances(variant, head, identical)


def compare_outputs(
    outputs: Mapping[str, tuple[bytes, bytes]], noise: Iterable[Finding], seeds: Sequence[int]
) -> list[Finding]:
    """A verdict on each output, from its name and its content as committed and as made again.

    `noise` is what `compare_accuracies` found: it decides where the predictions differ. Of tables
    and arrays only what they hold of `seeds` is compared.
    """
    differing = {
        name
        for name, contents in outputs.items()
        if len({_held(name, content, seeds) for content in contents}) > 1
    }
    moved = any(name.endswith(".npz") for name in differing)
    other = (worst(noise), "") if moved else (DIFFERENT, "although the predictions are the same")
    return [Finding(n, *(other if n in differing else (IDENTICAL,))) for n in outputs]


def _held(name: str, content: bytes, seeds: Sequence[int]) -> Any:
    """What a file holds of `seeds`; of arrays whatever way they are packed."""
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        rows = np.isin(arrays["seeds"], seeds)
        arrays = {key: a if "label" in key else a[rows] for key, a in arrays.items()}
        # Bytes, so that a loss that is not a number, of a training that diverged, equals itself.
        return tuple((key, a.dtype, a.shape, a.tobytes()) for key, a in arrays.items())
    if name.endswith(".csv"):
        header, *rows_of_all = content.splitlines()
        of_seeds = tuple(f"{seed},".encode() for seed in seeds)
        return (header, *(row for row in rows_of_all if row.startswith(of_seeds)))
    return content


def compare_accuracies(committed: VariantResult, repeated: VariantResult) -> list[Finding]:
    """Whether seed noise explains the accuracies of the repeated seeds: a verdict on each split,
    and one on seeds that stayed at chance, where some did. Other data or another network are
    different, and nothing else is looked at.
    """
    then, now = _fixed(committed), _fixed(repeated)
    if others := [key for key in then | now if then.get(key) != now.get(key)]:
        return [Finding("data and network", DIFFERENT, f"other {_listed(others)}")]
    findings = []
    learned, of = ~repeated.collapsed, len(committed.seeds)
    if not learned.all():
        collapsed = int(committed.collapsed.sum())
        detail = f"seed {_listed(repeated.seeds[~learned])} stayed at chance; {collapsed} of {of}"
        verdict = WITHIN if collapsed else DIFFERENT
        findings.append(Finding("collapsed seeds", verdict, f"{detail} committed seeds did"))
    accuracies = [f"{split}_accuracy" for split in ("train", *committed.labels)]
    confidence = 1 - (1 - CONFIDENCE) / (len(learned) * len(accuracies))
    step = 1 / len(committed.labels["test"])
    for metric in accuracies if learned.any() else []:
        values = repeated.per_seed(metric)[learned]
        known = committed.per_seed(metric)[~committed.collapsed]
        detail = f"{_percent(values.min(), values.max())} repeated"
        if len(known) < 2:
            verdict = UNKNOWN if len(known) else DIFFERENT
            detail += f"; only {len(known)} of {of} committed seeds learned"
        else:
            low, high = prediction_interval(known, confidence)
            low, high = within_0_and_1((low - step, high + step))
            outside = repeated.seeds[learned][(values < low) | (values > high)]
            verdict = DIFFERENT if len(outside) else WITHIN
            detail += f", {_percent(low, high)} expected"
            if len(outside):
                detail += f"; outside: seed {_listed(outside)}"
        findings.append(Finding(metric.replace("_", " "), verdict, detail))
    return findings


def _fixed(result: VariantResult) -> dict[str, Any]:
    """What no seed has a part in."""
    labels = {f"{split}_labels": true.tolist() for split, true in result.labels.items()}
    counts = {"train_label_counts": result.train_label_counts.tolist()}
    return labels | counts | {key: result.metrics.get(key) for key in ("parameters", "flops")}


def worst(findings: Iterable[Finding]) -> str:
    """The gravest of the verdicts; bit-identical where there are none."""
    return max((f.verdict for f in findings), key=_GRAVITY.index, default=IDENTICAL)


def _circumstances(variant: Variant, head: Paths, identical: bool) -> list[str]:
    """What keeps the bits of this machine from being those of the one that trained it."""
    timings = load_timings(head.timings(variant.group, variant.name))
    if not timings or not timings.provenance:
        return ["the machine that trained it is not on record"]
    here = circumstances(variant.precision)
    others = dict.fromkeys(
        f"other than the machine that trained it: {key} {now} (recorded: {then[key]})"
        for then in timings.provenance
        for key, now in here.items()
        if then.get(key, now) != now
    )
    promise = "the same bits are promised of float32 on x86-64 with AVX-512 (x86-64-v4)"
    return [*others] if identical else [*others, promise]


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
