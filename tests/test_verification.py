"""One variant is trained once in the whole module, and once more by the command."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from cnn_ablations import verification
from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.cli import app
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, sha256_of
from cnn_ablations.paths import Paths
from cnn_ablations.verification import (
    DIFFERENT,
    IDENTICAL,
    UNKNOWN,
    WITHIN,
    Finding,
    compare_accuracies,
    compare_outputs,
    worst,
)

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
NET = ("tiny", "tiny-net")
NAME = "tiny/tiny-net"
Change = Callable[[Paths], None]


# What follows from the content of outputs and from accuracies.

PREDICTIONS = {
    "seeds": np.array([0, 1, 10]),
    "train_label_counts": np.array([3, 4]),
    "test_labels": np.array([0, 1, 1], np.uint8),
    "test_predicted": np.array([[0, 1, 0], [1, 1, 1], [0, 1, 1]], np.uint8),
    "train_loss": np.array([0.5, np.nan, 0.0]),
}
CURVES = b"seed,epoch,val_accuracy\n0,1,0.5\n0,2,0.75\n1,1,0.25\n10,1,0.5\n"


def npz(save: Any = np.savez_compressed, **changed: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **{**PREDICTIONS, **changed})
    return buffer.getvalue()


def verdicts(
    again: dict[str, bytes], noise: str = WITHIN, seeds: Sequence[int] = (0, 1, 10)
) -> dict[str, str]:
    """Of outputs, some of which came out otherwise `again`."""
    committed = {"a.npz": npz(), "a.csv": CURVES, "a.json": b"{}"}
    outputs = {name: (then, again.get(name, then)) for name, then in committed.items()}
    found = compare_outputs(outputs, [Finding("test accuracy", WITHIN), Finding("", noise)], seeds)
    assert [finding.subject for finding in found] == list(committed)
    return {f.subject: f.verdict for f in found if f.verdict != IDENTICAL}


OTHERWISE = {"a.csv": CURVES.replace(b"0.75", b"0.76"), "a.json": b"{ }"}


@pytest.mark.parametrize("noise", [WITHIN, UNKNOWN, DIFFERENT])
@pytest.mark.parametrize("loss", [[0.6, np.nan, 0.0], [0.5, 0.5, 0.0], [0.5, np.nan, -0.0]])
def test_where_predictions_differ_by_a_bit_the_accuracies_decide_for_all(
    loss: list[float], noise: str
) -> None:
    moved = {"a.npz": npz(train_loss=loss)}
    assert verdicts(moved, noise) == {"a.npz": noise}
    assert verdicts(moved | OTHERWISE, noise) == dict.fromkeys([*moved, *OTHERWISE], noise)


@pytest.mark.parametrize("other", OTHERWISE)
def test_where_predictions_are_the_same_nothing_else_may_differ(other: str) -> None:
    again = {"a.npz": npz(np.savez), other: OTHERWISE[other]}  # the same arrays, not compressed
    assert verdicts(again) == {other: DIFFERENT}


def test_of_some_seeds_only_their_rows_are_compared() -> None:
    def again(seed: int, of_seed: int) -> dict[str, bytes]:
        """What training `of_seed` alone writes, where that of `seed` comes out otherwise."""
        predicted = PREDICTIONS["test_predicted"] + (PREDICTIONS["seeds"] == seed)[:, None]
        rows = PREDICTIONS["seeds"] == of_seed
        kept = {"seeds": PREDICTIONS["seeds"][rows], "train_loss": PREDICTIONS["train_loss"][rows]}
        header, *lines = CURVES.replace(b"%d,1,0." % seed, b"%d,1,0.9" % seed).splitlines(True)
        table = [header, *(line for line in lines if line.startswith(b"%d," % of_seed))]
        arrays = npz(**kept, test_predicted=predicted[rows].astype(np.uint8))
        return {"a.npz": arrays, "a.csv": b"".join(table)}

    for of_seed in (0, 1, 10):
        assert verdicts(again(-1, of_seed), seeds=[of_seed]) == {}
        assert verdicts(again(of_seed, of_seed), seeds=[of_seed]) == {
            "a.npz": WITHIN,
            "a.csv": WITHIN,
        }
    assert verdicts(again(-1, 1), seeds=[0]) == {"a.npz": WITHIN, "a.csv": WITHIN}


def results(*accuracies: float) -> VariantResult:
    """Of seeds with these accuracies on 400 images; one of 0.1 stayed at chance."""
    reached, labels = np.array(accuracies), np.zeros(400, np.uint8)
    predicted = np.array([np.arange(400) >= round(400 * a) for a in accuracies], np.uint8)
    empty = pd.DataFrame()
    return VariantResult(
        name="net",
        metrics={"parameters": 90, "flops": 1000},
        curves=empty,
        weights=empty,
        features=empty,
        seeds=np.arange(len(accuracies)),
        labels={"val": labels, "test": labels},
        predicted={"val": predicted, "test": predicted},
        train_label_counts=np.array([400]),
        train_accuracy=reached,
        train_loss=reached,
        losses={},
        collapsed=reached <= 0.1,
    )


COMMITTED = results(0.79, 0.80, 0.81, 0.80)
SOME_COLLAPSED = results(0.79, 0.80, 0.81, 0.80, 0.1)


@pytest.mark.parametrize(
    ("committed", "again", "expected", "words"),
    [
        (COMMITTED, [0.785], WITHIN, "^78.50 to 78.50 % repeated, 7.* % expected$"),
        (COMMITTED, [0.80, 0.5], DIFFERENT, "50.00 to 80.00 % repeated"),
        (COMMITTED, [0.80, 0.5], DIFFERENT, "; outside: seed 1"),
        # Too far for one seed, but not for one of many: the interval holds all of them at once.
        (results(*[0.79, 0.80, 0.81, 0.80] * 3), [0.835], DIFFERENT, "outside: seed 0"),
        (results(*[0.79, 0.80, 0.81, 0.80] * 3), [0.835] + [0.80] * 29, WITHIN, ""),
        # Seeds that agree to the digit leave room for one image.
        (results(0.80, 0.80, 0.80), [0.8025], WITHIN, ""),
        (results(0.80, 0.80, 0.80), [0.81], DIFFERENT, ""),
        (results(0.80, 0.801, 0.802), [0.801], WITHIN, "% expected$"),
        (COMMITTED, [0.1, 0.80], DIFFERENT, "seed 0 stayed at chance; 0 of 4 committed seeds did"),
        (SOME_COLLAPSED, [0.1], WITHIN, "seed 0 stayed at chance; 1 of 5 committed seeds did"),
        (SOME_COLLAPSED, [0.5], DIFFERENT, ""),  # they do not widen the interval
        (results(0.80, 0.1), [0.80], UNKNOWN, "only 1 of 2 committed seeds learned"),
        (results(0.1, 0.1), [0.80], DIFFERENT, "only 0 of 2 committed seeds learned"),
    ],
)
def test_accuracies_are_seed_noise_where_those_of_other_seeds_make_them_likely(
    committed: VariantResult, again: list[float], expected: str, words: str
) -> None:
    found = compare_accuracies(committed, results(*again))
    assert worst(found) == expected
    assert re.search(words, "\n".join(finding.detail for finding in found), re.MULTILINE)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"metrics": {"parameters": 91, "flops": 1000}}, "other parameters"),
        ({"metrics": {"parameters": 90, "flops": None}}, "other flops"),
        ({"train_label_counts": np.array([399, 1])}, "other train_label_counts"),
        ({"labels": {"test": COMMITTED.labels["test"]}}, "other val_labels"),
        ({"labels": {**COMMITTED.labels, "test": np.ones(400, np.uint8)}}, "other test_labels"),
    ],
)
def test_chance_explains_no_other_data_or_network(other: dict[str, Any], words: str) -> None:
    found = compare_accuracies(COMMITTED, replace(COMMITTED, **other))
    assert found == [Finding("data and network", DIFFERENT, words)]


# What is trained again, compared and said.


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(
    make_project: Callable[[Path], Paths],
    checkout: Paths,
    git: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Paths:
    """A project whose variant is trained, all committed but data/. Only to be read."""
    paths = make_project(tmp_path_factory.mktemp("trained") / "project")
    paths.template("train").parent.mkdir()
    shutil.copy(checkout.template("train"), paths.template("train"))
    done = run(paths.root, "train", "tiny-net")
    assert done.returncode == 0, done.stderr
    (paths.root / ".gitignore").write_text("/data/\n")
    git(paths.root, "init", "-q")
    git(paths.root, "add", ".")
    git(paths.root, "commit", "-qm", "results")
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
    """All files but git's and those that are held while something runs, by their hash."""
    files = (file for file in paths.root.rglob("*") if file.is_file() and ".git" not in file.parts)
    return {file: sha256_of(file) for file in files if not file.name.endswith("y.lock")}


