"""What DVC knows of the pipeline: which stages are out of date, and why, in words."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, NonNegativeInt, ValidationError

from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.base import nearest
from cnn_ablations.config.document import UnmergedError, read_document
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo

DATA_STAGES = ("check", "download", "preprocess")
VARIANT_STAGES = ("train", "inspect")
MISSING = ("deleted", "not in cache")
"""In DVC's words."""

Changes = Sequence[Any]
"""Why a stage is out of date: an entry of the answer of `dvc status --json`."""


@dataclass(frozen=True)
class Record:
    """Of the last training of a variant."""

    variant: Variant
    """As it was trained; as it is now where an old record does not say."""
    seconds: float
    """Of a seed."""
    flops: int
    """Floating-point operations for one image, forward."""


def verb(stage: str) -> str:
    """Of a stage as DVC names it: `train` of `train@r2-2conv-none`."""
    return stage.partition("@")[0]


def stale_stages(
    paths: Paths, targets: Sequence[str], *, allow_missing: bool = False
) -> dict[str, Changes]:
    """The stages that are out of date among `targets` and all that they need, by name.

    Targets are those of `dvc repro`; without any, the whole pipeline is meant. A stage whose
    dependencies are made anew, and come out otherwise, is not among them yet. With `allow_missing`
    nor is one of which data are missing and nothing else changed, as for `dvc repro`.

    Raises ProjectError where DVC knows no such target, or is busy.
    """
    with _repository(paths) as repo:
        status = repo.status(targets=list(targets) or None, with_deps=True)
    return {
        name: changes
        for name, changes in status.items()
        if not (allow_missing and all(map(_is_missing, changes)))
    }


def needed_stages(paths: Paths, targets: Sequence[str]) -> dict[str, list[str]]:
    """`targets` and all that they need, in the order in which DVC runs them, each with the stages
    that it needs itself. Raises ProjectError.
    """
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    with _repository(paths) as repo:
        graph = get_active_graph(repo.index.graph)
        order = plan_repro(graph, collect_stages(repo, list(targets) or ["dvc.yaml"]))
        return {
            stage.addressing: [need.addressing for need in graph.successors(stage)]
            for stage in order
        }


def behind(needed: Mapping[str, Sequence[str]], stages: Iterable[str]) -> list[str]:
    """Those of the `needed` that are among `stages` or need one of them, in the same order."""
    found = set(stages)
    for name, needs in needed.items():  # what a stage needs comes before it
        if found & set(needs):
            found.add(name)
    return [name for name in needed if name in found]


def sort_lock(paths: Paths, before: Sequence[str], order: Sequence[str]) -> None:
    """Put dvc.lock into the order in which plain `dvc repro` would have written it.

    DVC appends the entry of a stage that runs for the first time, so that stages which run side
    by side leave it in the order in which they end. `before` are the stages that it had.
    """
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    file = paths.root / "dvc.lock"
    if not file.is_file():  # nothing ever ran
        return
    with _repository(paths) as repo, repo.lock:
        lock = parse_yaml_for_update(file.read_text(), file)
        names = dict.fromkeys([*before, *order, *lock["stages"]])
        entries = {name: lock["stages"].pop(name) for name in names if name in lock["stages"]}
        lock["stages"].update(entries)
        write_atomically(file, dumps_yaml(lock).encode())


def locked_stages(paths: Paths) -> dict[str, Any]:
    """The stages of dvc.lock, by name; none where it does not exist yet.

    Raises ProjectError where it is damaged.
    """
    lock = paths.root / "dvc.lock"
    if not lock.exists():
        return {}
    try:
        return dict(_Lock.model_validate(read_document(lock) or {}).stages)
    except UnmergedError:
        raise
    except (ProjectError, ValidationError):
        raise ProjectError(f"{lock} cannot be read; `git restore dvc.lock` mends it") from None


def reasons(changes: Changes, variant: Variant, before: Variant) -> str:
    """Why a stage of a variant is out of date, in DVC's words and in the variant's keys that
    differ from what was trained `before`. What DVC calls deleted may never have been here.
    """
    words: dict[str, None] = {}
    for change in changes:
        if isinstance(change, str):  # "changed command"
            words[change] = None
            continue
        for path, how in (item for kind in change.values() for item in kind.items()):
            room = "/".join(path.split("/")[:2])  # which variant is meant is clear
            if room != "data/inputs":
                words[f"{'missing' if how == 'deleted' else how} {room}"] = None
            elif keys := changed_keys(before, variant):
                words |= {f"{key} {values}": None for key, values in keys.items()}
            else:
                words[f"{how} code"] = None
    return ", ".join(words)


def recorded(variant: Variant, paths: Paths) -> Record | None:
    """What was trained last under the variant's name; None where no record of it can be read."""
    own = (variant.group, variant.name)
    try:
        if timings := load_timings(paths.timings(*own)):
            seconds = median(seed.seconds for seed in timings.seeds.values())
            metrics = _Metrics.model_validate_json(paths.metrics(*own).read_bytes())
            before = Variant.model_validate(timings.variant or variant.model_dump())
            return Record(before, seconds, metrics.flops)
    except (ProjectError, ValidationError, OSError):
        pass
    return None


def changed_keys(before: Variant, now: Variant) -> dict[str, str]:
    """The keys in which two variants differ, each with `5 → 10` or the like."""
    then, since = (
        v.model_dump(exclude={"differences", "factors"}) | v.factors for v in (before, now)
    )
    return {
        key: f"{then.get(key)} → {since.get(key)}"
        for key in {**then, **since}
        if then.get(key) != since.get(key)
    }


def _is_missing(change: Any) -> bool:
    """Whether a change of DVC's account is data that are missing, and nothing else."""
    return isinstance(change, dict) and all(
        how in MISSING for paths in change.values() for how in paths.values()
    )


class _Metrics(BaseModel):
    flops: NonNegativeInt


class _Lock(BaseModel):
    stages: dict[str, dict[str, Any]] = {}


@contextmanager
def _repository(paths: Paths) -> "Iterator[Repo]":
    from dvc.exceptions import DvcException, NoOutputOrStageError
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        # DVC takes targets, and names stages, relative to the working directory.
        with chdir(paths.root), Repo(_wait_for_lock=True) as repo:
            yield repo
    except LockError as error:
        # A line for each file that is at stake, with the program and its arguments.
        lines = dict.fromkeys(re.findall(r"\(PID (\d+)\): (.*)", str(error)))
        running = " and ".join(f"`{words}` (process {pid})" for pid, words in lines)
        raise ProjectError(
            f"{running or 'another command of DVC'} runs here; run this again when it has ended"
        ) from None
    except NoOutputOrStageError as error:
        target = str(error).split("'")[1]
        names = [stage.name for stage in repo.index.stages if stage.name]
        ending = sorted(
            (name for name in names if name.endswith(f"@{target}")),
            key=lambda name: verb(name) not in ("compare", "train"),  # which are asked for most
        )
        hint = nearest(ending[0] if ending else target, names)
        raise ProjectError(f"there is no stage '{target}'{hint}") from None
    except DvcException as error:
        raise ProjectError(f"DVC says: {' '.join(str(error).split())}") from None
