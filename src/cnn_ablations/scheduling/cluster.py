"""A Dask cluster to train on: one in this process, or one that a scheduler elsewhere keeps."""

import hashlib
import io
import logging
import os
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
from cnn_ablations.data.arrays import META, NAMES
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import remove
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import PACKAGE, Paths
from cnn_ablations.scheduling import worker
from cnn_ablations.scheduling.trainer import required
from cnn_ablations.training.backend import _CHOOSING
from cnn_ablations.training.loop import SUMS

CONNECT_SECONDS = 5
PART = 2**24
"""Bytes of a file that are sent at a time."""

Say = Callable[[str], None]


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

    @property
    def key(self) -> str:
        return f"{self.variant.name}.seed-{self.number}"

    @property
    def place(self) -> tuple[str, str]:
        """By which a worker finds the arrays: their hash, and the name of the data set."""
        return hashlib.sha256((self.arrays / META).read_bytes()).hexdigest(), self.arrays.name

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write its result, the content of each file by name, where the stage `train` finds it.

        Raises ProjectError where the files are not what their sums say, or cannot be written.
        """
        hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in files if name != SUMS}
        sums = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
        if files.get(SUMS) != sums.encode():
            raise ProjectError("its result was damaged on the way")
        if (self.folder / "result").is_dir():  # the worker is here
            return
        building = self.folder / ".received.tmp"
        try:
            remove(building)
            building.mkdir(parents=True)
            for name, content in files.items():
                (building / name).write_bytes(content)
            building.replace(self.folder / "result")
        except OSError as error:
            raise ProjectError(f"cannot write to {self.folder}: {error.strerror}") from None


class ByValue:
    """A function of `worker` that is sent as its code, not as its name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        cloudpickle.register_pickle_by_value(worker)
        self.code = cloudpickle.dumps(function)

    def __reduce__(self) -> tuple[Any, ...]:
        return cloudpickle.loads, (self.code,)

    def __call__(self, *arguments: Any) -> Any:
        return cloudpickle.loads(self.code)(*arguments)


class Cluster:
    """The workers of a scheduler.

    Args:
        client: of the scheduler.
        say: is told which worker is not used and why.
        root: of the checkout, where the workers are in this process.
    """

    def __init__(self, client: Client, say: Say, root: Path | None = None) -> None:
        self.client, self.say, self.root = client, say, root
        self.topic = f"cnn-ablations-{uuid.uuid4().hex}"
        self.known: set[str] = set()
        self.refused: set[str] = set()
        self._sources = packed(PACKAGE)
        self._perform = ByValue(worker.perform)

    def threads(self) -> dict[str, int]:
        """How many trainings each worker that can be used takes at a time, by its address.

        Raises ProjectError where the scheduler is gone.
        """
        found: dict[str, int] | None = None
        versions: dict[str, Any] = {}
        try:
            found = self.client.nthreads()
            if new := list(set(found) - self.known):
                # Code can only be sent to the same Python; and who went away answers with an error.
                ask = platform.python_version
                versions = self.client.run(ask, workers=new, on_error="return")
        except OSError:
            found = None
        if found is None or self.client.status != "running":
            raise ProjectError("the scheduler went away; run the same command again")
        for name, version in versions.items():
            if isinstance(version, str):
                self.known.add(name)
                if why := _differs(version):
                    self.refuse(name, why)
        return {name: found[name] for name in found if name in self.known - self.refused}

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
            "environment": _environment(),
            "root": str(self.root or ""),
            "place": seed.place,
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
        """Give a worker the arrays of a seed, unless another one of its machine has them now."""
        if self._run(worker.has_arrays, name, seed.place):
            return
        self.say(f"sending {seed.arrays.name} to {name}")
        for file in [*(seed.arrays / f"{array}.npy" for array in NAMES), seed.arrays / META]:
            size = file.stat().st_size
            with file.open("rb") as opened:
                for begin in range(0, size, PART):
                    part, ends = opened.read(PART), begin + PART >= size
                    self._run(worker.receive, name, seed.place, file.name, begin, part, ends)

    def _run(self, function: Callable[..., Any], name: str, *arguments: Any) -> Any:
        return self.client.run(ByValue(function), *arguments, workers=[name])[name]


def _environment() -> dict[str, str]:
    """Of the children: it has all of this process's variables that select an implementation."""
    choices = {name: value for name, value in os.environ.items() if name.startswith(_CHOOSING)}
    return {**choices, **KERNEL_ENVIRONMENT, "MPLBACKEND": "agg"}


def packed(package: Path) -> bytes:
    """An archive of a package's sources: the same bytes for the same sources."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            name = file.relative_to(package.parent).as_posix()
            archive.writestr(ZipInfo(name), file.read_bytes())
    return buffer.getvalue()


@contextmanager
def connected(paths: Paths, say: Say, *, workers: int, scheduler: str | None) -> Iterator[Cluster]:
    """A worker in this process, whose threads only wait for children, or those of a scheduler.

    Raises ProjectError where no scheduler answers at the address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is None:
        with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=workers,
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
        return
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, name="cnn-ablations")
    except (OSError, ValueError) as error:
        raise ProjectError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    with client:
        if why := _differs(client.run_on_scheduler(platform.python_version)):
            raise ProjectError(f"the scheduler at {scheduler} cannot be used: {why}")
        yield Cluster(client, say)


def _differs(python: str) -> str | None:
    here = platform.python_version()
    same = python.split(".")[:2] == here.split(".")[:2]
    return None if same else f"python is {python} instead of {here}"
