"""The arithmetic of networks: that on record of the same network, or else counted in it.

A child process builds it: TensorFlow keeps the memory that its import takes.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout, suppress

from cnn_ablations.config.params import Params
from cnn_ablations.config.variants import Variant
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.processes import environment, mortal
from cnn_ablations.scheduling.pipeline import Record
from cnn_ablations.training.backend import configure
from cnn_ablations.training.cost import layer_costs
from cnn_ablations.training.network import build_network


def forward_flops(
    variants: Sequence[Variant], records: Iterable[Record], params: Params
) -> dict[str, int]:
    """Floating-point operations for one image, forward, by variant: 0 where its network cannot be
    built, since its training will say why.
    """

    def network(variant: Variant) -> str:
        dataset = params.dataset(variant.dataset)
        shape = [*dataset.image_shape, len(dataset.classes)]
        return json.dumps([variant.model, variant.factors, shape], sort_keys=True)

    known = {network(record.variant): record.flops for record in records}
    counted = _counted([v for v in variants if network(v) not in known], params)
    return {v.name: known.get(network(v), counted.get(v.name, 0)) for v in variants}


def _counted(variants: Sequence[Variant], params: Params) -> dict[str, int]:
    if not variants:
        return {}
    datasets = [params.dataset(variant.dataset) for variant in variants]
    asked = [
        [variant.model_dump(), dataset.image_shape, len(dataset.classes)]
        for variant, dataset in zip(variants, datasets, strict=True)
    ]
    child = subprocess.run(
        mortal([sys.executable, "-m", __name__]),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**environment(), **KERNEL_ENVIRONMENT, "MPLBACKEND": "agg"},
    )
    answer: dict[str, int] = json.loads(child.stdout or "{}")  # nothing where memory ran out
    return answer


def main() -> None:
    """Build the networks that the standard input lists, and write their arithmetic by variant."""
    found = {}
    with redirect_stdout(sys.stderr):  # what a model prints is no answer
        configure()
        for values, image_shape, classes in json.load(sys.stdin):
            with suppress(Exception):  # a model of the user's own can fail in any way
                variant = Variant.model_validate(values)
                network = build_network(variant, image_shape, classes, pixel_max=255)
                found[variant.name] = sum(layer.flops for layer in layer_costs(network))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
