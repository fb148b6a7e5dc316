import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from cnn_ablations.config.variants import Variant
from cnn_ablations.data.arrays import load_arrays
from cnn_ablations.notebooks import KERNEL_ENVIRONMENT
from cnn_ablations.paths import Paths
from cnn_ablations.training.loop import train_seed
from cnn_ablations.training.variant import seed_folder

SEED = [sys.executable, "-m", "cnn_ablations.scheduling.seed"]


def test_a_seed_trained_beside_its_stage_is_what_the_stage_would_have_made(
    project: Paths, tiny_variant: Variant, tmp_path: Path, keras: ModuleType
) -> None:
    command = [*SEED, "tiny-net", "1"]
    environment = {**os.environ, **KERNEL_ENVIRONMENT}
    subprocess.run(command, cwd=project.root, env=environment, check=True, capture_output=True)
    arrays = load_arrays(project.arrays("digits"))
    beside = seed_folder(tiny_variant, 1, arrays, project) / "result"
    expected = train_seed(tiny_variant, 1, arrays, tmp_path / "seed", lambda epoch, row: None)
    names = {file.name for file in expected.iterdir()}
    assert {file.name for file in beside.iterdir()} == names
    for name in names - {"timing.json", "sha256sums.txt"}:
        assert (beside / name).read_bytes() == (expected / name).read_bytes(), name
    assert b'"epoch": 3' in project.progress("tiny", "tiny-net.seed-1").read_bytes()


def test_what_a_user_can_mend_is_one_line(project: Paths) -> None:
    command = [*SEED, "tiny-nett", "0"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no variant 'tiny-nett'")
