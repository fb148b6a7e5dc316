"""What decides the results of a variant's stages besides data, in files that DVC compares.

The stage `check` writes one file a variant and stage. A stage depends on its own, which says less
than params.yaml and the code do: a variant with all its keys, and a hash over the code that its
stage runs. So a new model, a comment or a figure makes no training stale, and dvc.lock has one
line where it would have twenty.
"""

from typing import Any

from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.files import json_bytes, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.training.backend import numeric_libraries
from cnn_ablations.training.fingerprint import CODE, code_hash, hash_of, model_files

# Tests hold these lists against the real imports of the notebooks.
SUMMARY_CODE = (
    "training/cost.py",
    "training/record.py",
    "training/summary.py",
    "training/variant.py",
)
"""What the notebook `train` runs besides the code that trains a seed."""
INSPECT_CODE = (
    "analysis/inspection.py",
    "analysis/results.py",
    "analysis/run.py",
    "figures/curves.py",
    "figures/evaluation.py",
    "figures/feature_maps.py",
    "figures/images.py",
    "figures/style.py",
    "figures/weights.py",
)
"""What the notebook `inspect` runs besides the code of `train`."""


def write_inputs(params: Params, paths: Paths) -> None:
    """Write the file of each variant's `train` and `inspect`, where it is not there as it is.

    Raises ProjectError where the folder cannot be written.
    """
    files = {}
    for name, variant in params.variants.items():
        examples = params.dataset(variant.dataset).example_classes
        files[paths.inputs("train", f"{name}.json")] = train_inputs(variant)
        files[paths.inputs("inspect", f"{name}.json")] = inspect_inputs(variant, examples)
    for path in paths.inputs().rglob("*.json"):
        if path not in files:
            path.unlink()
    for path, content in files.items():
        if not path.is_file() or path.read_bytes() != json_bytes(content):
            write_atomically(path, json_bytes(content))


def train_inputs(variant: Variant) -> dict[str, Any]:
    """The variant, and hashes of the code that trains it and sums its seeds up."""
    return {
        "variant": variant.model_dump(),
        "code": {"training": code_hash(variant.model), "summary": hash_of(SUMMARY_CODE)},
        "libraries": numeric_libraries(),
    }


def inspect_inputs(variant: Variant, example_classes: list[str]) -> dict[str, Any]:
    """The parameters of the notebook, and a hash of the code that it runs."""
    return {
        "variant": variant.model_dump(),
        "example_classes": example_classes,
        "code": hash_of((*INSPECT_CODE, *SUMMARY_CODE, *CODE, *model_files(variant.model))),
    }
