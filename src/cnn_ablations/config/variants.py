"""The `protocols` and `variants` sections of params.yaml, and a variant resolved from both.

A variant is a protocol with its differences. Both write the keys of `Recipe` and the keyword
arguments of the architecture side by side; resolved, the latter are the variant's `factors`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
)

from cnn_ablations.config.base import ClosedModel, nearest, validated
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import ARCHITECTURES, factor_types


def _images_or_fraction(value: float) -> float:
    if not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise ValueError("must be a fraction between 0 and 1, or a whole number of images")
    return value


ImagesOrFraction = Annotated[float, AfterValidator(_images_or_fraction)]
"""As scikit-learn reads `test_size`: below 1 a fraction, else a number of images."""


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must not name a seed twice")
    return seeds


class LastSplit(ClosedModel):
    """The last of the training images are held out for validation, in the order of the file."""

    method: Literal["last"]
    val: ImagesOrFraction


class RandomSplit(ClosedModel):
    """Only the training images are used: `held_out` of them are drawn with scikit-learn's
    `train_test_split` and halved in the same way; the first half is test, the second validation.
    """

    method: Literal["train_test_split"]
    held_out: ImagesOrFraction
    random_state: NonNegativeInt


Split = Annotated[LastSplit | RandomSplit, Field(discriminator="method")]


class Augmentation(ClosedModel):
    """Random changes to each training image, drawn anew in every epoch; edges are repeated."""

    rotation: NonNegativeFloat = 0.0
    """Up to this many degrees either way."""
    shift: NonNegativeFloat = 0.0
    """Up to this fraction of the height and of the width, either way."""
    shear: NonNegativeFloat = 0.0
    """Up to this many degrees either way."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Up to this fraction in or out, of the height and of the width."""
    horizontal_flip: bool = False


class CosineDecay(ClosedModel):
    """A learning rate that falls with every batch along half a cosine, to 0 after the last one
    (Loshchilov and Hutter 2017, SGDR, without restarts).
    """

    cosine: PositiveFloat
    """Where it starts."""


SplitName = Literal["train", "val", "test"]


class Recipe(ClosedModel):
    """All that determines a training besides the architecture's own factors."""

    architecture: str = "conv_net"
    split: Split
    train_images: PositiveInt | None = None
    """Use only the first so many training images, before the split."""
    train_on: Literal["train", "train+val"] = "train"
    """`train+val` adds the validation images to the training images (no validation remains)."""
    pixels: Literal["raw", "unit"]
    """`raw` leaves pixels at 0..maximum, `unit` divides them by the maximum."""
    augmentation: Augmentation | None = None
    optimizer: Literal["sgd", "adam"]
    learning_rate: PositiveFloat | CosineDecay
    batch_size: PositiveInt
    epochs: PositiveInt
    evaluate_each_epoch: list[SplitName] = ["val"]
    """Splits evaluated after every epoch; all of them are evaluated after the last."""
    record_iterations: bool = False
    """Keep accuracy and loss of every batch."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_distinct)]


class Variant(Recipe):
    """A variant with everything written out: the injected parameter of its notebooks."""

    name: str
    protocol: str
    """The name of the protocol and so of the group."""
    dataset: str
    factors: dict[str, Any]
    """The keyword arguments of the architecture."""
    differences: list[str]
    """The keys, factors among them, that the variant sets otherwise than its protocol."""

    @property
    def group(self) -> str:
        return self.protocol


def resolve_protocol(name: str, values: Any) -> dict[str, Any]:
    """The protocol's keys with the defaults filled in. Raises ProjectError."""
    return _resolve(values, f"protocols.{name}")


def resolve_variant(name: str, values: Any, protocols: Mapping[str, Any]) -> Variant:
    """The variant `name` of params.yaml, written out.

    `protocols` is that section of params.yaml. Raises ProjectError.
    """
    location = f"variants.{name}"
    if not isinstance(values, Mapping):
        raise ProjectError(f"params.yaml: {location} must be a mapping such as {{protocol: ...}}")
    for key in ("protocol", "dataset"):
        if not isinstance(values.get(key), str):
            raise ProjectError(f"params.yaml: {location}.{key} is missing or not a name")
    if values["protocol"] not in protocols:
        hint = nearest(values["protocol"], protocols)
        raise ProjectError(
            f"params.yaml: {location}.protocol: there is no protocol '{values['protocol']}'{hint}"
        )
    own = {key: value for key, value in values.items() if key not in ("protocol", "dataset")}
    base = resolve_protocol(values["protocol"], protocols[values["protocol"]])
    resolved = _resolve({**protocols[values["protocol"]], **own}, location)
    factors = {key: resolved.pop(key) for key in factor_types(resolved["architecture"])}
    return Variant(
        name=name,
        protocol=values["protocol"],
        dataset=values["dataset"],
        factors=factors,
        differences=[
            key for key in own if key != "seeds" and {**resolved, **factors}[key] != base.get(key)
        ],
        **resolved,
    )


def _resolve(values: Any, location: str) -> dict[str, Any]:
    architecture = values.get("architecture", "conv_net") if isinstance(values, Mapping) else None
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        hint = nearest(architecture, ARCHITECTURES)
        raise ProjectError(
            f"params.yaml: {location}.architecture: there is no '{architecture}'{hint}"
        )
    schema = _schema(architecture if isinstance(architecture, str) else "conv_net")
    return validated(schema.model_validate, values, location).model_dump()


@cache
def _schema(architecture: str) -> type[Recipe]:
    """What a protocol or variant may write: a recipe and the factors of its architecture."""
    factors: dict[str, Any] = factor_types(architecture)
    return create_model("Recipe", __base__=Recipe, **factors)
