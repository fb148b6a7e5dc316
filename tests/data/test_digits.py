import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_ablations.data import digits
from cnn_ablations.errors import ProjectError


def test_reads_what_scikit_learn_ships(tmp_path: Path) -> None:
    path = tmp_path / digits.FILE
    path.write_bytes(digits.bundled_digits())
    images, labels = digits.read_digits(path)
    assert images.dtype == labels.dtype == np.uint8
    expected = load_digits()
    np.testing.assert_array_equal(images[..., 0], expected.images)
    np.testing.assert_array_equal(labels, expected.target)


LINES = gzip.decompress(digits.bundled_digits()).splitlines(keepends=True)


def test_packed_anew_it_is_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / digits.FILE
    path.write_bytes(gzip.compress(b"".join(LINES), compresslevel=1))
    assert len(digits.read_digits(path)[1]) == 1797


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1,2,3",
        gzip.compress(b"".join(LINES))[:-9],
        gzip.compress(b"".join(LINES[:-1])),
        gzip.compress(b"".join([*LINES[1:], LINES[0]])),
        gzip.compress(b"".join(LINES).replace(b"16", b"15", 1)),
        gzip.compress(bytes(digits.SIZE_LIMIT + 1)),
    ],
    ids=["empty", "a table", "cut", "a line less", "another order", "a pixel", "too large"],
)
def test_refuses_another_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / digits.FILE
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=r"digits\.csv\.gz"):
        digits.read_digits(path)
