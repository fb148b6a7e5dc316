"""Training variants again, from empty scratch, and comparing them with what is committed.

Everything happens in a folder of data/scratch that looks like a checkout: it links to the arrays
and to the template of the notebook, and what `train` writes there is compared, file by file, with
the same files here. The folder is removed in the end; what a killed `verify` left, the next one of
the same variant removes. Nothing else is written but a lock beside it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cnn_ablations.analysis.agreement import (
    IDENTICAL,
    SUMMARIES,
    WITHIN,
    Agreement,
    Output,
    compare_accuracies,
    compare_outputs,
    contradictions,
    machine_differences,
    of_seeds,
    worst,
)
from cnn_ablations.analysis.results import load_result
from cnn_ablations.analysis.timings import Timings, load_timings
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import remove
from cnn_ablations.notebooks import execute
from cnn_ablations.paths import Paths
from cnn_ablations.processes import alone
from cnn_ablations.progress import shown
from cnn_ablations.scheduling.display import counted
from cnn_ablations.scheduling.pipeline import locked_stages
from cnn_ablations.training.backend import circumstances

QUICK_SECONDS = 300.0
"""What `quick` allows each group, by the recorded times."""


@dataclass(frozen=True)
class Verification:
    """What training a variant again has shown."""

    variant: str
    seeds: list[int]
    outputs: list[Agreement]
    accuracies: list[Agreement]
    """Where an output is not bit-identical: whether seed noise explains it."""
    circumstances: list[str]
    """What differs from the machine that trained it, or where else to look."""
    compared_bytes: int

    @property
    def verdict(self) -> str:
        return worst(self.outputs)

    @property
    def verified(self) -> bool:
        """Whether every output is bit-identical or within seed noise."""
        return self.verdict in (IDENTICAL, WITHIN)

    def __str__(self) -> str:
        """A headline, a line for each finding, a line for each circumstance."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        findings = [*self.outputs, *self.accuracies]
        width = max(len(finding.subject) for finding in findings)
        return "\n".join(
            [
                f"{self.variant}, {seeds}: {self.verdict}",
                *(f"  {f.subject:{width}}  {f.verdict:17}  {f.detail}".rstrip() for f in findings),
                *(f"  {text}" for text in self.circumstances),
            ]
        )


def plan(
    params: Params, paths: Paths, names: Iterable[str], *, seeds: int | None, quick: bool
) -> list[Variant]:
    """What to train again, each variant with the seeds to train.

    Args:
        params: of the checkout.
        paths: of the checkout.
        names: variants, or studies for all of theirs; where there are none, every variant that
            has committed results.
        seeds: only so many of each variant's seeds, the first.
        quick: of each group only the variant that took the least time, by the recorded times of
            those seeds, and only where that was at most `QUICK_SECONDS`.

    Raises:
        ProjectError: where a name is unknown, results or arrays are missing or damaged, or
            nothing is left to do.
    """
    wanted = [
        variant
        for name in names
        for variant in (params.studies[name].variants if name in params.studies else [name])
    ]
    found = [params.variant(name) for name in dict.fromkeys(wanted)] or [
        variant
        for variant in params.variants.values()
        if paths.metrics(variant.group, variant.name).is_file()
    ]
    if not found:
        raise ProjectError("no variant has results to compare with; run `dvc repro train@VARIANT`")
    chosen = [variant.model_copy(update={"seeds": variant.seeds[:seeds]}) for variant in found]
    if quick:
        chosen = _cheapest(chosen, paths)
    locked_stages(paths)  # what is wrong with it is better said before training than after
    for variant in chosen:
        result = load_result(paths, variant.group, variant.name)
        if missing := [seed for seed in variant.seeds if seed not in result.seeds]:
            raise ProjectError(
                f"{paths.predictions(variant.group, variant.name)} has no seed {missing[0]}, "
                f"which params.yaml gives {variant.name}; run `dvc repro train@{variant.name}`"
            )
    for dataset in {variant.dataset for variant in chosen}:
        load_arrays(paths.arrays(dataset))
    return chosen


