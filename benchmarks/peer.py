"""The same with ictonyx, as its public interface offers it: runs with seeds of their own in one
process, and in the folder `kept` a checkpoint after each, from which the same command goes on.
"""

import json
import sys
from pathlib import Path
from typing import Any

import ictonyx as ix  # type: ignore[import-not-found]
from ictonyx.data import ArraysDataHandler  # type: ignore[import-not-found]

from benchmarks.plain import build, load


def main(arrays: str, variants: list[dict[str, Any]], images: list[None], kept: str) -> None:
    for variant in variants:
        x_train, y_train, *held_out = load(variant, Path(arrays), *images)
        names = ("X_val", "y_val", "X_test", "y_test")
        runner = ix.ExperimentRunner(
            lambda _, variant=variant, x=x_train: ix.KerasModelWrapper(build(variant, x.shape[1:])),
            ArraysDataHandler(x_train, y_train, **dict(zip(names, held_out, strict=True))),
            ix.ModelConfig({"epochs": variant["epochs"], "batch_size": variant["batch_size"]}),
            seed=0,
            verbose=False,
        )
        folder = str(Path(kept) / variant["name"])
        results = runner.run_study(len(variant["seeds"]), checkpoint_dir=folder)
        for accuracy in results.get_test_metric_values("accuracy"):
            print(json.dumps({"accuracy": float(accuracy)}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
