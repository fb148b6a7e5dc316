"""One variant is trained once in the whole module, and once more by the command."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from cnn_ablations import verification
from cnn_ablations.analysis.agreement import DIFFERENT, IDENTICAL, WITHIN, of_seeds
from cnn_ablations.cli import app
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, remove, sha256_of, write_atomically
from cnn_ablations.paths import Paths

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
NET = ("tiny", "tiny-net")
Plan = Callable[..., list[str]]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


def lock(paths: Paths) -> None:
    """Write what DVC would of the run folder."""
    run = paths.run(*NET)
    name = run.relative_to(paths.root).as_posix()
    output = {"path": name, "md5": verification.dvc_hash(run)}
    (paths.root / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {"train@tiny-net": {"outs": [output]}}})
    )


@pytest.fixture(scope="module")
def trained(make_project: Callable[[Path], Paths], checkout: Paths, tmp_path_factory: Any) -> Paths:
    """A project whose variant is trained. Only to be read."""
    paths = make_project(tmp_path_factory.mktemp("trained") / "project")
    paths.template("train").parent.mkdir()
    shutil.copy(checkout.template("train"), paths.template("train"))
    done = run(paths.root, "train", "tiny-net")
    assert done.returncode == 0, done.stderr
    lock(paths)
    return paths


@pytest.fixture
def committed(trained: Paths, tmp_path: Path) -> Paths:
    """A copy to change."""
    return Paths(shutil.copytree(trained.root, tmp_path / "committed"))


@pytest.fixture
def repeated(trained: Paths, tmp_path: Path) -> Paths:
    """What training it again would write, to change."""
    return Paths(shutil.copytree(trained.root, tmp_path / "repeated"))


@pytest.fixture
def net(trained: Paths) -> Variant:
    return load_params(trained.params).variant("tiny-net")


def content(paths: Paths) -> dict[Path, str]:
    """All files but locks, by their hash."""
    files = (file for file in paths.root.rglob("*") if file.is_file())
    return {
        file: sha256_of(file) for file in files if file.suffix != ".lock" or file.name == "dvc.lock"
    }


def verdicts(done: verification.Verification) -> dict[str, str]:
    """By the folder in reports/ or data/."""
    return {finding.subject.split("/")[1]: finding.verdict for finding in done.outputs}


def mistake(paths: Paths) -> None:
    """Another answer to one test image, by seed 1."""
    file = paths.predictions(*NET)
    with np.load(file, allow_pickle=False) as arrays:
        changed = dict(arrays)
    changed["test_predicted"][1, 0] = 9 - changed["test_predicted"][1, 0]
    np.savez_compressed(file, **changed)


def record(paths: Paths, **changes: Any) -> None:
    file = paths.timings(*NET)
    file.write_bytes(json_bytes({**json.loads(file.read_bytes()), **changes}))


def test_trained_again_from_scratch_every_output_is_the_same_to_the_bit(trained: Paths) -> None:
    before = content(trained)
    done = run(trained.root, "verify", "tiny-net")
    assert done.returncode == 0, done.stderr
    headline, *findings, blank, summary = done.stdout.splitlines()
    assert headline == "tiny-net, seeds 0, 1: bit-identical"
    assert dict(line.split(maxsplit=1) for line in findings) == {
        "data/runs/tiny/tiny-net": IDENTICAL,
        "reports/notebooks/tiny/tiny-net/train.ipynb": IDENTICAL,
        **{
            path.relative_to(trained.root).as_posix(): IDENTICAL
            for kind in ("curves", "details", "features", "metrics", "predictions", "weights")
            for path in (trained.root / "reports" / kind / "tiny").iterdir()
        },
    }
    assert len(findings) == 8
    assert blank == ""
    assert summary.startswith("1 variant, 2 seeds, 8 outputs of ")
    assert summary.endswith(" bytes: 8 bit-identical")
    assert "1 variant, 2 seeds, again in a temporary folder (recorded: 0." in done.stderr
    assert content(trained) == before


def test_an_answer_that_differs_is_seed_noise(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    mistake(repeated)
    done = verification.compare(net, committed, repeated)
    assert verdicts(done)["predictions"] == done.verdict == WITHIN
    assert verdicts(done)["curves"] == IDENTICAL
    assert done.verified
    # After three epochs it has not learned yet.
    assert [finding.subject for finding in done.accuracies] == ["collapsed seeds"]
    assert re.search(
        r"predictions/tiny/tiny-net.npz +within seed noise  1 of 33. values", str(done)
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("curves", value) for value in (1_000_000, 0.99, "many", 10**400)),
        *(("metrics", value) for value in (1_000_000, 0.99, None)),
    ],
)
def test_committed_numbers_that_contradict_the_committed_answers_are_not_seed_noise(
    net: Variant, committed: Paths, repeated: Paths, kind: str, value: Any
) -> None:
    if kind == "curves":
        table = pd.read_csv(committed.curves(*NET), dtype={"val_accuracy": object})
        table.loc[table.index[-1], "val_accuracy"] = value
        table.to_csv(committed.curves(*NET), index=False)
    else:
        metrics = json.loads(committed.metrics(*NET).read_bytes())
        committed.metrics(*NET).write_bytes(json_bytes({**metrics, "test_accuracy": value}))
    only_1 = net.model_copy(update={"seeds": [1]})  # so that metrics are not compared as bytes
    trained_1 = repeated.predictions(*NET)
    trained_1.write_bytes(of_seeds(trained_1.name, trained_1.read_bytes(), [1]))
    done = verification.compare(only_1, committed, repeated)
    assert done.verdict == DIFFERENT
    metric = "val_accuracy" if kind == "curves" else "test_accuracy"
    assert re.search(
        rf"{kind} as committed +different +{metric}: not what its predictions give",
        str(done),
    )


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("train_loss", 99.0),
        ("test_macro_f1", 0.9),
        ("test_balanced_accuracy", 0.9),
        ("collapsed_seeds", 0),
        ("seeds", 9),
    ],
)
def test_whatever_follows_from_the_answers_is_counted_again(
    net: Variant, committed: Paths, repeated: Paths, metric: str, value: float
) -> None:
    for file in (committed.metrics(*NET), committed.details(*NET)):
        numbers = json.loads(file.read_bytes())
        file.write_bytes(json_bytes(numbers | {metric: value} if metric in numbers else numbers))
    mistake(repeated)
    assert f"{metric}: not what its predictions give" in str(
        verification.compare(net, committed, repeated)
    )


def test_predictions_that_are_only_packed_otherwise_are_the_same(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    with np.load(committed.predictions(*NET), allow_pickle=False) as arrays:
        np.savez(committed.predictions(*NET), **arrays)
    done = verification.compare(net, committed, repeated)
    assert verdicts(done)["predictions"] == done.verdict == IDENTICAL


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": "x"},
        {"provenance": ["x"]},
        {"provenance": [{"cpu": 5}]},
        {"provenance": {}},
        {"revision": None},
        {"revision": 5},
        {"revision": {"commit": 5}},
    ],
    ids=str,
)
def test_records_that_make_no_sense_are_no_records(
    net: Variant, committed: Paths, repeated: Paths, changes: dict[str, Any]
) -> None:
    record(committed, **changes)
    mistake(repeated)
    (said,) = verification.compare(net, committed, repeated).circumstances
    assert "not on record" in said


def test_weights_that_differ_are_seen_by_the_hash_that_git_holds(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    with (repeated.run(*NET) / "seed-1" / "weights.weights.h5").open("ab") as file:
        file.write(b"!")
    done = verification.compare(net, committed, repeated)
    assert verdicts(done).pop("runs") == DIFFERENT  # where the predictions are the same
    assert [v for v in verdicts(done).values() if v != IDENTICAL] == [DIFFERENT]
    assert "although the numbers behind it are the same" in str(done)
    mistake(repeated)
    assert verdicts(verification.compare(net, committed, repeated))["runs"] == WITHIN


def test_a_run_that_dvc_does_not_know_is_not_compared(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    (committed.root / "dvc.lock").unlink()
    done = verification.compare(net, committed, repeated)
    assert "runs" not in verdicts(done)
    assert "not compared: data/runs/tiny/tiny-net, which dvc.lock does not know" in str(done)


@pytest.mark.parametrize("stage", [[], {"outs": [{}]}, {"outs": 3}])
def test_a_lock_that_makes_no_sense_is_named(
    net: Variant, committed: Paths, repeated: Paths, stage: Any
) -> None:
    text = yaml.safe_dump({"stages": {"train@tiny-net": stage}})
    (committed.root / "dvc.lock").write_text(text)
    with pytest.raises(ProjectError, match=r"dvc\.lock (says|cannot).*`git restore dvc\.lock"):
        verification.compare(net, committed, repeated)


@pytest.mark.parametrize("timings", ["[]", '{"seeds": []}', '{"seeds": {"0": 3}}', "[" * 9999])
def test_times_that_make_no_sense_are_unknown(net: Variant, committed: Paths, timings: str) -> None:
    committed.timings(*NET).write_text(timings)
    assert "recorded" not in verification.announced([net], committed)


def test_a_file_that_is_not_committed_is_different(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    (committed.notebook(*NET, "train")).unlink()
    done = verification.compare(net, committed, repeated)
    assert verdicts(done)["notebooks"] == DIFFERENT
    assert not done.verified
    assert "missing in this checkout" in str(done)


def test_one_seed_is_compared_with_the_same_seed(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    only_1 = net.model_copy(update={"seeds": [1]})
    for file in (repeated.root / "reports").rglob("*"):
        if file.suffix in (".csv", ".npz"):
            file.write_bytes(of_seeds(file.name, file.read_bytes(), [1]))
    done = verification.compare(only_1, committed, repeated)
    assert done.verdict == IDENTICAL
    assert set(verdicts(done)) == {"curves", "features", "predictions", "weights"}
    assert str(done).startswith("tiny-net, seed 1: bit-identical")
    assert "not compared, for that takes all seeds: metrics, the notebook" in str(done)

    with np.load(repeated.predictions(*NET), allow_pickle=False) as arrays:
        changed = dict(arrays)
    changed["test_predicted"][0, 0] ^= 1
    np.savez_compressed(repeated.predictions(*NET), **changed)
    assert verdicts(verification.compare(only_1, committed, repeated))["predictions"] == WITHIN


def test_what_keeps_bits_from_being_the_same_is_named(
    net: Variant, committed: Paths, repeated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (then,) = json.loads(committed.timings(*NET).read_bytes())["provenance"]
    record(committed, provenance=[{**then, "processor": "of another maker"}])
    content = repeated.curves(*NET).read_bytes()
    repeated.curves(*NET).write_bytes(content.replace(b".", b".0", 1))

    def said(precision: str, cpu: str) -> str:
        here = {**then, "cpu": cpu}
        monkeypatch.setattr(verification, "circumstances", lambda _: here)
        variant = net.model_copy(update={"precision": precision})
        return str(verification.compare(variant, committed, repeated))

    assert "promised" not in said("float32", "x86-64-v4 TF_ENABLE_ONEDNN_OPTS=0")
    assert "promised only on x86-64 processors with AVX-512" in said("float32", "x86-64-v3")
    assert "bfloat16 has the same bits only on" in said("mixed_bfloat16", "x86-64-v4 amx_bf16")


def test_what_the_machine_has_otherwise_is_named(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    (then,) = json.loads(committed.timings(*NET).read_bytes())["provenance"]
    record(committed, provenance=[{**then, "tensorflow": "1.0", "cpu": f"{then['cpu']} mmx"}])
    done = verification.compare(net, committed, repeated)
    assert done.verdict == IDENTICAL
    assert done.circumstances == [
        "other than the machine that trained it: cpu without mmx",
        f"other than the machine that trained it: tensorflow {then['tensorflow']} (recorded: 1.0)",
    ]


def test_on_the_same_machine_code_parameters_or_data_are_to_blame(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    assert verification.compare(net, committed, repeated).circumstances == []
    record(committed, revision={"commit": "0123456789abcdef", "modified": False})
    mistake(repeated)
    (hint,) = verification.compare(net, committed, repeated).circumstances
    assert hint.endswith("code, parameters or data since commit 0123456789ab")
    record(committed, revision={"commit": None, "modified": None})
    (hint,) = verification.compare(net, committed, repeated).circumstances
    assert hint.endswith("code, parameters or data")


def test_without_a_record_of_the_machine_that_is_said(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    committed.timings(*NET).unlink()
    done = verification.compare(net, committed, repeated)
    assert done.circumstances == ["the machine that trained it is not on record"]


def test_what_is_different_ends_in_status_1(
    committed: Paths, repeated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(variant: Variant, paths: Paths, place: Paths) -> None:
        shutil.copytree(repeated.root, place.root, dirs_exist_ok=True)

    monkeypatch.setattr(verification, "_train", copied)
    monkeypatch.chdir(committed.root)
    assert CliRunner().invoke(app, ["verify"]).exit_code == 0
    mistake(repeated)
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0
    assert "tiny-net, seeds 0, 1: within seed noise\n" in done.stdout
    metrics = json.loads(repeated.metrics(*NET).read_bytes())
    repeated.metrics(*NET).write_bytes(json_bytes({**metrics, "parameters": 1}))
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert "tiny-net, seeds 0, 1: different\n" in done.stdout
    assert "  different          other parameters\n" in done.stdout
    assert ": 6 bit-identical, 1 different, 1 within seed noise\n" in done.stdout


@pytest.fixture
def grown(committed: Paths) -> Plan:
    """`plan` in a project with three variants in two groups and a study, by their names; the last
    was never trained.
    """
    document = yaml.safe_load(committed.params.read_bytes())
    variant = document["variants"]["tiny-net"]
    document["protocols"]["small"] = document["protocols"]["tiny"]
    document["variants"] |= {
        "twin": variant,
        "small-net": {**variant, "protocol": "small"},
        "untrained": variant,
    }
    study = {
        "title": "Twins",
        "group": "tiny",
        "question": "Which?",
        "variants": {"twin": "one", "tiny-net": "the other"},
        "margin": 0.01,
    }
    committed.params.write_text(yaml.safe_dump(document, sort_keys=False))
    write_atomically(
        committed.root / "studies" / "twins.yaml",
        yaml.safe_dump({"studies": {"twins": study}}, sort_keys=False).encode(),
    )
    for file in [*(committed.root / "reports").rglob("tiny-net.*")]:
        shutil.copy(file, file.with_stem("twin"))
        other = file.parents[1] / "small" / f"small-net{file.suffix}"
        other.parent.mkdir()
        shutil.copy(file, other)

    def planned(*names: str, seeds: int | None = None, quick: bool = False) -> list[str]:
        params = load_params(committed.params)
        plan = verification.plan(params, committed, names, seeds=seeds, quick=quick)
        return [f"{variant.name} {variant.seeds}" for variant in plan]

    return planned


def took(paths: Paths, group: str, variant: str, *seconds: float) -> None:
    file = paths.timings(group, variant)
    seeds = {
        str(seed): {"train_seconds": time, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
        for seed, time in enumerate(seconds)
    }
    file.write_bytes(json_bytes({"seeds": seeds, "provenance": []}))


def test_without_names_all_that_was_trained_is_verified(grown: Plan) -> None:
    assert grown() == ["tiny-net [0, 1]", "twin [0, 1]", "small-net [0, 1]"]
    assert grown(seeds=1) == ["tiny-net [0]", "twin [0]", "small-net [0]"]


def test_a_study_stands_for_its_variants(grown: Plan) -> None:
    assert grown("small-net", "twins", "twin") == [
        "small-net [0, 1]",
        "twin [0, 1]",
        "tiny-net [0, 1]",
    ]


def test_quick_is_the_cheapest_of_each_group(grown: Plan, committed: Paths) -> None:
    took(committed, "tiny", "tiny-net", 100, 20)
    took(committed, "tiny", "twin", 50, 60)
    took(committed, "small", "small-net", 298, 1)
    assert grown(quick=True) == ["twin [0, 1]"]
    assert grown(quick=True, seeds=1) == ["twin [0]", "small-net [0]"]
    assert grown("tiny-net", quick=True) == ["tiny-net [0, 1]"]
    committed.timings("tiny", "twin").unlink()
    assert grown(quick=True) == ["tiny-net [0, 1]"]
    with pytest.raises(ProjectError, match=r"no variant takes at most 300 s .* --seeds 1"):
        grown("small-net", quick=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tiny-nett"], "no variant 'tiny-nett'; did you mean 'tiny-net'?"),
        (["untrained"], r"untrained.npz is missing; run `dvc repro train@untrained`"),
    ],
)
def test_what_cannot_be_verified_is_said_before_anything_is_trained(
    grown: Plan, names: list[str], message: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        grown("tiny-net", *names)
    assert message in str(caught.value)


def test_missing_arrays_are_said_before_anything_is_trained(grown: Plan, committed: Paths) -> None:
    shutil.rmtree(committed.arrays("digits"))
    with pytest.raises(ProjectError, match=r"missing; run `dvc repro preprocess@digits`"):
        grown("tiny-net")


def test_a_seed_without_results_is_said_before_anything_is_trained(
    grown: Plan, committed: Paths
) -> None:
    document = yaml.safe_load(committed.params.read_bytes())
    document["variants"]["twin"] = {**document["variants"]["twin"], "seeds": [1, 5]}
    committed.params.write_text(yaml.safe_dump(document))
    assert grown("twin", seeds=1) == ["twin [1]"]
    with pytest.raises(ProjectError, match=r"has no seed 5, .* run `dvc repro train@twin`"):
        grown("twin")


def test_where_nothing_was_trained_the_way_out_is_named(project: Paths) -> None:
    params = load_params(project.params)
    with pytest.raises(ProjectError, match=r"no variant has results .*`dvc repro train@VARIANT`"):
        verification.plan(params, project, [], seeds=None, quick=False)


def test_a_training_that_fails_leaves_the_checkout_and_no_folder(
    committed: Paths, write_template: Callable[..., None]
) -> None:
    write_template(committed.template("train"), "variant = None", "1 / 0")
    before = content(committed)
    done = run(committed.root, "verify")
    assert done.returncode == 1
    assert "error: tiny-net could not be trained again: train.ipynb failed in cell" in done.stderr
    assert "the checkout is as it was" in done.stderr
    assert content(committed) == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_no_folder_for_long(
    committed: Paths,
    tmp_path: Path,
    write_template: Callable[..., None],
    wait_for: Callable[..., None],
    wait_for_end: Callable[..., None],
    signum: signal.Signals,
) -> None:
    pid = tmp_path / "pid"
    write_template(
        committed.template("train"),
        "variant = None",
        "import os, pathlib, time\n"
        "pathlib.Path('work').write_text('under way')\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)",
    )
    before = content(committed)
    process = subprocess.Popen(
        [COMMAND, "verify"],
        cwd=committed.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: pid.exists() and pid.read_text(), process)
    kernel = psutil.Process(int(pid.read_text()))
    assert (committed.scratch("verify", *NET) / "work").exists()
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=30)
    wait_for_end([kernel])
    if signum == signal.SIGINT:
        assert process.returncode == 1
        assert stderr.splitlines()[-1] == (
            "interrupted: the checkout is as it was; `verify` starts anew the next time"
        )
    else:
        assert content(committed) != before
        write_template(committed.template("train"), "variant = None", "1 / 0")
        assert "division by zero" in run(committed.root, "verify").stderr
        before[committed.template("train")] = sha256_of(committed.template("train"))
    assert content(committed) == before


def test_of_two_at_once_the_second_waits(
    committed: Paths,
    tmp_path: Path,
    write_template: Callable[..., None],
    wait_for: Callable[..., None],
) -> None:
    at_work, go = tmp_path / "at work", tmp_path / "go"
    write_template(
        committed.template("train"),
        "variant = None",
        "import pathlib, time\n"
        f"pathlib.Path({str(at_work)!r}).open('a').write('x')\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.1)\n"
        "1 / 0",
    )
    with (tmp_path / "first").open("w") as file:
        first = subprocess.Popen([COMMAND, "verify"], cwd=committed.root, stderr=file)
    wait_for(at_work.exists, first)
    said = tmp_path / "second"
    with said.open("w") as file:
        second = subprocess.Popen([COMMAND, "verify"], cwd=committed.root, stderr=file)
    waiting = "another process verifies tiny-net; waiting for its end"
    wait_for(lambda: waiting in said.read_text(), second)
    go.touch()
    assert [first.wait(120), second.wait(120)] == [1, 1]
    assert waiting not in (tmp_path / "first").read_text()
    assert "division by zero" in said.read_text()
    assert at_work.read_text() == "xx"


def test_a_place_where_it_cannot_work_is_named(net: Variant, committed: Paths) -> None:
    place = committed.scratch("verify")
    remove(place)
    place.write_text("a file where a folder should be")
    with pytest.raises(ProjectError, match=rf"^cannot write {place}/tiny.*; mend that and run"):
        verification.verify(net, committed, "tiny-net", Console())


def test_the_hash_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    """As `dvc add` gave it for this folder."""
    for name, text in {"b/x.txt": "one", "a.txt": "two", "a/z": "three"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert verification.dvc_hash(tmp_path) == "1ede0262bfa07faff68060d3126da2c8.dir"
