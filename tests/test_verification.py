"""One variant is trained once in the whole module, and once more by the command."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from cnn_ablations import verification
from cnn_ablations.agreement import DIFFERENT, IDENTICAL, WITHIN, worst
from cnn_ablations.cli import app
from cnn_ablations.config.params import load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, sha256_of, write_atomically
from cnn_ablations.paths import Paths

COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
NET = ("tiny", "tiny-net")
NAME = "tiny/tiny-net"
Change = Callable[[Paths], None]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


def commit(paths: Paths) -> None:
    own = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*own, "commit", "-qm", "results"]):
        subprocess.run(["git", *arguments], cwd=paths.root, check=True)


def lock(paths: Paths) -> None:
    """Write what DVC would of the training, whatever its outputs are by now."""
    run = paths.run(*NET)
    files = [paths.notebook(*NET, "train"), *(paths.root / "reports").glob(f"*/{NAME}.*")]
    hashes = {file: verification._md5(file.read_bytes()) for file in files}
    hashes[run] = verification.dvc_hash(run)
    outs = [{"path": str(f.relative_to(paths.root)), "md5": md5} for f, md5 in hashes.items()]
    outs = [out for out in outs if "timings" not in out["path"]]
    (paths.root / "dvc.lock").write_text(json.dumps({"stages": {"train@tiny-net": {"outs": outs}}}))


@pytest.fixture(scope="module")
def trained(make_project: Callable[[Path], Paths], checkout: Paths, tmp_path_factory: Any) -> Paths:
    """A project whose variant is trained, all committed but data/. Only to be read."""
    paths = make_project(tmp_path_factory.mktemp("trained") / "project")
    paths.template("train").parent.mkdir()
    shutil.copy(checkout.template("train"), paths.template("train"))
    done = run(paths.root, "train", "tiny-net")
    assert done.returncode == 0, done.stderr
    lock(paths)
    (paths.root / ".gitignore").write_text("/data/\n")
    commit(paths)
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


def only_seed_1(paths: Paths) -> None:
    """Leave the reports as training seed 1 alone would have left them."""
    for file in (paths.root / "reports").glob(f"*/{NAME}.csv"):
        header, *lines = file.read_text().splitlines(keepends=True)
        file.write_text(header + "".join(line for line in lines if line.startswith("1,")))
    with np.load(paths.predictions(*NET), allow_pickle=False) as arrays:
        kept = {k: a if "label" in k else a[1:] for k, a in arrays.items()}
    np.savez_compressed(paths.predictions(*NET), **kept)


def edit(kind: str, old: str, new: str) -> Change:
    """Replace a text in a report, the first time that it is there."""

    def change(paths: Paths) -> None:
        file = paths.notebook(*NET, "train") if kind == "notebook" else getattr(paths, kind)(*NET)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def edit_number(kind: str, key: str, value: Any) -> Change:
    def change(paths: Paths) -> None:
        file = getattr(paths, kind)(*NET)
        numbers = json.loads(file.read_bytes())
        assert key in numbers
        file.write_bytes(json_bytes({**numbers, key: value}))

    return change


def edit_last_epoch(value: str) -> Change:
    def change(paths: Paths) -> None:
        *lines, last = paths.curves(*NET).read_text().splitlines()
        column = lines[0].split(",").index("val_accuracy")
        cells = last.split(",")
        cells[column] = value
        paths.curves(*NET).write_text("\n".join([*lines, ",".join(cells), ""]))

    return change


def other_weights(paths: Paths) -> None:
    with (paths.run(*NET) / "seed-1" / "weights.weights.h5").open("ab") as file:
        file.write(b"!")


def pack_otherwise(paths: Paths) -> None:
    with np.load(paths.predictions(*NET), allow_pickle=False) as arrays:
        np.savez(paths.predictions(*NET), **arrays)


def found(
    variant: Variant, committed: Paths, repeated: Paths, paths: Paths | None = None
) -> tuple[dict[str, str], str]:
    """The verdicts that are not bit-identical by what they are about, and all that is said."""
    findings, notes = verification.compare(variant, paths or committed, committed, repeated)
    said = [f"{f.subject} {f.verdict} {f.detail}" for f in findings]
    verdicts = {f.subject: f.verdict for f in findings if f.verdict != IDENTICAL}
    return verdicts, "\n".join([*said, *notes])


def test_trained_again_from_scratch_every_output_is_the_same_to_the_bit(committed: Paths) -> None:
    edit_number("metrics", "test_accuracy", 0.5)(committed)  # which nobody has committed
    committed.notebook(*NET, "train").unlink()
    before = content(committed)
    done = run(committed.root, "verify", "tiny-net")
    assert done.returncode == 0, done.stderr
    headline, *findings, left, blank, summary = done.stdout.splitlines()
    assert headline == "tiny-net, seeds 0, 1: bit-identical"
    kinds = ("curves", "details", "features", "metrics", "predictions", "weights")
    files = [f"reports/{k}/{NAME}" for k in kinds] + [f"reports/notebooks/{NAME}/train"]
    assert {line.split()[0].rpartition(".")[0] or line.split()[0] for line in findings} == {
        f"data/runs/{NAME}",
        *files,
    }
    assert all(line.endswith(IDENTICAL) for line in findings)
    assert left == (
        f"  not looked at, for it is not committed: what is here as reports/metrics/{NAME}.json, "
        f"reports/notebooks/{NAME}/train.ipynb"
    )
    assert (blank, summary) == ("", "1 variant bit-identical")
    said = " ".join(done.stderr.split())
    assert "training 1 variant, 2 seeds, again in a temporary folder (recorded: 0." in said
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=committed.root, text=True)
    assert f"to compare with what git has in commit {head:.12}" in said
    assert "differ" not in said
    assert content(committed) == before


@pytest.mark.parametrize(
    ("change", "verdicts", "words"),
    [
        (mistake, {"reports/predictions": WITHIN}, "within seed noise 1 of "),
        (other_weights, {"data/runs": DIFFERENT}, "but the predictions are the same"),
        (pack_otherwise, {}, "packed otherwise"),
        (edit("curves", ".", ".0"), {"reports/curves": DIFFERENT}, "1 of "),
        (edit_number("metrics", "parameters", 1), {"reports/metrics": DIFFERENT}, "other param"),
        (edit("notebook", "train_variant", "x"), {"reports/notebooks": DIFFERENT}, "other source"),
    ],
)
def test_what_comes_out_otherwise_is_found(
    net: Variant,
    committed: Paths,
    repeated: Paths,
    change: Change,
    verdicts: dict[str, str],
    words: str,
) -> None:
    assert found(net, committed, repeated) == found(net, committed, committed)
    change(repeated)
    differing, said = found(net, committed, repeated)
    differing.pop("collapsed seeds", None)  # after three epochs it has not learned yet
    assert {subject.partition("/tiny")[0]: v for subject, v in differing.items()} == verdicts
    assert words in said


def test_where_answers_moved_other_weights_are_seed_noise(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    for change in (mistake, other_weights):
        change(repeated)
    assert found(net, committed, repeated)[0][f"data/runs/{NAME}"] == WITHIN


EDITS: list[tuple[Change, str]] = [
    *((edit_last_epoch(v), "val_accuracy: not what its") for v in ("0.99", "many", "9" * 400)),
    *((edit_number("metrics", "test_accuracy", v), "test_accuracy: not") for v in (10**6, None)),
    (edit_number("metrics", "test_balanced_accuracy", 0.9), "test_balanced_accuracy: not what"),
    (edit_number("metrics", "collapsed_seeds", 0), "collapsed_seeds: not what its answers give"),
    (edit_number("metrics", "seeds", 9), "seeds: not what its answers give"),
    (edit_number("details", "train_loss", 99.0), "train_loss: not what its answers give"),
    (edit_number("details", "test_macro_f1", 0.9), "test_macro_f1: not what its answers give"),
]


@pytest.mark.parametrize(("change", "words"), EDITS)
def test_numbers_that_contradict_the_answers_are_found_though_git_and_dvc_have_them(
    net: Variant, committed: Paths, repeated: Paths, change: Change, words: str
) -> None:
    change(committed)
    lock(committed)
    only_1 = net.model_copy(update={"seeds": [1]})  # so that metrics are not compared as bytes
    only_seed_1(repeated)
    assert words in found(only_1, committed, repeated)[1]
    mistake(repeated)
    verdicts, said = found(only_1, committed, repeated)
    assert words in said
    assert DIFFERENT in verdicts.values()


@pytest.mark.parametrize(
    "change", [edit("notebook", "train_variant", "x"), edit("features", "0,", "00,")]
)
def test_an_edit_that_only_dvc_can_tell_is_found(
    net: Variant, committed: Paths, repeated: Paths, change: Change
) -> None:
    change(committed)
    only_seed_1(repeated)
    only_1 = net.model_copy(update={"seeds": [1]})
    assert "as committed different not what DVC recorded" in found(only_1, committed, repeated)[1]
    assert DIFFERENT in found(only_1, committed, repeated)[0].values()


@pytest.mark.parametrize(
    "text",
    ["", "{stages: {train@tiny-net: {outs: [{}]}}}", "{stages: {train@tiny-net: {outs: 3}}}", None],
)
def test_a_lock_without_this_training_accuses_nobody(
    net: Variant, committed: Paths, repeated: Paths, text: str | None
) -> None:
    if text is None:  # it has another training: these results were committed without it
        for paths in (committed, repeated):
            mistake(paths)
            other_weights(paths)
            edit("features", "0,", "00,")(paths)
    else:
        (committed.root / "dvc.lock").write_text(text)
    verdicts, said = found(net, committed, repeated)
    assert [v for subject, v in verdicts.items() if "as committed" not in subject] == []
    assert "not what DVC recorded" not in said
    assert f"not compared: data/runs/{NAME}, of which dvc.lock has nothing beside these" in said


def test_a_file_that_is_not_committed_is_different(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    committed.notebook(*NET, "train").unlink()
    verdicts, said = found(net, committed, repeated, repeated)
    assert verdicts[f"reports/notebooks/{NAME}/train.ipynb"] == DIFFERENT
    assert "not committed" in said


def test_one_seed_is_compared_with_the_same_seed(
    net: Variant, committed: Paths, repeated: Paths
) -> None:
    only_1 = net.model_copy(update={"seeds": [1]})
    only_seed_1(repeated)
    findings, (note, *_) = verification.compare(only_1, committed, committed, repeated)
    assert worst(findings) == IDENTICAL
    assert {f.subject.split("/")[1] for f in findings} == {
        *("curves", "features", "predictions", "weights")
    }
    assert note.startswith("not compared, for that takes all seeds: metrics, the notebook and data")
    mistake(repeated)
    assert found(only_1, committed, repeated)[0][f"reports/predictions/{NAME}.npz"] == WITHIN


@pytest.mark.parametrize(
    ("recorded", "moved", "notes"),
    [
        ({}, False, []),
        ({}, True, ["nothing that is recorded of machine and libraries differs: look at what"]),
        ({"tensorflow": "1.0"}, False, ["(recorded: 1.0)"]),
        ({"cpu": "x86-64-v3", "numpy": "1"}, True, ["3)", "1)", "float32 on x86-64 with AVX-512"]),
        (None, True, ["the machine that trained it is not on record"]),
        ("[" * 9999, True, ["the machine that trained it is not on record"]),
    ],
)
def test_what_keeps_bits_from_being_the_same_is_named(
    net: Variant, committed: Paths, repeated: Paths, recorded: Any, moved: bool, notes: list[str]
) -> None:
    file = committed.timings(*NET)
    if isinstance(recorded, dict):
        timings = json.loads(file.read_bytes())
        (then,) = timings["provenance"]
        file.write_bytes(json_bytes({**timings, "provenance": [{**then, **recorded}] * 2}))
    else:
        file.write_text(recorded or '{"seeds": {}}')
    if moved:
        mistake(repeated)
    _, said = verification.compare(net, committed, committed, repeated)
    assert len(said) == len(notes)
    assert all(words in note for words, note in zip(notes, said, strict=True))


def test_what_is_different_ends_in_status_1(
    committed: Paths, repeated: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(variant: Variant, paths: Paths, place: Paths) -> None:
        shutil.copytree(repeated.root, place.root, dirs_exist_ok=True)

    monkeypatch.setattr(verification, "train_again", copied)
    monkeypatch.chdir(committed.root)
    assert CliRunner().invoke(app, ["verify"]).exit_code == 0
    mistake(repeated)
    mistake(committed)  # which HEAD does not have
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0
    assert "tiny-net, seeds 0, 1: within seed noise\n" in done.stdout
    assert done.stdout.endswith("\n1 variant within seed noise\n")
    edit_number("metrics", "parameters", 1)(repeated)
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert "  different          other parameters\n" in done.stdout
    assert done.stdout.endswith("\n1 variant different\n")
    assert not committed.scratch("verify").exists()


@pytest.fixture
def planned(committed: Paths) -> Callable[..., list[str]]:
    """`plan` in a project with three variants in two groups and a study; the last has no results.
    `took` are seconds by variant and seed.
    """
    document = yaml.safe_load(committed.params.read_bytes())
    variant = document["variants"]["tiny-net"]
    document["protocols"]["small"] = document["protocols"]["tiny"]
    small = {**variant, "protocol": "small"}
    document["variants"] |= {"twin": variant, "small-net": small, "untrained": variant}
    document["variants"]["more"] = {**variant, "seeds": [1, 5]}
    committed.params.write_text(yaml.safe_dump(document, sort_keys=False))
    study = {"title": "T", "group": "tiny", "question": "?", "margin": 0.01}
    study["variants"] = {"twin": "one", "tiny-net": "the other"}
    content = yaml.safe_dump({"studies": {"twins": study}}, sort_keys=False).encode()
    write_atomically(committed.root / "studies" / "twins.yaml", content)
    for file in [*(committed.root / "reports").rglob("tiny-net.*")]:
        shutil.copy(file, file.with_stem("twin"))
        shutil.copy(file, file.with_stem("more"))
        other = file.parents[1] / "small" / f"small-net{file.suffix}"
        other.parent.mkdir()
        shutil.copy(file, other)

    def plan(*names: str, took: Any = (), seeds: int | None = None) -> list[str]:
        for (group, name), seconds in dict(took).items():
            of_seed = {"train_seconds": seconds, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
            file = committed.timings(group, name)
            file.write_bytes(json_bytes({"seeds": {"0": of_seed, "1": of_seed}}))
        params = load_params(committed.params)
        found = verification.plan(names, params, committed, seeds=seeds, quick=bool(took))
        return [f"{variant.name} {variant.seeds}" for variant in found]

    return plan


def test_what_is_verified_follows_from_names_and_seeds(planned: Callable[..., list[str]]) -> None:
    everything = ["tiny-net [0]", "twin [0]", "small-net [0]", "more [1]"]
    assert planned(seeds=1) == everything
    both = ["small-net [0, 1]", "twin [0, 1]", "tiny-net [0, 1]"]
    assert planned("small-net", "twins", "twin") == both


def test_quick_is_the_cheapest_of_each_group(planned: Callable[..., list[str]]) -> None:
    took = {("tiny", "tiny-net"): 100, ("tiny", "twin"): 50, ("tiny", "more"): 51}
    took[("small", "small-net")] = 150
    assert planned(took=took) == ["twin [0, 1]"]
    assert sorted(planned(took=took, seeds=1)) == ["small-net [0]", "twin [0]"]
    assert planned("tiny-net", took=took) == ["tiny-net [0, 1]"]
    with pytest.raises(ProjectError, match=r"no variant takes at most 300 s .* --seeds 1"):
        planned("small-net", took=took)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-nett", "there is no variant 'tiny-nett'; did you mean 'tiny-net'?"),
        ("untrained", "in git's HEAD, reports/predictions/tiny/untrained.npz is missing; run `dvc"),
        ("more", "git's HEAD has no seed 5 of more; run `dvc repro train@more` and commit what"),
    ],
)
def test_what_cannot_be_verified_is_said_before_anything_is_trained(
    planned: Callable[..., list[str]], name: str, message: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        planned("tiny-net", name)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dvc.lock", "stages: 5", "in git's HEAD, dvc.lock cannot be read; run `dvc repro train@"),
        (f"reports/metrics/{NAME}.json", "[", f"in git's HEAD, reports/metrics/{NAME}.json cannot"),
        ("reports", None, "git's HEAD has no results; commit what `dvc repro train@VARIANT` makes"),
        (".git/HEAD", "ref: refs/heads/none", "there is no revision 'HEAD' in "),
    ],
)
def test_a_commit_without_results_to_read_is_named(
    committed: Paths, file: str, text: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = committed.root / file
    if text:
        path.write_text(text)
    else:
        shutil.rmtree(path)
        (committed.root / "dvc.lock").unlink()
    if not file.startswith(".git"):
        commit(committed)
    before = content(committed)
    monkeypatch.chdir(committed.root)
    done = CliRunner().invoke(app, ["verify"])
    assert isinstance(done.exception, ProjectError)
    assert str(done.exception).startswith(message)
    assert content(committed) == before


def test_arrays_that_are_missing_or_damaged_are_made_and_dvc_lock_stays(
    project: Paths, checkout: Paths
) -> None:
    shutil.copytree(checkout.root / "src", project.root / "src")
    stages = yaml.safe_load((checkout.root / "dvc.yaml").read_bytes())["stages"]
    kept = {name: stages[name] for name in ("check", "download", "preprocess")}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    write_atomically(
        project.root / ".dvc" / "config", b"[core]\nno_scm = true\nanalytics = false\n"
    )
    verification.provide_arrays({"digits"}, project)  # which are there
    assert not (project.root / "dvc.lock").exists()
    (project.arrays("digits") / "test_labels.npy").write_bytes(b"damaged")
    verification.provide_arrays({"digits"}, project)
    load_arrays(project.arrays("digits"))
    written = (project.root / "dvc.lock").read_bytes()
    assert b"check" not in written
    shutil.rmtree(project.root / "data")
    verification.provide_arrays({"digits"}, project)
    load_arrays(project.arrays("digits"))
    assert (project.root / "dvc.lock").read_bytes() == written
    shutil.rmtree(project.root / "data")
    shutil.rmtree(project.root / ".dvc")
    with pytest.raises(
        ProjectError, match=r"^`dvc repro -s download@digits preproc.*failed, as it"
    ):
        verification.provide_arrays({"digits"}, project)


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
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)",
    )
    before = content(committed)
    command = [COMMAND, "verify"]
    process = subprocess.Popen(command, cwd=committed.root, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: pid.exists() and pid.read_text(), process)
    kernel = psutil.Process(int(pid.read_text()))
    said = tmp_path / "second"
    with said.open("w") as file:
        second = subprocess.Popen(command, cwd=committed.root, stderr=file)
    wait_for(lambda: "another `verify` is at work; waiting" in said.read_text(), second)
    write_template(committed.template("train"), "variant = None", "1 / 0")
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=30)
    wait_for_end([kernel])
    if signum == signal.SIGINT:
        assert process.returncode == 1
        assert stderr.splitlines()[-1] == (
            "interrupted: no result was touched; `verify` starts anew the next time"
        )
    assert second.wait(120) == 1
    assert "error: tiny-net could not be trained again: train.ipynb failed in" in said.read_text()
    assert "from which code or parameters here differ" in " ".join(said.read_text().split())
    before[committed.template("train")] = sha256_of(committed.template("train"))
    assert content(committed) == before


def test_the_hash_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    """As `dvc add` gave it for this folder."""
    for name, text in {"b/x.txt": "one", "a.txt": "two", "a/z": "three"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert verification.dvc_hash(tmp_path) == "1ede0262bfa07faff68060d3126da2c8.dir"
