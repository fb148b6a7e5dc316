"""Seeds on their way to workers and back, and the child that trains them."""

import json
import os
import shutil
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
from cnn_ablations.paths import Paths
from cnn_ablations.scheduling.cluster import Cluster, Seed
from cnn_ablations.scheduling.trainer import train
from cnn_ablations.scheduling.worker import write
from cnn_ablations.training.backend import provenance
from cnn_ablations.training.loop import SUMS, train_seed
from cnn_ablations.training.variant import seed_folder


def request(variant: Variant, seed: int, paths: Paths) -> dict[str, Any]:
    folder = seed_folder(variant, seed, load_arrays(paths.arrays("digits")), paths)
    return {
        "variant": variant.model_dump(),
        "seed": seed,
        "root": str(paths.root),
        "folder": folder.name,
        "provenance": provenance(variant.precision),
    }


def test_variants_mixed_in_one_process_end_in_the_bytes_of_each_alone(
    project: Paths, document: dict[str, Any], tmp_path: Path, keras: ModuleType
) -> None:
    """Dropout, batch normalisation, recorded iterations and augmentation beside none of them."""
    document["variants"]["bare"] = {"protocol": "tiny", "dataset": "digits"}
    variants = parse_params(document).variants
    mixed = [("tiny-net", project), ("bare", project), ("tiny-net", Paths(tmp_path / "again"))]
    shutil.copytree(project.arrays("digits"), mixed[2][1].arrays("digits"))
    lines = [json.dumps(request(variants[name], 0, paths)) for name, paths in mixed]
    child = subprocess.run(
        [sys.executable, "-m", "cnn_ablations.scheduling.trainer"],
        env={**os.environ, **KERNEL_ENVIRONMENT},
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    said = [json.loads(line) for line in child.stdout.splitlines()]
    assert [answer["progress"]["epoch"] for answer in said if "progress" in answer] == [1, 2, 3] * 3
    found = [contents(Path(answer["result"])) for answer in said if "progress" not in answer]
    arrays = load_arrays(project.arrays("digits"))
    alone = train_seed(variants["bare"], 0, arrays, tmp_path / "alone", lambda *_: None)
    assert found == [found[0], contents(alone), found[0]]  # the first was alone, too


def contents(result: Path) -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in result.iterdir()}
    return {name: files[name] for name in files if name not in ("timing.json", SUMS)}


def test_a_child_refuses_what_would_have_other_bytes(project: Paths, tiny_variant: Variant) -> None:
    asked = {**request(tiny_variant, 0, project), "folder": "0" * 32}
    assert train(asked, lambda _: None) == {"refused": "code or data are others"}
    asked["provenance"] |= {"numpy": "1.0", "cpu": "m68k"}
    refused = train(asked, lambda _: None)["refused"]
    assert refused.startswith("cpu is ")
    assert " instead of m68k, numpy is " in refused
    mistaken = {**request(tiny_variant, 0, project), "seed": "x"}
    answer = train(mistaken, lambda _: None)
    assert answer["error"].startswith("ValueError: ")
    assert "Traceback" in answer["log"]


def test_a_result_comes_home_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "seed" / "result"
    with pytest.raises(OSError, match="File exists"):
        write(folder, {"a": b"1", "a/b": b"2"})
    assert list(folder.parent.iterdir()) == []
    for content in (b"1", b"2"):  # the first is kept
        write(folder, {"a": content})
        assert [file.read_bytes() for file in folder.parent.rglob("a")] == [b"1"]
    assert list(folder.parent.iterdir()) == [folder]


class Client:
    """Of a scheduler that trains nothing."""

    status = "running"

    def __init__(self) -> None:
        self.workers = {"one": 2, "two": 1}
        self.sent: list[Any] = []
        self.asked: list[tuple[Any, ...]] = []
        self.lost = False

    def nthreads(self) -> dict[str, int]:
        return self.workers

    def scatter(self, data: list[Any], **options: Any) -> list["Client"]:
        self.sent += data
        return [self]

    def cancelled(self) -> bool:
        """Whether arrays that were sent, which are this as well, were lost."""
        return self.lost

    def submit(self, *arguments: Any, **options: Any) -> None:
        self.asked.append(arguments)


def test_arrays_are_sent_once_unless_they_changed_or_were_lost(
    project: Paths, tiny_variant: Variant
) -> None:
    client = Client()
    cluster = Cluster(client, lambda _: None)  # type: ignore[arg-type]
    seed = Seed(tiny_variant, 0, project.scratch("seeds", "x"), project.arrays("digits"), 1.0)
    for _ in range(2):
        cluster.train(seed, "one")
    (sent,) = client.sent
    assert {name: bytes(content) for name, content in sent.items()} == {
        file.name: file.read_bytes() for file in seed.arrays.iterdir()
    }
    with (seed.arrays / "meta.json").open("a") as meta:
        meta.write(" ")
    cluster.train(seed, "one")
    client.lost = True
    cluster.train(seed, "one")
    assert len(client.sent) == 3
    hashes = [asked[3]["arrays"] for asked in client.asked]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    Cluster(client, lambda _: None, project.root).train(seed, "one")  # type: ignore[arg-type]
    assert len(client.sent) == 3


def test_workers_come_and_go_and_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    client, said = Client(), list[str]()
    cluster = Cluster(client, said.append)  # type: ignore[arg-type]
    assert cluster.threads() == {"one": 2, "two": 1}
    for _ in range(2):
        cluster.refuse("two", "cpu is m68k")
    client.workers = {"two": 1, "three": 1}
    assert cluster.threads() == {"three": 1}
    assert said == [
        "not used: the worker two, where cpu is m68k",
        "lost: the worker one; others do its work",
    ]
    client.status = "closed"
    with pytest.raises(ProjectError, match="the scheduler went away"):
        cluster.threads()
