"""Running what is out of date on many cores or many machines.

The trainings are tasks of a Dask cluster: one in this process for the cores of this machine, or
one that a scheduler elsewhere keeps. A worker has one slot, so it has one training at a time.
Everything else is left to plain `dvc repro`, before and after.
"""

import logging
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from distributed import Client, Future, LocalCluster
from rich.console import Console

from cnn_ablations.config.params import Params
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.processes import alone, environment, mortal
from cnn_ablations.scheduling.display import Display, Row, duration
from cnn_ablations.scheduling.pipeline import (
    DATA_STAGES,
    VARIANT_STAGES,
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
    worth_a_process,
)
from cnn_ablations.scheduling.worker import (
    Checkout,
    Mark,
    Outcome,
    Task,
    cache_folder,
    checkout,
    dvc_repro,
    here,
    log_file,
    perform,
    software,
    sources_hash,
)

TICK_SECONDS = 0.5


def repro(
    targets: Sequence[str],
    params: Params,
    paths: Paths,
    console: Console,
    *,
    workers: int,
    scheduler: str | None,
) -> bool:
    """Bring `targets` and all that they need up to date, as `dvc repro` does, side by side.

    Args:
        targets: stages, as for `dvc repro`; none for the whole pipeline.
        params: of the checkout.
        paths: of the checkout.
        console: where to show how far it is.
        workers: how many trainings to run at the same time on this machine.
        scheduler: the address of a Dask scheduler whose workers to use instead.

    Returns:
        Whether everything is up to date now. A stage that fails stops only what needs it.

    Raises:
        ProjectError: where nothing can be started.
    """
    display = Display(console)
    busy = "another `cnn-ablations repro` is at work here"
    with alone(paths.scratch("repro.lock"), busy, display.say):
        locked_stages(paths)  # which says more of a damaged file than DVC does
        stale = stale_stages(paths, targets)
        if not stale:
            display.say("everything is up to date")
            return True
        if scheduler:
            _client(scheduler).close()  # before anything is downloaded for a mistyped address
        lost: set[str] = set()
        if data := [stage.name for stage in stale if stage.verb in DATA_STAGES]:
            prepared = _dvc_repro(paths, data)
            stale = stale_stages(paths, targets)
            if not prepared:
                lost = {stage.name for stage in stale if stage.verb in DATA_STAGES}
        lock = locked_stages(paths)
        needed = needed_stages(paths, targets, lost)
        stale = [stage for stage in stale if stage.name in needed]
        jobs = jobs_of(stale, needed, params, paths, lock)
        failed: dict[str, Outcome] = {}
        if jobs:
            if scheduler or len(jobs) > workers:  # else all start at once, in any order
                jobs = predicted(jobs, params, paths)
            connect = _remote(scheduler, paths, display) if scheduler else _local(workers)
            with connect as (client, admit), display:
                failed = _run(client, jobs, paths, display, admit)
        if failed:
            left = {stage.name for stage in stale_stages(paths, targets)}
            lost |= {f"{verb}@{name}" for verb in VARIANT_STAGES for name in failed} & left
            needed = needed_stages(paths, targets, lost)
        rest = not needed or _dvc_repro(paths, needed if lost else targets)
        sort_lock(paths, list(lock), needed)
        if rest and not lost and not failed:
            return True
        for name, outcome in failed.items():
            log = paths.scratch("logs", params.variants[name].group, f"{name}.log")
            display.say(f"failed: {name}, {_last_words(outcome)} ({log.relative_to(paths.root)})")
        left_over = [stage.name for stage in stale_stages(paths, targets)]
        display.say(f"not up to date: {', '.join(left_over)}; the words above say why")
        return False


def seed_beside(
    running: Iterable[tuple[Job, Mapping[str, Any]]], given: set[tuple[str, int]]
) -> tuple[Job, int] | None:
    """A seed that an idle worker can train for a variant that is at work elsewhere, if any.

    The stage trains its seeds from the first to the last, so the worker begins with the last.

    Args:
        running: the jobs at work, with what their progress files hold (nothing at first).
        given: variant and seed of those that some worker has got already.

    Returns:
        A seed of the variant that has most left to train; None where no seed is worth the start
        of another process.
    """
    best: tuple[float, Job, int] | None = None
    for job, progress in running:
        ahead = [s for s in job.ahead(progress) if (job.variant.name, s) not in given]
        to_train = len(ahead) * (job.seed_seconds or STAGE_SECONDS)
        if ahead and worth_a_process(job.seed_seconds) and (best is None or to_train > best[0]):
            best = to_train, job, ahead[-1]
    return best and best[1:]


