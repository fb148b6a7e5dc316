"""What trainings took where they ran last, read back from reports/timings."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from cnn_ablations.errors import ProjectError
from cnn_ablations.files import read_json

SIZE_LIMIT = 2**23
"""Bytes: ten thousand seeds have a fifth of it."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SeedTimes(BaseModel):
    """Of one seed."""

    train_seconds: Seconds
    evaluate_seconds: Seconds
    peak_memory_mb: Annotated[int, Field(ge=0)]

    @property
    def seconds(self) -> float:
        """In all."""
        return self.train_seconds + self.evaluate_seconds


class Revision(BaseModel):
    """The code that collected them."""

    commit: str | None = None


class Timings(BaseModel):
    """Of one variant."""

    seeds: Annotated[dict[str, SeedTimes], Field(min_length=1)]
    provenance: list[dict[str, str]] = []
    """The distinct circumstances in which the seeds were trained."""
    revision: Revision = Revision()
    variant: dict[str, Any] = {}
    """What was trained, with all its keys."""


def load_timings(path: Path) -> Timings | None:
    """The content of such a file; None where there is none.

    Raises ProjectError where it is damaged.
    """
    if not path.exists():
        return None
    try:
        return read_json(path, SIZE_LIMIT, TypeAdapter(Timings))
    except (OSError, ValueError) as error:
        raise ProjectError(
            f"{path} cannot be read ({error}); `git restore` brings it back"
        ) from None
