import shutil
from typing import Any

import pytest
import yaml

from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import (
    Stale,
    behind,
    locked_stages,
    needed_stages,
    reasons,
    sort_lock,
    stale_stages,
)

PREPARED = ["check", "download@digits", "preprocess@digits"]
LOCK: dict[str, Any] = {"train@tiny-net": {}}


def why(variant: Variant, paths: Paths, *changes: Any, lock: Any = LOCK) -> str:
    return reasons(Stale("train@tiny-net", list(changes)), lock, variant, paths)


def test_each_kind_of_change_is_told_once(tiny_variant: Variant, project: Paths) -> None:
    dependencies = {
        "data/arrays/digits": "modified",
        "notebooks/train.ipynb": "modified",
        "data/inputs/train/tiny-net.json": "modified",
    }
    outputs = {
        "data/runs/tiny/tiny-net": "not in cache",
        "reports/curves/tiny/tiny-net.csv": "deleted",
        "reports/metrics/tiny/tiny-net.json": "modified",
    }
    changes = [{"changed deps": dependencies}, {"changed outs": outputs}, "changed command"]
    assert why(tiny_variant, project, *changes) == (
        "changed data/arrays, notebooks/train.ipynb, code, reports/metrics; "
        "missing data/runs, reports/curves; changed command"
    )
    assert why(tiny_variant, project, *changes, lock={}) == "never run"


def test_a_changed_key_is_told_with_both_values(tiny_variant: Variant, project: Paths) -> None:
    factors = {**tiny_variant.factors, "conv_dropout": 0.5}
    before = tiny_variant.model_copy(update={"epochs": 5, "factors": factors}).model_dump()
    seed = {"train_seconds": 1.0, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
    file = project.timings("tiny", "tiny-net")
    change = {"changed deps": {"data/inputs/train/tiny-net.json": "modified"}}
    write_atomically(file, json_bytes({"seeds": {"0": seed}, "variant": before}))
    told = "changed epochs 5 → 3, conv_dropout 0.5 → 0.2"
    assert why(tiny_variant, project, change) == told
    for unknown in ({**before, "epochs": 0}, {}):  # what today's schema refuses
        write_atomically(file, json_bytes({"seeds": {"0": seed}, "variant": unknown}))
        assert why(tiny_variant, project, change) == "changed code"


def test_dvc_is_asked_for_targets_and_what_they_need(stubs: Paths) -> None:
    assert set(stale_stages(stubs, ["inspect@tiny-a"])) == {"train@tiny-a", "inspect@tiny-a"}
    assert {stage.verb for stage in stale_stages(stubs, []).values()} == {
        "train",
        "inspect",
        "after",
    }
    with pytest.raises(ProjectError, match=r"DVC says: .*tiny-c"):
        stale_stages(stubs, ["train@tiny-c"])
    needed = needed_stages(stubs, ["inspect@tiny-a"])
    assert list(needed) == [*PREPARED, "train@tiny-a", "inspect@tiny-a"]
    assert set(needed["train@tiny-a"]) == {"check", "preprocess@digits"}
    assert behind(needed, ["train@tiny-a"]) == ["train@tiny-a", "inspect@tiny-a"]
    assert behind(needed, ["check"]) == list(needed)


def test_stages_of_which_only_data_are_missing_can_be_passed_over(stubs: Paths) -> None:
    for folder in (stubs.arrays("digits"), stubs.inputs()):
        shutil.rmtree(folder)
    assert {"check", "preprocess@digits"} <= set(stale_stages(stubs, []))
    passed_over = stale_stages(stubs, [], allow_missing=True)
    assert {stage.verb for stage in passed_over.values()} == {"train", "inspect"}
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
