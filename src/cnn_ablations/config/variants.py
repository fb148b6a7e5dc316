"""The `protocols` and `variants` sections of params.yaml, and a variant resolved from both.

A variant is a protocol with its differences. Both write the keys of `Recipe` and the factors of
the model side by side; resolved, the latter are the variant's `factors`.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
    model_validator,
)

from cnn_ablations.config.base import ClosedModel, nearest, shortly, validated
from cnn_ablations.errors import ProjectError
from cnn_ablations.models import factor_types, model_names

T = TypeVar("T")
ENTRIES, LARGEST = 1_000, 1_000_000
"""Of a key: more numbers, or larger ones, can only be a slip of the hand."""
# Seeds, as wide as generators take them; and counts of images, which are compared with the data.
LARGEST_OF = dict.fromkeys(("seeds", "split", "train_images"), 2**32 - 1)
Share = Annotated[float, Ge(0), Lt(1)]


def _images_or_fraction(value: float) -> float:
    if not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise ValueError("must be a fraction between 0 and 1, or a whole number of images")
    return value


ImagesOrFraction = Annotated[float, AfterValidator(_images_or_fraction)]
"""As scikit-learn reads `test_size`: below 1 a fraction, else a number of images."""


def _distinct(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("must not name anything twice")
    return values


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in mappings and lists."""
    if isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


class LastSplit(ClosedModel):
    """The last of the training images are held out for validation, in the order of the file."""

    method: Literal["last"]
    val: ImagesOrFraction


class StratifiedSplit(ClosedModel):
    """Training images drawn at random are held out for validation, of each class the same share
    (scikit-learn's `train_test_split` with `stratify`).
    """

    method: Literal["stratified"]
    val: ImagesOrFraction
    random_state: NonNegativeInt


class RandomSplit(ClosedModel):
    """Only the training images are used: `held_out` of them are drawn with scikit-learn's
    `train_test_split` and halved in the same way; the first half is test, the second validation.
    """

    method: Literal["train_test_split"]
    held_out: ImagesOrFraction
    random_state: NonNegativeInt


Split = Annotated[LastSplit | StratifiedSplit | RandomSplit, Field(discriminator="method")]


class Augmentation(ClosedModel):
    """Random changes to each training image, drawn anew in every epoch.

    First whole pixels are moved or blanked: `mirror`, then `crop`, then `cutout`. Then one affine
    map is applied, which interpolates pixels and repeats the image's edges.
    """

    mirror: Literal["random", "alternating"] | None = None
    """Exchange left and right. `random`: of each image by chance in each epoch. `alternating`: by
    chance in the first epoch, then the other way round from epoch to epoch (Jordan 2024,
    arXiv:2404.00498).
    """
    crop: NonNegativeInt = 0
    """Add so many pixels of 0 on each side, then cut a part of the image's size out of it anywhere
    (He et al. 2016, arXiv:1512.03385, section 4.2, with 4 pixels).
    """
    cutout: NonNegativeInt = 0
    """Set a square of this side, in pixels, to 0; its centre is any pixel of the image, so that
    parts of it may lie outside (DeVries and Taylor 2017, arXiv:1708.04552).
    """
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    """Up to this many degrees either way."""
    shift: Share = 0.0
    """Up to this fraction of the height and of the width, either way."""
    shear: Annotated[float, Ge(0), Lt(90)] = 0.0
    """Up to this many degrees either way."""
    zoom: Share = 0.0
    """Up to this fraction in or out, of the height and of the width."""


class Steps(ClosedModel):
    """A learning rate that is multiplied by `factor` at the end of each epoch in `after`."""

    after: Annotated[list[PositiveInt], Field(min_length=1)]
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1


class Schedule(ClosedModel):
    """A learning rate that changes with every batch.

    It rises in a straight line during `warm_up` (Goyal et al. 2017, arXiv:1706.02677, section 2.2)
    to `peak`. Then it falls to 0 after the last batch, in a straight line or along half a cosine
    (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts), or in steps, or stays.
    """

    peak: PositiveFloat
    warm_up: NonNegativeFloat = 0.0
    """Epochs."""
    decay: Literal["linear", "cosine"] | Steps | None = None


