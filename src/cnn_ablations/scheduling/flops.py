"""The arithmetic of networks: that on record of the same model, factors and images, or counted."""

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout, suppress
from multiprocessing import get_context
from pathlib import Path

from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.processes import die_with_parent, stderr_to
from cnn_ablations.scheduling.pipeline import Record
from cnn_ablations.training.backend import configure
from cnn_ablations.training.cost import layer_costs
from cnn_ablations.training.network import build_network


def forward_flops(
    variants: Sequence[Variant], records: Iterable[Record], params: Params
) -> dict[str, int]:
    """Floating-point operations for one image, forward, by variant. 0 where its network cannot be
    built: its training will say why.
    """

    def network(variant: Variant) -> str:
        dataset = params.dataset(variant.dataset)
        shape = [*dataset.image_shape, len(dataset.classes)]
        return json.dumps([variant.model, variant.factors, shape], sort_keys=True)

    known = {network(record.variant): record.flops for record in records}
    new = {network(v): v for v in variants if network(v) not in known}
    if new:
        known |= zip(new, _counted(new.values(), params), strict=True)
    return {variant.name: known.get(network(variant), 0) for variant in variants}


def _counted(variants: Collection[Variant], params: Params) -> list[int]:
    datasets = [params.dataset(variant.dataset) for variant in variants]
    shapes = [dataset.image_shape for dataset in datasets]
    classes = [len(dataset.classes) for dataset in datasets]
    # In a child: TensorFlow greets its reader, and keeps the memory that its import takes.
    child = ProcessPoolExecutor(1, get_context("spawn"), die_with_parent)
    found = [0] * len(variants)
    with suppress(BrokenProcessPool), stderr_to(Path(os.devnull)), child:
        for place, flops in enumerate(child.map(_flops, variants, shapes, classes)):
            found[place] = flops
    return found


def _flops(variant: Variant, image_shape: Sequence[int], classes: int) -> int:
    configure()
    # A model of the user's own can print, and fail in any way.
    with suppress(Exception, SystemExit), redirect_stdout(sys.stderr):
        network = build_network(variant, image_shape, classes, pixel_max=255)
        return sum(layer.flops for layer in layer_costs(network))
    return 0
