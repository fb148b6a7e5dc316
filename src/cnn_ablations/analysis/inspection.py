"""What the notebook `inspect` says of a run: tables, sentences and the choice of examples."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.analysis.results import VariantResult
from cnn_ablations.analysis.run import Answers, Run, accuracies

Indices = NDArray[np.intp]


def final_figures(
    result: VariantResult, intervals: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Accuracies and losses after training, in words for people: one row per split.

    `intervals` are those of `accuracy_intervals`.
    """
    rows = {}
    for split, of_seeds in accuracies(result).items():
        rows[split] = {
            "median accuracy": per_cent(float(np.median(of_seeds))),
            "95 % interval": (
                " to ".join(per_cent(end) for end in intervals[split]) if split in intervals else ""
            ),
            "lowest seed": per_cent(float(of_seeds.min())),
            "highest seed": per_cent(float(of_seeds.max())),
            "median loss": _number(result.metrics[f"{split}_loss"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def describe(result: VariantResult, intervals: Mapping[str, tuple[float, float]]) -> str:
    """A paragraph for people: how good the variant is, and how far one can trust that."""
    of_split = accuracies(result)
    test, seeds = of_split["test"], result.seeds.tolist()
    low, high = (per_cent(end) for end in intervals["test"])
    images = f"{len(result.labels['test']):,} test images (95 % interval {low} to {high})"
    median = per_cent(float(np.median(test)))
    if len(seeds) == 1:
        sentences = [f"Trained once, it reaches an accuracy of **{median}** on {images}."]
    else:
        sentences = [
            f"Trained {len(seeds)} times, each from another seed, it reaches a median accuracy of "
            f"**{median}** on {images}. Single seeds lie between {per_cent(float(test.min()))} and "
            f"{per_cent(float(test.max()))}."
        ]
    collapsed = [str(k) for k, gone in zip(seeds, result.collapsed, strict=True) if gone]
    if collapsed:
        sentences.append(
            f"**{len(collapsed)} of {len(seeds)} collapsed** (seed {', '.join(collapsed)}): no "
            "better on the test images than always naming the most common class."
        )
    split, other = ("val", "validation") if "val" in of_split else ("test", "test")
    gap = 100 * float(np.median(of_split["train"]) - np.median(of_split[split]))
    median = "median accuracy" if len(seeds) > 1 else "accuracy"
    sentences.append(
        f"Its {median} on the images that it was trained on is {abs(gap):.2f} points "
        f"{'above' if gap >= 0 else 'below'} that on {other} images. The network has "
        f"{result.metrics['parameters']:,} parameters and needs {result.metrics['flops']:,} "
        "floating-point operations for an image."
    )
    return " ".join(sentences)


def describe_network(run: Run, seed: int, answers: Answers) -> str:
    """A sentence or two on which network this is, and a warning where it computes no numbers."""
    accuracy = per_cent(float((answers.predicted == answers.labels).mean()))
    text = f"This is the network of **seed {seed}**, with a test accuracy of {accuracy}."
    if answers.diverged:
        text += (
            " **It diverged**: some of its probabilities are not numbers, and such an image counts "
            f"as {run.arrays.classes[0]}. Areas that stay pale in what follows hold no numbers."
        )
    elif run.result.collapsed[run.variant.seeds.index(seed)]:
        text += " **It collapsed**: what follows shows a network that learnt next to nothing."
    return text


def class_report(answers: Answers, classes: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of each class and their plain means, and the number of images.

    A class that was never predicted has no precision, which counts as 0 in the mean.
    """
    from sklearn.metrics import precision_recall_fscore_support

    scores = np.stack(
        precision_recall_fscore_support(
            answers.labels, answers.predicted, labels=range(len(classes)), zero_division=np.nan
        )
    )
    names = ["precision", "recall", "F1"]
    table = pd.DataFrame(
        {name: [per_cent(x) for x in row] for name, row in zip(names, scores, strict=False)},
        index=pd.Index(classes),
    )
    table["images"] = scores[3].astype(int)
    means = {
        name: per_cent(float(np.nan_to_num(row).mean()))
        for name, row in zip(names, scores, strict=False)
    }
    total = pd.DataFrame({**means, "images": table["images"].sum()}, index=["mean or total"])
    return pd.concat([table, total])


def confusions(answers: Answers, classes: int) -> NDArray[np.int64]:
    """How many images of a true class (row) are taken for another (column)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (answers.labels, answers.predicted), 1)
    return counts


def describe_confusions(counts: NDArray[np.int64], classes: Sequence[str]) -> str:
    """A sentence or two: the class that is recognised least, and what is mixed up most."""
    totals = counts.sum(axis=1)
    recall = np.diag(counts) / np.maximum(totals, 1)
    if np.trace(counts) == totals.sum():
        return "It makes no mistake on the test images."
    weakest = int(np.argmin(np.where(totals > 0, recall, np.inf)))
    wrong = counts - np.diag(np.diag(counts))
    true, taken = (int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))
    return (
        f"It recognises *{classes[weakest]}* least: {per_cent(float(recall[weakest]))} of its "
        f"images. Its most frequent mistake is to take *{classes[true]}* for *{classes[taken]}*: "
        f"{wrong[true, taken]:,} of {totals[true]:,} images."
    )


def choose_examples(answers: Answers, chosen_class: int | None) -> tuple[Indices, Indices]:
    """Test images that are classified correctly and wrongly, in the order of the file.

    With a `chosen_class`, only images that are taken for it: those of that class, and those of
    another one.
    """
    right = answers.labels == answers.predicted
    wanted = answers.predicted == chosen_class if chosen_class is not None else True
    return np.flatnonzero(right & wanted), np.flatnonzero(~right & wanted)


def captions(answers: Answers, chosen: Indices, classes: Sequence[str]) -> list[str]:
    """The predicted class of each chosen image, with its confidence; below it, if it is wrong, the
    true class.
    """
    lines = []
    for i in chosen:
        predicted, true = classes[answers.predicted[i]], classes[answers.labels[i]]
        sure = answers.confidence[i]
        line = f"{predicted} ({100 * sure:.0f} %)" if np.isfinite(sure) else predicted
        lines.append(line if predicted == true else f"{line}\nis {true}")
    return lines


def per_cent(fraction: float) -> str:
    """A fraction 0..1 for people, with two decimals."""
    return f"{100 * fraction:.2f} %" if math.isfinite(fraction) else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