def mistake(paths: Paths) -> None:
    """Another answer to one test image, by seed 1."""
    file = paths.predictions(*NET)
    with np.load(file, allow_pickle=False) as arrays:
        changed = dict(arrays)
    changed["test_predicted"][-1, 0] = 9 - changed["test_predicted"][-1, 0]
    np.savez_compressed(file, **changed)


def edit(kind: str, old: str, new: str) -> Change:
    """Replace a text in a report, the first time that it is there."""

    def change(paths: Paths) -> None:
        file = paths.notebook(*NET, "train") if kind == "notebook" else getattr(paths, kind)(*NET)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def found(variant: Variant, committed: Paths, repeated: Paths) -> tuple[dict[str, str], str]:
    """The verdicts that are not bit-identical by what they are about, and all that is said."""
    findings, notes = verification.compare(variant, committed, repeated)
    said = [f"{f.subject} {f.verdict} {f.detail}" for f in findings]
    differing = {f.subject: f.verdict for f in findings if f.verdict != IDENTICAL}
    return differing, "\n".join([*said, *notes])


def test_trained_again_from_scratch_every_output_is_the_same_to_the_bit(
    committed: Paths, git: Callable[..., str]
) -> None:
    edit("metrics", '"seeds": 2', '"seeds": 3')(committed)  # which nobody has committed
    committed.notebook(*NET, "train").unlink()
    before = content(committed)
    done = run(committed.root, "verify", "tiny-net")
    assert done.returncode == 0, done.stderr
    headline, *findings, blank, summary = done.stdout.splitlines()
    assert (headline, blank) == ("tiny-net, seeds 0, 1: bit-identical", "")
    assert summary == "1 variant bit-identical"
    kinds = ("curves", "details", "features", "metrics", "notebooks", "predictions", "weights")
    assert [line.split()[0].partition("/tiny")[0] for line in findings] == [
        f"reports/{kind}" for kind in kinds
    ]
    assert all(line.endswith(IDENTICAL) for line in findings)
    said = " ".join(done.stderr.split())
    assert "training 1 variant, 2 seeds, again in a temporary folder to compare with" in said
    assert f"what git has in commit {git(committed.root, 'rev-parse', 'HEAD'):.12}" in said
    assert "differ" not in said
    assert content(committed) == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([mistake], {"reports/predictions": WITHIN}),
        ([edit("curves", ".", ".0")], {"reports/curves": DIFFERENT}),
        (
            [mistake, edit("curves", ".", ".0")],
            {"reports/predictions": WITHIN, "reports/curves": WITHIN},
        ),
        ([edit("notebook", "train_variant", "x")], {"reports/notebooks": DIFFERENT}),
    ],
)
def test_what_comes_out_otherwise_is_found(
    net: Variant, committed: Paths, repeated: Paths, changes: list[Change], expected: dict[str, str]
) -> None:
    assert found(net, committed, repeated)[0] == {}
    for change in changes:
        change(repeated)
    differing, _ = found(net, committed, repeated)
    files = {s.partition("/tiny")[0]: v for s, v in differing.items() if "/" in s}
    assert files == expected
    assert len(differing) > len(files)  # accuracies, or seeds at chance, are named besides


