import json
import os
import re
import shutil

import pytest
import yaml

from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import (
    behind,
    locked_stages,
    needed_stages,
    reasons,
    sort_lock,
    stale_stages,
    verb,
)

PREPARED = ["check", "download@digits", "preprocess@digits"]


def test_each_kind_of_change_is_told_once(tiny_variant: Variant) -> None:
    dependencies = {
        "data/arrays/digits": "modified",
        "notebooks/train.ipynb": "modified",
        "data/inputs/train/tiny-net.json": "modified",
    }
    outputs = {"data/runs/tiny/tiny-net": "not in cache", "reports/curves/tiny/a.csv": "deleted"}
    twice = {"changed outs": {**outputs, "reports/curves/tiny/b.csv": "deleted"}}
    changes = [{"changed deps": dependencies}, twice, "changed command"]
    assert reasons(changes, tiny_variant, tiny_variant) == (
        "modified data/arrays, modified notebooks/train.ipynb, modified code, "
        "not in cache data/runs, missing reports/curves, changed command"
    )


def test_a_changed_key_is_told_with_both_values(tiny_variant: Variant) -> None:
    factors = {**tiny_variant.factors, "conv_dropout": 0.5}
    before = tiny_variant.model_copy(update={"epochs": 5, "factors": factors})
    changes = [{"changed deps": {"data/inputs/train/tiny-net.json": "modified"}}]
    told = reasons(changes, tiny_variant, before)
    assert told == "epochs 5 → 3, conv_dropout 0.5 → 0.2"


def test_dvc_is_asked_for_targets_and_what_they_need(stubs: Paths) -> None:
    assert set(stale_stages(stubs, ["inspect@tiny-a"])) == {"train@tiny-a", "inspect@tiny-a"}
    assert {verb(name) for name in stale_stages(stubs, [])} == {"train", "inspect", "after"}
    for target, words in {
        "train@tiny-z": "no stage 'train@tiny-z'; did you mean 'train@tiny-",
        "tiny-b": "no stage 'tiny-b'; did you mean 'train@tiny-b'",
    }.items():
        with pytest.raises(ProjectError, match=words):
            stale_stages(stubs, [target])
    needed = needed_stages(stubs, ["inspect@tiny-a"])
    assert list(needed) == [*PREPARED, "train@tiny-a", "inspect@tiny-a"]
    assert set(needed["train@tiny-a"]) == {"check", "preprocess@digits"}
    assert behind(needed, ["train@tiny-a"]) == ["train@tiny-a", "inspect@tiny-a"]
    assert behind(needed, ["check"]) == list(needed)


def test_what_runs_here_is_told_instead_of_what_is_half_made(stubs: Paths) -> None:
    writer = {"pid": os.getppid(), "cmd": "/a b/dvc repro -s train@tiny-a"}
    lock = {"write": {str(stubs.run("tiny", name)): writer for name in ("tiny-a", "tiny-b")}}
    (stubs.root / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(lock))
    process = re.escape(f"`/a b/dvc repro -s train@tiny-a` (process {os.getppid()}) runs here; ")
    with pytest.raises(ProjectError, match=f"^{process}run this again when it has ended$"):
        stale_stages(stubs, [])


def test_stages_of_which_only_data_are_missing_can_be_passed_over(stubs: Paths) -> None:
    for folder in (stubs.arrays("digits"), stubs.inputs()):
        shutil.rmtree(folder)
    assert {"check", "preprocess@digits"} <= set(stale_stages(stubs, []))
    passed_over = stale_stages(stubs, [], allow_missing=True)
    assert {verb(name) for name in passed_over} == {"train", "inspect"}
    stubs.raw("digits").joinpath("more").write_text("")  # changed, not missing
    assert "preprocess@digits" in stale_stages(stubs, [], allow_missing=True)


def test_the_lock_keeps_its_order_and_takes_what_is_new_in_the_pipelines(stubs: Paths) -> None:
    file = stubs.root / "dvc.lock"
    content = yaml.safe_load(file.read_bytes())
    for name in ("train@tiny-b", "train@tiny-a"):
        content["stages"][name] = {"cmd": f"cnn-ablations train {name}"}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    sort_lock(stubs, PREPARED, [*PREPARED, "train@tiny-a", "inspect@tiny-a", "train@tiny-b"])
    stages = locked_stages(stubs)
    assert list(stages) == [*PREPARED, "train@tiny-a", "train@tiny-b"]
    assert stages == content["stages"]
