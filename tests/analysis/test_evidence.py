"""What tests find in made-up results, number by number, and how it is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from cnn_ablations.analysis.claims import Judgement, judge
from cnn_ablations.analysis.evidence import Evidence, interval, main_accuracy, measured
from cnn_ablations.analysis.results import VariantResult, load_results
from cnn_ablations.config.studies import Study
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

HIGH = [0.900, 0.903, 0.897, 0.901, 0.899, 0.902]
LOW = [0.850, 0.853, 0.847, 0.851, 0.849, 0.852]
RNG = np.random.default_rng(1)
SHRUNK, HEAVY = RNG.normal(0, 0.001, 2000), RNG.laplace(0, 0.1, 20_000)
SMOOTH = RNG.normal(0, 0.1, 20_000)


Results = dict[str, VariantResult]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, write_into: Callable[..., None]) -> Results:
    """Variants of a group, of six seeds unless the name says otherwise."""
    paths = Paths(tmp_path_factory.mktemp("project"))

    def write(name: str, accuracies: list[float], examples: int = 1000, **options: Any) -> None:
        write_into(paths, "g", name, accuracies, examples=examples, **options)

    write("high", HIGH, noise=1, weights=lambda seed: SMOOTH * (1 + seed / 100))
    write("low", LOW, noise=2, gap=0.1, flops=1_200_000)
    write("shrunk", HIGH, 400, weights=lambda _: SHRUNK, images=4000, detail=(0.8, 0.4, 0.5))
    write("heavy", [0.9, 0.1, 0.91], 400, weights=lambda seed: HEAVY * (1 + seed / 100))
    write("guess", [0.1, 0.1])
    write("one", [0.9], noise=6)
    write("retrained", HIGH, validated=False)
    write("rare", LOW, 1100, shares=[1, *[10] * 9])
    names = ("high", "low", "shrunk", "heavy", "guess", "one", "retrained", "rare")
    return load_results(paths, "g", names)


def found(results: Results, **test: Any) -> Judgement:
    """What one test of a study of these variants finds."""
    variants = {name: f"the {name}" for name in results}
    values = {"title": "t", "group": "g", "question": "q", "variants": variants, "margin": 0.01}
    claims = {"c": {"statement": "s", "tests": [test]}}
    (claim,) = judge(Evidence(Study.model_validate(values | {"claims": claims}), results))
    return claim.judgements[0]


OTHERS, REVERSE = {"of": "high", "than": "low"}, {"of": "low", "than": "high"}
HALF, NEAR, LAYER = {"of": "high", "above": 0.5}, {"within": 0.06}, {"layers": ["conv1"]}
LOSS, AFTER, LARGE = (
    {"of": "high", "below": 1},
    {"of": "high", "after": 2},
    {"of": "low", "above": 0.05},
)
LAYERS = {"layers": ["conv1", "output"]}
OVER = {"of": "shrunk", "than": "one", "over": ["high", "low"]}
UNDER = {"of": "one", "than": "shrunk", "over": ["low", "high"]}
SEES_MORE = {"of": "shrunk", "than": "high"}
SPLITS = {"than": "high", "than_quantity": "test_accuracy"}
MEANS = {"of": ["high", "low"], "than": ["low", "high"]}


@pytest.mark.parametrize(
    ("quantity", "test", "value", "words"),
    [
        ("test_accuracy", OTHERS, 0.05, "above that of “the low”, surely more than 4."),
        ("val_accuracy", REVERSE, -0.05, "The validation accuracy of “the low” is 5.00 points"),
        ("val_accuracy", OTHERS | NEAR, 0.05, ", where less than 6.00 points counts as similar"),
        ("val_accuracy", SPLITS | {"of": "high"}, 0.0, "is 0.00 points above its test accuracy"),
        ("val_accuracy", SPLITS | {"of": "low"}, -0.05, "below the test accuracy of “the high”"),
        ("val_accuracy", MEANS, 0.0, "“the high” to “the low” (mean of 2) is 0.00 points above"),
        ("test_accuracy", HALF, 0.9, "is 90.03 %, where more than 50.00 % is asked for (surely"),
        ("test_accuracy", HALF | {"than": 0.2}, 0.9, ", where more than 70.00 % is asked for"),
        ("test_accuracy", {"of": "high", "below": 0.9}, 0.9, ", where less than 90.00 % is asked"),
        ("test_accuracy", NEAR | {"of": "high", "than": 0.8}, 0.9, "points counts as near 80.00"),
        (
            "test_balanced_accuracy",
            OTHERS,
            0.05,
            "balanced test accuracy of “the high” is 4.99",
        ),
        ("test_balanced_accuracy", {"of": "high", "below": 0.9}, 0.9, " %, where less than 90.00"),
        ("train_accuracy", OTHERS, -0.03, "The training accuracy of “the high” is 3.00 points"),
        ("running_train_loss", REVERSE, -0.032, "is 0.032 nats below that of “the high”, surely"),
        ("val_loss", LOSS, 0.155, "is asked for (surely between 0.153 nats and 0.157 nats)."),
        ("val_accuracy", OTHERS | {"epoch": 1}, 0.041, "After epoch 1 the validation accuracy of"),
        ("val_accuracy", AFTER, 0.2, "After epoch 2 the validation accuracy of “the high” rises"),
        ("val_loss", AFTER, -1 / 3, "falls by 33.33 % of its range over all epochs (surely"),
        ("val_loss", AFTER | NEAR, -1 / 3, ", where less than 6.00 % counts as settled (surely"),
        ("gap", LARGE, 0.1, ", where more than 5.00 points is asked for (surely between 8."),
        ("gap", OTHERS, -0.08, "8.00 points narrower than that of “the low”, surely more than 7."),
        ("gap", REVERSE, 0.08, "8.00 points wider than that of “the high”, surely more than 7."),
        # 2,000 of 2,100 weights are small now; of N(0, 0.1), 8 % were before.
        ("near_zero", {"of": "shrunk", "than": "low"}, 0.88, "higher in “the shrunk” than in “the"),
        ("near_zero", {"of": "low", "than": "shrunk"}, -0.88, "lower in “the low” than in “the"),
        ("near_zero", OVER, 0.88, "more from “the high” to “the shrunk” than from “the low” to"),
        ("near_zero", UNDER, -0.88, "less from “the low” to “the one” than from “the high” to"),
        ("tail", {"of": "high", "below": 1.25} | LAYER, 0.0, "distribution by a factor of up to"),
        # Of a Laplace distribution: ln(50) / ln(2), over 2.326 / 0.6745.
        ("tail", {"of": "heavy", "above": 2} | LAYER, np.log(1.636), "of conv1 of “the heavy” are"),
        (
            "detail",
            {"of": "shrunk", "below": 1},
            np.log(1.25),
            "From each convolution to the next, the detail of the feature maps of “the shrunk” "
            "changes by a factor of at most 1.25 (",
        ),
        (
            "detail",
            {"of": "shrunk", "below": 1, "layers": ["conv1", "conv3"]},
            np.log(0.625),
            "From conv1 to conv3, the detail of the feature maps of “the shrunk” changes by a "
            "factor of 0.62 (",
        ),
        ("layer_share", HALF | LAYERS, 1.0, ", 100.00 % are in the layers conv1, output, where"),
        ("flops", REVERSE, np.log(2), "The arithmetic for an image of “the low” is 2.00 times"),
        ("flops", OTHERS | {"within": 1.2}, np.log(0.5), "less than × 1.20 counts as similar."),
        ("flops", OTHERS | {"below": 0.6}, np.log(0.5), ", where less than × 0.60 is asked for."),
        ("parameters", REVERSE, np.log(2), "The number of parameters of “the low” is 2.00 times"),
        ("training_flops", SEES_MORE, np.log(4), "for a training of “the shrunk” is 4.00 times"),
    ],
)
def test_what_is_found_in_numbers_and_words(
    results: Results, quantity: str, test: dict[str, Any], value: float, words: str
) -> None:
    judgement = found(results, quantity=quantity, **test)
    assert words in judgement.summary
    within = 0.05 if quantity == "tail" else 0.005
    assert judgement.finding.estimate.value == pytest.approx(value, abs=within)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (
            {"of": "high", "than": "heavy"},
            " Collapsed to chance: 0 of 6 seeds of “the high” and 1 of 3 seeds of “the heavy” "
            "(p = 0.345).",
        ),
        # Of few seeds that collapsed at times, ranks can exclude nothing: between 0 and 100 %.
        (
            {"of": "heavy", "above": 0.5},
            "than 50.00 % is asked for. Collapsed to chance: 1 of 3 seeds of “the heavy”.",
        ),
        (
            {"of": "guess", "than": "heavy"},
            "The median validation accuracy of “the guess” is 79.80 points below that of “the "
            "heavy”, and one run beats one 0 % of the time (0 to 47 %). Collapsed to chance: 2 of "
            "2 seeds of “the guess” and 1 of 3 seeds of “the heavy” (p = 0.257).",
        ),
        (
            {"of": "heavy", "than": "heavy", "than_quantity": "test_accuracy"},
            ". Collapsed to chance: 1 of 3 seeds of “the heavy”.",
        ),
    ],
)
def test_collapsed_seeds_are_told(results: Results, test: dict[str, Any], words: str) -> None:
    assert found(results, quantity="val_accuracy", **test).summary.endswith(words)


def test_how_often_one_run_beats_one_is_known_of_two_variants(results: Results) -> None:
    chance, low, high = found(results, quantity="test_accuracy", **OTHERS).beats or (0, 0, 0)
    assert 0.5 < low < chance == high == 1
    for test in ({"of": "heavy", "above": 0.5}, MEANS, {"of": "one", "than": "high"}):
        assert found(results, quantity="test_accuracy", **test).beats is None


def test_bounds_that_know_no_end_are_not_told(results: Results) -> None:
    judgement = found(results, quantity="tail", of="heavy", above=1.25, **LAYER)
    assert judgement.interval == (-np.inf, np.inf)
    assert "surely" not in judgement.summary


def test_what_training_images_and_curves_show_scatters_with_the_seeds_only(
    results: Results,
) -> None:
    (with_images, _), (without, _) = (
        found(results, quantity=quantity, **OTHERS).interval or (0, 0)
        for quantity in ("test_accuracy", "train_accuracy")
    )
    assert 0.05 - with_images > 0.005
    assert abs(-0.03 - without) < 1e-6


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"quantity": "test_loss", "after": 2}, "recorded no test_loss by epoch"),
        ({"quantity": "val_loss", "after": 9}, "was trained for 4 epochs"),
        (
            {"quantity": "tail", "layers": ["conv7"], "below": 2},
            "no layer 'conv7' .* conv1, output",
        ),
        (
            {"quantity": "detail", "layers": ["conv1", "output"], "below": 1},
            "no layer 'output' with feature maps; it has conv1",
        ),
        ({"quantity": "layer_share", "layers": ["dense1"], "above": 0.5}, "has no layer 'dense1'"),
        ({"quantity": "val_accuracy", "than": "retrained"}, "'retrained' has no val split"),
    ],
)
def test_a_test_about_what_is_not_there_is_an_error(
    results: Results, test: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message):
        found(results, of="high", **test)


def test_of_very_unequal_classes_the_balanced_accuracy_comes_first(results: Results) -> None:
    assert [main_accuracy([results[name]]) for name in ("high", "rare")] == [
        "test",
        "test_balanced",
    ]
    assert main_accuracy(results.values()) == "test_balanced"
    labels, predicted = (getattr(results["rare"], kind)["test"] for kind in ("labels", "predicted"))
    sample = measured(results["rare"], "test_balanced_accuracy")
    expected = [balanced_accuracy_score(labels, of_seed) for of_seed in predicted]
    np.testing.assert_allclose(sample.values, expected)
    (low, high), plain = interval(sample), interval(measured(results["rare"], "test_accuracy"))
    assert low < sample.values.mean() < high
    assert high - low > 1.2 * (plain[1] - plain[0])  # the rare class has 13 images
