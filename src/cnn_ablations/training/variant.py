"""A variant's seeds, one after another, and what is written down of them."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import Arrays, UInt8s, load_arrays
from cnn_ablations.data.splits import split_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.files import json_bytes, remove, write_atomically
from cnn_ablations.paths import Paths
from cnn_ablations.progress import reporter
from cnn_ablations.revision import revision
from cnn_ablations.training import summary
from cnn_ablations.training.backend import configure
from cnn_ablations.training.cost import LayerCost, layer_costs
from cnn_ablations.training.fingerprint import fingerprint
from cnn_ablations.training.loop import SUMS, train_seed
from cnn_ablations.training.network import build_network

if TYPE_CHECKING:
    import keras

FEATURE_IMAGES = 100
"""The first test images, on which the detail of feature maps is measured."""
MEASUREMENT = "timing.json"
WEIGHTS = "weights.weights.h5"


@dataclass(frozen=True)
class Trained:
    """A trained variant: what is written down of it, and what its notebook shows besides."""

    images: dict[str, int]
    """The number of images of each split."""
    layers: list[LayerCost]
    seeds: list[summary.SeedResult]
    metrics: summary.Numbers
    details: summary.Numbers
    """The numbers beside the metrics."""
    curves: pd.DataFrame
    predictions: dict[str, NDArray[Any]]
    weights: pd.DataFrame
    features: pd.DataFrame


def train_variant(variant: Variant, paths: Paths, *, keep: bool = True) -> Trained:
    """Train every seed that is not trained yet, and sum them up.

    Args:
        variant: to train.
        paths: of the checkout.
        keep: whether to write the variant's run folder and reports.

    Raises:
        ProjectError: where arrays are missing or damaged, the split needs more images than there
            are, or something cannot be written.
    """
    arrays = load_arrays(paths.arrays(variant.dataset))
    folders = {}
    progress = paths.progress(variant.group, variant.name)
    places = {seed: seed_folder(variant, seed, arrays, paths) for seed in variant.seeds}
    for number, (seed, folder) in enumerate(places.items(), start=1):
        report = reporter(variant, seed, progress, list(places.values())[number:])
        folders[seed] = train_seed(variant, seed, arrays, folder, report)
    try:
        trained = _summed_up(variant, arrays, folders)
        if keep:
            _write_run(folders, paths.run(variant.group, variant.name))
            _write_reports(variant, trained, folders, paths)
    except OSError as error:
        raise ProjectError(
            f"{variant.name}: cannot write its results: {error}; mend that and run the same "
            "command again, nothing is trained twice"
        ) from None
    return trained


def seed_folder(variant: Variant, seed: int, arrays: Arrays, paths: Paths) -> Path:
    """The scratch folder of one training, named after all that determines its result."""
    return paths.scratch("seeds", fingerprint(variant, seed, arrays)[:32])


def named_weights(model: "keras.Model") -> list[tuple[str, str, NDArray[np.float32]]]:
    """Layer, kind and values of the kernels (`weights`) and biases of a network, in order.

    Of layers within layers, the names of all are joined by slashes.
    """
    kinds = {"kernel": "weights", "bias": "biases"}
    return [
        (weight.path.rpartition("/")[0], kinds[weight.name], np.asarray(weight))
        for weight in model.weights
        if weight.name in kinds
    ]


def feature_maps(model: "keras.Model", images: UInt8s) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What comes out of each convolution, with its activation where that is part of the layer.

    Args:
        model: takes uint8 images.
        images: (n, height, width, channels).

    Yields:
        The layer's name and (n, height, width, channels), one layer in memory at a time.
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            maps = keras.Model(model.input, layer.output)(images, training=False)
            yield layer.name, keras.ops.convert_to_numpy(maps).astype(np.float32)


def _write_run(folders: dict[int, Path], run: Path) -> None:
    building = run.with_name(f".{run.name}.tmp")
    remove(building)
    for seed, folder in folders.items():
        ignored = shutil.ignore_patterns(MEASUREMENT, SUMS)
        shutil.copytree(folder, building / f"seed-{seed}", ignore=ignored)
    remove(run)
    building.replace(run)


def _summed_up(variant: Variant, arrays: Arrays, folders: dict[int, Path]) -> Trained:
    configure()
    import keras

    keras.utils.clear_session()  # layers have the names that they would have without a training
    subsets = split_arrays(arrays, variant)
    labels = {split: np.asarray(subset.labels) for split, subset in subsets.items()}
    model = build_network(variant, arrays.image_shape, len(arrays.classes), arrays.pixel_max)
    images = subsets["test"].images[:FEATURE_IMAGES]
    results, weights, features = [], [], []
    for seed, folder in folders.items():
        results.append(summary.read_seed_result(seed, folder))
        model.load_weights(folder / WEIGHTS)
        weights.append(summary.weight_summary(seed, named_weights(model)))
        maps = feature_maps(model, images)
        features.append(summary.feature_summary(seed, maps, arrays.image_shape[1]))
    layers = layer_costs(model)
    return Trained(
        images={split: len(subset.labels) for split, subset in subsets.items()},
        layers=layers,
        seeds=results,
        metrics=summary.metrics(results, labels, layers),
        details=summary.details(results, labels, layers),
        curves=summary.curves(results),
        predictions=summary.predictions(results, labels),
        weights=pd.concat(weights),
        features=pd.concat(features),
    )


def _write_reports(
    variant: Variant, trained: Trained, folders: dict[int, Path], paths: Paths
) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **trained.predictions)  # type: ignore[arg-type]

    own = (variant.group, variant.name)
    write_atomically(paths.metrics(*own), json_bytes(trained.metrics))
    write_atomically(paths.details(*own), json_bytes(trained.details))
    write_atomically(paths.curves(*own), trained.curves.to_csv(index=False).encode())
    write_atomically(paths.predictions(*own), buffer.getvalue())
    write_atomically(paths.weights(*own), trained.weights.to_csv(index=False).encode())
    write_atomically(paths.features(*own), trained.features.to_csv(index=False).encode())
    timings = {**_measurements(folders, paths.root), "variant": variant.model_dump()}
    write_atomically(paths.timings(*own), json_bytes(timings))


def _measurements(folders: dict[int, Path], root: Path) -> dict[str, Any]:
    """Times in seconds and memory in megabytes by seed, the circumstances of the runs, and the
    code that collected them (the same code, by its fingerprint, trained those of an earlier day).
    """
    timings = {
        seed: json.loads((folder / MEASUREMENT).read_bytes()) for seed, folder in folders.items()
    }
    circumstances = [timing.pop("provenance") for timing in timings.values()]
    distinct = [c for i, c in enumerate(circumstances) if c not in circumstances[:i]]
    return {
        "seeds": {str(seed): timing for seed, timing in timings.items()},
        "provenance": distinct,
        "revision": revision(root),
    }
