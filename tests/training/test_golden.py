"""The bytes of tiny trainings, against a table: a change that alters any of them is seen here.

`python tests/training/test_golden.py` writes the table of this machine's class of processors anew.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnn_ablations.config.variants import Augmentation, Recipe, Variant, resolve_variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.models import factor_types, model_names
from cnn_ablations.training.backend import BACKEND, cpu_class, gpus
from cnn_ablations.training.loop import train_seed

TABLE = Path(__file__).with_name("golden.json")
PROTOCOL = {
    "split": {"method": "last", "val": 0.25},
    "pixels": "unit",
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "batch_size": 12,
    "epochs": 2,
    "filters": [4],
    "pooling": 2,
    "dense": [6],
    "seeds": [0],
}
DEEP = {"filters": [4, 4], "pooling": [2, 1], "dense": [6, 5]}
RES_NET = {"model": "res_net", "stages": 3, "blocks": 3, "width": 10}
# Of a few roots, an approximation may be right for each by chance.
WIDE = {"filters": [40, 24], "pooling": [2, 1], "dense": [30]}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": DEEP,
    "kernel, stride and padding": {**DEEP, "kernel_size": 2, "strides": 2, "padding": "valid"},
    "elu": {**DEEP, "activation": "elu"},
    "gelu": {**DEEP, "activation": "gelu"},
    "tanh": {**DEEP, "activation": "tanh"},
    "conv_dropout": {"conv_dropout": 0.3},
    "dense_dropout": {"dense_dropout": 0.3},
    "batch_norm": {**WIDE, "batch_norm": True},
    "l1": {"l1": 0.01, "l1_on": ["conv", "output"]},
    "l2": {"l2": 0.01, "l2_on": ["dense"]},
    "res_net": RES_NET,
    "res_net, plain": {**RES_NET, "shortcuts": False, "batch_norm": False, "activation": "elu"},
    "res_net, l2": {**RES_NET, "l2": 0.01, "activation": "gelu"},
    "split, stratified": {"split": {"method": "stratified", "val": 0.25, "random_state": 1}},
    "split, train_test_split": {
        "split": {"method": "train_test_split", "held_out": 0.5, "random_state": 1}
    },
    "train_images": {"train_images": 30},
    "train_on": {"train_on": "train+val"},
    "pixels": {"pixels": "raw", "learning_rate": 0.0001},
    "mirror, random": {"augmentation": {"mirror": "random"}},
    "mirror, alternating": {"augmentation": {"mirror": "alternating"}, "epochs": 4},
    "crop": {"augmentation": {"crop": 2}},
    "cutout": {"augmentation": {"cutout": 3}},
    "cutout, even": {"augmentation": {"cutout": 4}},
    "rotation": {"augmentation": {"rotation": 20.0}},
    "shift": {"augmentation": {"shift": 0.2}},
    "shear": {"augmentation": {"shear": 20.0}},
    "zoom": {"augmentation": {"zoom": 0.2}},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam", "learning_rate": 0.01},
    "adamw": {
        **{"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
        **{**WIDE, "batch_norm": True},
    },
    "warm_up": {"learning_rate": {"peak": 0.05, "warm_up": 1.5}, "epochs": 3},
    "decay, linear": {"learning_rate": {"peak": 0.05, "decay": "linear"}},
    "decay, cosine": {"learning_rate": {"peak": 0.05, "warm_up": 0.5, "decay": "cosine"}},
    "decay, in steps": {
        "learning_rate": {"peak": 0.05, "decay": {"after": [1, 2], "factor": 0.3}},
        "epochs": 4,
    },
    "batch_size": {"batch_size": 16},
    "batch_size, larger than the data": {"batch_size": 100},
    "epochs": {"epochs": 3},
    "label_smoothing": {"label_smoothing": 0.1},
    "class_weights": {"class_weights": "balanced"},
    "class_weights, smoothed": {"class_weights": "balanced", "label_smoothing": 0.2},
    "weight_average": {"weight_average": 0.8},
    "evaluate_each_epoch": {"evaluate_each_epoch": ["train", "test"]},
    "evaluate_mirrored": {"evaluate_mirrored": True},
    "record_iterations": {"record_iterations": True, "batch_norm": True, "conv_dropout": 0.3},
    "precision": {**WIDE, "precision": "mixed_bfloat16", "batch_norm": True},
}


def variant_of(case: str) -> Variant:
    values = {"protocol": "golden", "dataset": "noise", **CASES[case]}
    return resolve_variant("golden", values, {"golden": PROTOCOL})


def make_arrays(folder: Path) -> Arrays:
    """Colour images of 10 × 10 pixels in three unequal classes, noise about a class's own image."""
    generator = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 1, 2, 2] * 11, np.uint8)
    typical = generator.integers(60, 196, size=(3, 10, 10, 3))
    noise = generator.integers(-60, 60, size=(len(labels), 10, 10, 3))
    images = (typical[labels] + noise).astype(np.uint8)
    write_arrays(
        folder,
        train_images=images[:48],
        train_labels=labels[:48],
        test_images=images[48:],
        test_labels=labels[48:],
        classes=["few", "some", "many"],
        pixel_max=255,
    )
    return load_arrays(folder)