def verify(variant: Variant, paths: Paths, label: str, console: Console) -> Verification:
    """Train a planned variant in a temporary folder and compare it with its committed results.

    Shows on `console`, after `label`, how far it is. Raises ProjectError where it cannot train.
    """
    repeated = Paths(paths.scratch("verify", variant.group, variant.name))
    lock = repeated.root.with_name(f"{variant.name}.lock")
    try:
        with alone(lock, f"another process verifies {variant.name}", console.print):
            remove(repeated.root)
            try:
                with shown(label, repeated.progress(variant.group, variant.name), console):
                    _train(variant, paths, repeated)
                return compare(variant, paths, repeated)
            finally:
                remove(repeated.root)
    except OSError as error:
        raise ProjectError(
            f"cannot work in {repeated.root}: {error.strerror or error}; mend that and run the "
            "same command again"
        ) from None


def compare(variant: Variant, paths: Paths, repeated: Paths) -> Verification:
    """Compare what training `variant` wrote in `repeated` with the same files in `paths`.

    Files that hold medians over seeds, the notebook, and the run folder (by its hash in dvc.lock)
    are compared where all seeds were trained again.
    """
    own = (variant.group, variant.name)
    committed = load_result(paths, *own)
    whole = variant.seeds == committed.seeds.tolist()
    outputs = [*_reports(variant, whole, paths, repeated)]
    run = _run_folder(variant, paths, repeated) if whole else []
    outputs += run
    noise = compare_accuracies(committed, load_result(repeated, *own))
    findings = compare_outputs(outputs, noise)
    identical = worst(findings) == IDENTICAL
    findings += contradictions(committed)
    return Verification(
        variant=variant.name,
        seeds=variant.seeds,
        outputs=findings,
        accuracies=[] if identical else noise,
        circumstances=[
            *_left_out(whole, bool(run), paths.run(*own).relative_to(paths.root).as_posix()),
            *_circumstances(_timings(variant, paths), identical, variant.precision),
        ],
        compared_bytes=sum(output.size for output in outputs),
    )


def announced(variants: Sequence[Variant], paths: Paths) -> str:
    """One line about what is going to be done, with the time that it took when it was recorded."""
    recorded = sum(_seconds(variant, paths) for variant in variants)
    time = f" (recorded: {recorded / 60:.1f} minutes)" if math.isfinite(recorded) else ""
    return (
        f"training {counted(len(variants), 'variant')}, "
        f"{counted(sum(len(v.seeds) for v in variants), 'seed')}, again in a temporary folder{time}"
    )


def summed_up(verifications: Sequence[Verification]) -> str:
    """One line about all of them."""
    verdicts = [finding.verdict for v in verifications for finding in v.outputs]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    return (
        f"{counted(len(verifications), 'variant')}, "
        f"{counted(sum(len(v.seeds) for v in verifications), 'seed')}, "
        f"{len(verdicts)} outputs of {sum(v.compared_bytes for v in verifications):,} bytes: "
        f"{counts}"
    )


def _train(variant: Variant, paths: Paths, repeated: Paths) -> None:
    for shared in (paths.params, paths.template("train"), paths.arrays(variant.dataset)):
        link = repeated.root / shared.relative_to(paths.root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shared)
    notebook = repeated.notebook(variant.group, variant.name, "train")
    try:
        execute("train", notebook, {"variant": variant.model_dump()}, repeated)
    except ProjectError as error:
        raise ProjectError(
            f"{variant.name} could not be trained again: {error} (all this in a temporary copy "
            "that is removed; the checkout is as it was)"
        ) from None


