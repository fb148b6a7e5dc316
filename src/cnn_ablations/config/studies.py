"""A study, studies/NAME.yaml: a question, published figures and claims."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Gt, Len, Lt
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from cnn_ablations.config.base import ClosedModel

Accuracy = Literal["train_accuracy", "running_train_accuracy", "val_accuracy", "test_accuracy"]
"""Of validation and test images, git holds single answers, so that their scatter counts, too; of
training images it holds one number a seed. `running_*` is Keras's average over the last epoch
while it trained, the others are evaluated after training."""
Loss = Literal["running_train_loss", "val_loss", "test_loss"]
Cost = Literal["parameters", "flops", "training_flops"]
"""Arithmetic is counted in floating-point operations: for one image, or for all images of all
epochs. Minutes depend on the machine, and no claim is tested with them."""
Quantity = Accuracy | Loss | Literal["gap", "near_zero", "tail", "detail", "layer_share"] | Cost
"""What is compared; ratios are compared as such.

- an accuracy or loss: after training, or with `epoch` after that one, or with `after` its change
  from that epoch to the end as a share of its range over all epochs;
- `gap`: the training accuracy less the test accuracy of the same network;
- `near_zero`: the share of weights smaller than 0.01 in size;
- `tail`: by what factor the distances of the 1 % and the 99 % quantile of a layer's weights from
  their median are off those of a normal distribution with the same quartiles, in the worst of
  `layers`;
- `detail`: of the feature maps of each convolution compared with those of the one before (see
  `feature_summary` in `cnn_ablations.training.summary`), the greatest ratio;
- `layer_share`: the share of all parameters that `layers` hold;
- a cost, of which a ratio is taken."""
ACCURACIES, LOSSES, COSTS = Accuracy.__args__, Loss.__args__, Cost.__args__  # type: ignore[attr-defined]
RATIOS = ("tail", "detail", *COSTS)
"""Quantities that are compared by ratios, of which 1 means that nothing differs."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Variants = Annotated[list[str], Len(1), BeforeValidator(_listed)]
"""One variant, or several: then their mean."""
Threshold = float | Literal["margin"] | None


class Test(ClosedModel):
    """A quantity of some variants, compared with that of others or with a value.

    It is to be `above` or `below` (of a difference: by more than this much), or `within` (nearer
    than this, either way); `above: 0` where nothing is said, and of ratios `above: 1`. `margin`
    stands for the study's.
    """

    quantity: Quantity
    of: Variants = []
    than: Variants | float | None = None
    than_quantity: Accuracy | None = None
    """Where the others are measured otherwise: by their test accuracy, say."""
    over: Annotated[list[str], Len(2, 2)] | None = None
    """Plain counterparts of `of` and `than`: what is compared is by how much each is above its
    own."""
    along: Annotated[list[str], Len(2)] | None = None
    """Instead of `of` and `than`: each of these variants is compared with the one before."""
    layers: list[str] = []
    epoch: PositiveInt | None = None
    after: PositiveInt | None = None
    above: Threshold = None
    below: Threshold = None
    within: Annotated[float, Gt(0)] | Literal["margin"] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Test":
        if bool(self.of) == bool(self.along):
            raise ValueError("needs either 'of' or 'along'")
        if self.along and self.than is not None:
            raise ValueError("has 'along', which compares its variants with each other: no 'than'")
        if sum(x is not None for x in (self.above, self.below, self.within)) > 1:
            raise ValueError("can have only one of 'above', 'below' and 'within'")
        by_epoch = self.epoch is not None or self.after is not None
        if by_epoch and self.quantity not in (*ACCURACIES, *LOSSES):
            raise ValueError(f"has an epoch, but {self.quantity} is known after training only")
        if self.epoch is not None and self.after is not None:
            raise ValueError("can have only one of 'epoch' and 'after'")
        if bool(self.layers) != (self.quantity in ("tail", "layer_share")):
            raise ValueError("needs 'layers' where it is about tail or layer_share, and only there")
        if self.than_quantity and self.quantity not in ACCURACIES:
            raise ValueError("has 'than_quantity', but only accuracies can be compared so")
        if self.quantity in COSTS and not (self.along or isinstance(self.than, list)):
            raise ValueError("is about a cost, which needs variants to be compared with: 'than'")
        return self

    @property
    def variants(self) -> list[str]:
        """All that it names."""
        than = self.than if isinstance(self.than, list) else []
        return [*self.of, *than, *(self.over or []), *(self.along or [])]

    def steps(self) -> "list[Test]":
        """Itself, or for `along` a test for each step."""
        if self.along is None:
            return [self]
        pairs = zip(self.along[1:], self.along[:-1], strict=True)
        alone = {"along": None}
        return [self.model_copy(update=alone | {"of": [of], "than": [than]}) for of, than in pairs]


