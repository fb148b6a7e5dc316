"""Training variants again, from empty scratch, and comparing them with what is committed.

Committed is what git has in HEAD, whatever the working tree holds; what is trained, and how, is as
the working tree says. All happens in data/scratch/verify, in folders that look like checkouts: one
with the committed results, one for each variant with links to all that its training needs. They
are removed in the end; what a killed `verify` left, the next one removes.
"""

import hashlib
import json
import math
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from cnn_ablations import agreement
from cnn_ablations.agreement import DIFFERENT, IDENTICAL, WITHIN, Finding, worst
from cnn_ablations.analysis.results import load_result
from cnn_ablations.analysis.timings import Timings, load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import remove, write_atomically
from cnn_ablations.notebooks import execute
from cnn_ablations.paths import Paths
from cnn_ablations.processes import alone, environment, mortal
from cnn_ablations.progress import shown
from cnn_ablations.revision import revision
from cnn_ablations.scheduling.display import counted
from cnn_ablations.scheduling.pipeline import locked_stages
from cnn_ablations.training.backend import circumstances

QUICK_SECONDS = 300.0
"""What `quick` allows each group, by the recorded times."""
Say = Callable[[str], None]


def verify(
    names: Sequence[str],
    params: Params,
    paths: Paths,
    console: Console,
    tell: Say,
    *,
    seeds: int | None = None,
    quick: bool = False,
) -> bool:
    """Train variants again and `tell` what that shows, while `console` has how far it is.

    `names`, `seeds` and `quick` are those of `plan`. Returns whether every output is bit-identical
    or within seed noise. Raises ProjectError where something is missing or cannot be trained.
    """
    scratch = paths.scratch("verify")

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with alone(scratch.with_suffix(".lock"), "another `verify` is at work", say):
        try:
            remove(scratch)
            head = committed_results(paths, scratch / "committed")
            variants = plan(names, params, head, seeds=seeds, quick=quick)
            say(announced(variants, paths, head))
            provide_arrays({variant.dataset for variant in variants}, paths)
            verdicts = []
            for number, variant in enumerate(variants, start=1):
                repeated = Paths(scratch / variant.name)
                label = f"{variant.name} ({number} of {len(variants)})"
                with shown(label, repeated.progress(variant.group, variant.name), console):
                    train_again(variant, paths, repeated)
                findings, notes = compare(variant, paths, head, repeated)
                verdicts.append(worst(findings))
                width = max(len(finding.subject) for finding in findings)
                lines = [f"{f.subject:{width}}  {f.verdict:17}  {f.detail}" for f in findings]
                numbers = ", ".join(map(str, variant.seeds))
                seed = f"seed{'s' * (len(variant.seeds) > 1)} {numbers}"
                headline = f"{variant.name}, {seed}: {verdicts[-1]}"
                tell("\n  ".join([headline, *map(str.rstrip, lines), *notes]) + "\n")
                remove(repeated.root)
        except OSError as error:
            raise ProjectError(
                f"cannot work in {scratch}: {error.strerror or error}; mend that and run the same "
                "command again"
            ) from None
        finally:
            with suppress(OSError):
                remove(scratch)
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    tell(f"{_size(variants)}: {counts}")
    return {*verdicts} <= {IDENTICAL, WITHIN}


def committed_results(paths: Paths, folder: Path) -> Paths:
    """Fill a new folder with dvc.lock and reports/ as git has them in HEAD.

    Raises ProjectError where there is no commit.
    """
    folder.mkdir(parents=True)
    archive = folder / "head.tar"
    command = ["git", "-c", "core.autocrlf=false", "archive", f"--output={archive}", "HEAD"]
    done = subprocess.run(command, cwd=paths.root, capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0]
        raise ProjectError(f"git has no commit of {paths.root} to compare with ({why}); clone it")
    with tarfile.open(archive) as files:
        for file in files:
            if file.isfile() and file.name.startswith(("reports/", "dvc.lock")):
                files.extract(file, folder, filter="data")
    archive.unlink()
    return Paths(folder)


