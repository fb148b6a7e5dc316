"""The `studies` section of params.yaml: questions, published figures and claims."""

from collections.abc import Iterator
from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt
from pydantic import Field, NonNegativeFloat, model_validator

from cnn_ablations.config.base import ClosedModel

Metric = Literal["val_accuracy", "test_accuracy"]
"""Accuracies of single images that git holds (predicted and true labels)."""

Variants = Annotated[list[str], Field(min_length=1)]

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


class Similar(ClosedModel):
    """The two accuracies surely differ by less than the study's margin."""

    kind: Literal["similar"]
    metric: Metric
    variants: Variants
    than: Variants


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


class CostsMore(ClosedModel):
    """`variants` need more arithmetic (FLOPs an image) than `than`."""

    kind: Literal["costs_more"]
    variants: Variants
    than: Variants


Test = Annotated[
    Higher | NotHigher | Similar | Overfits | NarrowerGap | Reaches | CostsMore,
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


PublishedMetric = Literal[
    "train_accuracy",
    "train_loss",
    "running_train_accuracy",
    "running_train_loss",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
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
    margin: Annotated[float, Gt(0), Lt(1)]
    """The difference of accuracies below which two results count as similar."""
    published: dict[str, dict[PublishedMetric, NonNegativeFloat]] = {}
    """The figures that the source printed, by variant. `running_train_*` are Keras's averages
    over the last epoch while it trained; all others were evaluated after training."""
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
    for variant in study.published:
        yield "published", variant
    for name, claim in study.claims.items():
        for test in claim.tests:
            for variant in [*test.variants, *getattr(test, "than", [])]:
                yield f"claims.{name}", variant
