"""A Dask cluster to train on: one in this process, or one that a scheduler elsewhere keeps."""

import hashlib
import io
import logging
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import cloudpickle
from distributed import Client, Future, LocalCluster

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import META, NAMES, Arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import remove
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import PACKAGE, Paths
from cnn_ablations.scheduling import worker
from cnn_ablations.scheduling.trainer import required
from cnn_ablations.training.loop import SUMS
from cnn_ablations.training.variant import seed_folder

CONNECT_SECONDS = 5
PART = 2**24
"""Bytes of a file that are sent at a time."""


@dataclass(eq=False)
class Seed:
    """A training to do."""

    variant: Variant
    number: int
    folder: Path
    """In scratch."""
    arrays: Path
    """The folder of its data set."""
    seconds: float | None
    """Predicted."""
    tries: int = 0

    @classmethod
    def of(
        cls, variant: Variant, number: int, arrays: Arrays, paths: Paths, seconds: float | None
    ) -> "Seed":
        folder = seed_folder(variant, number, arrays, paths)
        return cls(variant, number, folder, paths.arrays(variant.dataset), seconds)

    @property
    def key(self) -> str:
        return f"{self.variant.name}.seed-{self.number}"

    @property
    def arrays_hash(self) -> str:
        return hashlib.sha256((self.arrays / META).read_bytes()).hexdigest()

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write its result, the content of each file by name, where the stage `train` finds it.

        Raises ProjectError where the files are not what their sums say, or cannot be written.
        """
        hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in files if name != SUMS}
        sums = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
        if files.get(SUMS) != sums.encode():
            raise ProjectError("its result was damaged on the way")
        building = self.folder / ".received.tmp"
        try:
            remove(building)
            building.mkdir(parents=True)
            for name, content in files.items():
                (building / name).write_bytes(content)
            if not (self.folder / "result").is_dir():
                building.replace(self.folder / "result")
            remove(building)
        except OSError as error:
            raise ProjectError(f"cannot write to {self.folder}: {error.strerror}") from None


class ByValue:
    """A function of `worker` that is sent as its code, not as its name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        cloudpickle.register_pickle_by_value(worker)
        self.code = cloudpickle.dumps(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return cloudpickle.loads, (self.code,)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return cloudpickle.loads(self.code)(*arguments, **named)


class Cluster:
    """The workers of a scheduler, and which of them can be used.

    Args:
        client: of the scheduler.
        say: is told which worker is not used and why.
        root: of the checkout, where the workers are in this process.
    """

    def __init__(self, client: Client, say: Callable[[str], None], root: Path | None) -> None:
        self.client, self.say, self.root = client, say, root
        self.topic = f"cnn-ablations-{uuid.uuid4().hex}"
        self.known: set[str] = set()
        self.refused: set[str] = set()
        self._sources = packed(PACKAGE)
        self._perform = ByValue(worker.perform)
        self._environment = {**KERNEL_ENVIRONMENT, "MPLBACKEND": "agg"}

    def threads(self) -> dict[str, int]:
        """How many trainings each worker takes at a time, by its address.

        Raises ProjectError where the scheduler is gone.
        """
        try:
            found = self.client.nthreads()
            new = [name for name in found if name not in self.known]
            if new:
                answers = self.client.run(platform.python_version, workers=new, on_error="return")
        except OSError:
            found = None
        if found is None or self.client.status != "running":
            raise ProjectError("the scheduler went away; run the same command again")
        for name in new:
            if not isinstance(answer := answers.get(name), str):
                continue  # it went away; should it come back, it is asked again
            self.known.add(name)
            if _minor(answer) != _minor(platform.python_version()):
                self.refuse(name, f"python is {answer} instead of {platform.python_version()}")
        usable = self.known - self.refused
        return {name: threads for name, threads in found.items() if name in usable}

    def refuse(self, name: str, why: str) -> None:
        """Give a worker no seeds any more."""
        if name not in self.refused:
            self.refused.add(name)
            self.say(f"not used: the worker {name}, where {why}")

    def train(self, seed: Seed, name: str) -> "Future[worker.Answer]":
        """Let a worker train a seed; the future has what `worker.perform` returns."""
        request = {
            "key": seed.key,
            "topic": self.topic,
            "environment": self._environment,
            "root": str(self.root or ""),
            "arrays": seed.arrays_hash,
            "variant": seed.variant.model_dump(),
            "seed": seed.number,
            "folder": seed.folder.name,
            "circumstances": required(seed.variant.precision),
        }
        key = f"{seed.key}-{uuid.uuid4().hex}"
        return self.client.submit(
            self._perform, self._sources, request, key=key, pure=False, workers=[name]
        )

    def send(self, seed: Seed, name: str) -> None:
        """Give a worker the arrays of a seed, where its machine does not have them by now."""
        place = (seed.arrays_hash, seed.variant.dataset)
        if self._run(worker.has_arrays, name, *place):
            return
        self.say(f"sending {seed.variant.dataset} to {name}")
        for file in [*(seed.arrays / f"{array}.npy" for array in NAMES), seed.arrays / META]:
            size = file.stat().st_size
            with file.open("rb") as opened:
                for begin in range(0, size, PART):
                    part, ends = opened.read(PART), begin + PART >= size
                    self._run(worker.receive, name, *place, file.name, part, begin == 0, ends)

    def _run(self, function: Callable[..., Any], name: str, *arguments: Any) -> Any:
        return self.client.run(ByValue(function), *arguments, workers=[name])[name]


def packed(package: Path) -> bytes:
    """An archive of a package's sources: the same bytes for the same sources."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            archive.writestr(
                ZipInfo(file.relative_to(package.parent).as_posix()), file.read_bytes()
            )
    return buffer.getvalue()


@contextmanager
def local(paths: Paths, workers: int, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Workers in this process: they only wait for their children."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,
            local_directory=str(paths.scratch("workers")),
            # Its servers of HTTP cannot be switched off: where nobody else reaches them.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield Cluster(client, say, paths.root)


@contextmanager
def remote(address: str, say: Callable[[str], None]) -> Iterator[Cluster]:
    """The workers of a scheduler elsewhere. Raises ProjectError where none answers there."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, name="cnn-ablations")
    except (OSError, ValueError) as error:
        raise ProjectError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        there, here = client.run_on_scheduler(platform.python_version), platform.python_version()
        if _minor(there) != _minor(here):
            raise ProjectError(f"the scheduler at {address} has Python {there} instead of {here}")
        yield Cluster(client, say, None)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
