"""`python -m cnn_ablations.scheduling.seed VARIANT SEED` trains one seed into scratch.

There the stage `train` of the variant finds it. Who comes second waits for the first, and then
has nothing to do.
"""

import sys

from cnn_ablations.config.params import load_params
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import find_project
from cnn_ablations.progress import reporter
from cnn_ablations.training.loop import train_seed
from cnn_ablations.training.variant import seed_folder


def main(name: str, seed: int) -> None:
    """Train the seed, and keep a file that says how far it is."""
    paths = find_project()
    variant = load_params(paths.params).variant(name)
    arrays = load_arrays(paths.arrays(variant.dataset))
    progress = paths.progress(variant.group, f"{name}.seed-{seed}")
    report = reporter(variant, seed, progress)
    train_seed(variant, seed, arrays, seed_folder(variant, seed, arrays, paths), report)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except ProjectError as error:
        sys.exit(f"error: {error}")
