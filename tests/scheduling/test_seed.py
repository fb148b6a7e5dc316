"""What it trains is compared in test_runner.py, by `make test-faults`."""

import subprocess
import sys

from cnn_ablations.paths import Paths

SEED = [sys.executable, "-m", "cnn_ablations.scheduling.seed"]


def test_what_a_user_can_mend_is_one_line(project: Paths) -> None:
    command = [*SEED, "tiny-nett", "0"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml has no variant 'tiny-nett'")