SplitName = Literal["train", "val", "test"]


class Recipe(ClosedModel):
    """All that determines a training besides the model's own factors."""

    model: str = "conv_net"
    split: Split
    train_images: PositiveInt | None = None
    """Use only the first so many training images, before the split."""
    train_on: Literal["train", "train+val"] = "train"
    """`train+val` adds the validation images to the training images (no validation remains)."""
    pixels: Literal["raw", "unit"]
    """`raw` leaves pixels at 0..maximum, `unit` divides them by the maximum."""
    augmentation: Augmentation | None = None
    optimizer: Literal["sgd", "adam", "adamw"]
    """`adamw` has weight decay of its own (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    momentum: Share = 0.0
    """Of `sgd`."""
    nesterov: bool = False
    """Nesterov's momentum (Sutskever et al. 2013, ICML, section 2), with `momentum`."""
    weight_decay: NonNegativeFloat = 0.0
    """Of `adamw`: each batch takes this share times the learning rate off the kernels (biases and
    normalisation are free).
    """
    learning_rate: PositiveFloat | Schedule
    batch_size: PositiveInt
    epochs: PositiveInt
    label_smoothing: Share = 0.0
    """Train towards labels of which this share is spread evenly over all classes (Szegedy et al.
    2016, arXiv:1512.00567, section 7).
    """
    class_weights: Literal["balanced"] | None = None
    """`balanced` weights the loss of each training image by images / (classes * images of its
    class), as scikit-learn does (King and Zeng 2001, Political Analysis 9).
    """
    weight_average: Annotated[float, Ge(0), Le(0.99999)] = 0.0
    """Evaluate an exponential moving average of the trained weights, which keeps this share of
    itself with every batch (Polyak and Juditsky 1992; Tarvainen and Valpola 2017,
    arXiv:1703.01780). The statistics of batch normalisation are averages of their own.
    """
    evaluate_each_epoch: Annotated[list[SplitName], AfterValidator(_distinct)] = ["val"]
    """Splits evaluated after every epoch; all of them are evaluated after the last."""
    evaluate_mirrored: bool = False
    """Evaluate with the mean of the logits of an image and of its mirror image (Jordan 2024,
    arXiv:2404.00498).
    """
    record_iterations: bool = False
    """Keep accuracy and loss of every batch."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """`float32` ends in the same bytes on every x86-64 processor with AVX-512. `mixed_bfloat16`
    does so only where processors have the same instructions for bfloat16 (AVX512-BF16, AMX).
    """
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_distinct)]

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for key, value in self.model_dump().items():
            numbers, largest = [*_numbers(value)], LARGEST_OF.get(key, LARGEST)
            if len(numbers) > ENTRIES or max(numbers, default=0) > largest:
                raise ValueError(
                    f"{key} is {shortly(value)}, but it may have {ENTRIES:,} numbers at most, and "
                    f"none above {largest:,}"
                )
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(
                f"momentum is of the optimizer sgd, not of {self.optimizer}; set it to 0"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum greater than 0")
        if bool(self.weight_decay) != (self.optimizer == "adamw"):
            raise ValueError(
                "weight_decay is of the optimizer adamw, which needs one greater than 0; "
                "any other needs it to be 0"
            )
        if self.augmentation and not any(self.augmentation.model_dump().values()):
            raise ValueError("augmentation changes nothing; name a change in it, or write null")
        rate = self.learning_rate
        if self.weight_decay * (rate.peak if isinstance(rate, Schedule) else rate) >= 1:
            raise ValueError("weight_decay times learning_rate must be less than 1")
        if isinstance(rate, Schedule):
            _check_schedule(rate, self.epochs)
        return self


def _check_schedule(schedule: Schedule, epochs: int) -> None:
    if schedule.warm_up > epochs - 1:
        raise ValueError(
            f"learning_rate.warm_up takes {schedule.warm_up:g} epochs, but of {epochs} "
            "it must leave one; make it shorter, or train for more epochs"
        )
    if isinstance(schedule.decay, Steps):
        after = schedule.decay.after
        if after != sorted(set(after)) or not schedule.warm_up <= after[0] <= after[-1] < epochs:
            raise ValueError(
                f"learning_rate.decay.after is {after}, but must name epochs in ascending order, "
                f"after the warm-up and before the last of {epochs}"
            )


class Variant(Recipe):
    """A variant with everything written out: the injected parameter of its notebooks."""

    name: str
    protocol: str
    """The name of the protocol and so of the group."""
    dataset: str
    factors: dict[str, Any]
    """The keyword arguments of the model."""
    differences: list[str]
    """The keys, factors among them, that the variant sets otherwise than its protocol."""

    @property
    def group(self) -> str:
        return self.protocol

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines a training, by key, factors among them: what people read.

        A mapping has only the keys that are not at their default.
        """
        values = {key: getattr(self, key) for key in Recipe.model_fields}
        return {
            key: value.model_dump(exclude_defaults=True) if isinstance(value, BaseModel) else value
            for key, value in values.items()
        } | self.factors


