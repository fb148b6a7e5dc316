"""Running what is out of date side by side: seeds on a Dask cluster, the other stages here.

Data come first, by plain `dvc repro`. Then workers train seeds, the longest first, and a stage runs
by `dvc repro -s` as soon as what it needs is done: `train` finds its seeds in scratch.
"""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Future
from rich.console import Console

from cnn_ablations.config.params import Params
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.inputs import write_inputs
from cnn_ablations.paths import Paths
from cnn_ablations.processes import alone, environment, mortal, start, stop
from cnn_ablations.scheduling.cluster import Cluster, Seed, connected
from cnn_ablations.scheduling.display import Display, Row, counted, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    Stale,
    behind,
    locked_stages,
    needed_stages,
    sort_lock,
    stale_stages,
)
from cnn_ablations.scheduling.plan import STAGE_SECONDS, Job, jobs_of, predicted
from cnn_ablations.training.variant import seed_folder

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
TICK_SECONDS = 0.5
TRIES = 3
"""A seed fails when so many of its processes were killed, or workers lost."""
FETCH_SECONDS = 60
"""What the result of a seed may take to come home."""


def repro(
    targets: Sequence[str],
    params: Params,
    paths: Paths,
    console: Console,
    *,
    workers: int,
    scheduler: str | None,
    allow_missing: bool,
) -> bool:
    """Bring `targets` and all that they need up to date, as `dvc repro` does, side by side.

    Args:
        targets: stages, as for `dvc repro`; none for the whole pipeline.
        params: of the checkout.
        paths: of the checkout.
        console: where to show how far it is.
        workers: how many trainings, or other stages, run at the same time here.
        scheduler: the address of a Dask scheduler whose workers train instead.
        allow_missing: whether to pass over stages of which only data are missing.

    Returns:
        Whether everything is up to date now. A stage that fails stops only what needs it.

    Raises:
        ProjectError: where nothing can be started.
    """
    display = Display(console)
    busy = "another `cnn-ablations repro` is at work here"
    with (
        alone(paths.scratch("repro.lock"), busy, display.say),
        connected(paths, display.say, workers=workers, scheduler=scheduler) as cluster,
    ):
        lock = locked_stages(paths)  # which says more of a damaged file than DVC does
        write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
        stale = stale_stages(paths, targets, allow_missing=allow_missing)
        if not stale:
            display.say("everything is up to date")
            return True
        if data := data_stages(stale, params, paths):
            command = mortal([*DVC, "repro", "--keep-going", *data])
            subprocess.run(command, cwd=paths.root, env=environment())
            stale = stale_stages(paths, targets, allow_missing=allow_missing)
        needed = needed_stages(paths, targets)
        jobs = jobs_of(stale, params, paths, lock)
        if scheduler or sum(len(job.seeds) for job in jobs) > workers:  # else all start at once
            jobs = predicted(jobs, params, paths)
        seeds = deque(seeds_of(jobs, stale, paths))
        work = Work(needed, stale, seeds, cluster, display, paths, workers)
        with display:
            work.run()
        sort_lock(paths, list(lock), list(needed))
        for name, why in work.failed.items():
            display.say(f"failed: {name}, {why}")
        left = stale_stages(paths, targets, allow_missing=allow_missing)
        if left:
            display.say(f"not up to date: {', '.join(left)}; the words above say why")
        return not left


def data_stages(stale: Mapping[str, Stale], params: Params, paths: Paths) -> list[str]:
    """The stages that must run before seeds are known: those of data that are out of date, and
    those that prepare what the other stages need and is not there.
    """
    found = {name: None for name, stage in stale.items() if stage.verb in DATA_STAGES}
    for stage in stale.values():
        variant = params.variants.get(stage.entry)
        dataset = variant.dataset if variant else stage.entry if stage.verb == "explore" else None
        if dataset and not paths.arrays(dataset).is_dir():
            found[f"preprocess@{dataset}"] = None
    return list(found)


def seeds_of(jobs: Sequence[Job], stale: Collection[str], paths: Paths) -> Iterator[Seed]:
    """The trainings of jobs whose data set could be prepared."""
    for job in jobs:
        name = job.variant.dataset
        if not job.seeds or {f"download@{name}", f"preprocess@{name}", "check"} & set(stale):
            continue
        folder = paths.arrays(name)
        arrays = load_arrays(folder)
        for seed in job.seeds:
            place = seed_folder(job.variant, seed, arrays, paths)
            yield Seed(job.variant, seed, place, folder, job.seed_seconds)