def require_same(name: str, worker: Checkout, sources: str, software: Mapping[str, str]) -> None:
    """Raise ProjectError where a worker would do other work, or its results not come home.

    `sources` is the hash of the caller's code, templates and parameters, `software` its versions.
    """
    where = f"the worker {name} in {worker.place[1]} on {worker.place[0]}"
    if worker.sources != sources:
        raise ProjectError(
            f"{where} has other code or parameters than this checkout; bring both to the same "
            "commit, then start it again"
        )
    if worker.software != software:
        differing = ", ".join(
            f"{part} {worker.software.get(part)} instead of {version}"
            for part, version in software.items()
            if worker.software.get(part) != version
        )
        raise ProjectError(
            f"{where} has {differing}, so its results would have other bytes; install the same "
            "versions there, then start it again"
        )
    if not worker.sees_cache:
        raise ProjectError(
            f"{where} does not share DVC's cache with this checkout, so its results would not "
            "come home; set `dvc config --local cache.dir` to the same folder in both, then start "
            "it again"
        )


Admit = Callable[[], tuple[int, bool]]
"""Returns how many tasks can run at a time, and whether seeds can be trained beside a stage."""


def _run(
    client: Client,
    jobs: Sequence[Job],
    paths: Paths,
    display: Display,
    admit: Admit,
) -> dict[str, Outcome]:
    """Run jobs in the given order, as many at a time as there are slots; those that failed."""
    topic = f"cnn-ablations-{uuid.uuid4().hex}"
    waiting = deque(jobs)
    running: dict[Future[Any], tuple[Task, Job]] = {}
    rows: dict[str, Row] = {}
    given: set[tuple[str, int]] = set()
    ended: dict[str, Outcome] = {}

    def begin(job: Job, seed: int | None) -> None:
        own = job.variant
        task = Task(own.name, own.group, own.dataset, job.stages, seed, here(paths), topic)
        rows[task.key] = Row(task.key, job.seconds if seed is None else job.seed_seconds)
        future = client.submit(
            perform, task, key=f"{task.key}-{topic}", pure=False, resources={"slot": 1}
        )
        running[future] = task, job

    def hear(event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        if row := rows.get(message["key"]):
            row.progress = message["progress"]

    def end(future: "Future[Any]") -> None:
        task, _ = running.pop(future)
        rows.pop(task.key)
        outcome = _outcome(future)
        if outcome.elsewhere:
            _bring_home(outcome, task, paths)
        if task.seed is not None:  # whatever it came to, the stage does what it left
            return
        ended[task.variant] = outcome
        for other, (beside, _) in list(running.items()):
            if beside.variant == task.variant:
                client.cancel([other], force=True)
                del running[other]
                rows.pop(beside.key)
        if outcome.status:
            log = log_file(paths, task).relative_to(paths.root)
            display.say(f"{task.variant} failed; the others go on ({log} has its words)")
        else:
            display.say(f"{task.variant} done in {duration(outcome.seconds)}")

    def total(slots: int) -> str:
        failures = sum(outcome.status != 0 for outcome in ended.values())
        text = f"{len(ended)} of {len(jobs)} variants done"
        text += f", {failures} of them failed" if failures else ""
        if slots and (seconds := seconds_left(slots)) is not None:
            text += f", {duration(seconds)} left"
        return text

    def seconds_left(slots: int) -> float | None:
        left, busy = [], []
        for job in waiting:
            if job.pieces is None:
                return None
            left += job.pieces
        for task, job in running.values():
            row = rows[task.key]
            if row.seconds_left is None:
                return None
            ahead = job.ahead(row.progress) if task.seed is None else []
            seed_seconds = job.seed_seconds or 0.0
            busy.append(max(row.seconds_left - len(ahead) * seed_seconds, 0.0))
            left += [seed_seconds for seed in ahead if (task.variant, seed) not in given]
        return makespan(left, max(slots, len(busy)), busy)

    client.subscribe_topic(topic, hear)
    try:
        while len(ended) < len(jobs):
            slots, beside = admit()
            while waiting and len(running) < slots:
                begin(waiting.popleft(), None)
            if beside and not waiting and len(running) < slots:
                stages = [
                    (job, rows[task.key].progress)
                    for task, job in running.values()
                    if task.seed is None and "train" in task.stages
                ]
                if found := seed_beside(stages, given):
                    given.add((found[0].variant.name, found[1]))
                    begin(*found)
            for future in [future for future in running if future.done()]:
                if future in running:
                    end(future)
            display.update(list(rows.values()), total(slots))
            time.sleep(TICK_SECONDS)
    finally:
        # A worker whose task is taken back ends its child, and so the training: at a checkpoint.
        client.cancel(list(running), force=True)
    return {name: outcome for name, outcome in ended.items() if outcome.status}


def _outcome(future: "Future[Any]") -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status == "cancelled":
        return Outcome(1, 0.0, "the connection to the scheduler was lost", True, None)
    return Outcome(1, 0.0, f"{future.exception()}", True, None)


def _bring_home(outcome: Outcome, task: Task, paths: Paths) -> None:
    """Write here what DVC's cache does not carry: the words of a child, and the times it took."""
    write_atomically(log_file(paths, task), outcome.log.encode())
    if outcome.timings is not None and task.seed is None:
        write_atomically(paths.timings(task.group, task.variant), outcome.timings)


def _last_words(outcome: Outcome) -> str:
    if outcome.status < 0:
        return f"ended by {signal.Signals(-outcome.status).name}"
    lines = [line.strip() for line in outcome.log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit status {outcome.status}, without a word"])[-1]


@contextmanager
def _local(workers: int) -> Iterator[tuple[Client, Admit]]:
    """Workers in this process: they only wait for their children."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            resources={"slot": 1},
            memory_limit=0,
            # Its servers of HTTP cannot be switched off: where nobody else reaches them.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, lambda: (workers, True)


@contextmanager
def _remote(address: str, paths: Paths, display: Display) -> Iterator[tuple[Client, Admit]]:
    """The workers of a scheduler elsewhere, each in a checkout of its own."""
    mark = Mark.of(paths)
    marks = [cache_folder(paths) / mark.name, paths.scratch(mark.name)]
    client = _client(address)
    mine = sources_hash(paths), software()
    known: dict[str, Checkout] = {}
    refused: set[str] = set()

    def admit() -> tuple[int, bool]:
        try:
            # Not `scheduler_info`, which at times answers from before, or without workers.
            workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"]  # type: ignore[union-attr]
        except OSError:
            workers = None
        if workers is None or client.status != "running":
            raise ProjectError(f"the scheduler at {address} went away; run the same command again")
        slots = {name: int(worker["resources"].get("slot", 0)) for name, worker in workers.items()}
        new = [name for name in slots if slots[name] and name not in {*known, *refused}]
        answers = client.run(checkout, mark, workers=new, on_error="return") if new else {}
        for name, found in answers.items():
            if isinstance(found, OSError):
                continue  # it went away; should it come back, it is asked again
            try:
                if isinstance(found, Exception):
                    raise ProjectError(f"the worker {name}: {found}")
                require_same(name, found, *mine)
                known[name] = found
            except ProjectError as error:
                client.run(_take_slots, workers=[name])
                refused.add(name)
                display.say(f"not used: {error}")
        present = [known[name] for name in slots if slots[name] and name in known]
        if not present:
            if refused and not known:
                raise ProjectError(f"the scheduler at {address} has no worker that can be used")
            display.say_once(
                "the scheduler has no worker with a slot yet; start one in a clone of this "
                f"checkout: dask worker {address} --nthreads 1 --resources slot=1"
            )
        usable = sum(slots[name] for name in slots if name in known)
        return usable, all(worker.sees_scratch for worker in present)

    try:
        for file in marks:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(mark.content)
        with client:
            yield client, admit
    finally:
        for file in marks:
            file.unlink(missing_ok=True)


def _client(address: str) -> Client:
    try:
        return Client(address, name="cnn-ablations")
    except (OSError, ValueError) as error:
        raise ProjectError(f"no Dask scheduler answers at {address}: {error}") from None


async def _take_slots(dask_worker: Any) -> None:
    """In a worker: so that its scheduler gives it no more of our tasks."""
    await dask_worker.set_resources(slot=0)


def _dvc_repro(paths: Paths, targets: Sequence[str]) -> bool:
    command = mortal(dvc_repro("--keep-going", *targets))
    return subprocess.run(command, cwd=paths.root, env=environment()).returncode == 0