def _reports(variant: Variant, whole: bool, paths: Paths, repeated: Paths) -> Iterable[Output]:
    """All that git holds of a training, but for what was measured; `whole`: of all its seeds."""
    timings = repeated.timings(variant.group, variant.name)
    for file in sorted((repeated.root / "reports").rglob("*")):
        name = file.relative_to(repeated.root).as_posix()
        if file.is_dir() or file == timings or (name.endswith(SUMMARIES) and not whole):
            continue
        counterpart = paths.root / name
        before = counterpart.read_bytes() if counterpart.is_file() else None
        if before is not None and not whole:
            before = of_seeds(name, before, variant.seeds)
        content = file.read_bytes()
        yield Output(name, before, content, len(content))


def _run_folder(variant: Variant, paths: Paths, repeated: Paths) -> list[Output]:
    """The weights, histories and probabilities, of which git holds the hash."""
    folder = repeated.run(variant.group, variant.name)
    name = folder.relative_to(repeated.root).as_posix()
    try:
        outputs = locked_stages(paths).get(f"train@{variant.name}", {}).get("outs", [])
        committed = {output["path"]: output["md5"].encode() for output in outputs}
    except (AttributeError, KeyError, TypeError):
        raise ProjectError(
            f"{paths.root / 'dvc.lock'} says nothing that makes sense of train@{variant.name}; "
            "`git restore dvc.lock` mends it"
        ) from None
    if name not in committed:
        return []
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return [Output(name, committed[name], dvc_hash(folder).encode(), size)]


def _left_out(whole: bool, with_run: bool, run: str) -> list[str]:
    if not whole:
        return [
            "not compared, for that takes all seeds: metrics, the notebook, and the weights and "
            f"probabilities in {run}"
        ]
    return [] if with_run else [f"not compared: {run}, which dvc.lock does not know"]


def dvc_hash(folder: Path) -> str:
    """The hash under which DVC keeps a folder: the MD5 of the sorted list of its files' MD5s."""
    files = {
        file.relative_to(folder).as_posix(): _md5(file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return f"{_md5(json.dumps(listing).encode())}.dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _circumstances(timings: Timings | None, identical: bool, precision: str) -> list[str]:
    if timings is None or not timings.provenance:
        return ["the machine that trained it is not on record"]
    here = circumstances(precision)
    if differences := machine_differences(timings.provenance, here):
        found = [f"other than the machine that trained it: {text}" for text in differences]
        return found + ([] if identical else _promise(here["cpu"], precision))
    if identical:
        return []
    commit = timings.revision.commit
    since = f" since commit {commit:.12}" if commit else ""
    return [
        f"nothing that is recorded of machine and libraries differs: look at what changed in code, "
        f"parameters or data{since}"
    ]


def _promise(cpu: str, precision: str) -> list[str]:
    """What keeps this processor from having the bits of another."""
    if precision != "float32":
        return [
            "bfloat16 has the same bits only on processors with the same instructions for it "
            "(AVX512-BF16, AMX)"
        ]
    if cpu.split()[0] != "x86-64-v4":
        return ["the same bits are promised only on x86-64 processors with AVX-512 (x86-64-v4)"]
    return []


def _timings(variant: Variant, paths: Paths) -> Timings | None:
    """The recorded times and provenance; None where there is no readable record."""
    try:
        return load_timings(paths.timings(variant.group, variant.name))
    except ProjectError:
        return None


def _seconds(variant: Variant, paths: Paths) -> float:
    timings = _timings(variant, paths)
    known = timings.seeds if timings else {}
    measured = [known.get(str(seed)) for seed in variant.seeds]
    return math.fsum(times.seconds if times else math.inf for times in measured)


def _cheapest(variants: Sequence[Variant], paths: Paths) -> list[Variant]:
    costs = {variant.name: _seconds(variant, paths) for variant in variants}
    cheapest: dict[str, Variant] = {}
    for variant in sorted(variants, key=lambda variant: costs[variant.name]):
        if costs[variant.name] <= QUICK_SECONDS:
            cheapest.setdefault(variant.group, variant)
    if not cheapest:
        raise ProjectError(
            f"no variant takes at most {QUICK_SECONDS:.0f} s by the recorded times; ask for fewer "
            "seeds with --seeds 1, or leave out --quick"
        )
    return list(cheapest.values())
