"""Running what is out of date side by side: seeds on a Dask cluster, the other stages here.

Data come first, by plain `dvc repro`. Then the workers train seeds, the longest first. A stage runs
by `dvc repro -s` as soon as what it needs is done; `train` finds its seeds in scratch.
"""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from cnn_ablations.scheduling.cluster import Cluster, Seed, local, remote
from cnn_ablations.scheduling.display import Display, Row, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    Stale,
    behind,
    locked_stages,
    needed_stages,
    sort_lock,
    stale_stages,
)
from cnn_ablations.scheduling.prediction import (
    STAGE_SECONDS,
    Job,
    jobs_of,
    makespan,
    predicted,
)

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
        workers: how many trainings, and how many other stages, run at the same time here.
        scheduler: the address of a Dask scheduler whose workers train instead.
        allow_missing: whether to pass over stages of which only data are missing.

    Returns:
        Whether everything is up to date now. A stage that fails stops only what needs it.

    Raises:
        ProjectError: where nothing can be started.
    """
    display = Display(console)
    busy = "another `cnn-ablations repro` is at work here"
    with alone(paths.scratch("repro.lock"), busy, display.say):
        lock = locked_stages(paths)  # which says more of a damaged file than DVC does
        write_inputs(params, paths)  # as `check` would, so that DVC sees what they change
        stale = stale_stages(paths, targets, allow_missing=allow_missing)
        if not stale:
            display.say("everything is up to date")
            return True
        connect = (
            remote(scheduler, display.say) if scheduler else local(paths, workers, display.say)
        )
        with connect as cluster:
            if data := data_stages(stale, params, paths):
                command = mortal([*DVC, "repro", "--keep-going", *data])
                subprocess.run(command, cwd=paths.root, env=environment())
                stale = stale_stages(paths, targets, allow_missing=allow_missing)
            needed = needed_stages(paths, targets)
            jobs = jobs_of(stale, params, paths, lock)
            if sum(len(job.seeds) for job in jobs) > workers or scheduler:  # else all start at once
                jobs = predicted(jobs, params, paths)
            work = Work(needed, stale, jobs, cluster, display, paths, workers)
            with display:
                work.run()
        sort_lock(paths, list(lock), list(needed))
        left = stale_stages(paths, targets, allow_missing=allow_missing)
        for name, why in work.failed.items():
            display.say(f"failed: {name}, {why}")
        if left:
            display.say(f"not up to date: {', '.join(left)}")
        return not left


def data_stages(stale: Mapping[str, Stale], params: Params, paths: Paths) -> list[str]:
    """The stages that must run before seeds are known: those of data that are out of date, and
    those that prepare what the other stages need and is not there.
    """
    found = [name for name, stage in stale.items() if stage.verb in DATA_STAGES]
    for stage in stale.values():
        variant = params.variants.get(stage.entry)
        dataset = variant.dataset if variant else stage.entry if stage.verb == "explore" else None
        if dataset and not paths.arrays(dataset).is_dir():
            found.append(f"preprocess@{dataset}")
    return list(dict.fromkeys(found))


DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")


class Work:
    """What is to do, what is at work and what is done.

    Args:
        needed: every stage, with those that it needs.
        stale: those out of date before anything ran.
        jobs: the seeds to train, the longest first.
        cluster: which trains them.
        display: shows how far it is.
        paths: of the checkout.
        workers: how many stages, and where the workers are here how many seeds, at a time.
    """

    def __init__(
        self,
        needed: Mapping[str, Sequence[str]],
        stale: Mapping[str, Stale],
        jobs: Sequence[Job],
        cluster: Cluster,
        display: Display,
        paths: Paths,
        workers: int,
    ) -> None:
        self.needed, self.cluster, self.display, self.paths = needed, cluster, display, paths
        self.workers = workers
        self.waiting = deque(behind(needed, stale))
        """Stages in DVC's order."""
        self.stale = set(stale)
        self.at_work: dict[str, subprocess.Popen[bytes]] = {}
        self.ran: set[str] = set()
        self.failed: dict[str, str] = {}
        """Stages, and why."""
        self.lost = {name for name in stale if name.partition("@")[0] in DATA_STAGES}
        """Stages that failed or need one that did."""
        self.seeds = deque(
            Seed.of(job.variant, seed, arrays, paths, job.seed_seconds)
            for job in jobs
            for arrays in [load_arrays(paths.arrays(job.variant.dataset))]
            for seed in job.seeds
        )
        self.training: dict[Future[Any], tuple[Seed, str]] = {}
        self.rows: dict[str, Row] = {}

    def run(self) -> None:
        """Work until nothing is left that can be done. Raises ProjectError."""
        self.cluster.client.subscribe_topic(self.cluster.topic, self._hear)
        try:
            while self.waiting or self.at_work:
                threads = self.cluster.threads()
                for future in list(self.training):
                    self._look_at(future, threads)
                for name, process in list(self.at_work.items()):
                    self._look_at_stage(name, process)
                self._begin_stages()
                self._begin_seeds(threads)
                self.display.update(list(self.rows.values()), self._total(threads))
                time.sleep(TICK_SECONDS)
        finally:
            # A worker whose task is taken back ends the training: at a checkpoint.
            with suppress(OSError):
                self.cluster.client.cancel(list(self.training), force=True)
            stop(*self.at_work.values())

    def _begin_stages(self) -> None:
        to_train = {f"train@{seed.variant.name}" for seed in self.seeds}
        to_train |= {f"train@{seed.variant.name}" for seed, _ in self.training.values()}
        open_ = {*self.waiting, *self.at_work}
        for name in list(self.waiting):
            needs = self.needed[name]
            if name in self.lost or self.lost & set(needs):
                self.lost.add(name)
            elif open_ & set(needs) or name in to_train:
                continue
            elif name in self.stale or self.ran & set(needs):
                if len(self.at_work) >= self.workers:
                    continue
                log = self.paths.scratch("logs", f"{name}.log")
                write_atomically(log, b"")
                command = [*DVC, "repro", "-s", name]
                self.at_work[name] = start(command, self.paths.root, log, {})
                self.rows[name] = Row(name, STAGE_SECONDS)
            self.waiting.remove(name)
            open_ = {*self.waiting, *self.at_work}

    def _look_at_stage(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            return
        del self.at_work[name]
        row = self.rows.pop(name)
        if process.returncode == 0:
            self.ran.add(name)
            self.display.say(f"{name} done in {duration(time.monotonic() - row.started)}")
            return
        log = self.paths.scratch("logs", f"{name}.log")
        self._fail(name, _last_words(process.returncode, log.read_text(errors="replace")))

    def _fail(self, name: str, why: str) -> None:
        log = self.paths.scratch("logs", f"{name}.log").relative_to(self.paths.root)
        self.failed[name] = f"{why} ({log})"
        self.lost.add(name)
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
        if self.seeds and not threads:
            if self.cluster.refused and not self.at_work:
                raise ProjectError("the scheduler has no worker that can be used")
            self.display.say_once("the scheduler has no worker yet that can be used; waiting")

    def _look_at(self, future: "Future[Any]", threads: Mapping[str, int]) -> None:
        seed, name = self.training[future]
        gone = name not in threads
        if not gone and not future.done():
            return
        del self.training[future]
        self.rows.pop(seed.key)
        try:
            answer = {"lost": "its worker was lost"} if gone else future.result(FETCH_SECONDS)
        except Exception as error:  # also that of a worker which went away just now
            answer = {"lost": str(error)}
        if gone:
            self.cluster.client.cancel([future], force=True)
        if seed_failed := self._settle(seed, name, answer):
            self.seeds = deque(s for s in self.seeds if s.variant.name != seed.variant.name)
            if f"train@{seed.variant.name}" not in self.failed:
                log = self.paths.scratch("logs", f"train@{seed.variant.name}.log")
                write_atomically(log, f"{answer.get('log', '')}{seed_failed}\n".encode())
                self._fail(f"train@{seed.variant.name}", f"seed {seed.number}: {seed_failed}")

    def _settle(self, seed: Seed, name: str, answer: Mapping[str, Any]) -> str | None:
        """Do with the answer to a seed what is due, and say why it failed, if it did."""
        try:
            if "files" in answer:
                seed.keep(answer["files"])
                return None
        except ProjectError as error:
            answer = {"lost": str(error)}
        if "error" in answer:
            return str(answer["error"])
        if "refused" in answer:
            self.cluster.refuse(name, answer["refused"])
        elif "needs" in answer:
            with suppress(OSError):  # it went away, which the next round finds
                self.cluster.send(seed, name)
        else:
            seed.tries += 1
            if seed.tries == TRIES:
                return str(answer["lost"])
            self.display.say(f"{seed.key} starts again: {answer['lost']}")
        self.seeds.appendleft(seed)
        return None

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        if row := self.rows.get(message["key"]):
            row.progress = message["progress"]

    def _total(self, threads: Mapping[str, int]) -> str:
        to_train = len(self.seeds) + len(self.training)
        stages = len(self.waiting) + len(self.at_work)
        text = f"{to_train} seeds and {stages} stages to do"
        text += f", {len(self.failed)} failed" if self.failed else ""
        busy = [row.seconds_left for row in self.rows.values()]
        left = [seed.seconds for seed in self.seeds] + [STAGE_SECONDS] * len(self.waiting)
        if threads and None not in busy and None not in left:
            slots = max(sum(threads.values()), len(busy))
            text += f", {duration(makespan(left, slots, busy))} left"  # type: ignore[arg-type]
        return text


def _last_words(status: int, log: str) -> str:
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit status {status}, without a word"])[-1]
