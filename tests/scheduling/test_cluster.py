"""Seeds on their way to workers and back, and the child that trains them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cnn_ablations.config.params import parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import PACKAGE, Paths
from cnn_ablations.scheduling.cluster import Cluster, Seed, packed
from cnn_ablations.scheduling.trainer import required, train
from cnn_ablations.training.loop import SUMS, train_seed
from cnn_ablations.training.variant import seed_folder

RESULT = {"weights": b"1", SUMS: f"{hashlib.sha256(b'1').hexdigest()}  weights\n".encode()}


def request(variant: Variant, seed: int, paths: Paths) -> dict[str, Any]:
    folder = seed_folder(variant, seed, load_arrays(paths.arrays("digits")), paths)
    return {
        "variant": variant.model_dump(),
        "seed": seed,
        "root": str(paths.root),
        "folder": folder.name,
        "circumstances": required(variant.precision),
    }


@pytest.fixture
def seed(project: Paths, tiny_variant: Variant) -> Seed:
    return Seed(tiny_variant, 0, project.scratch("seeds", "x"), project.arrays("digits"), None)


def test_variants_mixed_in_one_process_end_in_the_bytes_of_each_alone(
    project: Paths, document: dict[str, Any], tmp_path: Path, keras: ModuleType
) -> None:
    """Dropout, batch normalisation, recorded iterations and augmentation beside none of them."""
    document["variants"]["bare"] = {"protocol": "tiny", "dataset": "digits"}
    variants = parse_params(document).variants
    mixed = [("tiny-net", 0), ("bare", 0), ("tiny-net", 1)]
    lines = [json.dumps(request(variants[name], seed, project)) for name, seed in mixed]
    child = subprocess.Popen(
        [sys.executable, "-m", "cnn_ablations.scheduling.trainer"],
        env={**os.environ, **KERNEL_ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with child:
        assert child.stdin
        assert child.stdout
        child.stdin.write("\n".join(lines) + "\n")
        child.stdin.flush()
        answers: list[dict[str, Any]] = []
        while len(answers) < len(mixed):
            answer = json.loads(child.stdout.readline())
            if "progress" in answer:
                assert answer["progress"]["epochs"] == 3
            else:
                answers.append(answer)
    assert child.returncode == 0  # with its standard input
    arrays = load_arrays(project.arrays("digits"))
    for (name, number), answer in zip(mixed, answers, strict=True):
        alone = tmp_path / name / str(number)
        expected = train_seed(variants[name], number, arrays, alone, lambda *_: None)
        for file in expected.iterdir():
            if file.name not in ("timing.json", SUMS):
                found = Path(answer["result"], file.name)
                assert found.read_bytes() == file.read_bytes(), (name, number, file.name)


def test_a_child_refuses_what_would_have_other_bytes(project: Paths, tiny_variant: Variant) -> None:
    asked = request(tiny_variant, 0, project)
    asked["circumstances"] |= {"numpy": "1.0", "cpu": "m68k"}
    refused = train(asked, lambda _: None)["refused"]
    assert refused.startswith("cpu is ")
    assert " instead of m68k, numpy is " in refused
    other = {**request(tiny_variant, 0, project), "folder": "0" * 32}
    assert "other code or data" in train(other, lambda _: None)["error"]
    mistaken = {**request(tiny_variant, 0, project), "seed": "x"}
    answer = train(mistaken, lambda _: None)
    assert answer["error"].startswith("ValueError: ")
    assert "Traceback" in answer["log"]


def test_a_result_comes_home_whole_or_not_at_all(seed: Seed) -> None:
    for damaged in ({**RESULT, "weights": b"2"}, {"weights": b"1"}, {**RESULT, "more": b""}):
        with pytest.raises(ProjectError, match="damaged on the way"):
            seed.keep(damaged)
        assert not seed.folder.exists()
    for _ in range(2):
        seed.keep(RESULT)
        assert {f.name: f.read_bytes() for f in (seed.folder / "result").iterdir()} == RESULT
    assert [path.name for path in seed.folder.iterdir()] == ["result"]


def test_the_sources_of_a_checkout_have_one_archive(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("1")
    first = packed(tmp_path / "package")
    assert packed(tmp_path / "package") == first
    (tmp_path / "package" / "a.py").write_text("2")
    assert packed(tmp_path / "package") != first
    assert len(packed(PACKAGE)) < 2**20


class Client:
    """Of a scheduler with workers of several versions of Python."""

    status = "running"

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.answers, 2)

    def run(self, function: Any, workers: list[str], on_error: str) -> dict[str, Any]:
        return {name: self.answers[name] for name in workers}


def test_a_worker_needs_the_same_python_and_who_did_not_answer_is_asked_again() -> None:
    said: list[str] = []
    here = ".".join(map(str, sys.version_info[:2]))
    client = Client({"same": f"{here}.99", "other": "3.9.1", "away": OSError()})
    cluster = Cluster(client, said.append)  # type: ignore[arg-type]
    assert cluster.threads() == {"same": 2}
    assert len(said) == 1
    assert said[0].startswith("not used: the worker other, where python is 3.9.1 instead of")
    client.answers["away"] = f"{here}.0"
    assert cluster.threads() == {"same": 2, "away": 2}
    client.status = "closed"
    with pytest.raises(ProjectError, match="the scheduler went away"):
        cluster.threads()


def test_arrays_are_found_by_their_hash(seed: Seed) -> None:
    before = seed.place
    assert before[1] == "digits"
    with (seed.arrays / "meta.json").open("a") as meta:
        meta.write(" ")
    assert seed.place != before
