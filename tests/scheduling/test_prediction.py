import itertools
import json
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnn_ablations.config.params import Params, load_params, parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.pipeline import Stale
from cnn_ablations.scheduling.prediction import (
    STAGE_SECONDS,
    Job,
    Size,
    fitted_rates,
    jobs_of,
    makespan,
    measured,
    predicted,
    recorded,
    training_images,
    work,
)
from cnn_ablations.scheduling.runner import seed_beside
from cnn_ablations.training.backend import circumstances
from cnn_ablations.training.variant import seed_folder


@pytest.fixture
def params(project: Paths, document: dict[str, Any]) -> Params:
    document["variants"]["tiny-wide"] = {**document["variants"]["tiny-net"], "filters": [8]}
    project.params.write_text(yaml.safe_dump(document))
    return load_params(project.params)


def record(paths: Paths, variant: Variant, seconds: list[float], flops: int = 1000) -> None:
    write_atomically(paths.metrics("tiny", "tiny-net"), json_bytes({"flops": flops}))
    seeds = {
        str(seed): {"train_seconds": spent, "evaluate_seconds": 1.0, "peak_memory_mb": 1}
        for seed, spent in enumerate(seconds)
    }
    timings = {"seeds": seeds, "variant": variant.model_dump()}
    write_atomically(paths.timings("tiny", "tiny-net"), json_bytes(timings))


def job(variant: Variant, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "variant": variant,
        "stages": ("train", "inspect"),
        "reasons": [],
        "seeds": variant.seeds,
        "flops": None,
        "seed_seconds": 100.0,
        "basis": "recorded",
    }
    return Job(**{**values, **changes})


def best_makespan(seconds: list[float], workers: int) -> float:
    """Of all ways to hand jobs to workers."""
    return min(
        max(
            sum(s for s, w in zip(seconds, assigned, strict=True) if w == worker)
            for worker in range(workers)
        )
        for assigned in itertools.product(range(workers), repeat=len(seconds))
    )


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 3))
def test_the_makespan_is_within_grahams_bound_of_the_best(
    seconds: list[float], workers: int
) -> None:
    best = best_makespan(seconds, workers)
    assert best - 1e-9 <= makespan(seconds, workers) <= (4 / 3 - 1 / (3 * workers)) * best + 1e-9


def test_a_job_comes_in_parts_that_other_workers_can_take(tiny_variant: Variant) -> None:
    variant = tiny_variant.model_copy(update={"seeds": [5, 6, 7, 8]})
    whole = job(variant)
    assert whole.pieces == [100 + 2 * STAGE_SECONDS, 100, 100, 100]
    assert whole.seconds == sum(whole.pieces)
    assert job(variant, seed_seconds=STAGE_SECONDS / 2).pieces == [4 * STAGE_SECONDS]
    assert job(variant, seed_seconds=None).pieces is None
    assert job(variant, seeds=[], seed_seconds=None).pieces == [2 * STAGE_SECONDS]
    assert whole.ahead({}) == [6, 7, 8]
    assert job(variant, seeds=[6, 8]).ahead({"number": 2}) == [8]


def test_the_makespan_counts_who_is_busy() -> None:
    assert makespan([4, 3, 3], 2) == 6
    assert makespan([], 2) == 0
    assert makespan([5], 2, busy=[10, 1]) == 10
    assert makespan([5, 5], 2, busy=[3]) == 8


@pytest.mark.parametrize(
    "split",
    [
        {"method": "last", "val": 0.2},
        {"method": "last", "val": 37},
        {"method": "train_test_split", "held_out": 0.3, "random_state": 1},
        {"method": "train_test_split", "held_out": 101, "random_state": 1},
        {"method": "stratified", "val": 0.21, "random_state": 1},
        {"method": "stratified", "val": 37, "random_state": 1},
    ],
)
@pytest.mark.parametrize("train_on", ["train", "train+val"])
@pytest.mark.parametrize("train_images", [None, 250])
def test_the_images_of_an_epoch_are_those_that_are_trained_on(
    project: Paths, document: dict[str, Any], split: Any, train_on: str, train_images: int | None
) -> None:
    document["variants"]["tiny-net"].update(
        split=split, train_on=train_on, train_images=train_images
    )
    variant = parse_params(document).variant("tiny-net")
    subsets = split_arrays(load_arrays(project.arrays("digits")), variant)
    assert training_images(variant, 300) == len(subsets["train"].labels)


def test_the_fit_finds_what_an_operation_and_a_step_take(tiny_variant: Variant) -> None:
    rates = np.array([3e-10, 2e-3])
    works = [work(tiny_variant, flops, images) for flops, images in ((1000, 99), (9**9, 300))]
    fitted = fitted_rates([(done, float(done @ rates)) for done in works])
    assert fitted == pytest.approx(rates)


def test_a_record_counts_for_the_recipe_that_it_was_made_with(
    project: Paths, document: dict[str, Any], params: Params
) -> None:
    variant = params.variant("tiny-net")
    assert recorded(variant, project) is None  # no files
    record(project, variant, [10, 30, 11])
    found = recorded(variant, project)
    assert found is not None
    assert (found.flops, found.seed_seconds) == (1000, 12)
    for damaged in (project.metrics, project.timings):
        whole = damaged("tiny", "tiny-net").read_bytes()
        for content in (b"[" * 100_000, b"{}", b'{"flops": "x"}'):
            damaged("tiny", "tiny-net").write_bytes(content)
            assert recorded(variant, project) is None
        damaged("tiny", "tiny-net").write_bytes(whole)

    document["protocols"]["tiny"]["seeds"] = [0, 1, 2, 3]  # another seed takes as long
    assert recorded(parse_params(document).variant("tiny-net"), project) is not None
    document["variants"]["tiny-net"]["dataset"] = "more-digits"
    document["datasets"]["more-digits"] = document["datasets"]["digits"]
    assert recorded(parse_params(document).variant("tiny-net"), project) is None
    document["variants"]["tiny-net"].update(dataset="digits", epochs=6)  # of 3
    found = recorded(parse_params(document).variant("tiny-net"), project)
    assert found is not None
    assert found.seed_seconds == 24
    document["variants"]["tiny-net"].update(batch_size=7)
    assert recorded(parse_params(document).variant("tiny-net"), project) is None


