from pathlib import Path

import pytest

from cnn_ablations.analysis.timings import load_timings
from cnn_ablations.errors import ProjectError

SEED = '{"train_seconds": 2, "evaluate_seconds": 0.5, "peak_memory_mb": 7}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "timings.json"


def test_what_was_recorded_is_read(file: Path) -> None:
    provenance = '"provenance": [{"cpu": "x"}], "revision": {"commit": "c"}'
    file.write_text(f'{{"seeds": {{"3": {SEED}}}, {provenance}}}')
    timings = load_timings(file)
    assert timings is not None
    assert timings.seeds["3"].seconds == 2.5
    assert timings.provenance == [{"cpu": "x"}]
    assert timings.revision.commit == "c"


def test_where_there_is_no_record_there_are_no_times(file: Path) -> None:
    assert load_timings(file) is None


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "<<<<<<< HEAD", "[" * 100_000, '{"seeds": {}}', '{"seeds": {"0": 3}}'),
        *(
            f'{{"seeds": {{"0": {SEED.replace("2", value, 1)}}}}}'
            for value in ('"x"', "-1", "Infinity", "NaN", "1e308", "1" + "0" * 400, "null")
        ),
        f'{{"seeds": {{"0": {SEED}}}, "provenance": [5]}}',
        f'{{"seeds": {{"0": {SEED}}}, "revision": 5}}',
        " " * 2**23 + "{}",
    ],
    ids=lambda content: content[-40:],
)
def test_what_makes_no_sense_is_named_in_one_line(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(ProjectError, match=r"timings\.json cannot be read \(.+`git restore`") as it:
        load_timings(file)
    assert len(str(it.value).splitlines()) == 1


def test_a_folder_in_its_place_is_named(file: Path) -> None:
    file.mkdir()
    with pytest.raises(ProjectError, match="no plain file"):
        load_timings(file)
