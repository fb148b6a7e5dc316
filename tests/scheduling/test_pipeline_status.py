from typing import Any

import pytest
import yaml

from cnn_ablations.config.params import Params, parse_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import (
    Stale,
    locked_stages,
    needed_stages,
    reasons,
    sort_lock,
    stale_stages,
)
from cnn_ablations.scheduling.plan import plan_of
from cnn_ablations.scheduling.prediction import Size

PREPARED = ["check", "download@digits", "preprocess@digits"]


@pytest.fixture
def params(document: dict[str, Any]) -> Params:
    return parse_params(document)


def why(params: Params, paths: Paths, lock: dict[str, Any], *changes: Any) -> list[str]:
    return reasons(Stale("train@tiny-net", list(changes)), lock, params, paths)


def test_a_stage_that_dvc_lock_does_not_have_never_ran(params: Params, project: Paths) -> None:
    change = {"changed deps": {"data/inputs/train/tiny-net.json": "new"}}
    assert why(params, project, {}, change) == ["never run"]


def test_each_kind_of_change_is_told_once(params: Params, project: Paths) -> None:
    lock: dict[str, Any] = {"train@tiny-net": {}}
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
    assert why(params, project, lock, *changes) == [
        "changed data data/arrays",
        "changed notebook train.ipynb",
        "changed code",
        "missing data/runs, reports/curves",
        "changed output reports/metrics",
        "changed command",
    ]
    missing = {"changed deps": {"data/arrays/digits": "deleted"}}
    assert why(params, project, lock, missing) == ["missing data/arrays"]


def test_a_changed_key_is_told_with_both_values(params: Params, project: Paths) -> None:
    variant = params.variant("tiny-net")
    factors = {**variant.factors, "conv_dropout": 0.5}
    before = variant.model_copy(update={"epochs": 5, "factors": factors}).model_dump()
    seed = {"train_seconds": 1.0, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
    file = project.timings("tiny", "tiny-net")
    lock: dict[str, Any] = {"train@tiny-net": {}}
    change = {"changed deps": {"data/inputs/train/tiny-net.json": "modified"}}
    write_atomically(file, json_bytes({"seeds": {"0": seed}, "variant": before}))
    told = ["changed key epochs 5 → 3, conv_dropout 0.5 → 0.2"]
    assert why(params, project, lock, change) == told
    for unknown in ({**before, "epochs": 0}, {}):  # what today's schema refuses
        write_atomically(file, json_bytes({"seeds": {"0": seed}, "variant": unknown}))
        assert why(params, project, lock, change) == ["changed code"]


def test_dvc_is_asked_for_targets_and_what_they_need(stubs: Paths) -> None:
    assert {stage.name for stage in stale_stages(stubs, ["inspect@tiny-a"])} == {
        "train@tiny-a",
        "inspect@tiny-a",
    }
    assert {stage.verb for stage in stale_stages(stubs, [])} == {"train", "inspect", "after"}
    with pytest.raises(ProjectError, match=r"DVC says: .*tiny-c"):
        stale_stages(stubs, ["train@tiny-c"])


def test_what_needs_a_failed_stage_is_left_out(stubs: Paths) -> None:
    everything = needed_stages(stubs, [])
    assert everything[:3] == PREPARED
    assert everything.index("train@tiny-a") < everything.index("inspect@tiny-a")
    assert set(everything) - set(needed_stages(stubs, [], ["train@tiny-a"])) == {
        "train@tiny-a",
        "inspect@tiny-a",
        "after",
    }
    assert needed_stages(stubs, ["inspect@tiny-a"], ["inspect@tiny-a"]) == [
        *PREPARED,
        "train@tiny-a",
    ]


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


def test_a_plan_says_what_would_run_and_why(stubs: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cnn_ablations.scheduling.prediction.measured",
        lambda variants, *_: {variant.name: Size(2_000_000, 0.001) for variant in variants},
    )
    document = yaml.safe_load(stubs.params.read_bytes())
    lines = plan_of([], parse_params(document), stubs, 2).splitlines()
    assert lines[0].split() == ["variant", "seeds", "MFLOPs", "minutes", "by", "why"]
    assert [line.split()[:5] for line in lines[1:3]] == [
        [name, "1", "of", "1", "2.00"] for name in ("tiny-a", "tiny-b")
    ]
    assert all(line.endswith("never run") for line in lines[1:3])
    assert "2 variants, 2 seeds to train" in lines[3]
    assert "with 2 workers" in lines[3]
    assert lines[4:] == ["then: after"]
