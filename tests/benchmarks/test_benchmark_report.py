"""What is made of measurements."""

import json
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import checkout as copies
from benchmarks.gate import Gate, environment
from benchmarks.overhead import shares
from benchmarks.report import aims, markdown
from benchmarks.study import summary
from benchmarks.throughput import _by_epoch, _side_by_side, derived
from cnn_ablations.paths import Paths

RATES = {
    "project, 1 thread": [100.0, 80.0, 50.0],
    "plain, 1 thread": [100.0, 100.0, 50.0],
    "project, workers": [190.0, 190.0, 95.0],
    "plain, default": [100.0, 125.0, 50.0],
    "project, threads": [100.0, 95.0, 50.0],
    "matmul": [10.0, 10.0, 5.0],
    "matmul, all cores": [20.0, 16.0, 8.0],
}


MEMORY = {"project": 500, "plain": 600, "project_own": 300, "plain_own": 400}


def trained(variant: str, precision: str = "float32", **changes: Any) -> dict[str, Any]:
    return {
        "variant": variant,
        "precision": precision,
        "cores": 2,
        "checkpoint_seconds": 0.1,
        "forward_flops": 10**7,
        "images_per_second": RATES,
        "epoch_seconds": {
            "project, 1 thread": {"total": 2.0, "train": 1.5, "evaluate": 0.4, "rest": 0.1},
            "plain, 1 thread": {"total": 2.0, "evaluate": 0.5, "rest": 1.5},
        },
        **derived(RATES, 0.0, 10**7, 2),
        **changes,
    }


def results(**measured: Any) -> dict[str, Any]:
    return {
        "machine": {"CPU": "a CPU"},
        "quick": False,
        "parts": {name: part(of_it) for name, of_it in measured.items()},
    }


def part(measured: dict[str, Any], **failed: str) -> dict[str, Any]:
    return {
        "revision": {"commit": "0123456789abcdef", "modified": None},
        "begun": "2026-01-01T00:00+00:00",
        "load": [0.5],
        "failed": failed,
        "measured": measured,
    }


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    ratios = derived(RATES, checkpoint_seconds=0.0, flops=10**7, cores=2)
    assert ratios["thread_for_thread"] == 1.0
    assert ratios["machine"] == 1.9
    assert ratios["workers_against_threads"] == 1.9
    assert ratios["scaling"] == pytest.approx(0.95)
    assert ratios["matmul_scaling"] == pytest.approx(0.8)
    assert ratios["share_of_peak"] == pytest.approx(0.3)  # 3 · 0.01 GFLOP · 100 of 10 GFLOP/s


def test_checkpoints_that_fell_into_no_turn_are_charged() -> None:
    ratios = derived(RATES, checkpoint_seconds=1.0, flops=10**7, cores=2)
    assert ratios["thread_for_thread"] == pytest.approx(1 / 1.1)
    assert ratios["machine"] == pytest.approx(1.9 / 1.1)
    assert ratios["scaling"] == pytest.approx(0.95)  # both sides write them


def test_of_several_figures_the_worst_is_held_against_the_aim() -> None:
    throughput = {
        "one": trained("r2-1conv-batchnorm", thread_for_thread=0.99),
        "two": trained("r1-cifar10-stride1", thread_for_thread=0.9, share_of_peak=0.75),
    }
    by_text = {aim.aim: aim for aim in aims(results(throughput=throughput))}
    thread = next(aim for text, aim in by_text.items() if text.startswith("thread for thread"))
    assert not thread.met
    assert thread.cells[2:] == ("0.90 ? (r1-cifar10-stride1)", "**missed**")
    assert "its turns went from 0.80 to 1.00; of 2.00 s an epoch" in thread.why
    assert by_text["the CIFAR-10 network with stride 1 trains at 0.7 of the peak of a core"].met


def test_bfloat16_is_compared_with_plain_float32_of_the_same_round() -> None:
    rates = {**RATES, "plain float32, default": [50.0, 95.0, 19.0]}
    bfloat16 = trained("r1-mnist-base", "mixed_bfloat16", images_per_second=rates)
    bfloat16 |= derived(rates, 0.0, 10**7, 2)
    parts = results(throughput={"one": trained("r1-mnist-base"), "two": bfloat16})
    found = [aim for aim in aims(parts) if "bfloat16" in aim.aim]
    assert [aim.measured for aim in found] == [3.8]  # of 3.8, 2 and 5
    assert "| r1-mnist-base, bfloat16 | 190 (95–190) | 50 (19–95) | 3.80 ? |" in markdown(parts)


def test_rates_that_scatter_are_marked() -> None:
    steady = trained("r2-1conv-batchnorm", images_per_second={k: [100.0] * 3 for k in RATES})
    page = markdown(results(throughput={"one": steady, "two": trained("r1-mnist-base")}))
    marked = [line for line in page.splitlines() if " ? |" in line]
    assert [line.split(" | ")[0] for line in marked] == 2 * ["| r1-mnist-base"]  # parts a, c


