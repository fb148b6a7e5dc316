from pathlib import Path

import pytest

from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.errors import ProjectError

SEED = '{"train_seconds": 2, "evaluate_seconds": 0.5, "peak_memory_mb": 7}'


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    file = tmp_path / "timings.json"
    assert load_timings(file) is None
    provenance = '"provenance": [{"cpu": "x"}], "revision": {"commit": "c"}'
    file.write_text(f'{{"seeds": {{"3": {SEED}}}, {provenance}}}')
    timings = load_timings(file)
    assert timings is not None
    assert timings.seeds["3"].seconds == 2.5
    assert timings.provenance == [{"cpu": "x"}]
    assert timings.revision.commit == "c"


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "<<<<<<< HEAD", '{"seeds": {}}', '{"seeds": {"0": 3}}', " " * 2**23 + "{}"),
        *(
            f'{{"seeds": {{"0": {SEED.replace("2", value, 1)}}}}}'
            for value in ('"x"', "-1", "Infinity", "NaN", "1" + "0" * 400)
        ),
        f'{{"seeds": {{"0": {SEED}}}, "provenance": [5]}}',
    ],
    ids=lambda content: content[-40:],
)
def test_what_makes_no_sense_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "timings.json"
    file.write_text(content)
    with pytest.raises(ProjectError, match=r"timings\.json cannot be read \(.+`git restore`") as it:
        load_timings(file)
    assert len(str(it.value).splitlines()) == 1
