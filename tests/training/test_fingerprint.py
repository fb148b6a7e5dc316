import dataclasses
import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.config.params import parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, load_arrays
from cnn_ablations.models import model_names
from cnn_ablations.paths import Paths
from cnn_ablations.training import backend
from cnn_ablations.training import fingerprint as module
from cnn_ablations.training.fingerprint import CODE, code_hash, fingerprint


@pytest.fixture
def arrays(project: Paths) -> Arrays:
    return load_arrays(project.arrays("digits"))


def changed(variant: Variant, **changes: Any) -> Variant:
    return Variant.model_validate({**variant.model_dump(), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "renamed"},
        {"protocol": "renamed"},
        {"dataset": "renamed"},
        {"seeds": [7, 8, 9]},
        {"differences": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_names_and_lists_of_seeds_change_no_training(
    tiny_variant: Variant, arrays: Arrays, changes: dict[str, Any]
) -> None:
    same = fingerprint(changed(tiny_variant, **changes), 0, arrays)
    assert same == fingerprint(tiny_variant, 0, arrays)


def test_a_variant_that_writes_out_its_protocol_is_the_same_training(
    document: dict[str, Any], arrays: Arrays
) -> None:
    net = document["variants"]["tiny-net"]
    document["variants"]["written-out"] = {
        **document["protocols"]["tiny"],
        **net,
        "padding": "same",
    }
    variants = parse_params(document).variants
    first, second = (fingerprint(variants[name], 0, arrays) for name in variants)
    assert first == second


CHANGES: dict[str, dict[str, Any]] = {
    "split": {"split": {"method": "last", "val": 0.3}},
    "train_images": {"train_images": 200},
    "train_on": {"train_on": "train+val"},
    "pixels": {"pixels": "raw"},
    "augmentation": {"augmentation": None},
    "optimizer": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "weight_decay": {"optimizer": "adamw", "weight_decay": 0.1},
    "learning_rate": {"learning_rate": 0.002},
    "batch_size": {"batch_size": 31},
    "epochs": {"epochs": 4},
    "label_smoothing": {"label_smoothing": 0.1},
    "class_weights": {"class_weights": "balanced"},
    "weight_average": {"weight_average": 0.9},
    "evaluate_mirrored": {"evaluate_mirrored": True},
    "evaluate_each_epoch": {"evaluate_each_epoch": ["test"]},
    "record_iterations": {"record_iterations": False},
    "precision": {"precision": "mixed_bfloat16"},
}


@pytest.mark.parametrize("key", CHANGES)
def test_each_key_of_the_recipe_makes_another_training(
    tiny_variant: Variant, arrays: Arrays, key: str
) -> None:
    other = fingerprint(changed(tiny_variant, **CHANGES[key]), 0, arrays)
    assert other != fingerprint(tiny_variant, 0, arrays)


def test_no_key_of_the_recipe_was_forgotten_above() -> None:
    labels = {"name", "protocol", "dataset", "differences", "seeds"}
    assert set(Variant.model_fields) == labels | {"model", "factors"} | set(CHANGES)


def test_each_factor_makes_another_training(tiny_variant: Variant, arrays: Arrays) -> None:
    known = {fingerprint(tiny_variant, 0, arrays)}
    for factor in tiny_variant.factors:
        factors = {**tiny_variant.factors, factor: "something else"}
        known.add(fingerprint(tiny_variant.model_copy(update={"factors": factors}), 0, arrays))
    assert len(known) == 1 + len(tiny_variant.factors)


def test_each_seed_is_another_training(tiny_variant: Variant, arrays: Arrays) -> None:
    assert fingerprint(tiny_variant, 0, arrays) != fingerprint(tiny_variant, 1, arrays)


@pytest.mark.parametrize(
    "changes",
    [{"sha256": {"train_images": "0" * 64}}, {"pixel_max": 255}, {"classes": ["a", "b"]}],
    ids=lambda changes: next(iter(changes)),
)
def test_other_data_make_another_training(
    tiny_variant: Variant, arrays: Arrays, changes: dict[str, Any]
) -> None:
    if "sha256" in changes:
        changes = {"sha256": {**arrays.sha256, **changes["sha256"]}}
    other = dataclasses.replace(arrays, **changes)
    assert fingerprint(tiny_variant, 0, other) != fingerprint(tiny_variant, 0, arrays)


@pytest.mark.parametrize("library", ["keras", "numpy", "tensorflow"])
def test_another_version_of_a_numeric_library_makes_another_training(
    tiny_variant: Variant, arrays: Arrays, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tiny_variant, 0, arrays)
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "0.0.1" if name.removesuffix("-cpu") == library else real(name),
    )
    assert fingerprint(tiny_variant, 0, arrays) != before


@pytest.mark.parametrize("name", ["cpu_class", "gpus"])
def test_another_device_makes_another_training(
    tiny_variant: Variant, arrays: Arrays, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tiny_variant, 0, arrays)
    monkeypatch.setattr(backend, name, lambda *_: "another")
    assert fingerprint(tiny_variant, 0, arrays) != before


@pytest.mark.parametrize("file", CODE)
def test_another_line_of_training_code_makes_another_training(
    tiny_variant: Variant,
    arrays: Arrays,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprint(tiny_variant, 0, arrays)
    copy = tmp_path / "package"
    shutil.copytree(module.PACKAGE, copy)
    monkeypatch.setattr(module, "PACKAGE", copy)
    assert fingerprint(tiny_variant, 0, arrays) == before
    with (copy / file).open("a") as lines:
        lines.write("\n")
    assert fingerprint(tiny_variant, 0, arrays) != before


def test_each_model_s_code_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {model: code_hash(model) for model in ("conv_net", "res_net")}
    copy = tmp_path / "package"
    shutil.copytree(module.PACKAGE, copy)
    monkeypatch.setattr(module, "PACKAGE", copy)
    (copy / "models" / "new.py").write_text("def new(): ...")
    assert {model: code_hash(model) for model in before} == before
    with (copy / "models" / "res_net.py").open("a") as lines:
        lines.write("\n")
    assert code_hash("conv_net") == before["conv_net"]
    assert code_hash("res_net") != before["res_net"]


@pytest.mark.parametrize(
    "line",
    [
        "from cnn_ablations.models._shared import x",
        "from cnn_ablations.models import _shared",
        "from . import _shared",
        "from ._shared import x",
        "def new():\n    import cnn_ablations.models._shared",
        "from cnn_ablations.models._other import y",
    ],
)
def test_what_a_model_imports_from_beside_it_is_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    copy = tmp_path / "package"
    shutil.copytree(module.PACKAGE, copy)
    monkeypatch.setattr(module, "PACKAGE", copy)
    (copy / "models" / "new.py").write_text(f"{line}\n")
    (copy / "models" / "_other.py").write_text("from . import _shared, new\n")
    (copy / "models" / "_shared.py").write_text("x = 1\n")
    before = code_hash("new")
    (copy / "models" / "_shared.py").write_text("x = 2\n")
    assert code_hash("new") != before


# Decides no bit of a result: files, errors, the schema of what is written out in a variant anyway.
# A model's file is hashed with the variants that use it.
NOT_HASHED = {
    "config/base.py",
    "config/variants.py",
    "errors.py",
    "faults.py",
    "files.py",
    "models/__init__.py",
}


def test_the_hashed_code_is_what_the_loop_imports(imports: Callable[..., set[str]]) -> None:
    entries = [module.PACKAGE / "training" / "loop.py"]
    entries += [module.PACKAGE / "models" / f"{model}.py" for model in model_names()]
    models = {f"models/{model}.py" for model in model_names()}
    assert imports(entries, without=NOT_HASHED) - models == set(CODE)
    assert imports(entries) - models == set(CODE) | NOT_HASHED
