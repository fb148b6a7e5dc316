from contextlib import suppress
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.config.document import read_document
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def test_the_real_file_is_read_as_dvc_reads_it(checkout: Paths) -> None:
    assert read_document(checkout.params) == load_yaml(str(checkout.params))


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("", None),
        ("a: [1, 0.5, true, ~, 'x']", {"a": [1, 0.5, True, None, "x"]}),
        ("[1e-05, 1e-3, 1.0e-05, 1E5]", [1e-5, 1e-3, 1e-5, 1e5]),  # YAML 1.1 takes them for text,
        ("[no, yes, on, off]", ["no", "yes", "on", "off"]),  # these for booleans,
        ("[010, 0o10]", [10, 8]),  # and the first of these for 8
        ("a: &it {b: 1}\nc: *it", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &it {b: 1}\nc: {<<: *it, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
        (r'"\n\t é": "\xe9"', {"\n\t é": "é"}),
    ],
)
def test_yaml_1_2_is_read_as_dvc_reads_it(path: Path, content: str, value: object) -> None:
    path.write_text(content)
    assert read_document(path) == value
    assert (load_yaml(str(path)) or None) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("v:\n  x: {epochs: 1, dense: [1], epochs: 2}", 'line 2: found duplicate key "epochs"'),
        ("variants:\n- {a: [}", "line 2: did not find expected node content"),
        ("a: !!python/object/apply:os.system [x]", "line 1: could not determine a constructor"),
        ("a: 2001-13-01", "month must be in 1..12"),
        ("a: " + "1" * 5000, "integer string conversion"),
        ('a: {b: "\\e[31m"}', r"line 1: '\\x1b\[31m' has a control character"),
        ('a:\n  "\\r\\0": 1', r"line 2: '\\r\\x00' has a control character"),
        ('- "\\x9b"', r"line 1: '\\x9b' has a control character"),
        ("a: \udcff", "unacceptable character|invalid|can't decode"),
    ],
    ids=lambda value: ascii(value[:25]),
)
def test_what_is_not_plain_yaml_is_refused_by_line(path: Path, content: str, words: str) -> None:
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ProjectError, match=rf"^{path} is not valid YAML: .*({words})[^\n]*$"):
        read_document(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ProjectError, match=r"params\.yaml: No such file"):
        load_params(path)


# A document's own words, and what YAML reads between them.
PIECES = [
    *("datasets", "variants", "studies", "protocols", "tiny-net", "a", "1", "0x1", "1:2", ".5"),
    *(": ", ":", ",", "\n", "\n  ", " ", "- ", "? ", "[", "]", "{", "}", "'", '"', "|", ">", "#"),
    *("&a ", "*a", "<<: ", "=", "~", "%", "@", "`", "---\n", "...\n", "\t", "\0", "\ufeff", "é"),
    *("!!int ", "!!float ", "!!bool ", "!!null ", "!!str ", "!!binary ", "!!timestamp ", "!!set "),
    *("!!omap ", "!!pairs ", "!!seq ", "!!map ", "!!python/name:os.system ", "!a ", "!<a> "),
    *("2001-01-01", "2001-13-01", "2001-01-01 00:00:00+99:99", ".inf", ".nan", "yes"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join)


@settings(max_examples=300)
@given(
    content=texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)
)
def test_any_file_is_parsed_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Of another name: all other tests' folders lie below, and must lie in no checkout.
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with suppress(ProjectError):
        assert isinstance(load_params(path), Params)