def test_one_seed_is_compared_with_the_same_seed(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    only_0, only_1 = (net.model_copy(update={"seeds": [seed]}) for seed in (0, 1))
    mistake(repeated)
    findings, (note, *_) = verification.compare(only_0, committed, repeated)
    assert {f.subject.split("/")[1]: f.verdict for f in findings} == dict.fromkeys(
        ("curves", "features", "predictions", "weights"), IDENTICAL
    )
    assert note == "not compared, for that takes all seeds: metrics and the notebook"
    assert found(only_1, committed, repeated)[0][f"reports/predictions/{NAME}.npz"] == WITHIN


@pytest.mark.parametrize(
    ("recorded", "moved", "notes"),
    [
        ({}, False, []),
        ({}, True, ["float32 on x86-64 with AVX-512"]),
        ({"tensorflow": "1.0"}, False, ["(recorded: 1.0)"]),
        ({"cpu": "x86-64-v3", "numpy": "1"}, True, ["3)", "1)", "float32 on x86-64 with AVX-512"]),
        (None, True, ["the machine that trained it is not on record"]),
    ],
)
def test_what_keeps_bits_from_being_the_same_is_named(
    net: Variant,
    committed: Paths,
    repeated: Paths,
    recorded: dict[str, str] | None,
    moved: bool,
    notes: list[str],
) -> None:
    file = committed.timings(*NET)
    if recorded is None:
        file.unlink()
    else:
        timings = json.loads(file.read_bytes())
        (then,) = timings["provenance"]
        file.write_bytes(json_bytes({**timings, "provenance": [{**then, **recorded}] * 2}))
    if moved:
        mistake(repeated)
    _, said = verification.compare(net, committed, repeated)
    assert len(said) == len(notes)
    assert all(words in note for words, note in zip(notes, said, strict=True))


def test_what_is_different_ends_in_status_1(
    committed: Paths, repeated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(variant: Variant, paths: Paths, place: Paths) -> None:
        shutil.copytree(repeated.root, place.root, dirs_exist_ok=True)

    monkeypatch.setattr(verification, "train_again", copied)
    monkeypatch.chdir(committed.root)
    mistake(repeated)
    mistake(committed)  # which HEAD does not have
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0
    assert "tiny-net, seeds 0, 1: within seed noise\n" in done.stdout
    assert done.stdout.endswith("\n1 variant within seed noise\n")
    edit("metrics", '"parameters": ', '"parameters": 1')(repeated)
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert re.search(r"data and network +different +other parameters\n", done.stdout)
    assert done.stdout.endswith("\n1 variant different\n")
    assert list(committed.scratch().glob("verify*")) == []


@pytest.fixture
def planned(real_params: Params, checkout: Paths) -> Callable[..., list[str]]:
    """`plan` among these variants, and two that cannot be."""
    names = ("r2-1conv-none", *(f"quickstart-{n}" for n in ("none", "l2", "dropout", "batchnorm")))
    variants = {name: real_params.variant(name) for name in names}
    known = variants["quickstart-none"]
    variants["untrained"] = known.model_copy(update={"name": "untrained"})
    variants["more"] = known.model_copy(update={"seeds": [1, 99]})
    params = replace(real_params, variants=variants)

    def plan(*names: str, seeds: int | None = None) -> list[str]:
        found = verification.plan(names, params, checkout, seeds=seeds)
        return [f"{variant.name} {variant.seeds}" for variant in found]

    return plan


def test_what_is_verified_follows_from_names_and_seeds(planned: Callable[..., list[str]]) -> None:
    study = ["none", "l2", "dropout", "batchnorm"]
    of_study = [f"quickstart-{name} [0]" for name in study]
    assert planned(seeds=1) == ["r2-1conv-none [0]", *of_study, "quickstart-none [1]"]
    named = planned("quickstart-l2", "quickstart", seeds=1)
    assert named == [of_study[1], of_study[0], *of_study[2:]]
    assert planned("quickstart-l2") == ["quickstart-l2 [0, 1, 2]"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "quickstart-l3",
            "there is no variant or study 'quickstart-l3'; did you mean 'quickstart-l2'?",
        ),
        ("quickstat", "there is no variant or study 'quickstat'; did you mean 'quickstart'?"),
        (
            "untrained",
            "in git's HEAD, reports/predictions/quickstart/untrained.npz is missing; run",
        ),
        ("more", "git's HEAD has no seed 99 of quickstart-none; run `dvc repro train@quickstart-n"),
    ],
)
def test_what_cannot_be_verified_is_said_before_anything_is_trained(
    planned: Callable[..., list[str]], name: str, message: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        planned("quickstart-none", name)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (f"reports/metrics/{NAME}.json", "[", f"in git's HEAD, reports/metrics/{NAME}.json cannot"),
        ("reports", None, "git's HEAD has no results; commit what `dvc repro train@VARIANT` makes"),
    ],
)
def test_a_commit_without_results_to_read_is_named(
    committed: Paths, net: Variant, real_params: Params, file: str, text: str | None, message: str
) -> None:
    if text:
        (committed.root / file).write_text(text)
    else:
        shutil.rmtree(committed.root / file)
    params = replace(real_params, variants={net.name: net})
    with pytest.raises(ProjectError) as caught:
        verification.plan([], params, committed, seeds=None)
    assert str(caught.value).startswith(message)