def test_a_record_of_another_processor_is_told_from_one_of_this(
    project: Paths, params: Params
) -> None:
    here = {key: circumstances()[key] for key in ("device", "cpu", "processor")}
    file = project.timings("tiny", "tiny-net")
    for provenance, elsewhere in (
        ([here], False),
        ([{"cpu": here["cpu"]}], False),  # of a time when less was recorded
        ([{**here, "processor": "a slow one"}], True),
        ([{**here, "processor": "a slow one"}, here], False),
    ):
        record(project, params.variant("tiny-net"), [10])
        content = json.loads(file.read_bytes()) | {"provenance": provenance}
        file.write_bytes(json_bytes(content))
        found = recorded(params.variant("tiny-net"), project)
        assert found is not None
        assert found.elsewhere == elsewhere


def test_a_seed_in_scratch_is_not_trained_again(project: Paths, params: Params) -> None:
    variant = params.variant("tiny-net")
    arrays = load_arrays(project.arrays("digits"))
    (seed_folder(variant, 0, arrays, project) / "result").mkdir(parents=True)
    record(project, variant, [9])
    (found,) = jobs_of([Stale("train@tiny-net", [])], ["inspect@tiny-net"], params, project, {})
    assert (found.variant.name, found.stages) == ("tiny-net", ("train", "inspect"))
    assert found.seeds == [1]
    assert found.seconds == 10 + 2 * STAGE_SECONDS


def test_a_variant_without_times_is_predicted_from_those_that_have_them(
    project: Paths, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(project, params.variant("tiny-net"), [9, 9])
    sizes = {"tiny-wide": Size(4000)}
    monkeypatch.setattr(
        "cnn_ablations.scheduling.prediction.measured", lambda variants, params, known: sizes
    )
    stale = [Stale(f"train@{name}", []) for name in params.variants]
    jobs = jobs_of(stale, [], params, project, {})
    assert [job.stages for job in jobs] == [("train",), ("train",)]
    wide, net = predicted(jobs, params, project)  # the longest first
    assert (net.variant.name, net.basis, net.seed_seconds) == ("tiny-net", "recorded", 10)
    assert (wide.variant.name, wide.basis, wide.flops) == ("tiny-wide", "FLOPs", 4000)
    assert wide.seed_seconds is not None
    assert 10 <= wide.seed_seconds <= 40  # from all steps to all operations


def test_where_nothing_is_on_record_a_measurement_says_how_long_it_takes(
    project: Paths, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"tiny-net": Size(1000), "tiny-wide": Size(4000, image_seconds=0.1)}
    monkeypatch.setattr(
        "cnn_ablations.scheduling.prediction.measured", lambda variants, params, known: sizes
    )
    stale = [Stale(f"train@{name}", []) for name in params.variants]
    jobs = predicted(jobs_of(stale, [], params, project, {}), params, project)
    assert [(job.variant.name, job.basis) for job in jobs] == [
        ("tiny-wide", "measured"),
        ("tiny-net", "measured"),
    ]
    wide, net = (job.seed_seconds for job in jobs)
    assert wide == pytest.approx(3 * 240 * 0.1)  # epochs, images, seconds
    assert net is not None
    assert 18 < net < 72  # from all operations to all steps


def test_the_largest_network_of_a_group_without_records_is_measured(params: Params) -> None:
    both = list(params.variants.values())
    sizes = measured(both, params, known=[])
    # 64 positions of 4 kernels with 9 weights; after pooling 64 inputs to 8, and 8 to 10.
    assert sizes["tiny-net"] == Size(2 * (64 * 4 * 9 + 64 * 8 + 8 * 10))
    assert sizes["tiny-wide"].flops > sizes["tiny-net"].flops
    seconds = sizes["tiny-wide"].image_seconds
    assert seconds is not None
    assert 0 < seconds < 0.1
    assert measured(both[:1], params, known=["tiny"]) == {"tiny-net": sizes["tiny-net"]}


def test_an_idle_worker_takes_the_last_seed_of_whoever_has_most_to_do(
    tiny_variant: Variant,
) -> None:
    long = tiny_variant.model_copy(update={"name": "long", "seeds": [5, 6, 7, 8]})
    short = tiny_variant.model_copy(update={"name": "short", "seeds": [0, 1]})
    at_work: list[tuple[Job, dict[str, Any]]] = [(job(short), {}), (job(long), {"number": 2})]
    given: set[tuple[str, int]] = set()
    chosen = []
    while found := seed_beside(at_work, given):
        given.add((found[0].variant.name, found[1]))
        chosen.append((found[0].variant.name, found[1]))
    # Seed 6 is the second of `long`, and the first of `short` is 0: both are being trained.
    assert chosen == [("long", 8), ("short", 1), ("long", 7)]


def test_no_process_is_started_for_a_seed_that_is_done_or_short(tiny_variant: Variant) -> None:
    assert seed_beside([(job(tiny_variant, seeds=[1]), {"number": 1})], set()) is not None
    assert seed_beside([(job(tiny_variant, seeds=[0]), {"number": 1})], set()) is None
    assert seed_beside([(job(tiny_variant, seed_seconds=STAGE_SECONDS / 2), {})], set()) is None
