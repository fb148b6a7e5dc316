"""The name under which a seed's training is kept: a hash of all that determines its result."""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import cnn_ablations
from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays
from cnn_ablations.training.backend import provenance

PACKAGE = Path(cnn_ablations.__file__).parent
# What computes a result from a resolved variant: `training.loop` and what it imports, less what
# only moves files, checks parameters or reports errors. The variant's model comes on top.
# A test holds this list against the real imports.
CODE = (
    "data/arrays.py",
    "data/splits.py",
    "layers.py",
    "training/augmentation.py",
    "training/backend.py",
    "training/batches.py",
    "training/checkpoint.py",
    "training/evaluation.py",
    "training/loop.py",
    "training/network.py",
    "training/optimiser.py",
)
# Names and lists that say which trainings there are, not what one of them does.
LABELS = {"name", "protocol", "dataset", "differences", "seeds"}


def fingerprint(variant: Variant, seed: int, arrays: Arrays) -> str:
    """Equal for two trainings exactly when they must end in the same bytes."""
    determined_by = {
        "variant": variant.model_dump(exclude=LABELS),
        "seed": seed,
        "arrays": arrays.sha256,
        "pixel_max": arrays.pixel_max,
        "classes": len(arrays.classes),
        "code": code_hash(variant.model),
        "provenance": provenance(variant.precision),
    }
    content = json.dumps(determined_by, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def code_hash(model: str) -> str:
    """A hash over the files in `CODE` and those that define the model."""
    return hash_of((*CODE, *model_files(model)))


def model_files(model: str) -> list[str]:
    """The file of a model, and those beside it that it imports, directly or through each other."""
    package = "cnn_ablations.models"
    found: list[str] = []
    waiting = [model]
    while waiting:
        file = f"models/{waiting.pop(0)}.py"
        if file in found or not (PACKAGE / file).is_file():
            continue
        found.append(file)
        for node in ast.walk(ast.parse((PACKAGE / file).read_bytes())):
            names = [alias.name for alias in getattr(node, "names", ())]
            if isinstance(node, ast.ImportFrom):
                within = package if node.level == 1 else ""
                module = ".".join(filter(None, [within, node.module]))
                names = [module, *(f"{module}.{name}" for name in names)]
            if isinstance(node, ast.Import | ast.ImportFrom):
                inside = [
                    n.removeprefix(f"{package}.") for n in names if n.startswith(f"{package}.")
                ]
                waiting += [name.partition(".")[0] for name in inside]
    return found


def hash_of(files: Iterable[str]) -> str:
    """A hash over the names and contents of files of this package."""
    digest = hashlib.sha256()
    for name in files:
        digest.update(name.encode() + b"\0" + PACKAGE.joinpath(name).read_bytes())
    return digest.hexdigest()