def test_arrays_that_are_missing_or_damaged_are_made_and_dvc_lock_stays(
    project: Paths, add_dvc: Callable[..., None]
) -> None:
    add_dvc(project, "check", "download", "preprocess")
    lock = project.root / "dvc.lock"

    def provide() -> bytes:
        verification.provide_arrays({"digits"}, project)
        load_arrays(project.arrays("digits"))
        return lock.read_bytes() if lock.exists() else b""

    assert provide() == b""  # they are there
    (project.arrays("digits") / "test_labels.npy").write_bytes(b"damaged")
    written = provide()
    assert b"preprocess" in written
    assert b"check" not in written
    shutil.rmtree(project.root / "data")
    assert provide() == written
    shutil.rmtree(project.root / "data")
    shutil.rmtree(project.root / ".dvc")
    with pytest.raises(ProjectError, match=r"^`dvc repro -s download@digits pre.*failed, as it"):
        provide()


def test_a_training_that_fails_is_named_and_the_checkout_stays(
    committed: Paths, write_template: Callable[..., None]
) -> None:
    write_template(committed.template("train"), "variant = None", "1 / 0")
    before = content(committed)
    done = run(committed.root, "verify")
    assert done.returncode == 1
    assert "error: tiny-net could not be trained again: train.ipynb failed in" in done.stderr
    assert "from which code or parameters here differ" in " ".join(done.stderr.split())
    assert content(committed) == before


def test_an_interruption_leaves_nothing(
    committed: Paths,
    tmp_path: Path,
    write_template: Callable[..., None],
    wait_for: Callable[..., None],
    wait_for_end: Callable[..., None],
) -> None:
    pid = tmp_path / "pid"
    write_template(
        committed.template("train"),
        "variant = None",
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)",
    )
    before = content(committed)
    command = [COMMAND, "verify"]
    process = subprocess.Popen(command, cwd=committed.root, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: pid.exists() and pid.read_text(), process)
    kernel = psutil.Process(int(pid.read_text()))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    wait_for_end([kernel])
    assert process.returncode == 1
    assert stderr.splitlines()[-1] == (
        "interrupted: no result was touched; `verify` starts anew the next time"
    )
    assert content(committed) == before