@dataclass
class Work:
    """What is to do, what is at work and what is done."""

    needed: Mapping[str, Sequence[str]]
    """Every stage, with those that it needs, in DVC's order."""
    stale: Mapping[str, Stale]
    """Those out of date before anything ran."""
    seeds: deque[Seed]
    """To train, the longest first."""
    cluster: Cluster
    display: Display
    paths: Paths
    workers: int
    """How many stages, and where the workers are here how many seeds, at a time."""

    def __post_init__(self) -> None:
        self.changed = set(self.stale)
        self.waiting = behind(self.needed, self.stale)
        self.lost = {name for name, stage in self.stale.items() if stage.verb in DATA_STAGES}
        """Stages that failed or need one that did."""
        self.failed: dict[str, str] = {}
        """Stages, and why."""
        self.at_work: dict[str, subprocess.Popen[bytes]] = {}
        self.training: dict[Future[Any], tuple[Seed, str]] = {}
        self.rows: dict[str, Row] = {}

    def run(self) -> None:
        """Work until nothing is left that can be done. Raises ProjectError."""
        self.cluster.client.subscribe_topic(self.cluster.topic, self._hear)
        try:
            while True:
                threads = self.cluster.threads()
                self._end_seeds(threads)
                self._end_stages()
                self._begin_stages()
                if not (self.waiting or self.at_work):
                    return
                self._begin_seeds(threads)
                self.display.update(list(self.rows.values()), self._total(threads))
                time.sleep(TICK_SECONDS)
        finally:
            # A worker whose task is taken back ends the training: at a checkpoint.
            with suppress(OSError):
                self.cluster.client.cancel(list(self.training), force=True)
            stop(*self.at_work.values())

    def _begin_stages(self) -> None:
        seeds = [*self.seeds, *(seed for seed, _ in self.training.values())]
        without_seeds = {f"train@{seed.variant.name}" for seed in seeds}
        for name in list(self.waiting):
            needs = set(self.needed[name])
            if {name, *needs} & self.lost:
                self.lost.add(name)
            elif needs & {*self.waiting, *self.at_work} or name in without_seeds:
                continue
            elif {name, *needs} & self.changed:  # DVC says whether they came out otherwise
                if len(self.at_work) >= self.workers:
                    continue
                log = self._log(name)
                write_atomically(log, b"")
                command = [*DVC, "repro", "-s", name]
                self.at_work[name] = start(command, self.paths.root, log, {})
                self.rows[name] = Row(name, STAGE_SECONDS)
                self.changed.add(name)
            self.waiting.remove(name)

    def _end_stages(self) -> None:
        for name, process in list(self.at_work.items()):
            if process.poll() is None:
                continue
            del self.at_work[name]
            row = self.rows.pop(name)
            if process.returncode:
                said = self._log(name).read_text(errors="replace")
                self._fail(name, _last_words(process.returncode, said))
            else:
                took = duration(time.monotonic() - row.started)
                self.display.say(f"{name} done in {took}")

    def _fail(self, name: str, why: str) -> None:
        self.lost.add(name)
        log = self._log(name).relative_to(self.paths.root)
        self.failed[name] = f"{why} ({log})"
        self.display.say(f"{name} failed; the others go on ({log} has its words)")

    def _begin_seeds(self, threads: Mapping[str, int]) -> None:
        busy = [name for _, name in self.training.values()]
        free = [n for n, count in threads.items() for _ in range(count - busy.count(n))]
        if self.cluster.root:
            free = free[: max(0, self.workers - len(busy) - len(self.at_work))]
        for name in free[: len(self.seeds)]:
            seed = self.seeds.popleft()
            self.training[self.cluster.train(seed, name)] = seed, name
            self.rows[seed.key] = Row(seed.variant.name, seed.seconds)
        if self.seeds and self.cluster.refused and not (threads or self.at_work):
            raise ProjectError("the scheduler has no worker that can be used")

    def _end_seeds(self, threads: Mapping[str, int]) -> None:
        for future, (seed, name) in list(self.training.items()):
            gone = name not in {*threads, *self.cluster.refused}
            if not gone and not future.done():
                continue
            del self.training[future]
            self.rows.pop(seed.key)
            try:
                if gone:
                    self.cluster.client.cancel([future], force=True)
                    raise RuntimeError("its worker was lost")
                answer = future.result(FETCH_SECONDS)
                if "files" in answer:
                    seed.keep(answer["files"])
                    continue
                if "refused" in answer:
                    self.cluster.refuse(name, answer["refused"])
                elif "needs" in answer:
                    self.cluster.send(seed, name)
            except Exception as error:  # of a lost connection, of any kind
                answer = {"log": "", "error": str(error)}
                seed.tries += 1
                if seed.tries < TRIES:
                    self.display.say(f"{seed.key} starts again: {error}")
                    del answer["error"]
            if "error" not in answer:
                self.seeds.appendleft(seed)
                continue
            stage = f"train@{seed.variant.name}"
            self.seeds = deque(s for s in self.seeds if s.variant != seed.variant)
            if stage not in self.lost:
                write_atomically(self._log(stage), f"{answer['log']}{answer['error']}\n".encode())
                self._fail(stage, f"seed {seed.number}: {answer['error']}")

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        if row := self.rows.get(message["key"]):
            row.progress = message["progress"]

    def _total(self, threads: Mapping[str, int]) -> str:
        text = f"{counted(len(self.seeds) + len(self.training), 'seed')} and "
        text += f"{counted(len(self.waiting) + len(self.at_work), 'stage')} to do"
        text += f", {len(self.failed)} failed" if self.failed else ""
        if self.seeds and not threads:
            return f"{text}, no worker yet"
        busy = [row.seconds_left or 0.0 for row in self.rows.values()]
        seconds = sum(busy) + sum(seed.seconds or 0.0 for seed in self.seeds)
        seconds += STAGE_SECONDS * len(self.waiting)
        slots = max(sum(threads.values()), len(busy), 1)
        return f"{text}, about {duration(max([*busy, seconds / slots]))} left"

    def _log(self, stage: str) -> Path:
        return self.paths.scratch("logs", f"{stage}.log")


def _last_words(status: int, log: str) -> str:
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit status {status}, without a word"])[-1]