class _Entry(BaseModel):
    """What a variant writes besides the keys in which it differs from its protocol."""

    model_config = ConfigDict(extra="allow", strict=True)
    protocol: str
    dataset: str


def resolve_protocol(name: str, values: Any) -> dict[str, Any]:
    """The protocol's keys with the defaults filled in. Raises ProjectError."""
    return _resolve(values, f"protocols.{name}")


def resolve_variant(name: str, values: Any, protocols: Mapping[str, Any]) -> Variant:
    """The variant `name` of params.yaml, written out.

    `protocols` is that section of params.yaml. Raises ProjectError.
    """
    location = f"variants.{name}"
    entry = validated(_Entry.model_validate, values, location)
    own = entry.model_extra or {}
    if entry.protocol not in protocols:
        hint = nearest(entry.protocol, protocols)
        raise ProjectError(
            f"params.yaml: {location}.protocol: there is no protocol '{entry.protocol}'{hint}"
        )
    shared = protocols[entry.protocol]
    base = resolve_protocol(entry.protocol, shared)
    if own.get("model", base["model"]) != base["model"]:
        # The protocol's factors are of another model.
        shared, base = (
            {key: value for key, value in values.items() if key in Recipe.model_fields}
            for values in (shared, base)
        )
    resolved = _resolve({**shared, **own}, location)
    if resolved["train_on"] == "train+val" and "val" in own.get("evaluate_each_epoch", []):
        raise ProjectError(
            f"params.yaml: {location}.evaluate_each_epoch names val, but with train_on train+val "
            "no validation images remain"
        )
    factors = {key: resolved.pop(key) for key in factor_types(resolved["model"])}
    return Variant(
        name=name,
        protocol=entry.protocol,
        dataset=entry.dataset,
        factors=factors,
        differences=[
            key for key in own if key != "seeds" and {**resolved, **factors}[key] != base.get(key)
        ],
        **resolved,
    )


def _resolve(values: Any, location: str) -> dict[str, Any]:
    model = values.get("model", "conv_net") if isinstance(values, Mapping) else "conv_net"
    if model not in (known := model_names()):
        hint = nearest(str(model), known)
        raise ProjectError(f"params.yaml: {location}.model: there is no {model!r}{hint}")
    return validated(_schema(model).model_validate, values, location).model_dump()


@cache
def _schema(model: str) -> type[Recipe]:
    """What a protocol or variant may write: a recipe and the factors of its model."""
    factors: dict[str, Any] = factor_types(model)
    taken = sorted(set(factors) & set(Variant.model_fields))
    if taken:
        raise ProjectError(
            f"models/{model}.py: a factor cannot be called '{taken[0]}': every variant has that key"
        )
    return create_model("Recipe", __base__=Recipe, **factors)