def plan(
    names: Sequence[str], params: Params, head: Paths, *, seeds: int | None, quick: bool
) -> list[Variant]:
    """What to train again, each variant with the seeds to train.

    `names` are variants, or studies for all of theirs; without any, all that have results in
    `head`, the folder of the committed ones. `seeds`: only so many of each variant, the first.
    `quick`: of each group only the variant that took the least time, by the recorded times of those
    seeds, and only where that was at most `QUICK_SECONDS`.

    Raises ProjectError where a name is unknown, results are not committed or damaged, or nothing is
    left to do.
    """
    named = [v for name in names for v in getattr(params.studies.get(name), "variants", [name])]
    found = [params.variant(name) for name in dict.fromkeys(named)] or [
        v for v in params.variants.values() if head.metrics(v.group, v.name).is_file()
    ]
    if not found:
        raise ProjectError("git's HEAD has no results; commit what `dvc repro train@VARIANT` makes")
    chosen = [variant.model_copy(update={"seeds": variant.seeds[:seeds]}) for variant in found]
    if quick:
        cheap = [v for v in chosen if _seconds(v, head) <= QUICK_SECONDS]
        cheap.sort(key=lambda variant: _seconds(variant, head))
        chosen = list({variant.group: variant for variant in reversed(cheap)}.values())
    if not chosen:
        raise ProjectError(
            f"no variant takes at most {QUICK_SECONDS:.0f} s by the recorded times; ask for fewer "
            "seeds with --seeds 1, or leave out --quick"
        )
    for variant in chosen:
        again = f"run `dvc repro train@{variant.name}` and commit what it writes"
        try:
            _recorded(variant, head)
            committed = load_result(head, variant.group, variant.name).seeds
        except ProjectError as error:
            what = str(error).replace(f"{head.root}/", "").rpartition("; ")[0]
            raise ProjectError(f"in git's HEAD, {what}; {again}") from None
        if missing := [seed for seed in variant.seeds if seed not in committed]:
            raise ProjectError(f"git's HEAD has no seed {missing[0]} of {variant.name}; {again}")
    return chosen


