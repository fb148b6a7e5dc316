"""DVC removes what a stage wrote before it runs the stage: what a failure says about that."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_ablations.cli import _way_back

ROOT = Path(__file__).parents[1]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_bytes())["stages"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["{}", "{}@digits", "../dvc.yaml:{}@digits"])
def test_git_brings_back_what_dvc_removed_of_reports(stage: str, name: str) -> None:
    definition = STAGES[stage].get("do", STAGES[stage])
    outputs = [next(iter(out)) if isinstance(out, dict) else out for out in definition["outs"]]
    in_git = any(path.startswith("reports/") for path in outputs)
    assert ("git restore reports" in _way_back(name.format(stage))) == in_git


def test_without_dvc_nothing_was_removed() -> None:
    assert _way_back("") == ""