def test_a_missed_aim_is_explained_by_what_threads_do() -> None:
    rates = {**RATES, "plain, default": [160.0, 160.0, 80.0], "project, threads": [150.0] * 3}
    changed = trained("r1-mnist-base", images_per_second=rates, machine=1.2)
    changed |= {"workers_against_threads": 1.3}
    page = markdown(results(throughput={"one": changed}))
    assert "many seeds: the script does 1.60 times on 2 threads what it does on one" in page
    assert "one process does 1.88 times on 2 threads what it does on one, which leaves 1.07" in page


def test_an_epochs_seconds_are_told_by_phase() -> None:
    answer = {"seconds": 10.0, "phases": {"train": 6.0, "evaluate": 3.0}}
    assert _by_epoch(answer, 2) == {"total": 5.0, "train": 3.0, "evaluate": 1.5, "rest": 0.5}


class Echo:
    """A child that takes as many seconds as it is asked for epochs."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def ask(self, epochs: int) -> None:
        self.asked.append(epochs)

    def answer(self) -> dict[str, Any]:
        return {"seconds": float(self.asked[-1]), "phases": {}}


def test_a_turn_begins_with_an_epoch_that_does_not_count() -> None:
    children = [Echo(), Echo()]
    rate, _ = _side_by_side(children, 4, each=10)  # type: ignore[arg-type]
    assert [child.asked for child in children] == [[1, 4], [1, 4]]
    assert rate == 2 * 10


def test_short_epochs_are_no_test_of_the_loop() -> None:
    short = trained("r4-maxpool", thread_for_thread=0.5)
    short["epoch_seconds"]["project, 1 thread"]["total"] = 0.2
    found = aims(results(throughput={"one": short, "two": trained("r1-mnist-base")}))
    assert [aim.note for aim in found if aim.part == "a"] == ["r1-mnist-base"]


def test_the_page_shows_what_there_is_and_names_what_failed() -> None:
    study = {
        "seeds": [0, 1],
        "cores": 2,
        "project_seconds": [100.0, 90.0, 80.0],
        "plain_seconds": [150.0, 90.0, 160.0],
        "ratio": 1.5,
        "variants": {"r2-1conv-none": {"project_training_seconds": 60.0, "plain_seconds": 70.0}},
    }
    taken = {"stage": [21.0], "command": [15.0], "empty notebook": [4.0], "import": [6.0]}
    overhead = {
        "seconds": {**taken, "plain": [8.0]},
        "stage_seconds": 21.0,
        **shares(taken),
    }
    parts = results(
        throughput={"one": trained("r1-mnist-base")},
        study={"R2": study},
        overhead={"of a stage": overhead},
        memory={"by variant": {"r4-maxpool": MEMORY, "r2-1conv-none": {**MEMORY, "plain": 400}}},
    )
    parts["parts"]["throughput"]["failed"] = {"r4-maxpool float32": "RuntimeError: no memory"}
    page = markdown(json.loads(json.dumps(parts)))
    assert "1.50 (2 seeds of each network) | met" in page
    assert "21.0 s | **missed**" in page
    assert "- d, a `train` stage takes at most 20 s besides training: the largest part is" in page
    assert "- b, a whole study" not in page  # it is met: nothing to explain
    assert "| 2 | 90 | 90 | 1.00 |" in page
    assert "1.25 of it (r2-1conv-none) | **missed**" in page
    assert "300 MiB of it are its own against 400" in page
    assert "- throughput r4-maxpool float32: RuntimeError: no memory" in page
    assert "| r4-maxpool | 500 | 600 | 0.83 | 300 | 400 | 0.75 |" in page
    assert re.findall(r"^## (\w)\. ", page, re.MULTILINE) == list("abcdef")


def test_the_committed_page_shows_the_committed_figures(checkout: Paths) -> None:
    page = checkout.root / "reports" / "benchmarks.md"
    assert page.read_text() == markdown(json.loads(page.with_suffix(".json").read_bytes()))


def test_a_study_is_compared_within_its_rounds() -> None:
    def half(key: str, of_variant: float, seconds: float) -> dict[str, Any]:
        return {"seconds": seconds, "variants": {"r2-1conv-none": {key: of_variant}}}

    halves = {
        "project": [half("training_seconds", s / 2, s) for s in (100.0, 50.0, 200.0)],
        "plain": [half("seconds", s, s) for s in (150.0, 100.0, 220.0)],
    }
    found = summary(halves, seeds=(0, 1))
    assert found["ratio"] == 1.5
    assert found["project_seconds"] == [100.0, 50.0, 200.0]
    assert found["variants"]["r2-1conv-none"] == {
        "project_training_seconds": 50.0,
        "plain_seconds": 150.0,
    }


def test_a_page_of_nothing_names_the_failure() -> None:
    assert "- study R2: OSError: full" in markdown(
        {**results(), "parts": {"study": part({}, R2="OSError: full")}}
    )
    assert "- memory: not asked for" in markdown(results(study={}))


def test_a_gate_opens_for_as_many_epochs_as_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("2\n1\n"))
    monkeypatch.setattr("os._exit", sys.exit)
    gate = Gate()
    gate()  # warm
    gate.spend("train", 1.0)
    gate()
    gate.spend("train", 2.0)
    gate()
    with pytest.raises(SystemExit):
        gate()  # nobody asks any more
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["phases"] for answer in answers] == [{}, {"train": 3.0}, {}]


def test_plain_scripts_get_the_default_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    plain, kernel = environment(kernel=False), environment(kernel=True)
    assert "TF_NUM_INTRAOP_THREADS" not in plain
    assert "OMP_NUM_THREADS" not in plain
    assert kernel["OMP_NUM_THREADS"] == "1"


def test_a_checkout_has_the_files_as_they_lie_there_and_no_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "dvc", lambda *_: None)
    origin = Paths(tmp_path / "origin")
    for path, text in (
        (origin.params, "variants: {one: {epochs: 5}, two: {epochs: 5}}"),
        (origin.root / ".dvc" / "config", "[cache]\n    dir = /elsewhere\n"),
        (origin.checked, "valid"),
        (origin.raw("digits") / "file", "raw"),
        (origin.arrays("digits") / "file", "arrays"),
        (origin.scratch("seeds") / "file", "trained before"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    copies.run(["git", "init", "--quiet"], origin.root)
    copies.run(["git", "add", "params.yaml", ".dvc/config"], origin.root)
    with copies.temporary_checkout(origin, ["digits"], {"two": {"epochs": 1}}) as copy:
        assert (
            copy.params.read_text() == "variants:\n  one:\n    epochs: 5\n  two:\n    epochs: 1\n"
        )
        assert (copy.arrays("digits") / "file").read_text() == "arrays"
        assert "elsewhere" not in (copy.root / ".dvc" / "config").read_text()
        assert not copy.scratch().exists()
    assert not copy.root.exists()
    assert "epochs: 5}}" in origin.params.read_text()


@pytest.mark.parametrize("quick", [False, True])
def test_a_failing_part_does_not_lose_the_others(
    quick: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import __main__ as program

    def fail() -> None:
        raise RuntimeError("no memory")

    steps = {
        ("throughput", "r4-maxpool", "float32"): (1.0, fail),
        ("memory", "by variant"): (1.0, lambda: {"r4-maxpool": MEMORY}),
    }
    monkeypatch.setattr(program, "_steps", lambda *_: steps)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").touch()
    with pytest.raises(SystemExit) as ended:
        program.bench(quick=quick)
    assert ended.value.code == 1
    report = tmp_path / "reports" / "benchmarks.md"
    assert report.is_file() is not quick
    if not quick:
        assert "- throughput r4-maxpool float32: RuntimeError: no memory" in report.read_text()
        assert "| r4-maxpool | 500 | 600 | 0.83 |" in report.read_text()
        written = json.loads(report.with_suffix(".json").read_bytes())
        assert list(written["parts"]["throughput"]["failed"]) == ["r4-maxpool float32"]


def test_parts_that_are_not_asked_for_stay_as_they_were_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import __main__ as program

    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    written = tmp_path / "reports" / "benchmarks.json"

    def measure(only: str, megabytes: int) -> dict[str, Any]:
        held = {"r4-maxpool": {**MEMORY, "project": megabytes}}
        steps = {
            ("memory", "by variant"): (1.0, lambda: held),
            ("throughput", "r4-maxpool"): (1.0, lambda: trained("r4-maxpool")),
        }
        monkeypatch.setattr(program, "_steps", lambda *_: steps)
        with pytest.raises(SystemExit) as ended:
            program.bench(only)
        assert ended.value.code == 0
        parts: dict[str, Any] = json.loads(written.read_bytes())["parts"]
        return parts

    first = measure("e", 500)
    assert list(first) == ["memory"]
    second = measure("a", 700)
    assert second["memory"] == first["memory"]
    assert list(second["throughput"]["measured"]) == ["r4-maxpool"]
    third = measure("e", 700)
    assert third["memory"]["measured"]["by variant"]["r4-maxpool"]["project"] == 700
    assert third["throughput"] == second["throughput"]
    assert list(measure("a,b,c,d,e,f", 500)) == ["memory", "overhead", "study", "throughput"]

    written.write_text(json.dumps({"machine": {"CPU": "another"}, "parts": {}}))
    with pytest.raises(typer.BadParameter, match="of another machine or other versions"):
        program.bench("e")
    assert "another" in written.read_text()
