"""What the notebook `inspect` says of a run: tables, sentences and the choice of examples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.analysis.results import VariantResult, balanced_accuracy
from cnn_ablations.analysis.run import Answers, Predictions, Run, accuracies
from cnn_ablations.config.datasets import accuracy_misleads
from cnn_ablations.training.record import SPLITS, number, origin, per_cent

Indices = NDArray[np.intp]
Counts = NDArray[np.int64]
FEW = 12
"""Of more classes neither a confusion matrix nor a table with a row for each can be read."""
WORST, BEST, MISTAKES = 10, 5, 15
"""Rows that stand for them."""


class Example(NamedTuple):
    """The first test image that is taken for a class, rightly or wrongly."""

    image: int
    """Its index."""
    taken_for: str
    right: bool


def headline(run: Run) -> str:
    """The result in a title and two paragraphs."""
    return (
        f"# {run.variant.name}: what it learned\n\n{describe(run.result)}\n\n"
        f"{origin(run.variant)} `train.ipynb` beside this notebook records how it was trained."
    )


def final_figures(result: VariantResult) -> pd.DataFrame:
    """Accuracies and losses after training, in words for people: one row per split, and before
    them the balanced accuracy where the plain one misleads.
    """
    names, rows = {**SPLITS, "test_balanced": "test, balanced"}, {}
    for split, of_seeds in accuracies(result).items():
        rows[names[split]] = {
            "median accuracy": per_cent(float(np.median(of_seeds))),
            "lowest seed": per_cent(float(of_seeds.min())),
            "highest seed": per_cent(float(of_seeds.max())),
            "median loss": number(result.metrics[f"{split}_loss"]) if split in SPLITS else "–",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def describe(result: VariantResult) -> str:
    """A paragraph for people: how good the variant is, and how far its seeds lie apart."""
    of_split = accuracies(result)
    test, seeds, labels = of_split[result.main_accuracy], result.seeds, result.labels["test"]
    misleading = result.main_accuracy == "test_balanced"
    images, median = f"{len(labels):,} test images", per_cent(float(np.median(test)))
    if len(seeds) == 1:
        first = "a balanced" if misleading else "an"
        sentences = [f"Trained once, it reaches {first} accuracy of **{median}** on {images}."]
    else:
        first = "a median balanced" if misleading else "a median"
        sentences = [
            f"Trained {len(seeds)} times, each from another seed, it reaches {first} accuracy of "
            f"**{median}** on {images}. Single seeds lie between {per_cent(float(test.min()))} and "
            f"{per_cent(float(test.max()))}."
        ]
    if misleading:
        of_class = np.unique(labels, return_counts=True)[1]
        sentences.append(
            "Balanced accuracy is the share of a class's images that it recognises, averaged over "
            "the classes: a rare class counts as much as a common one, and always giving the same "
            f"answer would reach {per_cent(1 / len(of_class))}. Plain accuracy, the share of all "
            f"images, is **{per_cent(float(np.median(of_split['test'])))}** and says little about "
            f"rare classes: a class has {of_class.min():,} to {of_class.max():,} test images."
        )
    collapsed = [str(k) for k, gone in zip(seeds, result.collapsed, strict=True) if gone]
    if collapsed:
        sentences.append(
            f"**{len(collapsed)} of {len(seeds)} collapsed** (seed {', '.join(collapsed)}): no "
            "better on the test images than the same answers given to them in random order."
        )
    split, other = ("val", "validation") if "val" in of_split else ("test", "test")
    gap = 100 * float(np.median(of_split["train"] - of_split[split]))
    median = ", in the median over seeds" if len(seeds) > 1 else ""
    sentences.append(
        f"Its accuracy on the images that it was trained on is {abs(gap):.2f} points "
        f"{'above' if gap >= 0 else 'below'} that on {other} images{median}. The network has "
        f"{result.metrics['parameters']:,} parameters and needs {result.metrics['flops']:,} "
        "floating-point operations for an image."
    )
    return " ".join(sentences)


def describe_network(run: Run, seed: int, answers: Answers) -> str:
    """A sentence or two on which network this is, and a warning where it computes no numbers."""
    row, main = run.variant.seeds.index(seed), run.result.main_accuracy
    accuracy = per_cent(float(run.result.per_seed(f"{main}_accuracy")[row]))
    kind = "balanced test" if main == "test_balanced" else "test"
    text = f"This is the network of **seed {seed}**, with a {kind} accuracy of {accuracy}."
    if answers.diverged:
        text += (
            " **It diverged**: some of its probabilities are not numbers, and such an image counts "
            f"as {run.arrays.classes[0]}. Areas that stay pale in what follows hold no numbers."
        )
    elif run.result.collapsed[row]:
        text += " **It collapsed**: what follows shows a network that learned next to nothing."
    return text


def describe_iterations(iterations: pd.DataFrame) -> str:
    """A heading and a paragraph on the batches of one training, which `read_iterations` gives."""
    losses = iterations.groupby("epoch")["loss"].median()
    return (
        "### Batch by batch\n\n"
        f"It learned from {len(iterations):,} batches, {iterations['iteration'].max():,} in each "
        f"of {len(losses)} epochs. A point is one batch, measured before the step that it causes, "
        "with dropout on; the line is a running median, and the upper axis counts epochs. In the "
        f"first epoch the median loss of a batch is {number(losses.iloc[0])}, in the last one "
        f"{number(losses.iloc[-1])}. How far the points scatter says how much one batch knows of "
        "the data set as a whole."
    )


def scores(predictions: Mapping[str, Predictions], classes: Sequence[str]) -> pd.DataFrame:
    """Accuracy and macro F1 of one network on each split, and what a constant answer would reach;
    where classes are unequal, also the balanced accuracy.

    `predictions` are those of `read_predictions`. With a validation split there is a row for all
    images that were there to train on, validation included. The baseline always names the class
    that is most common in the same images. A class that was never predicted has an F1 of 0;
    one that has no images either does not count.
    """
    rows = {SPLITS[split]: of_split for split, of_split in predictions.items()}
    if "val" in predictions:
        test = rows.pop("test")
        rows["training and validation"] = _joined(predictions["train"], predictions["val"])
        rows["test"] = test
    table = {name: _score(of_row, _breakable(classes)) for name, of_row in rows.items()}
    if accuracy_misleads(np.bincount(predictions["test"].labels)):
        for name, of_row in rows.items():
            balanced = per_cent(float(balanced_accuracy(of_row.labels, of_row.predicted)))
            table[name] = {"balanced accuracy": balanced, **table[name]}
    return pd.DataFrame.from_dict(table, orient="index")


def _joined(*parts: Predictions) -> Predictions:
    return Predictions(
        labels=np.concatenate([part.labels for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
    )


def _score(predictions: Predictions, classes: Sequence[str]) -> dict[str, str]:
    from sklearn.metrics import f1_score

    labels, predicted = predictions.labels, predictions.predicted
    counts = np.bincount(labels, minlength=len(classes))
    macro = f1_score(labels, predicted, average="macro", zero_division=0)
    return {
        "images": f"{len(labels):,}",
        "accuracy": per_cent(float((predicted == labels).mean())),
        "macro F1": per_cent(float(macro)),
        "majority baseline": per_cent(float(counts.max() / len(labels))),
        "most common class": "all equal" if np.ptp(counts) == 0 else classes[int(counts.argmax())],
    }


def class_report(predictions: Mapping[str, Predictions], classes: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of each class and their plain means, and the number of images:
    four columns for each split, such as "test recall". Of more than `FEW` classes only those that
    are recognised least among the test images are there, from the worst, then those that are
    recognised best.

    A class that was never predicted has no precision, which counts as 0 in the mean. One without
    images has no recall, which does not count.
    """
    table = pd.concat(
        [
            _report(of_split, classes).add_prefix(f"{SPLITS[split]} ")
            for split, of_split in predictions.items()
        ],
        axis=1,
    )
    if len(classes) <= FEW:
        return table
    recalls = _recalls(confusions(predictions["test"], len(classes)))
    tested = np.flatnonzero(np.isfinite(recalls))
    order = tested[np.argsort(recalls[tested], kind="stable")]
    return table.iloc[[*order[:WORST], *order[WORST:][-BEST:], -1]]


