import shutil
from typing import Any

import pytest
import yaml

from cnn_ablations.config.params import Params, load_params, parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling import plan
from cnn_ablations.scheduling.pipeline import Stale
from cnn_ablations.scheduling.plan import (
    counted_operations,
    images,
    jobs_of,
    plan_of,
    predicted,
    recorded,
)
from cnn_ablations.training.variant import seed_folder


@pytest.fixture
def params(project: Paths, document: dict[str, Any]) -> Params:
    document["variants"]["tiny-wide"] = {**document["variants"]["tiny-net"], "filters": [8]}
    project.params.write_text(yaml.safe_dump(document))
    return load_params(project.params)


def record(paths: Paths, variant: Variant, seconds: list[float]) -> None:
    metrics = {"test_accuracy": 0.5, "test_loss": 1.0, "parameters": 100, "flops": 1000}
    write_atomically(paths.metrics("tiny", "tiny-net"), json_bytes(metrics))
    seeds = {
        str(seed): {"train_seconds": spent, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
        for seed, spent in enumerate(seconds)
    }
    timings = {"seeds": seeds, "variant": variant.model_dump()}
    write_atomically(paths.timings("tiny", "tiny-net"), json_bytes(timings))


def test_a_record_counts_for_the_recipe_that_it_was_made_with(
    project: Paths, document: dict[str, Any], params: Params
) -> None:
    variant = params.variant("tiny-net")
    assert recorded(variant, project) is None  # no file
    record(project, variant, [10, 30, 11])
    assert recorded(variant, project) == 12
    whole = project.timings("tiny", "tiny-net").read_bytes()
    for content in (b"[" * 100_000, b"{}"):
        project.timings("tiny", "tiny-net").write_bytes(content)
        assert recorded(variant, project) is None
    project.timings("tiny", "tiny-net").write_bytes(whole)

    def changed(**keys: Any) -> float | None:
        document["variants"]["tiny-net"].update(keys)
        return recorded(parse_params(document).variant("tiny-net"), project)

    assert changed(seeds=[0, 1, 2, 3]) == 12  # another seed takes as long
    assert changed(epochs=6) == 24  # of 3
    assert changed(batch_size=7) is None


def test_a_seed_in_scratch_is_not_trained_again(project: Paths, params: Params) -> None:
    variant = params.variant("tiny-net")
    arrays = load_arrays(project.arrays("digits"))
    (seed_folder(variant, 0, arrays, project) / "result").mkdir(parents=True)
    (found,) = jobs_of({"train@tiny-net": Stale("train@tiny-net", [])}, params, project, {})
    assert (found.variant.name, found.seeds, found.why) == ("tiny-net", [1], "never run")
    (found,) = jobs_of({"inspect@tiny-net": Stale("inspect@tiny-net", [])}, params, project, {})
    assert found.seeds == []


def test_a_variant_without_times_takes_as_long_for_an_operation_as_those_that_have_them(
    project: Paths, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = {f"train@{name}": Stale(f"train@{name}", []) for name in params.variants}
    counts = dict.fromkeys(params.variants, 4000.0 * 3 * 300)  # 4 times those on record
    monkeypatch.setattr(
        plan, "counted_operations", lambda variants, *_: {v.name: counts[v.name] for v in variants}
    )
    monkeypatch.setattr(plan, "GUESSED_RATE", 1000.0)
    jobs = predicted(jobs_of(stale, params, project, {}), params, project)
    assert {(job.basis, job.seed_seconds) for job in jobs} == {("FLOPs", 3600)}
    record(project, params.variant("tiny-net"), [9, 9])
    wide, net = predicted(jobs_of(stale, params, project, {}), params, project)  # longest first
    assert (net.variant.name, net.basis, net.seed_seconds) == ("tiny-net", "recorded", 10)
    assert (wide.variant.name, wide.basis, wide.seed_seconds) == ("tiny-wide", "FLOPs", 40)


def test_operations_are_counted_for_all_images_of_a_training(
    project: Paths, params: Params
) -> None:
    # 64 positions of 4 kernels with 9 weights; after pooling 64 inputs to 8, and 8 to 10.
    flops = 2 * (64 * 4 * 9 + 64 * 8 + 8 * 10)
    counted = counted_operations([params.variant("tiny-net")], params, project)
    assert counted == {"tiny-net": flops * 3 * 300}
    fewer = params.variant("tiny-net").model_copy(update={"train_images": 50})
    assert images(fewer, project) == 3 * 50


def test_a_plan_says_what_would_run_and_why(stubs: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plan, "counted_operations", lambda variants, *_: {v.name: 6e11 for v in variants}
    )
    monkeypatch.setattr(plan, "write_inputs", lambda *_: None)  # this process has other code
    params = parse_params(yaml.safe_load(stubs.params.read_bytes()))
    lines = plan_of([], params, stubs, 2, allow_missing=False).splitlines()
    assert lines[0].split() == ["variant", "seeds", "minutes", "by", "why"]
    assert [" ".join(line.split()) for line in lines[1:3]] == [
        f"{name} 2 of 2 2.0 FLOPs never run" for name in ("tiny-a", "tiny-b")
    ]
    assert lines[3:] == [
        "then: after",
        "2 variants, 4 seeds to train: about 0:05:40 one after another, 0:02:50 with 2 workers",
    ]
    monkeypatch.setattr(plan, "ROWS", 1)
    assert "and 1 variant more" in plan_of([], params, stubs, 2, allow_missing=False)
    shutil.rmtree(stubs.arrays("digits"))
    first = plan_of([], params, stubs, 2, allow_missing=False).splitlines()[0]
    assert first.startswith("data first: preprocess@digits (")
    assert "data first" not in plan_of([], params, stubs, 2, allow_missing=True)
