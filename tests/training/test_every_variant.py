"""Variants of params.yaml of every kind, for two steps on a few images."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from cnn_ablations.config.params import Params, load_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.data.digits import PIXEL_MAX
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.training.fingerprint import LABELS
from cnn_ablations.training.loop import train_seed
from cnn_ablations.training.network import build_network

ROOT = Path(__file__).parents[2]
VARIANTS = yaml.safe_load((ROOT / "params.yaml").read_bytes())["variants"]
LABELS_AND_SIZES = {"protocol", "dataset", "seeds", "train_images"}
KINDS: dict[str, str] = {}
"""Each protocol as it is, and a variant for each set of keys that one changes."""
for _name, _values in VARIANTS.items():
    KINDS.setdefault(", ".join(sorted({*_values} - LABELS_AND_SIZES)) or _values["protocol"], _name)
IMAGES = 20
PRINTED = {
    "r1-mnist-base": (257_162, 0),
    "r1-mnist-stride2": (60_554, 0),
    "r1-mnist-kernel5": (355_978, 0),
    "r1-mnist-l2": (257_162, 0),
    "r1-cifar10-base": (208_138, 0),
    "r1-cifar10-stride1": (1_756_426, 0),
    "r1-cifar10-kernel2": (118_090, 0),
    "r1-cifar10-l2": (118_090, 0),
    "r2-1conv-none": (217_370, 0),
    "r2-1conv-l2": (217_370, 0),
    "r2-1conv-dropout": (217_370, 0),
    "r2-1conv-batchnorm": (217_754, 192),
    "r2-1conv-batchnorm-retrained": (217_754, 192),
    "r2-2conv-none": (35_370, 0),
    "r2-2conv-l2": (35_370, 0),
    "r2-2conv-dropout": (35_370, 0),
    "r2-2conv-batchnorm": (35_818, 224),
    "r2-2conv-batchnorm-retrained": (35_818, 224),
    "r4-base": (37_146, 0),
    "r4-maxpool": (37_146, 0),
}
"""Parameters, and how many of them are not trainable, as the reports printed them."""


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    """Random images by data set, of its shape and classes: 20 to train on and 10 to test on."""
    params = load_params(ROOT / "params.yaml")
    rng = np.random.default_rng(0)
    arrays = {}
    for name, dataset in params.datasets.items():
        folder = tmp_path_factory.mktemp(name)
        high = PIXEL_MAX if dataset.format == "digits" else 255
        write_arrays(
            folder,
            train_images=rng.integers(0, high, (IMAGES, *dataset.image_shape), dtype=np.uint8),
            train_labels=(np.arange(IMAGES) % 10).astype(np.uint8),
            test_images=rng.integers(0, high, (10, *dataset.image_shape), dtype=np.uint8),
            test_labels=np.arange(10, dtype=np.uint8),
            classes=dataset.classes,
            pixel_max=high,
        )
        arrays[name] = load_arrays(folder)
    return arrays


def shrunk(variant: Variant) -> Variant:
    """The same network and recipe for an epoch of two batches."""
    split = variant.split.model_dump()
    split |= {"val": 0.2} if split["method"] == "last" else {}
    few = {"split": split, "train_images": None, "batch_size": 9, "epochs": 1}
    return Variant.model_validate({**variant.model_dump(), **few})


@pytest.mark.parametrize("name", KINDS.values())
def test_a_variant_trains(
    keras: ModuleType, real_params: Params, few_images: dict[str, Arrays], tmp_path: Path, name: str
) -> None:
    variant = shrunk(real_params.variant(name))
    arrays = few_images[variant.dataset]
    rows: list[dict[str, float]] = []
    result = train_seed(variant, 0, arrays, tmp_path, lambda _, row: rows.append(row))
    (row,) = rows
    assert np.isfinite(row["running_train_loss"])
    for split in variant.evaluate_each_epoch:
        assert (f"{split}_accuracy" in row) == (split != "val" or variant.train_on == "train")
    assert (result / "iterations.csv").is_file() == variant.record_iterations
    assert np.load(result / "test_probabilities.npy").shape[1] == len(arrays.classes)


@pytest.mark.parametrize("name", PRINTED)
def test_a_variant_has_the_size_that_its_report_printed(
    keras: ModuleType, real_params: Params, few_images: dict[str, Arrays], name: str
) -> None:
    variant = real_params.variant(name)
    arrays = few_images[variant.dataset]
    model = build_network(variant, arrays.image_shape, len(arrays.classes), arrays.pixel_max)
    fixed = sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights)
    assert (model.count_params(), fixed) == PRINTED[name]


@pytest.mark.parametrize("twin", [name for name in VARIANTS if name.endswith("-bfloat16")])
def test_the_studies_of_precision_change_nothing_else(real_params: Params, twin: str) -> None:
    bfloat16, float32 = (
        real_params.variants[name].model_dump(exclude=LABELS - {"seeds"})
        for name in (twin, twin.removesuffix("-bfloat16"))
    )
    assert bfloat16 == {**float32, "precision": "mixed_bfloat16"}
