"""`cnn-ablations repro` as its users meet it: real processes of DVC, Dask and Jupyter."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.runner import require_same
from cnn_ablations.scheduling.worker import Checkout, Mark, software, sources_hash
from cnn_ablations.training.variant import seed_folder

REPRO = ("cnn-ablations", "repro", "--workers", "2")
SLEEP = "time.sleep(600)"
SLEEP_THE_FIRST_TIME = f"{SLEEP} if len(open(runs.name).readlines()) == 1 else None"
FAIL = "raise ProjectError('tiny-b is asked to fail')"
ROOT = Path(__file__).parents[2]
EPOCHS = 150
"""Of a tiny network, so that checkpoints fall into its training."""
TIMINGS = "reports/timings/tiny/tiny-a.json"
SECONDS = 300
"""What a whole `repro` may take, on a machine at work."""

Start = Callable[..., "subprocess.Popen[str]"]
Wait = Callable[..., None]


@pytest.fixture(scope="module")
def plain(stub: Paths, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """What plain `dvc repro` makes of the stub."""
    paths = Paths(tmp_path_factory.mktemp("plain") / "checkout")
    shutil.copytree(stub.root, paths.root)
    process = start(paths.root, "dvc", "repro")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return paths


@pytest.fixture
def clones(stub: Paths, tmp_path: Path) -> list[Paths]:
    """A checkout with its data prepared, and others for workers without; cache and scratch are
    shared. The last has other parameters.
    """
    shutil.copytree(stub.root / ".dvc" / "cache", tmp_path / "cache")
    (tmp_path / "scratch").mkdir()
    clones = [Paths(tmp_path / name) for name in ("home", "one", "two", "other")]
    for paths in clones:
        shutil.copytree(stub.root, paths.root, ignore=shutil.ignore_patterns("cache", "tmp"))
        if paths != clones[0]:
            shutil.rmtree(paths.root / "data")
            (paths.root / "dvc.lock").unlink()
        (paths.root / ".dvc" / "config.local").write_text(f"[cache]\ndir = {tmp_path / 'cache'}\n")
        shutil.rmtree(paths.scratch(), ignore_errors=True)
        paths.scratch().parent.mkdir(exist_ok=True)
        paths.scratch().symlink_to(tmp_path / "scratch")
    with clones[-1].params.open("a") as params:
        params.write("# changed here only\n")
    return clones


@pytest.fixture
def cluster(
    clones: list[Paths], tmp_path: Path, start: Start, wait_for: Wait
) -> tuple[str, list["subprocess.Popen[str]"]]:
    """The address of a scheduler here, and its workers: each in a clone, but for the last."""
    home, *others = clones
    file = home.root / "scheduler.json"
    quiet = ("--no-dashboard", "--scheduler-file", str(file))
    wait_for(
        file.exists,
        start(home.root, "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", *quiet),
    )
    slot = ("--nthreads", "1", "--resources", "slot=1")
    folders = [*(paths.root for paths in others), tmp_path]
    workers = [
        start(folder, "dask", "worker", *slot, *quiet, PYTHONPATH=str(folder / "src"))
        for folder in folders
    ]
    return json.loads(file.read_text())["address"], workers


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


def ask(paths: Paths, variant: str, code: str) -> None:
    asked = paths.scratch(f"{variant}.asked")
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(code)


def runs(paths: Paths, variant: str) -> list[int]:
    """The process numbers of the kernels that trained a variant."""
    file = paths.scratch(f"{variant}.runs")
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_failure_stops_nothing_else_and_what_is_done_is_not_done_again(
    stubs: Paths, plain: Paths, start: Start
) -> None:
    ask(stubs, "tiny-b", FAIL)
    status, output = repro(stubs, start)
    assert status == 1
    assert "tiny-b failed; the others go on (data/scratch/logs/tiny/tiny-b.log" in output
    assert re.search(
        r"failed: tiny-b, error: tiny-b is asked to fail .*\(data/scratch/logs/tiny/tiny-b.log\)\n"
        "not up to date: after, ",
        output,
    )
    assert stubs.notebook("tiny", "tiny-a", "inspect").exists()
    assert "asked to fail" in stubs.scratch("logs", "tiny", "tiny-b.log").read_text()
    assert not (stubs.root / "after.txt").exists()

    ask(stubs, "tiny-b", "")
    status, output = repro(stubs, start)
    assert status == 0, output
    assert (len(runs(stubs, "tiny-a")), len(runs(stubs, "tiny-b"))) == (1, 2)
    assert results(stubs).keys() == results(plain).keys()
    assert repro(stubs, start) == (0, "everything is up to date\n")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_nobody_else_reaches_the_runner_and_no_child_outlives_it(
    stubs: Paths, start: Start, wait_for: Wait, wait_for_end: Wait, signum: signal.Signals
) -> None:
    ask(stubs, "tiny-a", SLEEP)
    process = start(stubs.root, *REPRO, "inspect@tiny-a")
    wait_for(lambda: runs(stubs, "tiny-a"), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert runs(stubs, "tiny-a")[0] in [child.pid for child in children]
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


@pytest.mark.faults
def test_trainings_that_were_interrupted_and_shared_end_in_the_bytes_of_dvc(
    stubs: Paths, start: Start, wait_for: Wait, tmp_path: Path
) -> None:
    """Real networks, on two workers, of which one trains the last seed, and then on one."""
    shutil.copy(ROOT / "notebooks" / "train.ipynb", stubs.template("train"))
    document = yaml.safe_load(stubs.params.read_bytes())
    document["variants"]["tiny-a"]["seeds"] = [0, 1, 2]
    stubs.params.write_text(yaml.safe_dump(document))
    plain = Paths(tmp_path / "plain")
    shutil.copytree(stubs.root, plain.root)

    process = start(stubs.root, *REPRO, "inspect@tiny-a")
    variant = load_params(stubs.params).variant("tiny-a")
    beside = seed_folder(variant, 2, load_arrays(stubs.arrays("digits")), stubs)
    wait_for((beside / "result").is_dir, process)  # the stage itself is not that far yet
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1
    for paths, *command in (
        (stubs, *REPRO[:-1], "1", "inspect@tiny-a"),
        (plain, "dvc", "repro", "inspect@tiny-a"),
    ):
        process = start(paths.root, *command)
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output
    ours, theirs = results(stubs), results(plain)
    assert ours.pop(TIMINGS) != theirs.pop(TIMINGS)
    assert ours == theirs


@pytest.mark.faults
def test_a_training_outlives_its_killed_worker_from_its_last_checkpoint(
    clones: list[Paths],
    cluster: tuple[str, list[Any]],
    start: Start,
    wait_for: Wait,
    wait_for_end: Wait,
    tmp_path: Path,
) -> None:
    """A real network, on a cluster of clones that share scratch."""
    home = clones[0]
    address, workers = cluster
    document = yaml.safe_load(home.params.read_bytes())
    document["variants"]["tiny-a"]["epochs"] = EPOCHS
    for paths in clones:
        shutil.copy(ROOT / "notebooks" / "train.ipynb", paths.template("train"))
        paths.params.write_text(yaml.safe_dump(document))
    plain = Paths(tmp_path / "plain")
    shutil.copytree(home.root, plain.root, ignore=shutil.ignore_patterns("scratch", "config.local"))
    variant = load_params(home.params).variant("tiny-a")
    folder = seed_folder(variant, 0, load_arrays(home.arrays("digits")), home)

    command = ["cnn-ablations", "repro", "--scheduler", address, "train@tiny-a"]
    process = start(home.root, *command)
    wait_for(lambda: any(folder.glob("epoch-*.npz")), process)
    (checkpoint,) = folder.glob("epoch-*.npz")
    trees = [psutil.Process(worker.pid).children(recursive=True) for worker in workers]
    (killed,) = (
        (worker, tree)
        for worker, tree in zip(workers, trees, strict=True)
        if any("ipykernel_launcher" in child.cmdline() for child in tree)
    )
    os.killpg(killed[0].pid, signal.SIGKILL)
    wait_for_end(killed[1])
    progress = home.progress("tiny", "tiny-a")
    progress.unlink(missing_ok=True)
    wait_for(progress.is_file, process)
    assert json.loads(progress.read_bytes())["epoch"] > int(checkpoint.stem.split("-")[1])
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    process = start(plain.root, "dvc", "repro", "train@tiny-a")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    ours, theirs = results(home), results(plain)
    assert ours.pop(TIMINGS) != theirs.pop(TIMINGS)
    assert ours == theirs


def test_what_cannot_be_done_stops_only_what_needs_it(stubs: Paths, start: Start) -> None:
    """Data that nobody has, and a stage that is no training."""
    document = yaml.safe_load(stubs.params.read_bytes())
    mnist = yaml.safe_load((ROOT / "params.yaml").read_bytes())["datasets"]["mnist"]
    document["datasets"]["gone"] = {**mnist, "urls": ["http://127.0.0.1:9/"]}
    document["variants"]["tiny-c"] = {**document["variants"]["tiny-a"], "dataset": "gone"}
    stubs.params.write_text(yaml.safe_dump(document))
    pipeline = stubs.root / "dvc.yaml"
    stages = yaml.safe_load(pipeline.read_bytes())["stages"]
    stages["after"]["cmd"] = "false"
    metrics = "reports/metrics/tiny/tiny-a.json"
    stages["other"] = {"cmd": "echo > other", "deps": [metrics], "outs": ["other"]}
    pipeline.write_text(yaml.safe_dump({"stages": stages}))
    status, output = repro(stubs, start)
    assert status == 1
    assert (len(runs(stubs, "tiny-a")), len(runs(stubs, "tiny-b"))) == (1, 1)
    assert (stubs.root / "other").exists()
    assert runs(stubs, "tiny-c") == []
    last = output.splitlines()[-1]
    left = last.removeprefix("not up to date: ").removesuffix("; the words above say why")
    lost = {f"{stage}@gone" for stage in ("download", "preprocess")}
    lost |= {f"{stage}@tiny-c" for stage in ("train", "inspect")}
    assert set(left.split(", ")) == {"after", *lost}


def test_two_runners_at_once_do_the_work_once(stubs: Paths, plain: Paths, start: Start) -> None:
    processes = [start(stubs.root, *REPRO) for _ in range(2)]
    outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert results(stubs) == results(plain)
    assert (len(runs(stubs, "tiny-a")), len(runs(stubs, "tiny-b"))) == (1, 1)
    waited = "another `cnn-ablations repro` is at work here; waiting for its end\n"
    assert f"{waited}everything is up to date\n" in outputs


def test_results_come_home_from_clones_though_a_worker_is_killed_and_two_are_of_no_use(
    clones: list[Paths],
    plain: Paths,
    cluster: tuple[str, list[Any]],
    start: Start,
    wait_for: Wait,
    wait_for_end: Wait,
) -> None:
    home, *_, other = clones
    address, workers = cluster
    ask(home, "tiny-a", SLEEP_THE_FIRST_TIME)
    process = start(home.root, "cnn-ablations", "repro", "--scheduler", address)
    wait_for(lambda: runs(home, "tiny-a"), process)
    kernel = psutil.Process(runs(home, "tiny-a")[0])
    (killed,) = (w for w in workers if w.pid in [parent.pid for parent in kernel.parents()])
    tree = psutil.Process(killed.pid).children(recursive=True)
    os.killpg(killed.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    wait_for_end(tree)
    assert (len(runs(home, "tiny-a")), len(runs(home, "tiny-b"))) == (2, 1)
    assert "Stage 'train@tiny-a' is cached" in output
    assert results(home) == results(plain)
    assert not list(home.scratch().glob("*.mark"))
    assert output.count("not used: the worker") == 2
    assert f": no params.yaml in {home.root.parent} or above it" in output
    assert f"in {other.root} on" in output
    assert not (other.root / "data" / "runs").exists()


def test_a_scheduler_that_does_not_answer_is_known_before_anything_is_done(
    stubs: Paths, start: Start
) -> None:
    (stubs.arrays("digits") / "meta.json").unlink()
    command = ["cnn-ablations", "repro", "--scheduler", "tcp://127.0.0.1:1"]
    process = start(stubs.root, *command, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert output.startswith("error: no Dask scheduler answers at tcp://127.0.0.1:1")
    assert not (stubs.arrays("digits") / "meta.json").exists()


def test_a_folder_is_known_again_by_the_mark_of_this_run(project: Paths, tmp_path: Path) -> None:
    killed, mark = Mark.of(project), Mark.of(project)
    assert not mark.is_in(tmp_path)
    (tmp_path / killed.name).write_text(killed.content)
    assert not mark.is_in(tmp_path)
    (tmp_path / mark.name).write_text(mark.content)
    assert mark.is_in(tmp_path)
    assert len(list(tmp_path.glob("*.mark"))) == 1


def test_a_worker_must_have_the_same_code_versions_and_cache(project: Paths) -> None:
    sources, versions = sources_hash(project), software()
    mine = Checkout(("host", "/clone"), sources, versions, sees_cache=True, sees_scratch=False)
    require_same("tcp://worker", mine, sources, versions)
    with pytest.raises(ProjectError, match=r"tcp://worker in /clone on host does not share DVC's"):
        require_same("tcp://worker", replace(mine, sees_cache=False), sources, versions)
    older = versions | {"python": "3.11.2"}
    with pytest.raises(ProjectError, match=r"has python 3\.11\.2 instead of \d.*, so its results"):
        require_same("tcp://worker", replace(mine, software=older), sources, versions)
    with project.params.open("a") as params:
        params.write("# changed here only\n")
    with pytest.raises(ProjectError, match="has other code or parameters"):
        require_same("tcp://worker", mine, sources_hash(project), versions)
