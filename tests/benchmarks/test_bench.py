"""How it is measured, and what is made of it."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import typer

from benchmarks import __main__ as program
from benchmarks import parts, processes
from benchmarks.parts import COLUMNS, CORE, PLAIN_CORE, PROJECT, RATE, Job
from benchmarks.processes import finish, held, kill, python, start
from benchmarks.report import Ratio, markdown, within_turns
from cnn_ablations.paths import Paths

COUNT = Ratio("throughput", RATE, CORE, PLAIN_CORE)


def measured(figure: str, ways: dict[str, list[float]], what: str = "r4-maxpool") -> dict[str, Any]:
    records = [
        dict(zip(COLUMNS, (what, way, turn, figure, value), strict=True))
        for way, values in ways.items()
        for turn, value in enumerate(values, start=1)
    ]
    return {
        **{"commit": "0123456789abcdef", "modified": False, "begun": "2026-01-01T00:00+00:00"},
        **{"load": [0.5], "failed": {}, "measured": records},
    }


def page(**of_parts: dict[str, Any]) -> str:
    return markdown({"machine": {"processor": "a CPU"}, "without": [], "parts": of_parts})


def row(text: str, *words: str) -> list[str]:
    """The cells of the row of a table that has these words."""
    line = next(line for line in text.splitlines() if all(word in line for word in words))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_a_ratio_is_of_the_same_turn() -> None:
    part = measured(RATE, {CORE: [100, 80, 50], PLAIN_CORE: [100, 100, 50]})
    assert within_turns(COUNT, {"throughput": part}).values.tolist() == [[1.0, 0.8, 1.0]]


@pytest.mark.parametrize(
    ("core", "verdict"), [(97, "met"), (96.6, "met"), (96.4, "**missed**"), (120, "met")]
)
def test_an_aim_is_met_to_the_digits_shown(core: float, verdict: str) -> None:
    text = page(throughput=measured(RATE, {CORE: [core] * 3, PLAIN_CORE: [100] * 3}))
    assert row(text, "/ plain Keras, one core")[-2:] == ["at least 0.97", verdict]


def test_an_upper_limit_is_missed_above_it() -> None:
    for seconds, verdict in ((19.0, "met"), (21.0, "**missed**")):
        cells = row(page(overhead=measured("s", {PROJECT: [seconds] * 3})), "at most 20")
        assert cells[-3:] == [f"{seconds:.2f} ({seconds:.2f}–{seconds:.2f})", "at most 20", verdict]


def test_an_aim_of_one_network_does_not_judge_another() -> None:
    for what, aim in (("r4-maxpool", ""), ("r1-cifar10-stride1", "at least 0.7")):
        ways = {CORE: [50.0], parts.MATRICES: [100.0]}
        text = page(throughput=measured("GFLOP/s", ways, what))
        assert row(text, "/ matrix products")[-2] == aim


def test_the_page_has_median_and_spread_and_names_what_is_missing() -> None:
    part = measured(RATE, {CORE: [1000, 3000, 2000]})
    text = page(throughput={**part, "failed": {"r1-mnist-base": "RuntimeError: no memory"}})
    assert row(text, CORE)[2] == "2,000 (1,000–3,000)"
    assert "Turns: 3." in text
    assert "- throughput, r1-mnist-base: RuntimeError: no memory" in text
    assert "- study: not asked for" in text
    assert "## Study" not in text


def test_the_committed_page_shows_the_committed_figures(checkout: Paths) -> None:
    file = checkout.root / "reports" / "benchmarks.md"
    assert file.read_text() == markdown(json.loads(file.with_suffix(".json").read_bytes()))


def test_the_first_epoch_is_not_timed_and_rates_side_by_side_add_up(tmp_path: Path) -> None:
    answer = {"images": 100, "epoch_seconds": [9, 2, 3], "gflop": 2, "mib": 7}
    command = python("-c", f"print({json.dumps(answer)!r})")
    assert parts.rate([command]) == {RATE: 40, "GFLOP/s": 80, "MiB": 7}
    assert parts.rate([command, command]) == {RATE: 80}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `make bench` with other jobs; returns the exit status and what was written."""
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "install_peer", Path)

    def run(*jobs: Job, **options: Any) -> tuple[Any, dict[str, Any]]:
        monkeypatch.setattr(program, "jobs", lambda *_, **__: jobs)
        with pytest.raises(SystemExit) as ended:
            program.bench(**options)
        file = tmp_path / "reports" / "benchmarks.json"
        return ended.value.code, json.loads(file.read_bytes()) if file.exists() else {}

    return run