def golden_hash(case: str, arrays: Arrays, folder: Path) -> str:
    """Over all that a training leaves but what is measured."""
    result = train_seed(variant_of(case), 0, arrays, folder, lambda epoch, row: None)
    digest = hashlib.sha256()
    for file in sorted(result.iterdir()):
        if file.name not in ("timing.json", "sha256sums.txt"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def machine_class(case: str) -> str:
    return " ".join([BACKEND, *gpus(), cpu_class(variant_of(case).precision)])


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return make_arrays(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("case", CASES)
def test_a_training_ends_in_the_bytes_of_the_table(
    keras: ModuleType, arrays: Arrays, tmp_path: Path, case: str
) -> None:
    known = json.loads(TABLE.read_bytes()).get(machine_class(case))
    if known is None:
        pytest.skip(f"golden.json has no table for {machine_class(case)}")
    assert golden_hash(case, arrays, tmp_path) == known.get(case)


def test_the_table_has_every_key_model_and_factor_at_least_once() -> None:
    recipes = [variant_of(case) for case in CASES]
    plain = recipes[0]
    labels = {"model", "seeds"}
    for key in Recipe.model_fields.keys() - labels:
        assert {str(getattr(recipe, key)) for recipe in recipes} > {str(getattr(plain, key))}, key
    for key in Augmentation.model_fields:
        assert any(recipe.augmentation and getattr(recipe.augmentation, key) for recipe in recipes)
    assert {recipe.model for recipe in recipes} == set(model_names())
    for model in model_names():
        of_model = [recipe.factors for recipe in recipes if recipe.model == model]
        for factor in factor_types(model).keys() - {"stages", "blocks", "width"}:
            assert len({str(factors[factor]) for factors in of_model}) > 1, factor


def test_every_case_ends_in_other_bytes() -> None:
    for table in json.loads(TABLE.read_bytes()).values():
        assert len(set(table.values())) == len(table)


def main() -> None:
    tables = json.loads(TABLE.read_bytes()) if TABLE.is_file() else {}
    here: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = make_arrays(folder / "arrays")
        for number, case in enumerate(CASES):
            found = golden_hash(case, arrays, folder / str(number))
            here.setdefault(machine_class(case), {})[case] = found
            changed = tables.get(machine_class(case), {}).get(case) != found
            print(f"{'new ' if changed else 'same'} {case}: {found}", flush=True)
    # With an argument the hashes are shown only.
    if len(sys.argv) == 1:
        TABLE.write_text(json.dumps({**tables, **here}, indent=2) + "\n")


if __name__ == "__main__":
    main()
