"""`cnn-ablations repro` as its users meet it: real processes of DVC and Dask."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from rich.console import Console

from cnn_ablations.analysis.study import answer
from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.cluster import Seed
from cnn_ablations.scheduling.display import Display
from cnn_ablations.scheduling.runner import Work, data_stages

REPRO = ("cnn-ablations", "repro", "--workers", "2")
SLEEP = "time.sleep(600)"
SLEEP_THE_FIRST_TIME = f"{SLEEP} if len(open(runs.name).readlines()) == 1 else None"
FAIL = "raise ProjectError('tiny-b is asked to fail')"
ROOT = Path(__file__).parents[2]
SECONDS = 900
"""What a whole `repro` may take, on a machine at work."""

Start = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]


@pytest.fixture(scope="module")
def plain(stub: Paths, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """What plain `dvc repro` makes of the stub."""
    paths = Paths(tmp_path_factory.mktemp("plain") / "checkout")
    shutil.copytree(stub.root, paths.root)
    process = start(paths.root, "dvc", "repro", STUB_FOLDER=str(paths.root.parent))
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return paths


def results(paths: Paths) -> dict[str, bytes]:
    """All that a pipeline leaves for good, by name."""
    kept = [file for name in ("dvc.lock", "after.txt") if (file := paths.root / name).exists()]
    kept += [file for file in (paths.root / "reports").rglob("*") if file.is_file()]
    kept += [file for file in (paths.root / "data" / "runs").rglob("*") if file.is_file()]
    return {str(file.relative_to(paths.root)): file.read_bytes() for file in kept}


def repro(paths: Paths, start: Start) -> tuple[int, str]:
    process = start(paths.root, *REPRO)
    output, _ = process.communicate(timeout=SECONDS)
    return process.returncode, output


def ask(paths: Paths, seed: str, code: str) -> None:
    (paths.root.parent / f"{seed}.asked").write_text(code)


def runs(paths: Paths, seed: str) -> list[int]:
    """The processes that trained a seed."""
    file = paths.root.parent / f"{seed}.runs"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def counts(paths: Paths) -> list[int]:
    seeds = [f"tiny-{v}.seed-{number}" for v in "ab" for number in (0, 1)]
    return [len(runs(paths, seed)) for seed in seeds]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_nobody_else_reaches_the_runner_and_no_child_outlives_it(
    stubs: Paths, start: Start, wait_for: Wait, wait_for_end: Wait, signum: signal.Signals
) -> None:
    ask(stubs, "tiny-a.seed-0", SLEEP)
    process = start(stubs.root, *REPRO, "inspect@tiny-a")
    wait_for(lambda: runs(stubs, "tiny-a.seed-0"), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert runs(stubs, "tiny-a.seed-0")[0] in [child.pid for child in children]
    sockets = [c for p in (psutil.Process(process.pid), *children) for c in p.net_connections()]
    listening = {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::1"}
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    if signum == signal.SIGINT:
        assert process.returncode == 1
        assert output.endswith(
            "interrupted (SIGINT): run the same command again; a training goes on from its last "
            "checkpoint\n"
        )
    wait_for_end(children)


def test_two_at_once_do_the_work_once_though_all_children_are_killed(
    stubs: Paths, plain: Paths, start: Start, wait_for: Wait
) -> None:
    for seed in ("tiny-a.seed-0", "tiny-a.seed-1"):
        ask(stubs, seed, SLEEP_THE_FIRST_TIME)
    first = start(stubs.root, *REPRO)
    wait_for(lambda: counts(stubs)[:2] == [1, 1], first)
    second = start(stubs.root, *REPRO)
    for child in psutil.Process(first.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    output, _ = first.communicate(timeout=SECONDS)
    assert first.returncode == 0, output
    assert second.communicate(timeout=SECONDS)[0] == (
        "another `cnn-ablations repro` works here; waiting for its end\neverything is up to date\n"
    )
    assert second.returncode == 0
    assert counts(stubs) == [2, 2, 1, 1]
    assert results(stubs) == results(plain)


@pytest.mark.faults
def test_real_networks_that_were_interrupted_end_in_the_bytes_of_dvc(
    stubs: Paths, start: Start, wait_for: Wait, tmp_path: Path
) -> None:
    loop = Path("src", "cnn_ablations", "training", "loop.py")
    for file in (loop, Path("notebooks", "train.ipynb")):
        shutil.copy(ROOT / file, stubs.root / file)
    text = (stubs.root / loop).read_text()
    every_epoch = text.replace("CHECKPOINT_SECONDS = 10.0", "CHECKPOINT_SECONDS = 0.0")
    assert every_epoch != text
    (stubs.root / loop).write_text(every_epoch)
    pipeline = stubs.root / "dvc.yaml"
    stages = yaml.safe_load(pipeline.read_bytes())
    stages["stages"]["train"]["do"]["cmd"] = "exec cnn-ablations train ${key}"
    pipeline.write_text(yaml.safe_dump(stages))
    document = yaml.safe_load(stubs.params.read_bytes())
    changes = {"epochs": 40, "seeds": [0], "batch_norm": True, "conv_dropout": 0.2}
    document["variants"]["tiny-a"].update(changes)
    stubs.params.write_text(yaml.safe_dump(document))
    plain = Paths(tmp_path / "plain")
    shutil.copytree(stubs.root, plain.root)

    def checkpoints() -> list[Path]:
        return list(stubs.scratch("seeds").glob("*/epoch-*.npz"))

    process = start(stubs.root, *REPRO, "train@tiny-a")
    wait_for(checkpoints, process, SECONDS)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, output
    assert checkpoints()
    for paths, *command in ((stubs, *REPRO), (plain, "dvc", "repro")):
        process = start(paths.root, *command, "train@tiny-a")
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output
    ours, theirs = results(stubs), results(plain)
    timings = "reports/timings/tiny/tiny-a.json"
    assert ours.pop(timings) != theirs.pop(timings)
    assert ours == theirs


NOBODY: Any = None


def test_no_time_left_is_told_before_a_training_knows_it(
    tiny_variant: Variant, paths: Paths, real_params: Params, place: dict[str, Any]
) -> None:
    seed = Seed(tiny_variant, 0, paths.root, paths.root, seconds=82_150)
    training = {NOBODY: (seed, "here")}
    work = Work({}, [], deque(), NOBODY, NOBODY, real_params, paths, 1, training=training)
    for left, told in ((None, ""), (3725, ", about 1:02:05 left")):
        progress = {**place, "seconds_left": left}
        work._hear((0.0, {"key": seed.key, "progress": progress}))
        assert work._total({"here": 1}) == f"1 seed and 0 stages to do{told}"


def test_a_variant_that_was_written_meanwhile_is_for_the_next_time(
    project: Paths, tiny_variant: Variant, real_params: Params
) -> None:
    with pytest.raises(ProjectError, match="'new' was written meanwhile; run this again"):
        data_stages(["check", "train@new"], real_params, project)


def test_a_study_that_was_compared_is_answered(real_params: Params, checkout: Paths) -> None:
    name, said = "r4-precision", io.StringIO()
    display = Display(Console(file=said))
    work = Work({}, [], deque(), NOBODY, display, real_params, checkout, 1)
    with subprocess.Popen(["true"]) as process:
        pass
    work.at_work = {f"{stage}@{name}": process for stage in ("train", "compare")}
    work._end_stages()
    verdicts = answer(real_params.study(name), checkout, name)
    assert said.getvalue() == f"train@{name} done\ncompare@{name} done\n{verdicts}\n"


def test_what_cannot_be_done_stops_only_what_needs_it_and_is_done_once_it_can_be(
    stubs: Paths, plain: Paths, start: Start
) -> None:
    """Data that nobody has, a training that fails, one that is killed each time, and a stage that
    is none.
    """
    params, pipeline = (file.read_bytes() for file in (stubs.params, stubs.root / "dvc.yaml"))
    ask(stubs, "tiny-b.seed-1", FAIL)
    ask(stubs, "tiny-d.seed-0", "os.kill(os.getpid(), 9)")
    document = yaml.safe_load(params)
    mnist = yaml.safe_load((ROOT / "params.yaml").read_bytes())["datasets"]["mnist"]
    document["datasets"]["gone"] = {**mnist, "urls": ["nowhere/"]}
    document["variants"]["tiny-c"] = {**document["variants"]["tiny-a"], "dataset": "gone"}
    document["variants"]["tiny-d"] = {**document["variants"]["tiny-a"], "epochs": 9}
    stubs.params.write_text(yaml.safe_dump(document))
    stages = yaml.safe_load(pipeline)["stages"]
    stages["wrong"] = {"cmd": "false", "deps": ["reports/metrics/tiny/tiny-a.json"]}
    (stubs.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    status, output = repro(stubs, start)
    assert status == 1
    assert len(runs(stubs, "tiny-d.seed-0")) == 3
    log = "data/scratch/logs/train@tiny-b.log"
    why = "seed 1: tiny-b is asked to fail; the others go on"
    assert f"train@tiny-b failed: {why} ({log} has its words)" in output
    assert "asked to fail" in (stubs.root / log).read_text()
    assert "train@tiny-d failed: seed 0: its process was stopped by SIGKILL" in output
    assert "wrong failed: ERROR: failed to reproduce 'wrong'" in output
    failed = re.findall(r"(?m)^(\S+) failed: ", output)
    assert sorted(failed) == ["train@tiny-b", "train@tiny-d", "wrong"]  # what needs them never ran
    assert stubs.notebook("tiny", "tiny-a", "inspect").exists()
    last = output.splitlines()[-1]
    left = last.removeprefix("not up to date: ").removesuffix("; the words above say why")
    lost = {f"{stage}@gone" for stage in ("download", "preprocess")}
    lost |= {f"{stage}@tiny-{v}" for stage in ("train", "inspect") for v in "bcd"}
    assert set(left.split(", ")) == {"after", "wrong", *lost}

    ask(stubs, "tiny-b.seed-1", "")
    stubs.params.write_bytes(params)
    (stubs.root / "dvc.yaml").write_bytes(pipeline)
    status, output = repro(stubs, start)
    assert status == 0, output
    assert counts(stubs) == [1, 1, 1, 2]
    assert results(stubs).keys() == results(plain).keys()


@pytest.fixture
def cluster(
    tmp_path: Path, start: Start, wait_for: Wait, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list["subprocess.Popen[str]"]]:
    """The address of a scheduler, and its workers, which cannot import the package: two of them
    of use, and one whose environment computes other bits.
    """
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    (site,) = bare.glob("lib/*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "libraries.pth").write_text(libraries)  # the .pth files in there do not count
    python = str(bare / "bin" / "python")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    importing = [python, "-c", "import cnn_ablations"]
    assert subprocess.run(importing, cwd=tmp_path, capture_output=True).returncode == 1
    file = tmp_path / "scheduler.json"
    quiet = ("--no-dashboard", "--scheduler-file", str(file))
    dask = (python, "-m", "dask")
    scheduler = start(tmp_path, *dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *quiet)
    wait_for(file.exists, scheduler)
    command = (*dask, "worker", "--nthreads", "1", "--no-nanny", *quiet)
    own = [(*command, "--local-directory", str(tmp_path / f"{number}")) for number in range(3)]
    workers = [start(tmp_path, *own[0]), start(tmp_path, *own[1])]
    workers.append(start(tmp_path, *own[2], TF_ENABLE_ONEDNN_OPTS="1", XLA_FLAGS="--other"))
    return re.findall(r"tcp://[^\"]+", file.read_text())[0], workers


def test_results_come_home_though_a_worker_is_killed_and_one_is_of_no_use(
    stubs: Paths,
    plain: Paths,
    cluster: tuple[str, list[Any]],
    start: Start,
    wait_for: Wait,
    wait_for_end: Wait,
) -> None:
    address, workers = cluster
    ask(stubs, "tiny-a.seed-0", SLEEP_THE_FIRST_TIME)
    process = start(stubs.root, "cnn-ablations", "repro", "--scheduler", address)
    wait_for(lambda: runs(stubs, "tiny-a.seed-0"), process)
    trainer = psutil.Process(runs(stubs, "tiny-a.seed-0")[0])
    (killed,) = (worker for worker in workers if worker.pid == trainer.ppid())
    os.kill(killed.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    wait_for_end([trainer])
    assert output.count("lost: the worker") == 1
    assert counts(stubs) == [2, 1, 1, 1]
    assert results(stubs) == results(plain)
    assert output.count("not used: the worker") == 1
    assert re.search(r"not used: .*, where cpu is .* XLA_FLAGS=--other instead of x86", output)


def test_a_scheduler_that_does_not_answer_is_known_before_anything_is_done(
    stubs: Paths, start: Start
) -> None:
    (stubs.arrays("digits") / "meta.json").unlink()
    process = start(stubs.root, "cnn-ablations", "repro", "--scheduler", "tcp://127.0.0.1:1")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert output.startswith("error: no Dask scheduler answers at tcp://127.0.0.1:1")
    assert "after 5 s" in output  # by itself Dask tries for 30 s
    assert not (stubs.arrays("digits") / "meta.json").exists()
