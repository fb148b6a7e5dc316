"""Running what is out of date side by side: seeds on a Dask cluster, the other stages here.

Data come first, by plain `dvc repro`. Then workers train seeds, the longest first, and a stage runs
by `dvc repro -s` as soon as what it needs is done: `train` finds its seeds in scratch.
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Future
from rich.console import Console

from cnn_ablations.config.params import Params
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.inputs import write_inputs
from cnn_ablations.paths import Paths
from cnn_ablations.processes import alone, environment, mortal, start, stop
from cnn_ablations.progress import describe
from cnn_ablations.scheduling import pipeline
from cnn_ablations.scheduling.cluster import Cluster, Seed, connected
from cnn_ablations.scheduling.display import Display, counted, duration
from cnn_ablations.scheduling.plan import STAGE_SECONDS, jobs_of
from cnn_ablations.scheduling.worker import write

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
TICK_SECONDS = 0.5


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

    So many `workers` trainings, or other stages, run at a time here; with the address of a Dask
    `scheduler` its workers train. With `allow_missing`, stages of which only data are missing are
    passed over. A stage that fails stops only what needs it.

    Returns whether everything is up to date now. Raises ProjectError where nothing can be started,
    or the scheduler goes away.
    """
    display = Display(console)
    with (
        alone(paths.scratch("repro.lock"), "another `cnn-ablations repro` works here", display.say),
        connected(paths, display.say, workers=workers, scheduler=scheduler) as cluster,
    ):
        lock = pipeline.locked_stages(paths)  # which says more of a damaged file than DVC does
        write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
        stale = pipeline.stale_stages(paths, targets, allow_missing=allow_missing)
        if not stale:
            display.say("everything is up to date")
            return True
        if data := data_stages(stale, params, paths):
            command = mortal([*DVC, "repro", "--keep-going", *data])
            subprocess.run(command, cwd=paths.root, env=environment())
            stale = pipeline.stale_stages(paths, targets, allow_missing=allow_missing)
        needed = pipeline.needed_stages(paths, targets)
        lost = pipeline.behind(needed, data_stages(stale, params, paths))
        todo = [name for name in pipeline.behind(needed, stale) if name not in lost]
        jobs = jobs_of({n: stale[n] for n in todo if n in stale}, params, paths, lock)
        seeds = (
            Seed(job.variant, seed, folder, paths.arrays(job.variant.dataset), job.seconds)
            for job in jobs
            for seed, folder in job.seeds.items()
            if folder
        )
        work = Work(needed, todo, deque(seeds), cluster, display, params, paths, workers)
        with display.live:
            work.run()
        pipeline.sort_lock(paths, list(lock), list(needed))
        stale = pipeline.stale_stages(paths, targets, allow_missing=allow_missing)
        # What was written into params.yaml meanwhile is for the next time.
        left = [name for name in stale if name in needed and name != "check"]
        if left:
            display.say(f"not up to date: {', '.join(left)}; the words above say why")
        return not left


def data_stages(stale: Iterable[str], params: Params, paths: Paths) -> list[str]:
    """The stages that must run before seeds are known: those of data that are out of date, and
    those that prepare what the other stages need and is not there.

    Raises ProjectError where a variant is none of `params`.
    """
    found = [name for name in stale if pipeline.verb(name) in pipeline.DATA_STAGES]
    for name in stale:
        stage, _, dataset = name.partition("@")
        if stage in pipeline.VARIANT_STAGES:
            if dataset not in params.variants:
                raise ProjectError(f"variant '{dataset}' was written meanwhile; run this again")
            dataset = params.variants[dataset].dataset
        if stage in (*pipeline.VARIANT_STAGES, "explore") and not paths.arrays(dataset).is_dir():
            found.append(f"preprocess@{dataset}")
    return list(dict.fromkeys(found))


