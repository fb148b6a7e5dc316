"""A study, studies/NAME.yaml: a question, published figures and claims."""

from collections.abc import Iterator
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from cnn_ablations.config.base import ClosedModel

Metric = Literal["val_accuracy", "test_accuracy", "train_accuracy", "running_train_accuracy"]
"""Of validation and test images, git holds single answers, so that examples are resampled, too;
of training images it holds one number a seed. `running_*` is Keras's average over the last epoch
while it trained, the others are evaluated after training."""

EvaluatedMetric = Literal["val_accuracy", "test_accuracy"]

CurveMetric = Literal[
    "running_train_accuracy",
    "running_train_loss",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "test_loss",
]
"""After each epoch; of validation and test only where `evaluate_each_epoch` names them."""

Measure = Literal["flops", "parameters", "training_flops"]

Variants = Annotated[list[str], Field(min_length=1)]

Pair = Annotated[list[str], Len(2, 2)]
"""A regularised variant and its plain counterpart."""

Fraction = Annotated[float, Gt(0), Le(1)]


class Higher(ClosedModel):
    """The accuracy of `variants` (their mean, where several) is above that of `than`."""

    kind: Literal["higher"]
    metric: Metric
    variants: Variants
    than: Variants


class NotHigher(ClosedModel):
    """The accuracy of `variants` is surely not above that of `than` by the study's margin."""

    kind: Literal["not_higher"]
    metric: Metric
    variants: Variants
    than: Variants
    than_metric: Metric | None = None
    """Where `than` is measured otherwise: a variant's training accuracy against its own
    validation accuracy, say."""


class Similar(ClosedModel):
    """The two accuracies surely differ by less than the study's margin."""

    kind: Literal["similar"]
    metric: Metric
    variants: Variants
    than: Variants
    than_metric: Metric | None = None


class Overfits(ClosedModel):
    """Training accuracy is above validation accuracy by more than the study's margin."""

    kind: Literal["overfits"]
    variants: Variants


class NarrowerGap(ClosedModel):
    """The gap between training and validation accuracy is narrower than that of `than`."""

    kind: Literal["narrower_gap"]
    variants: Variants
    than: Variants


class Reaches(ClosedModel):
    """The accuracy is not below `value` by more than the study's margin."""

    kind: Literal["reaches"]
    metric: Metric
    variants: Variants
    value: Fraction


class Near(ClosedModel):
    """The accuracy is surely less than `within` away from `value`."""

    kind: Literal["near"]
    metric: Metric
    variants: Variants
    value: Fraction
    within: Fraction


class BeatsMajority(ClosedModel):
    """The accuracy is above `times` the share of the most common class."""

    kind: Literal["beats_majority"]
    metric: EvaluatedMetric
    variants: Variants
    times: Annotated[float, Ge(1)]


class CostsMore(ClosedModel):
    """`variants` have more of `measure` than `than`: operations for one image (`flops`) or for all
    images of all epochs (`training_flops`), or `parameters`.
    """

    kind: Literal["costs_more"]
    measure: Measure = "flops"
    variants: Variants
    than: Variants
    at_least: Annotated[float, Gt(1)] | None = None
    """How many times as much it is to be, where a claim says “much more”."""
    at_most: Annotated[float, Gt(1)] | None = None
    """How many times as much it may be, where a claim says “slightly more”."""


class LargestLayer(ClosedModel):
    """`layer` holds more weights and biases than any other layer of `variants`."""

    kind: Literal["largest_layer"]
    variants: Variants
    layer: str


class Settles(ClosedModel):
    """After `epoch` the curve surely moves, either way, by less than a tenth of its range."""

    kind: Literal["settles"]
    metric: CurveMetric
    variants: Variants
    epoch: PositiveInt


class FallsOn(ClosedModel):
    """The loss is lower after the last epoch than after `epoch`."""

    kind: Literal["falls_on"]
    metric: Literal["running_train_loss", "val_loss", "test_loss"]
    variants: Variants
    epoch: PositiveInt


class Ahead(ClosedModel):
    """After `epoch`, the accuracy of `variants` is above that of `than`: they learn faster."""

    kind: Literal["ahead"]
    metric: Literal["running_train_accuracy", "val_accuracy", "test_accuracy"]
    variants: Variants
    than: Variants
    epoch: PositiveInt


class LooksNormal(ClosedModel):
    """The weights of each of `layers` have the tails of a normal distribution: the distances from
    the median to the 1 % and 99 % quantiles are within a factor of 1.25 of what they would be.
    """

    kind: Literal["looks_normal"]
    variants: Variants
    layers: Variants


class Concentrates(ClosedModel):
    """A larger share of the weights of `variants` than of `than` is smaller than 0.01 in size."""

    kind: Literal["concentrates"]
    variants: Variants
    than: Variants


class ConcentratesMore(ClosedModel):
    """That share grows more between the pair `variants` than between the pair `than`."""

    kind: Literal["concentrates_more"]
    variants: Pair
    than: Pair


class LessDetail(ClosedModel):
    """Feature maps have less detail from each convolution to the next (see `feature_summary` in
    `cnn_ablations.training.summary`).
    """

    kind: Literal["less_detail"]
    variants: Variants


Test = Annotated[
    Higher
    | NotHigher
    | Similar
    | Overfits
    | NarrowerGap
    | Reaches
    | Near
    | BeatsMajority
    | CostsMore
    | LargestLayer
    | Settles
    | FallsOn
    | Ahead
    | LooksNormal
    | Concentrates
    | ConcentratesMore
    | LessDetail,
    Field(discriminator="kind"),
]


class Claim(ClosedModel):
    """A statement of a report, and the tests that decide it.

    It is supported if all its tests are, contradicted if one of them is.
    """

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


class Study(ClosedModel):
    """A question about the variants of one group. Accuracies are fractions, losses are in nats."""

    title: str
    group: str
    question: str
    source: str = ""
    """Whose experiment this is, such as "report R2"; empty: this project's own."""
    choices: list[str] = []
    """What the source leaves open and this project decided: shown to the reader."""
    variants: Annotated[dict[str, str], Field(min_length=1)]
    """The variants in the order of the tables, and the label of each."""
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
            for variant in [*test.variants, *getattr(test, "than", [])]:
                yield f"claims.{name}", variant
