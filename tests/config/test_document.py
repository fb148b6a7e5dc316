import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_ablations.config.document import read_document
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def complaint(path: Path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(ProjectError) as caught:
        read_document(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_real_file_is_read_as_yaml_reads_it(checkout: Paths) -> None:
    assert read_document(checkout.params) == yaml.safe_load(checkout.params.read_bytes())


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("", None),
        ("a: [1, 0.5, yes, ~, 'x']", {"a": [1, 0.5, True, None, "x"]}),
        ("a: &it {b: 1}\nc: *it", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &it {b: 1}\nc: {<<: *it, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: {<<: {b: 1}, b: 2}", {"a": {"b": 2}}),  # what a merge key brings in can be set anew
        ("1: a\n'1': b", {1: "a", "1": "b"}),
    ],
    ids=["nothing", "plain", "alias", "merge key", "merged and set", "other types"],
)
def test_plain_values_aliases_and_merge_keys_are_read(
    path: Path, content: str, value: object
) -> None:
    path.write_text(content)
    assert read_document(path) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3 has the key 'a' a second time"),
        ("v:\n  x: {epochs: 1, dense: [1], epochs: 2}", "line 2 has the key 'epochs' a second"),
        ("- - {a: 1,\n     'a': 2}", "line 2 has the key 'a' a second time"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "the key '<<' a second time"),
        ("a:\n  b: &it [*it]", "line 2 stands for more than 200,000 values"),
        ("a: &it\n  <<: *it", "line 1 stands for more than 200,000 values"),
        ("a: 0x" + "f" * 5000, "line 1 has a number of 5002 characters"),
        ("a:\n- 1" + ":1" * 100_000, "line 2 has a number of 200001 characters"),
        ("a: 1" + ":1" * 2000 + ".5", "a number of 4003 characters"),
        ("[" * 60, "nested more than 50 levels deep"),
        ("{a: " * 200_000, "nested more than 50 levels deep"),
        ("#" * 2**23 + "\n", "larger than 8,388,608 bytes"),
        ("[" + "1," * 400_000 + "]", "it has more than 200,000 values"),
        # Values that PyYAML itself stumbles over.
        ("a: !!timestamp soon", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!float ''", "not valid YAML"),
        ("a: !!bool maybe", "not valid YAML"),
        ("a: 2001-13-01", "not valid YAML"),
        ("{[1]: 2}", "not valid YAML"),
    ],
    ids=lambda value: value[:25].replace("\n", " "),
)
def test_what_nobody_means_is_refused_by_line(path: Path, content: str, words: str) -> None:
    message = complaint(path, content)
    assert words in message
    assert message.startswith("params.yaml is ")


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_a_few_lines_of_aliases_unfold_into_no_billions(path: Path) -> None:
    tracemalloc.start()
    message = complaint(path, laughs(30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "line 6 stands for more than 200,000 values" in message
    assert peak < 2**22
    path.write_text(laughs(4))
    assert len(read_document(path)) == 4


def test_aliases_of_aliases_are_no_way_to_be_deep(path: Path) -> None:
    chain = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 1000)]
    assert "or 50 levels" in complaint(path, "\n".join(["a0: &a0 []", *chain]))


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


@settings(max_examples=500)
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