def job(part: str, value: float, turns: int = 1) -> Job:
    return Job(part, "net", 1, turns, {"A": lambda: {"s": value}, "B": lambda: {"s": 2}})


def test_the_ways_take_turns(bench: Any) -> None:
    status, written = bench(job("throughput", 1, turns=2), only="throughput")
    records = written["parts"]["throughput"]["measured"]
    assert [(r["way"], r["turn"]) for r in records] == [("A", 1), ("B", 1), ("A", 2), ("B", 2)]
    assert status == 0


def test_a_failing_job_does_not_lose_the_others(bench: Any) -> None:
    def fail() -> Any:
        raise RuntimeError("no memory")

    status, written = bench(
        Job("throughput", "net", 1, 1, {"A": fail}), job("kill", 5), only="throughput,kill"
    )
    assert status == 1
    assert written["parts"]["throughput"]["failed"] == {"net": "RuntimeError: no memory"}
    assert written["parts"]["kill"]["measured"]


def test_a_quick_run_writes_no_report(bench: Any) -> None:
    assert bench(job("kill", 5), only="kill", quick=True) == (0, {})


def test_parts_that_are_not_asked_for_stay_unless_the_machine_is_another(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(job("kill", 5), only="kill")
    _, written = bench(job("throughput", 7), job("kill", 9), only="throughput")
    assert written["parts"]["kill"]["measured"][0]["value"] == 5
    assert written["parts"]["throughput"]["measured"][0]["value"] == 7
    monkeypatch.setattr(program, "machine", lambda: {"processor": "another"})
    with pytest.raises(typer.BadParameter, match="of another machine or versions"):
        program.bench(only="kill")


def test_without_ictonyx_the_page_says_so(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "install_peer", lambda _: finish(start(["false"])))
    status, written = bench(job("study", 5), only="study")
    assert written["parts"]["study"]["measured"]
    assert "- ictonyx: it cannot be installed" in markdown(written)
    assert status == 0


def test_a_process_gets_the_default_of_threads_and_the_code_of_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    (variables,) = finish(start(python("-c", code), tmp_path))
    assert not {"TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"} & set(variables)
    assert variables["PYTHONPATH"].startswith(str(tmp_path / "src"))


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"-c import sys.*failed: no room"):
        finish(start(python("-c", "import sys; sys.exit('no room')"), tmp_path))


def test_memory_is_that_of_children_too(tmp_path: Path) -> None:
    child = "import time; held = b'x' * 2**26; time.sleep(2)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = start(python("-c", code), tmp_path)
    assert 64 < held(process) < 128
    finish(process)


def test_a_killed_process_leaves_no_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for_end: Any
) -> None:
    process = start(["sh", "-c", "sleep 60 >out 2>&1 & echo $! > child; wait"], tmp_path)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.02)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    wait = partial(psutil.wait_procs, timeout=0.1)
    monkeypatch.setattr(psutil, "wait_procs", lambda children, timeout: wait(children))
    kill(process, 0.1)
    wait_for_end([child])
    with pytest.raises(RuntimeError, match="ended before it was to be killed"):
        kill(start(["true"], tmp_path), 60)


def test_a_checkout_has_the_files_as_they_lie_there_and_no_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Paths(tmp_path / "origin")
    for path, text in (
        (origin.params, "variants: {one: {epochs: 5}, two: {epochs: 5}}"),
        (origin.root / ".dvc" / "config", "[cache]\n    dir = /elsewhere\n"),
        (origin.scratch("seeds") / "file", "trained before"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in (["init", "--quiet"], ["add", "params.yaml", ".dvc/config"]):
        finish(start(["git", *command], origin.root))
    monkeypatch.setattr(processes, "python", lambda *_: ["true"])
    with processes.checkout(origin, {"two": {"epochs": 1}}) as copy:
        text = "variants:\n  one:\n    epochs: 5\n  two:\n    epochs: 1\n"
        assert copy.params.read_text() == text
        assert "elsewhere" not in (copy.root / ".dvc" / "config").read_text()
        assert not copy.scratch().exists()
    assert not copy.root.exists()
    assert "epochs: 5}}" in origin.params.read_text()