def announced(variants: Sequence[Variant], paths: Paths, head: Paths) -> str:
    """What is going to be done, how long it took when it was recorded, what it is compared with."""
    recorded = sum(_seconds(variant, head) for variant in variants)
    time = f" (recorded: {recorded / 60:.1f} minutes)" if math.isfinite(recorded) else ""
    state = revision(paths.root)
    other = ", from which code or parameters here differ" if state["modified"] else ""
    return (
        f"training {_size(variants)}, again in a temporary folder{time}, to compare with what git "
        f"has in commit {state['commit']:.12}{other}"
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
    # They need no more of `check`, which would bring dvc.lock up to date.
    write_atomically(paths.checked, b"params.yaml is valid\n")
    command = mortal([sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", *stages])
    # Standard output is for findings.
    if subprocess.call(command, cwd=paths.root, env=environment(), stdout=sys.stderr):
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


def compare(
    variant: Variant, paths: Paths, head: Paths, repeated: Paths
) -> tuple[list[Finding], list[str]]:
    """Compare what training `variant` wrote in `repeated` with the same files in `head`: a finding
    for each, and notes on what was left out and on what keeps bits from being the same.

    Files that hold medians over seeds, the notebook, and the run folder (by its hash in dvc.lock)
    are compared where all seeds were trained again.
    """
    own = (variant.group, variant.name)
    committed = load_result(head, *own)
    whole = variant.seeds == committed.seeds.tolist()
    run = repeated.run(*own).relative_to(repeated.root).as_posix()
    recorded = _recorded(variant, head)
    outputs: dict[str, tuple[bytes | None, bytes]] = {}
    changed, missing = [], f"{run}, of which dvc.lock has nothing beside these results"
    for file in sorted((repeated.root / "reports").rglob("*.*")):
        name = file.relative_to(repeated.root).as_posix()
        before = _content(head.root / name)
        if file == repeated.timings(*own):
            continue
        if whole or file.suffix in (".csv", ".npz"):
            outputs[name] = before, file.read_bytes()
        if _content(paths.root / name) != before:
            changed.append(name)
    if not whole:
        missing = f"metrics, the notebook and {run}, for that takes all seeds"
    elif run in recorded:
        outputs[run] = recorded[run].encode(), dvc_hash(repeated.root / run).encode()
        missing = ""
    notes = [f"not compared: {missing}"] if missing else []
    if changed:
        notes.append(f"changed here since the commit, and not looked at: {', '.join(changed)}")
    noise = agreement.compare_accuracies(committed, load_result(repeated, *own))
    findings = agreement.compare_outputs(outputs, noise, None if whole else variant.seeds)
    identical = worst(findings) == IDENTICAL
    same = {run, *(finding.subject for finding in findings if finding.verdict == IDENTICAL)}
    findings += agreement.contradictions(committed)
    findings += [
        Finding(f"{name} as committed", DIFFERENT, "not what DVC recorded of this training")
        for name, md5 in recorded.items()
        if name not in same and _md5(_content(head.root / name)) != md5
    ]
    notes += _circumstances(variant, head, identical)
    return (findings if identical else findings + noise), notes


def dvc_hash(folder: Path) -> str:
    """The hash under which DVC keeps a folder: the MD5 of the sorted list of its files' MD5s."""
    files = {
        file.relative_to(folder).as_posix(): _md5(file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return f"{_md5(json.dumps(listing).encode())}.dir"


def _recorded(variant: Variant, head: Paths) -> dict[str, str]:
    """The hash of each output by its name, from dvc.lock; none where that knows another training,
    or none, than the one whose predictions are committed.
    """
    hashes = {}
    with suppress(KeyError, TypeError):  # an entry of another form
        outputs = locked_stages(head).get(f"train@{variant.name}", {}).get("outs", [])
        hashes = {output["path"]: output["md5"] for output in outputs}
    predictions = head.predictions(variant.group, variant.name)
    name = predictions.relative_to(head.root).as_posix()
    return hashes if hashes.get(name) == _md5(_content(predictions)) else {}


def _circumstances(variant: Variant, head: Paths, identical: bool) -> list[str]:
    """What keeps the bits of this machine from being those of the one that trained it."""
    timings, here = _timings(variant, head), circumstances(variant.precision)
    if not timings.provenance:
        return ["the machine that trained it is not on record"]
    others = dict.fromkeys(
        f"other than the machine that trained it: {key} {now} (recorded: {then[key]})"
        for then in timings.provenance
        for key, now in here.items()
        if then.get(key, now) != now
    )
    if identical:
        return list(others)
    if others:
        return [*others, "the same bits are promised of float32 on x86-64 with AVX-512 (x86-64-v4)"]
    since = f" since commit {timings.revision.commit:.12}" if timings.revision.commit else ""
    return [
        "nothing that is recorded of machine and libraries differs: look at what changed in code, "
        f"parameters or data{since}"
    ]


def _timings(variant: Variant, head: Paths) -> Timings:
    """The recorded times and provenance; empty where there is no readable record."""
    with suppress(ProjectError):
        if timings := load_timings(head.timings(variant.group, variant.name)):
            return timings
    return Timings.model_construct(seeds={})


def _seconds(variant: Variant, head: Paths) -> float:
    known = _timings(variant, head).seeds
    times = [known.get(str(seed)) for seed in variant.seeds]
    return math.fsum(of_seed.seconds if of_seed else math.inf for of_seed in times)


def _size(variants: Sequence[Variant]) -> str:
    seeds = sum(len(variant.seeds) for variant in variants)
    return f"{counted(len(variants), 'variant')}, {counted(seeds, 'seed')}"


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _md5(content: bytes | None) -> str:
    return hashlib.md5(content or b"", usedforsecurity=False).hexdigest()
