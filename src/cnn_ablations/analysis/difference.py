"""Is this branch better? The results of two states of the project, from what git holds of them.

A variant that both have is judged as a claim is: its test accuracy now (the balanced one, where
plain accuracy misleads) against that of before, corrected for all variants whose answers differ.
Nobody said beforehand which way they would, so the tests are two-sided.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cnn_ablations.analysis import claims
from cnn_ablations.analysis.evidence import Evidence, main_accuracy
from cnn_ablations.analysis.results import VariantResult, load_result
from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.config.labels import as_text
from cnn_ablations.config.new_study import MARGIN
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.config.studies import Claim, Study, Test
from cnn_ablations.config.variants import Variant
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.revision import extract

WORKING_TREE = "working tree"
WORSE, BETTER, NOT_COMPARABLE, SAME = "worse", "better", "not comparable", "same answers"
VERDICTS = (WORSE, BETTER, claims.UNDECIDED, claims.NO_DIFFERENCE, NOT_COMPARABLE, SAME)
KINDS = (
    *(Paths.predictions, Paths.metrics, Paths.details),
    *(Paths.curves, Paths.weights, Paths.features, Paths.timings),
)
T = TypeVar("T")
Parameters = dict[str, tuple[Any, Any]]
"""The values before and now of the keys that changed; None where a key is not there."""


@dataclass(frozen=True)
class Change:
    """One variant that both sides have results of."""

    variant: str
    verdict: str
    """One of `VERDICTS`; followed by " on this seed" where a side has but one."""
    parameters: Parameters
    sentence: str = ""
    """How its test accuracy differs and how sure that is, or why that cannot be said."""
    difference: float | None = None
    """Of mean test accuracies, a fraction; None where they are not compared, like those below."""
    interval: tuple[float, float] | None = None
    """Of the difference: 95 % for all variants together. None where a single seed leaves none."""
    p: float | None = None
    """Of the verdict, two-sided and corrected; None where it is undecided."""
    paired: bool = False
    """Whether it was compared within seeds."""

    def line(self) -> str:
        """What is said of it, in a list."""
        changed = (f"{k}: {as_text(a)} → {as_text(b)}" for k, (a, b) in self.parameters.items())
        keys = ", ".join(f"`{text}`" for text in changed)
        return f"- **{self.verdict}** `{self.variant}`{keys and f' ({keys})'}: {self.sentence}"


@dataclass(frozen=True)
class Difference:
    """Two states of the project, compared."""

    before: str
    now: str
    variants: list[Change]
    """In the order of `VERDICTS`."""
    only_before: list[str]
    """Variants that only this side has results of."""
    only_now: list[str]
    remark: str
    """What else could not be compared."""

    def json(self) -> str:
        return TypeAdapter(Difference).dump_json(self, indent=2).decode()

    def markdown(self) -> str:
        """A line for each variant, but for those of which nothing changed."""
        verdicts = Counter(change.verdict for change in self.variants)
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        only = {self.before: self.only_before, self.now: self.only_now}
        parts = [
            f"## {self.before} → {self.now}: {counts or 'nothing to compare'}",
            "\n".join(c.line() for c in self.variants if c.verdict != SAME or c.parameters),
            *(f"Only in {side}: {', '.join(names)}." for side, names in only.items() if names),
            self.remark,
        ]
        return "\n\n".join(filter(None, parts))


@dataclass(frozen=True)
class _Side:
    name: str
    paths: Paths

    def groups(self) -> dict[str, str]:
        """The group of each variant that has results."""
        every = self.paths.predictions("*", "*").relative_to(self.paths.root)
        return {file.stem: file.parent.name for file in self.paths.root.glob(every.as_posix())}

    def read(self, load: Callable[..., T], *arguments: Any) -> T:
        """What `load` reads. An error says what is wrong on this side, but not in which temporary
        folder, nor how to train it again.
        """
        try:
            return load(*arguments)
        except ProjectError as error:
            what = str(error).replace(f"{self.paths.root}/", "").partition("; run ")[0]
            raise ProjectError(f"{self.name}: {what}") from None


def compare(here: Paths, before: str, now: str | None) -> Difference:
    """Compare the results in two commits or, where `now` is None, in a commit and the files `here`.

    Raises ProjectError where git has no such commit, or the later params.yaml cannot be read.
    """
    files = [kind(Paths(Path()), "group", "name") for kind in KINDS]
    wanted = ["params.yaml", "studies", *(file.parents[1].as_posix() for file in files)]
    with TemporaryDirectory() as folder:
        old = _Side(before, Paths(Path(folder, "before")))
        extract(here.root, before, wanted, old.paths.root)
        if now is None:
            return _compare(old, _Side(WORKING_TREE, here))
        new = _Side(now, Paths(Path(folder, "now")))
        extract(here.root, now, wanted, new.paths.root)
        return _compare(old, new)


def _compare(before: _Side, now: _Side) -> Difference:
    params, earlier, remark = now.read(load_params, now.paths.params), None, ""
    try:
        earlier = before.read(load_params, before.paths.params)
    except ProjectError as error:
        remark = f"Which parameters changed cannot be said: {str(error).splitlines()[0]}."
    old, new = before.groups(), now.groups()
    parameters = {name: _changed(earlier, params, name) for name in sorted({*old} & {*new})}
    changes, asked = list[Change](), list[tuple[Evidence, str, Claim]]()
    for name, changed in parameters.items():
        if _trained_otherwise(now, new[name], params.variants.get(name)):
            sentence = f"Not trained since: `cnn-ablations repro train@{name}` does."
            changes.append(Change(name, NOT_COMPARABLE, changed, sentence))
            continue
        try:
            results = _results(before, now, old[name], new[name], name)
        except (OSError, ProjectError) as error:
            changes.append(Change(name, NOT_COMPARABLE, changed, f"{error}."))
            continue
        if not results:
            changes.append(Change(name, SAME, changed, f"It gives the {SAME}."))
            continue
        margins = [study.margin for study in params.studies.values() if name in study.variants]
        study = Study(
            title=name,
            group=new[name],
            question="Is it better now?",
            variants={"before": before.name, "now": now.name},
            margin=min(margins, default=MARGIN),
        )
        quantity = f"{main_accuracy(results.values())}_accuracy"
        test = Test.model_validate({"quantity": quantity, "of": "now", "than": ["before"]})
        claim = Claim(statement="It is better now.", tests=[test])
        asked.append((Evidence(study, results), name, claim))
    changes += [_judged(found, parameters[found.name]) for found in claims.decide(asked, sides=2)]
    changes.sort(key=lambda c: VERDICTS.index(c.verdict.removesuffix(claims.ON_THIS_SEED)))
    only_before, only_now = sorted({*old} - {*new}), sorted({*new} - {*old})
    return Difference(before.name, now.name, changes, only_before, only_now, remark)


def _trained_otherwise(side: _Side, group: str, variant: Variant | None) -> bool:
    """Whether the results of a variant are on record as those of other parameters than its own."""
    try:
        timings = variant and load_timings(side.paths.timings(group, variant.name))
        trained = timings and Variant.model_validate(timings.variant)
    except (ProjectError, ValidationError):  # of an older form
        return False
    return bool(variant and trained and _settings(trained) != _settings(variant))


def _settings(variant: Variant) -> dict[str, Any]:
    return {"dataset": variant.dataset, **variant.settings}


def _changed(before: Params | None, now: Params, name: str) -> Parameters:
    variants = [side.variants.get(name) for side in (before, now) if side]
    settings = [_settings(variant) for variant in variants if variant]
    if len(settings) < 2:
        return {}
    old, new = settings
    return {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}


def _results(
    before: _Side, now: _Side, old_group: str, new_group: str, name: str
) -> dict[str, VariantResult]:
    """The results of both sides; none where the same seeds gave the same answers.

    Raises ProjectError where they cannot be read, or are about other images: with other labels.
    """
    files = before.paths.predictions(old_group, name), now.paths.predictions(new_group, name)
    if files[0].read_bytes() == files[1].read_bytes():
        return {}
    old = before.read(load_result, before.paths, old_group, name)
    new = now.read(load_result, now.paths, new_group, name)
    if not np.array_equal(old.labels["test"], new.labels["test"]):
        raise ProjectError("It was tested on other images: its data set or its split changed")
    same_seeds = np.array_equal(old.seeds, new.seeds)
    if same_seeds and np.array_equal(old.predicted["test"], new.predicted["test"]):
        return {}
    return {"before": old, "now": new}


def _judged(result: claims.ClaimResult, parameters: Parameters) -> Change:
    verdict = result.verdict.replace(claims.SUPPORTED, BETTER).replace(claims.CONTRADICTED, WORSE)
    (found,) = result.judgements
    estimate = found.finding.estimate
    interval = found.interval and (max(found.interval[0], -1.0), min(found.interval[1], 1.0))
    numbers = (estimate.value, interval, result.p, estimate.paired)
    return Change(result.name, verdict, parameters, found.summary, *numbers)
