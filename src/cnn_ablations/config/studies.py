"""A study, studies/NAME.yaml: a question, published figures and claims."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

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

Accuracy = Literal[
    "train_accuracy",
    "running_train_accuracy",
    "val_accuracy",
    "test_accuracy",
    "test_balanced_accuracy",
]
"""Of validation and test images, git holds single answers, so that their scatter counts, too; of
training images it holds one number a seed. `running_*` is Keras's average over the last epoch
while it trained, the others are evaluated after training. The balanced accuracy is the mean of the
recalls of all classes."""
Loss = Literal["running_train_loss", "val_loss", "test_loss"]
Cost = Literal["parameters", "flops", "training_flops"]
"""Arithmetic is counted in floating-point operations: for one image, or for all images of all
epochs. Minutes depend on the machine, and no claim is tested with them."""
Quantity = Literal[Accuracy, Loss, "gap", "near_zero", "tail", "detail", "layer_share", Cost]
"""What is compared; ratios are compared as such.

- an accuracy or loss: after training, or with `epoch` after that one, or with `after` its change
  from that epoch to the end as a share of its range over all epochs;
- `gap`: the training accuracy less the test accuracy of the same network;
- `near_zero`: the share of weights smaller than 0.01 in size;
- `tail`: by what factor the distances of the 1 % and the 99 % quantile of a layer's weights from
  their median are off those of a normal distribution with the same quartiles, in the worst of
  `layers`;
- `detail`: of the feature maps of each convolution (or of each of `layers`) compared with those of
  the one before (see `feature_summary` in `cnn_ablations.training.summary`), the greatest ratio;
- `layer_share`: the share of all parameters that `layers` hold;
- a cost, of which a ratio is taken."""
ACCURACIES, LOSSES, COSTS = get_args(Accuracy), get_args(Loss), get_args(Cost)
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
    within: Threshold = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Test":
        by_epoch = self.epoch is not None or self.after is not None
        to_others = isinstance(self.than, list) or self.along is not None
        alone = self.quantity in ("tail", "detail", "layer_share") or self.after is not None
        wanted = [x for x in (self.above, self.below, self.within) if x is not None]
        is_ratio = self.quantity in RATIOS
        of_accuracies = self.quantity in (*ACCURACIES, "gap") and self.after is None
        mistakes = {
            "needs either 'of' or 'along'": bool(self.of) == bool(self.along),
            "has 'along', which compares its variants with each other: no 'than' or 'over'": (
                self.along and (self.than is not None or self.over)
            ),
            "can have only one of 'above', 'below' and 'within'": len(wanted) > 1,
            "can have only one of 'epoch' and 'after'": self.epoch and self.after,
            f"has an epoch, but {self.quantity} is known after training only": (
                by_epoch and self.quantity not in (*ACCURACIES, *LOSSES)
            ),
            "needs 'layers' where it is about tail or layer_share, and only there": (
                bool(self.layers) != (self.quantity in ("tail", "layer_share"))
                and self.quantity != "detail"
            ),
            "compares the detail of one layer with that of another, so that 'layers' has two or "
            "more": self.quantity == "detail" and len(self.layers) == 1,
            f"is about {self.quantity}{' after an epoch' * by_epoch}, which is compared with a "
            "value by 'above', 'below' or 'within', not with 'than' or 'along'": (
                alone and (to_others or self.than is not None)
            ),
            f"is about {self.quantity}, which needs variants to be compared with: 'than'": (
                self.quantity in ("near_zero", *COSTS) and not to_others
            ),
            "needs something to be compared with: 'than', 'above', 'below' or 'within'": (
                self.than is None
                and not (to_others or wanted or self.quantity == "gap" or self.after)
            ),
            "has 'than_quantity', which is for accuracies of the variants under 'than'": (
                self.than_quantity
                and not (self.quantity in ACCURACIES and isinstance(self.than, list))
            ),
            "has 'over', but only near_zero can be compared so": (
                self.over and self.quantity != "near_zero"
            ),
            "compares a ratio, which is always above 0, with a number that is not": (
                is_ratio and any(isinstance(x, float | int) and x <= 0 for x in wanted)
            ),
            "has a 'within' that is not above 0, or of a ratio not above 1": (
                isinstance(self.within, float | int) and self.within <= (1 if is_ratio else 0)
            ),
            f"has a 'margin', which is one of accuracies, not of {self.quantity}": (
                "margin" in wanted and not of_accuracies
            ),
        }
        for mistake, made in mistakes.items():
            if made:
                raise ValueError(mistake)
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
        return [
            self.model_copy(update={"along": None, "of": [of], "than": [than]})
            for of, than in pairs
        ]


class Claim(ClosedModel):
    """A statement about variants, and the tests that decide it: all of them must hold.

    `{variant}` in it stands for the variant's label, `{variant.key}` for the value of its key.
    """

    statement: str
    tests: Annotated[list[Test], Field(min_length=1)]
    remark: str = ""
    """How the statement was read, where its words leave a choice."""
    source: str = ""
    """Who says it, where that is not the study's source."""


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
    published: dict[str, dict[str, NonNegativeFloat]] = {}
    """The figures that the source printed, by variant. `running_train_*` are Keras's averages
    over the last epoch while it trained; all others were evaluated after training,
    `train_val_accuracy` on training and validation images together. `majority_*` is what always
    answering with the most common class gives."""
    published_minutes: dict[str, PositiveFloat] = {}
    """What one training took where the source ran it, by variant. Shown beside what ours took, in
    reports/timings; no claim is tested with minutes, which depend on the machine."""
    explanations: dict[str, Variants] = {}
    """By a published variant, the variants that test why ours differs from it: each is held against
    what was published of that one."""
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
    for variants in study.explanations.values():
        for variant in variants:
            yield "explanations", variant
    for name, claim in study.claims.items():
        for test in claim.tests:
            for variant in test.variants:
                yield f"claims.{name}", variant
