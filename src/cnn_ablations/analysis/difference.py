"""Is this branch better? The results of two states of the project, from what git holds of them.

A variant that both have is judged as a claim is: its test accuracy now against that of before,
corrected for all variants whose answers differ. Nobody said beforehand which way they would, so the
tests are two-sided.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cnn_ablations.analysis import claims
from cnn_ablations.analysis.evidence import Evidence
from cnn_ablations.analysis.results import VariantResult, load_result
from cnn_ablations.analysis.wording import measure, number
from cnn_ablations.config.labels import as_text
from cnn_ablations.config.new_study import MARGIN
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.config.studies import Claim, Study, Test
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths
from cnn_ablations.revision import extract

MOST_NAMES = 12
"""Of variants in one line."""
WORKING_TREE = "working tree"
WORSE, BETTER, NOT_COMPARABLE = "worse", "better", "not comparable"
IN_SHORT = (SAME_ANSWERS, SAME_BYTES) = "same answers", "same bytes"
VERDICTS = (WORSE, BETTER, claims.UNDECIDED, claims.NO_DIFFERENCE, NOT_COMPARABLE, *IN_SHORT)
_TEST = Test(quantity="test_accuracy", of=["now"], than=["before"])
_CLAIM = Claim(statement="It is better now.", tests=[_TEST])
_KINDS = [Paths.metrics, Paths.details, Paths.curves, Paths.weights, Paths.features]

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
        """A line for each variant whose answers differ, and one for all of each other kind."""
        by_verdict = {v: [c for c in self.variants if c.verdict.startswith(v)] for v in VERDICTS}
        counts = [f"{len(changes)} {v}" for v, changes in by_verdict.items() if changes]
        listed = {v.capitalize(): [*map(_in_short, by_verdict[v])] for v in IN_SHORT}
        listed |= {f"Only in {self.before}": self.only_before, f"Only in {self.now}": self.only_now}
        texts = {title: _some(names) for title, names in listed.items()}
        parts = [
            f"## {self.before} → {self.now}: {', '.join(counts) or 'nothing to compare'}",
            "\n".join(_line(c) for c in self.variants if c.verdict not in IN_SHORT),
            *(f"{title}: {names}." for title, names in texts.items() if names),
            self.remark,
        ]
        return "\n\n".join(filter(None, parts))


@dataclass(frozen=True)
class _Side:
    name: str
    paths: Paths

    def params(self) -> Params:
        try:
            return load_params(self.paths.params)
        except ProjectError as error:
            raise self._at(error) from None

    def groups(self) -> dict[str, str]:
        """The group of each variant that has results."""
        every = self.paths.predictions("*", "*").relative_to(self.paths.root)
        return {file.stem: file.parent.name for file in self.paths.root.glob(every.as_posix())}

    def result(self, group: str, variant: str) -> VariantResult:
        try:
            return load_result(self.paths, group, variant)
        except ProjectError as error:
            raise self._at(error) from None

    def _at(self, error: ProjectError) -> ProjectError:
        """What is wrong where, but not in which temporary folder, nor how to train it again."""
        what = str(error).replace(f"{self.paths.root}/", "").partition("; run ")[0]
        return ProjectError(f"{self.name}: {what}")


def compare(here: Paths, before: str, now: str | None) -> Difference:
    """Compare the results in two commits or, where `now` is None, in a commit and the files `here`.

    Raises ProjectError where git has no such commit, or the later params.yaml cannot be read.
    """
    files = [kind(Paths(Path()), "group", "name") for kind in (Paths.predictions, *_KINDS)]
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
    params, earlier, remark = now.params(), None, ""
    try:
        earlier = before.params()
    except ProjectError as error:
        remark = f"Which parameters changed cannot be said: {str(error).splitlines()[0]}."
    old, new = before.groups(), now.groups()
    parameters = {name: _changed(earlier, params, name) for name in sorted({*old} & {*new})}
    changes, asked = list[Change](), list[tuple[Evidence, str, Claim]]()
    for name, changed in parameters.items():
        files = [s.paths.predictions(of[name], name) for s, of in ((before, old), (now, new))]
        try:
            if files[0].read_bytes() == files[1].read_bytes():
                why = "not trained anew" if changed else ""
                changes.append(Change(name, SAME_BYTES, changed, why))
                continue
            results = {"before": before.result(old[name], name), "now": now.result(new[name], name)}
            if _same_answers(**results):
                changes.append(Change(name, SAME_ANSWERS, changed))
                continue
        except (OSError, ProjectError) as error:
            changes.append(Change(name, NOT_COMPARABLE, changed, f"{error}."))
            continue
        margins = [study.margin for study in params.studies.values() if name in study.variants]
        study = Study(
            title=name,
            group=new[name],
            question=_CLAIM.statement,
            variants={"before": before.name, "now": now.name},
            margin=min(margins, default=MARGIN),
        )
        asked.append((Evidence(study, results), name, _CLAIM))
    changes += [_judged(found, parameters[found.name]) for found in claims.decide(asked, sides=2)]
    changes.sort(key=lambda c: [c.verdict.startswith(v) for v in VERDICTS], reverse=True)
    only_before, only_now = sorted({*old} - {*new}), sorted({*new} - {*old})
    return Difference(before.name, now.name, changes, only_before, only_now, remark)


def _changed(before: Params | None, now: Params, name: str) -> Parameters:
    variants = [side.variants.get(name) for side in (before, now) if side]
    settings = [{"dataset": v.dataset, **v.settings} for v in variants if v]
    if len(settings) < 2:
        return {}
    old, new = settings
    return {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}


def _same_answers(before: VariantResult, now: VariantResult) -> bool:
    """Whether the same seeds gave the same answers.

    Raises ProjectError where they were asked about other images: those with other labels.
    """
    if not np.array_equal(before.labels["test"], now.labels["test"]):
        raise ProjectError("It was tested on other images: its data set or its split changed")
    same_seeds = np.array_equal(before.seeds, now.seeds)
    return same_seeds and np.array_equal(before.predicted["test"], now.predicted["test"])


def _judged(result: claims.ClaimResult, parameters: Parameters) -> Change:
    verdict = result.verdict.replace(claims.SUPPORTED, BETTER).replace(claims.CONTRADICTED, WORSE)
    (found,) = result.judgements
    interval = found.interval and (max(found.interval[0], -1.0), min(found.interval[1], 1.0))
    numbers = (found.value, interval, result.p, found.paired)
    return Change(result.name, verdict, parameters, result.sentence, *numbers)


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join([*names[:MOST_NAMES], *([f"and {more} more"] if more > 0 else [])])


def _line(change: Change) -> str:
    ends = " to ".join(number(end, "points") for end in change.interval or ())
    size = "" if change.difference is None else measure(change.difference, "points")
    numbers = f"{size}{ends and f' ({ends})'}"
    parts = [f"**{change.verdict}** `{change.variant}`", numbers, _in_words(change.parameters)]
    return f"- {', '.join(filter(None, parts))}. {change.sentence}"


def _in_short(change: Change) -> str:
    what = ": ".join(filter(None, [_in_words(change.parameters), change.sentence]))
    return f"{change.variant}{what and f' ({what})'}"


def _in_words(parameters: Parameters) -> str:
    texts = {key: f"{as_text(old)} → {as_text(new)}" for key, (old, new) in parameters.items()}
    return ", ".join(f"`{key}: {text}`" for key, text in texts.items())
