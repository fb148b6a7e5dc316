"""A Dask cluster to train on: one in this process, or one that a scheduler elsewhere keeps."""

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
from distributed import Client, Future, LocalCluster

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import META, NAMES
from cnn_ablations.errors import ProjectError
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import PACKAGE, Paths
from cnn_ablations.scheduling import worker
from cnn_ablations.training.backend import provenance
from cnn_ablations.training.fingerprint import hash_of

CONNECT_SECONDS = 5
TRIES = 3
"""A seed fails when so many of its processes were killed."""

Say = Callable[[str], None]

cloudpickle.register_pickle_by_value(worker)


@dataclass(eq=False)
class Seed:
    """A training to do."""

    variant: Variant
    number: int
    folder: Path
    """In scratch."""
    arrays: Path
    """The folder of its data set."""
    seconds: float
    """Left, as predicted, then as the training says."""
    line: str = ""

    @property
    def key(self) -> str:
        return f"{self.variant.name}.seed-{self.number}"

    @property
    def stage(self) -> str:
        return f"train@{self.variant.name}"


class Cluster:
    """The workers of a scheduler: in this process where the `root` of the checkout is given.

    `say` is told which worker is lost, or is not used and why.
    """

    def __init__(self, client: Client, say: Say, root: Path | None = None) -> None:
        self.client, self.say, self.root = client, say, root
        self.topic = f"cnn-ablations-{uuid.uuid4().hex}"
        self.known: set[str] = set()
        self.refused: set[str] = set()
        """Workers, by address."""
        files = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))
        self._sources = {f"{PACKAGE.name}/{file}": (PACKAGE / file).read_bytes() for file in files}
        self._code = hash_of(files)
        self._sent: dict[str, Future[worker.Files]] = {}
        """Arrays that workers have, by their hash."""

    def threads(self) -> dict[str, int]:
        """How many trainings each worker that can be used takes at a time, by its address.

        Raises ProjectError where the scheduler is gone.
        """
        found: dict[str, int] | None = None
        with suppress(OSError):
            found = self.client.nthreads()
        if found is None or self.client.status != "running":
            raise ProjectError("the scheduler went away; run the same command again")
        for name in self.known - found.keys():
            self.say(f"lost: the worker {name}; others do its work")
        self.known = set(found)
        return {name: count for name, count in found.items() if name not in self.refused}

    def refuse(self, name: str, why: str) -> None:
        """Give a worker no seeds any more."""
        if name not in self.refused:
            self.refused.add(name)
            self.say(f"not used: the worker {name}, where {why}")

    def train(self, seed: Seed, name: str) -> "Future[worker.Answer]":
        """Let a worker train a seed; the future has what `worker.perform` returns.

        Where the worker is lost, another one trains it. Workers get a data set from one another.
        """
        arrays_hash = hashlib.sha256((seed.arrays / META).read_bytes()).hexdigest()
        arrays = self._sent.get(arrays_hash)
        if not self.root and (arrays is None or arrays.cancelled()):  # all who had it left
            self.say(f"sending {seed.arrays.name}")
            files = [META, *(f"{array}.npy" for array in NAMES)]
            content = {file: np.fromfile(seed.arrays / file, np.uint8) for file in files}
            (arrays,) = self.client.scatter([content], hash=False)
            self._sent[arrays_hash] = arrays
        request = {
            "key": seed.key,
            "topic": self.topic,
            "environment": {**KERNEL_ENVIRONMENT, "MPLBACKEND": "agg"},
            "code": self._code,
            "root": str(self.root or ""),
            "arrays": arrays_hash,
            "dataset": seed.arrays.name,
            "variant": seed.variant.model_dump(),
            "seed": seed.number,
            "folder": seed.folder.name,
            "provenance": provenance(seed.variant.precision),
        }
        return self.client.submit(
            lambda *arguments: worker.perform(*arguments),  # plain pickle would name the function
            self._sources,
            arrays,
            request,
            key=f"{seed.key}-{uuid.uuid4().hex}",
            pure=False,
            workers=[name],
            allow_other_workers=True,
            retries=TRIES - 1,
        )


@contextmanager
def connected(paths: Paths, say: Say, *, workers: int, scheduler: str | None) -> Iterator[Cluster]:
    """A worker in this process, whose threads only wait for children, or those of a scheduler.

    Raises ProjectError where no scheduler answers at the address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        address = scheduler or stack.enter_context(
            LocalCluster(
                n_workers=1,
                threads_per_worker=workers,
                processes=False,
                memory_limit=0,
                local_directory=str(paths.scratch("workers")),
                # Its servers of HTTP cannot be switched off: where nobody else reaches them.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
            )
        )
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise ProjectError(f"no Dask scheduler answers at {scheduler}: {error}") from None
        yield Cluster(client, say, None if scheduler else paths.root)