@dataclass
class Work:
    """What is to do, and what is at work."""

    needed: Mapping[str, Sequence[str]]
    """Every stage, with those that it needs, in DVC's order."""
    waiting: list[str]
    """Stages to run."""
    seeds: deque[Seed]
    """To train, the longest first."""
    cluster: Cluster
    display: Display
    params: Params
    paths: Paths
    workers: int
    """How many stages, and where the workers are here how many seeds, at a time."""
    at_work: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    training: dict[Future[Any], tuple[Seed, str]] = field(default_factory=dict)
    """Seeds, each with the worker that it was given to."""
    timed: bool = False
    """Whether a training said how long it takes: what is predicted can be far off."""

    def run(self) -> None:
        """Work until nothing is left that can be done. Raises ProjectError."""
        self.cluster.client.subscribe_topic(self.cluster.topic, self._hear)
        try:
            while True:
                threads = self.cluster.threads()
                self._end_seeds()
                self._end_stages()
                self._begin_stages()
                if not (self.waiting or self.at_work):
                    return
                self._begin_seeds(threads)
                lines = [seed.line for seed, _ in self.training.values()]
                lines += [f"{stage} runs" for stage in self.at_work]
                self.display.update([*lines, self._total(threads)])
                time.sleep(TICK_SECONDS)
        finally:
            # A worker whose task is taken back ends the training: at a checkpoint.
            with suppress(OSError):
                self.cluster.client.cancel(list(self.training), force=True)
            stop(*self.at_work.values())

    def _begin_stages(self) -> None:
        training = (seed for seed, _ in self.training.values())
        without_seeds = {seed.stage for seed in (*self.seeds, *training)}
        unfinished = {*self.waiting, *self.at_work}
        for name in list(self.waiting):
            ready = name not in without_seeds and unfinished.isdisjoint(self.needed[name])
            if ready and len(self.at_work) < self.workers:
                self.waiting.remove(name)
                log = self._log(name)
                write_atomically(log, b"")
                self.at_work[name] = start([*DVC, "repro", "-s", name], self.paths.root, log)

    def _end_stages(self) -> None:
        for name, process in list(self.at_work.items()):
            if process.poll() is None:
                continue
            del self.at_work[name]
            if process.returncode:
                self._fail(name, _last_words(self._log(name).read_text(errors="replace")))
                continue
            self.display.say(f"{name} done")
            stage, _, study = name.partition("@")
            if stage == "compare":
                from cnn_ablations.analysis.study import answer  # seconds, for SciPy's statistics

                self.display.say(answer(self.params.study(study), self.paths, study))

    def _begin_seeds(self, threads: Mapping[str, int]) -> None:
        busy = [name for _, name in self.training.values()]
        free = [n for n, count in threads.items() for _ in range(count - busy.count(n))]
        at_home = len(self.at_work) if self.cluster.root else 0
        places = max(0, sum(threads.values()) - len(busy) - at_home)
        for name in free[: min(places, len(self.seeds))]:
            seed = self.seeds.popleft()
            self.training[self.cluster.train(seed, name)] = seed, name
            seed.line = f"{seed.key} starts"

    def _end_seeds(self) -> None:
        for future, (seed, _) in list(self.training.items()):
            if not future.done():
                continue
            answer: dict[str, Any] = {}
            try:
                answer = future.result()
                if "files" in answer:
                    write(seed.folder / "result", answer["files"])
            except CancelledError:  # all workers that had its arrays were lost
                self.seeds.appendleft(seed)
            except Exception as error:  # such as that its process was killed again and again
                answer = {"error": str(error)}
            del self.training[future]
            if "refused" in answer:
                self.cluster.refuse(answer["worker"], answer["refused"])
                self.seeds.appendleft(seed)
            elif "error" in answer and seed.stage in self.waiting:
                words = f"{answer.get('log', '')}{answer['error']}\n"
                write_atomically(self._log(seed.stage), words.encode())
                self._fail(seed.stage, f"seed {seed.number}: {answer['error']}")

    def _fail(self, stage: str, why: str) -> None:
        lost = pipeline.behind(self.needed, [stage])
        self.waiting = [name for name in self.waiting if name not in lost]
        self.seeds = deque(seed for seed in self.seeds if seed.stage not in lost)
        log = self._log(stage).relative_to(self.paths.root)
        self.display.say(f"{stage} failed: {why}; the others go on ({log} has its words)")

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        progress = message["progress"]
        for seed, _ in list(self.training.values()):
            if seed.key == message["key"]:
                if progress["seconds_left"] is not None:
                    seed.seconds, self.timed = progress["seconds_left"], True
                seed.line = describe(seed.variant.name, progress)

    def _total(self, threads: Mapping[str, int]) -> str:
        text = f"{counted(len(self.seeds) + len(self.training), 'seed')} and "
        text += f"{counted(len(self.waiting) + len(self.at_work), 'stage')} to do"
        if self.seeds and not threads:
            return f"{text}, no worker yet"
        if not self.timed and (self.seeds or self.training):
            return text
        training = [seed.seconds for seed, _ in self.training.values()]
        seconds = sum([*training, *(seed.seconds for seed in self.seeds)])
        seconds += STAGE_SECONDS * len([*self.waiting, *self.at_work])
        slots = max(sum(threads.values()), 1)
        return f"{text}, about {duration(max([*training, seconds / slots]))} left"

    def _log(self, stage: str) -> Path:
        return self.paths.scratch("logs", f"{stage}.log")


def _last_words(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in lines if line.startswith("error: ")), lines[-1])