def describe_classes(predictions: Predictions, classes: int) -> str:
    """A paragraph on the rows that `class_report` has of many classes."""
    low, high = np.nanquantile(_recalls(confusions(predictions, classes)), [0.25, 0.75])
    return (
        f"Of {classes:,} classes these are the {WORST} that it recognises least among the test "
        f"images, from the worst, and then the {BEST} that it recognises best. Of a quarter of "
        f"all classes it recognises at most {per_cent(low)}, of another quarter at least "
        f"{per_cent(high)}."
    )


def _report(predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    from sklearn.metrics import precision_recall_fscore_support

    *scores, support = precision_recall_fscore_support(
        predictions.labels,
        predictions.predicted,
        labels=range(len(classes)),
        zero_division=np.nan,
    )
    table = {
        name: [_share(x) for x in (*row, np.nanmean(np.where(support, np.nan_to_num(row), row)))]
        for name, row in zip(("precision", "recall", "F1"), scores, strict=True)
    }
    table["images"] = [f"{n:,}" for n in (*support, support.sum())]
    return pd.DataFrame(table, index=[*_breakable(classes), "mean or total"])


def confusions(predictions: Predictions, classes: int) -> Counts:
    """How many images of a true class (row) are taken for another (column)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    return counts


def _recalls(counts: Counts) -> NDArray[np.float64]:
    """The share of each class that is recognised, (classes,); NaN of one without images."""
    totals, recalls = counts.sum(axis=1), np.full(len(counts), np.nan)
    np.divide(np.diag(counts), totals, out=recalls, where=totals > 0)
    return recalls


def frequent_mistakes(counts: Mapping[str, Counts], classes: Sequence[str]) -> pd.DataFrame:
    """The most frequent mistakes on test images, from the first: how often a class is taken for
    another, and which share that is of its images; and the same of training images.

    `counts` are the `confusions` of both splits.
    """
    wrong = counts["test"] - np.diag(np.diag(counts["test"]))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    found = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    names = _breakable(classes)
    columns: dict[str, list[str]] = {"taken for": [names[taken] for _, taken in found]}
    for split in ("test", "train"):
        totals = counts[split].sum(axis=1)
        images = [(counts[split][mistake], totals[mistake[0]]) for mistake in found]
        columns[f"{SPLITS[split]} images"] = [f"{n:,} of {total:,}" for n, total in images]
        columns[f"{SPLITS[split]} share"] = [_share(n / max(total, 1)) for n, total in images]
    table = pd.DataFrame(columns, index=[names[true] for true, _ in found])
    return table.rename_axis(columns="true class")


def _share(fraction: float) -> str:
    """In per cent, which a wide table does not break."""
    return per_cent(fraction).replace(" ", "\N{NO-BREAK SPACE}")


def _breakable(classes: Sequence[str]) -> list[str]:
    """Names that may go on in the next line, or a long one makes a table wider than the page."""
    return [name.replace("_", "_\N{ZERO WIDTH SPACE}") for name in classes]


def describe_confusions(counts: Counts, classes: Sequence[str]) -> str:
    """The class that is recognised least, what is mixed up most, and how to read what follows:
    matrices, or `frequent_mistakes` of many classes.
    """
    totals, recall = counts.sum(axis=1), _recalls(counts)
    how_to_read = (
        "Of so many classes no matrix can be read. The table has the most frequent mistakes on "
        "test images and how frequent they are among training images."
        if len(classes) > FEW
        else "Each row is a true class, each column an answer; what is right lies on the diagonal. "
        "The upper matrices count images, the lower ones give the share of each true class."
    )
    if np.trace(counts) == totals.sum():
        return f"It makes no mistake on the test images. {how_to_read}"
    weakest = int(np.nanargmin(recall))
    wrong = counts - np.diag(np.diag(counts))
    true, taken = (int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))
    return (
        f"It recognises *{classes[weakest]}* least: {per_cent(float(recall[weakest]))} of its "
        f"images. Its most frequent mistake is to take *{classes[true]}* for *{classes[taken]}*: "
        f"{wrong[true, taken]:,} of {totals[true]:,} images. {how_to_read}"
    )


def spread(layers: Sequence[str], most: int = 8) -> list[str]:
    """At most so many layers, evenly from the first to the last."""
    places = np.linspace(0, len(layers) - 1, min(len(layers), most)).round().astype(int)
    return [layers[place] for place in places]


def sort_out(answers: Answers) -> tuple[Indices, Indices]:
    """Test images that are classified correctly and wrongly, in the order of the file."""
    right = answers.labels == answers.predicted
    return np.flatnonzero(right), np.flatnonzero(~right)


def find_examples(answers: Answers, wanted: Sequence[str], classes: Sequence[str]) -> list[Example]:
    """For each wanted class the first test image of it that is recognised, and the first of
    another class that is taken for it: none, one or both.
    """
    found = []
    for name in wanted:
        taken = answers.predicted == classes.index(name)
        right = answers.labels == answers.predicted
        for verdict in (True, False):
            images = np.flatnonzero(taken & (right == verdict))
            found += [Example(int(image), name, verdict) for image in images[:1]]
    return found


def describe_missing(found: Sequence[Example], wanted: Sequence[str]) -> str:
    """Says which examples of the wanted classes there are not; may be empty."""
    there = {(example.taken_for, example.right) for example in found}
    texts = {True: "It recognises no *{}*.", False: "It takes nothing else for *{}*."}
    return " ".join(
        text.format(name)
        for name in wanted
        for right, text in texts.items()
        if (name, right) not in there
    )


def captions(
    answers: Answers,
    chosen: Iterable[int],
    classes: Sequence[str],
    files: Sequence[str] | None = None,
) -> list[str]:
    """The predicted class of each chosen image, with its confidence; below it, if it is wrong, the
    true class and, where images have `files`, the name of its file in the folder of that class.
    """
    texts = []
    for i in chosen:
        predicted, true = classes[answers.predicted[i]], classes[answers.labels[i]]
        sure = answers.confidence[i]
        answer = f"{predicted} ({100 * sure:.0f}\N{NO-BREAK SPACE}%)"
        lines = [answer if np.isfinite(sure) else predicted]
        if predicted != true:
            lines.append(f"is {true}")
            if files is not None:
                lines.append(f"/{files[i]}".partition(f"/{true}/")[2])
        texts.append("\n".join(lines))
    return texts


def how_to_use(run: Run, seed: int) -> str:
    """A section on the network of one seed: what goes in, what comes out, how to open it."""
    arrays = run.arrays
    shape = ", ".join(map(str, arrays.image_shape))
    return f"""\
## Use it

The network takes images as the data set has them, uint8 pixels of 0..{arrays.pixel_max} in an \
array (images, {shape}), and scales them itself. For each image it gives {len(arrays.classes)} \
logits, one a class. The largest is its answer; a softmax turns them into probabilities.

```python
from cnn_ablations.analysis.run import load_run, open_network
from cnn_ablations.config.params import load_params
from cnn_ablations.paths import find_project

paths = find_project()
variant = load_params(paths.params).variant("{run.variant.name}")
run = load_run(variant, paths)
network = open_network(run, seed={seed})

logits = network(run.subsets["test"].images[:5]).numpy()
answers = [run.arrays.classes[label] for label in logits.argmax(axis=1)]
```
"""