class Claim(ClosedModel):
    """A statement about variants, and the tests that decide it: all of them must hold."""

    statement: str
    tests: Annotated[list[Test], Field(min_length=1)]
    remark: str = ""
    """How the statement was read, where its words leave a choice."""
    source: str = ""
    """Who says it, where that is not the study's source."""


PublishedMetric = Literal[
    "train_accuracy",
    "train_loss",
    "running_train_accuracy",
    "running_train_loss",
    "train_val_accuracy",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "majority_train_val_accuracy",
    "majority_test_accuracy",
]


def _unlabelled(value: Any) -> Any:
    return dict.fromkeys(value) if isinstance(value, list) else value


class Study(ClosedModel):
    """A question about the variants of one group. Accuracies are fractions, losses are in nats."""

    title: str
    group: str
    question: str
    source: str = ""
    """Whose experiment this is, such as "report R2"; empty: this project's own."""
    choices: list[str] = []
    """What the source leaves open and this project decided: shown to the reader."""
    variants: Annotated[dict[str, str | None], Field(min_length=1), BeforeValidator(_unlabelled)]
    """The variants in the order of the tables, and the label of each; of a list, and where there
    is none, labels are made from what the variants change."""
    along: list[str] = []
    """Numeric keys, such as `train_images`, along which accuracy is drawn: the variants that set
    this key and no other, with those that set none."""
    margin: Annotated[float, Gt(0), Lt(1)]
    """The difference of accuracies below which two results count as similar."""
    published: dict[str, dict[PublishedMetric, NonNegativeFloat]] = {}
    """The figures that the source printed, by variant. `running_train_*` are Keras's averages
    over the last epoch while it trained; all others were evaluated after training,
    `train_val_accuracy` on training and validation images together. `majority_*` is what always
    answering with the most common class gives."""
    published_minutes: dict[str, PositiveFloat] = {}
    """What one training took where the source ran it, by variant. Shown beside what ours took, in
    reports/timings; no claim is tested with minutes, which depend on the machine."""
    reasons: list[str] = []
    """Why ours may differ from the published figures: shown where they do."""
    claims: dict[str, Claim] = {}

    @property
    def labels(self) -> dict[str, str]:
        """What the variants are called in tables and figures."""
        return {name: label or name for name, label in self.variants.items()}

    @model_validator(mode="after")
    def _accuracies_are_fractions(self) -> "Study":
        for variant, figures in self.published.items():
            for metric, value in figures.items():
                if metric.endswith("_accuracy") and value > 1:
                    raise ValueError(
                        f"has {metric} {value:g} for {variant} under 'published', but accuracies "
                        "are fractions between 0 and 1"
                    )
        return self


def study_variants(study: Study) -> Iterator[tuple[str, str]]:
    """Every mention of a variant in the study: the key where it stands, and its name."""
    for variant in study.variants:
        yield "variants", variant
    for key in ("published", "published_minutes"):
        for variant in getattr(study, key):
            yield key, variant
    for name, claim in study.claims.items():
        for test in claim.tests:
            for variant in test.variants:
                yield f"claims.{name}", variant
