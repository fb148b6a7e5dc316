import json
import shutil
from statistics import median
from typing import Any

import pytest
import yaml

from cnn_ablations.config.params import Params, parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling import pipeline, plan
from cnn_ablations.scheduling.pipeline import recorded
from cnn_ablations.scheduling.plan import jobs_of, plan_of
from cnn_ablations.training.variant import seed_folder


def record(paths: Paths, variant: Variant, *seconds: float) -> None:
    seeds = {
        str(seed): {"train_seconds": spent, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
        for seed, spent in enumerate(seconds)
    }
    timings = {"seeds": seeds, "variant": variant.model_dump()}
    write_atomically(paths.timings("tiny", variant.name), json_bytes(timings))
    write_atomically(paths.metrics("tiny", variant.name), json_bytes({"flops": flops_of(variant)}))


def flops_of(variant: Variant) -> int:
    return 20_000 * int(sum(variant.factors["filters"]))


@pytest.fixture(autouse=True)
def no_network_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(variants: list[Variant], records: object, params: Params) -> dict[str, int]:
        return {variant.name: flops_of(variant) for variant in variants}

    monkeypatch.setattr(plan, "forward_flops", counted)


def predictions(params: Params, paths: Paths) -> dict[str, tuple[float, str]]:
    """Of all variants, the longest first."""
    stale: dict[str, list[Any]] = {f"train@{name}": [] for name in params.variants}
    jobs = jobs_of(stale, params, paths, [])
    return {job.variant.name: (job.seconds, job.basis) for job in jobs}


def test_a_seed_takes_as_long_as_its_record_or_all_and_arithmetic_say(
    project: Paths, document: dict[str, Any]
) -> None:
    def changed(name: str = "tiny-net", **keys: Any) -> tuple[float, str]:
        document["variants"].setdefault(name, dict(document["variants"]["tiny-net"])).update(keys)
        return predictions(parse_params(document), project)[name]

    net = parse_params(document).variant("tiny-net")
    seconds, basis = changed()
    assert (seconds < 1, basis) == (True, "arithmetic")
    record(project, net, 10, 30, 11)
    assert changed() == (12, "its record")
    assert changed(seeds=[0, 1, 2, 3]) == (12, "its record")  # another seed takes as long
    assert changed(epochs=6) == (24, "its record")  # of 3
    assert changed(batch_size=1000)[0] < 12
    assert changed(epochs=3, batch_size=32) == (12, "its record")
    seconds, basis = changed("tiny-wide", filters=[400])
    assert (seconds > 12, basis) == (True, "arithmetic")

    record(project, parse_params(document).variant("tiny-wide"), 99)
    assert changed("tiny-wide") == (100, "its record")
    assert next(iter(predictions(parse_params(document), project))) == "tiny-wide"
    old = json.loads(project.timings("tiny", "tiny-wide").read_bytes())
    write_atomically(project.timings("tiny", "tiny-wide"), json_bytes({"seeds": old["seeds"]}))
    assert changed("tiny-wide") == (100, "its record")
    for file in (project.metrics("tiny", "tiny-wide"), project.timings("tiny", "tiny-wide")):
        for content in (b"[" * 100_000, b"{}"):
            kept = file.read_bytes()
            file.write_bytes(content)
            assert changed("tiny-wide") == (seconds, "arithmetic")
            file.write_bytes(kept)


def test_images_that_are_not_prepared_yet_are_as_many_as_were_counted(
    project: Paths, document: dict[str, Any]
) -> None:
    prepared = predictions(parse_params(document), project)
    shutil.rmtree(project.arrays("digits"))
    assert predictions(parse_params(document), project) != prepared
    document["datasets"]["digits"]["images"] = 300
    assert predictions(parse_params(document), project) == prepared


@pytest.mark.parametrize("apart", ["name", "group"])
def test_what_is_on_record_is_predicted_from_what_others_took(
    real_params: Params, checkout: Paths, paths: Paths, apart: str
) -> None:
    """Others of another group, too, as for a new data set."""
    records = [r for v in real_params.variants.values() if (r := recorded(v, checkout))]
    factors = []
    for of in records:
        others = [r for r in records if getattr(r.variant, apart) != getattr(of.variant, apart)]
        found, _ = plan.predicted(of.variant, of.flops, others, real_params, paths)
        factors.append(max(found / of.seconds, of.seconds / found))
    assert median(factors) < 1.4
    assert max(factors) < 4


def test_a_seed_in_scratch_is_not_trained_again(project: Paths, document: dict[str, Any]) -> None:
    params = parse_params(document)
    variant = params.variant("tiny-net")
    arrays = load_arrays(project.arrays("digits"))
    (seed_folder(variant, 0, arrays, project) / "result").mkdir(parents=True)
    (job,) = jobs_of({"train@tiny-net": []}, params, project, [])
    assert job.seeds == {1: seed_folder(variant, 1, arrays, project)}
    assert job.why == "never run"
    stale = {"inspect@tiny-net": ["changed command"]}
    (job,) = jobs_of(stale, params, project, stale)
    assert (job.seeds, job.why) == ({}, "changed command")
    shutil.rmtree(project.arrays("digits"))
    (job,) = jobs_of({"train@tiny-net": []}, params, project, [])
    assert job.seeds == {0: None, 1: None}


def test_a_plan_says_what_would_run_and_why(stubs: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "write_inputs", lambda *_: None)  # this process has other code
    params = parse_params(yaml.safe_load(stubs.params.read_bytes()))
    lines = plan_of([], params, stubs, 2, allow_missing=False).splitlines()
    assert lines == [
        "variant  seeds   minutes  by          why",
        "tiny-b   2 of 2  0.0      arithmetic  never run",
        "tiny-a   2 of 2  0.0      arithmetic  never run",
        "then: after",
        "4 seeds of 2 variants to train, 0.0 minutes, and 5 stages to run, 20 s each: about "
        "0:01:43 one after another, 0:00:51 with 2 workers",
    ]
    with monkeypatch.context() as only:
        only.setattr(pipeline, "stale_stages", lambda *_, **__: {"check": ["changed deps"]})
        assert plan_of([], params, stubs, 2, allow_missing=False) == "everything is up to date"
    monkeypatch.setattr(plan, "ROWS", 1)
    more = "and 1 variant more: 0.0 minutes"
    assert more in plan_of([], params, stubs, 2, allow_missing=False)
    shutil.rmtree(stubs.arrays("digits"))
    first = plan_of([], params, stubs, 2, allow_missing=False).splitlines()[0]
    assert first == "data first: preprocess@digits"
    assert "data first" not in plan_of([], params, stubs, 2, allow_missing=True)
