import re
from pathlib import Path
from typing import Any

import pytest

from cnn_ablations.config.new_study import NewStudy, new_study
from cnn_ablations.config.params import check_studies_are_listed, load_params
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

PARAMS = """\
# By hand.
datasets:
  digits:
    title: Small digits
    format: digits
    image_shape: [8,   8, 1]
    classes: &classes ["0", "1"]
    citation: c

protocols:
  plain: &plain  # small
    split: { method: last, val: 0.2 }
    pixels: unit
    optimizer: adam
    learning_rate: 0.001
    batch_size: 32
    epochs: 3
    filters: [4, 4]
    seeds: [0, 1]
  other:
    <<: *plain
    epochs: 4

variants:
  # The base, and what it is compared with.
  base: { protocol: plain, dataset: digits }
  l2: { protocol: plain, dataset: digits, l2: 0.01 }   # strong
  wide:
    protocol: plain
    dataset: digits
    filters:
      - 16
      - 16
  # Last of its group.

  another: { protocol: other, dataset: digits }
"""
PIPELINE = """\
# The pipeline.
vars:
  # Studies.
  - studies/b.yaml
  - studies/d.yaml

stages:
  check:
    cmd: exec cnn-ablations check
"""
STUDY = """\
studies:
  {}:
    title: t
    group: plain
    question: q
    variants: [base, l2]
    margin: 0.01
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "studies").mkdir()
    for name in ("b", "d"):
        (tmp_path / "studies" / f"{name}.yaml").write_text(STUDY.format(name))
    return tmp_path


def written(root: Path, name: str, base: str, *vary: str, **options: Any) -> NewStudy:
    """The study, once its files are where they belong and pass the checks of `check`."""
    new = new_study(root, name, base, vary, **options)
    for file, content in new.files.items():
        file.write_bytes(content)
    assert load_params(root / "params.yaml").study(name) == new.study
    check_studies_are_listed(root)
    return new


def added(before: str, after: str) -> list[str]:
    """The lines of `after` that `before` does not have; all others are the same, in order."""
    rest = iter(before.splitlines(keepends=True))
    expected = next(rest, None)
    lines = []
    for line in after.splitlines(keepends=True):
        if line == expected:
            expected = next(rest, None)
        else:
            lines.append(line.removesuffix("\n"))
    assert expected is None
    return lines


def test_variants_a_study_and_its_line_are_added_and_all_else_stays(root: Path) -> None:
    new = written(root, "c", "base", "l2=0.001,0.1", "kernel_size=5")
    assert added(PARAMS, (root / "params.yaml").read_text()) == [
        "  c-l2-0_001: { protocol: plain, dataset: digits, l2: 0.001 }",
        "  c-l2-0_1: { protocol: plain, dataset: digits, l2: 0.1 }",
        "  c-kernel-size-5: { protocol: plain, dataset: digits, kernel_size: 5 }",
    ]
    assert added(PIPELINE, (root / "dvc.yaml").read_text()) == ["  - studies/c.yaml"]
    assert new.new == ["c-l2-0_001", "c-l2-0_1", "c-kernel-size-5"]
    assert (
        (root / "studies" / "c.yaml").read_text()
        == """\
studies:
  c:
    title: L2 and kernel on digits
    group: plain
    question: "Does it help to change L2 or kernel?"
    variants:
      - base
      - c-l2-0_001
      - c-l2-0_1
      - c-kernel-size-5
    margin: 0.01
    claims:
      l2-0_001-helps:
        statement: "{c-l2-0_001} gives a higher test accuracy than {base}."
        tests:
          - { quantity: test_accuracy, of: c-l2-0_001, than: base }
      l2-0_1-helps:
        statement: "{c-l2-0_1} gives a higher test accuracy than {base}."
        tests:
          - { quantity: test_accuracy, of: c-l2-0_1, than: base }
      kernel-size-5-helps:
        statement: "{c-kernel-size-5} gives a higher test accuracy than {base}."
        tests:
          - { quantity: test_accuracy, of: c-kernel-size-5, than: base }
"""
    )
    assert new.study.claims["l2-0_1-helps"].statement == (
        "“L2 0.1” gives a higher test accuracy than “base”."
    )


def test_new_variants_stand_below_those_of_their_group(root: Path) -> None:
    written(root, "c", "base", "l2=0.1")
    line = "  c-l2-0_1: { protocol: plain, dataset: digits, l2: 0.1 }"
    assert f"      - 16\n{line}\n  # Last of its group" in (root / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "order"), [("a", "a b d"), ("c", "b c d"), ("e", "b d e"), ("b-2", "b-2 b d")]
)
def test_studies_are_listed_in_order(name: str, order: str, root: Path) -> None:
    written(root, name, "base", "l2=0.1")
    lines = (root / "dvc.yaml").read_text().splitlines()
    assert [line for line in lines if "studies/" in line] == [
        f"  - studies/{study}.yaml" for study in order.split()
    ]


def test_one_factor_changes_at_a_time_unless_a_grid_is_wanted(root: Path) -> None:
    vary = ("kernel_size=3,5", "strides=2", "batch_norm=true")
    one = new_study(root, "c", "base", vary)
    assert [*one.variants] == ["base", "c-kernel-size-5", "c-strides-2", "c-batch-norm-true"]
    grid = written(root, "c", "base", *vary, grid=True)
    assert len(grid.variants) == 2 * 2 * 2
    assert len(grid.study.claims) == 7
    both = grid.variants["c-kernel-size-5-strides-2"]
    assert both.differences == ["kernel_size", "strides"]
    assert grid.study.labels["c-kernel-size-5-strides-2"] == "kernel 5×5, stride 2"


def test_new_variants_have_what_the_base_changes(root: Path) -> None:
    new = written(root, "c", "wide", "l2=0.1")
    assert new.variants["c-l2-0_1"].factors["filters"] == [16, 16]
    assert new.study.labels == {"wide": "without L2", "c-l2-0_1": "L2 0.1"}


@pytest.mark.parametrize("vary", ["l2=0,0.1", "l2=0.0,0.1", "l2=0.1,0.1,0.10"])
def test_values_of_the_base_and_values_written_twice_make_no_variant(vary: str, root: Path) -> None:
    assert new_study(root, "c", "base", [vary]).new == ["c-l2-0_1"]


def test_a_variant_that_is_there_already_is_taken(root: Path) -> None:
    new = written(root, "c", "base", "l2=0.1,0.01")
    assert new.new == ["c-l2-0_1"]
    assert [*new.variants] == ["base", "c-l2-0_1", "l2"]
    assert new.study.claims["l2-0_01-helps"].tests[0].of == ["l2"]
    params = (root / "params.yaml").read_text()
    again = written(root, "e", "base", "l2=0.1,0.01", question="Once more?")
    assert (root / "params.yaml").read_text() == params
    assert again.study.question == "Once more?"


@pytest.mark.parametrize(
    ("vary", "variants"),
    [
        ("filters=[16],[32,32]", ["c-filters-16", "c-filters-32-32"]),
        ("l2=1e-3,0.00001", ["c-l2-0_001", "c-l2-0_00001"]),
        ("train_on=train+val", ["c-train-on-train-val"]),
        ("precision=mixed_bfloat16", ["c-precision-mixed_bfloat16"]),
        (
            "augmentation={mirror: random, crop: 1},{rotation: 5}",
            ["c-augmentation-mirror-random-crop-1", "c-augmentation-rotation-5"],
        ),
        (
            "learning_rate={peak: 0.1, decay: {after: [1, 2]}}",
            ["c-learning-rate-peak-0_1-decay-after-1-2"],
        ),
        ("model=res_net", ["c-model-res_net"]),
        ("train_images=null,500", ["c-train-images-500"]),
    ],
)
def test_values_are_yaml_and_name_their_variants(
    vary: str, variants: list[str], root: Path
) -> None:
    assert written(root, "c", "base", vary).new == variants


VARIANTS = PARAMS.index("variants:")
WITHOUT_OTHERS = PARAMS[: PARAMS.index("  # Last")]
DATASET_AT_THE_END = WITHOUT_OTHERS.replace("    dataset: digits\n", "") + (
    "    dataset: |-\n      digits\n"
)


@pytest.mark.parametrize(
    "params",
    [
        PARAMS.replace("\n", "\r\n"),
        WITHOUT_OTHERS,
        WITHOUT_OTHERS.removesuffix("\n"),
        WITHOUT_OTHERS.replace("variants:", "# variants:\nvariants:") + "# The end.\n",
        WITHOUT_OTHERS.replace("  wide:", "  wide: &wide") + "  same: *wide\n",
        DATASET_AT_THE_END + "  another: { protocol: other, dataset: digits }\n",
        DATASET_AT_THE_END.replace("digits\n", "digits\n\n\n"),
    ],
    ids=["Windows", "end", "no line end", "comment", "alias", "block of text", "empty lines"],
)
def test_other_layouts_survive(params: str, root: Path) -> None:
    (root / "params.yaml").write_bytes(params.encode())
    written(root, "e", "base", "l2=0.1")
    after = (root / "params.yaml").read_bytes().decode()
    lines = added(params if params.endswith("\n") else f"{params}\n", after)
    assert [line.strip() for line in lines if line.strip()] == [
        "e-l2-0_1: { protocol: plain, dataset: digits, l2: 0.1 }"
    ]
    assert after.count("\r\n") in (0, after.count("\n"))
    above = after[: after.index("e-l2-0_1")].splitlines()[-2].strip()
    assert above in ("- 16", "digits", "same: *wide")  # the last line of the group


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (
            "params.yaml",
            PARAMS[VARIANTS:],
            "variants: { base: &base { protocol: plain, dataset: digits }, l2: *base }\n",
            "variants must be lines of their own",
        ),
        (
            "dvc.yaml",
            PIPELINE,
            "vars: [studies/b.yaml, studies/d.yaml]\n",
            "dvc.yaml: vars must have a line for each study",
        ),
        ("dvc.yaml", PIPELINE, "[]\n", "dvc.yaml: vars must have a line for each study"),
        ("dvc.yaml", PIPELINE, "", "dvc.yaml: vars must have a line for each study"),
        (  # old line ends, and another section below
            "params.yaml",
            PARAMS,
            (PARAMS[VARIANTS:] + PARAMS[:VARIANTS]).replace("\n", "\r"),
            "params.yaml has no plain place for this line; add it: c-l2-0_1: {",
        ),
        ("dvc.yaml", "vars:", "vars: {", "dvc.yaml is not valid YAML: line"),
    ],
)
def test_a_layout_without_a_place_for_new_lines_is_an_error(
    file: str, before: str, after: str, message: str, root: Path
) -> None:
    path = root / file
    path.write_bytes(path.read_text().replace(before, after).encode())
    with pytest.raises(ProjectError, match=re.escape(message)):
        new_study(root, "c", "base", ["l2=0.1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("C", "base", "l2=1"), "'C' cannot be the name of a study: names are lower-case"),
        (("../c", "base", "l2=1"), "'../c' cannot be the name"),
        (("b", "base", "l2=1"), "there is a study 'b' already; choose another name"),
        (("c", "bsae", "l2=1"), "there is no variant 'bsae'; did you mean 'base'?"),
        (("c", "base", "stride=2"), "--vary stride: variant 'base' has no such key; did you mean"),
        (("c", "base", "protocol=other"), "--vary protocol: a study is about the variants of one"),
        (("c", "base", "seeds=[1]"), "--vary seeds: a variant is what all of its seeds show"),
        (("c", "base", "l2=1", "l2=2"), "--vary l2 stands there twice"),
        (("c", "base", "l2"), "--vary l2: must be KEY=V1,V2"),
        (("c", "base", "l2="), "--vary l2=: must be KEY=V1,V2"),
        (("c", "base", "l2=1],[2"), "must be KEY=V1,V2"),
        (("c", "base", "l2=2001-13-01"), "must be KEY=V1,V2"),
        (("c", "base", "l2=0"), "study 'c' was not written: nothing differs from 'base'"),
        (("c", "base", "l2=-1,-2"), "not written: variants.c-l2-1.l2 is wrong"),
        (("c", "base", "kernel_size=0.1"), "not written: variants.c-kernel-size-0_1.kernel_size"),
        (("c", "base", "dataset=nope"), "there is no data set 'nope'"),
        (("c", "base", "pooling=[9,9]"), "not written: variants.c-pooling-9-9: pool1"),
        (("c" * 60, "base", "l2=1"), "at most 60"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    arguments: tuple[str, str, str], message: str, root: Path
) -> None:
    name, base, *vary = arguments
    with pytest.raises(ProjectError) as error:
        new_study(root, name, base, vary)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in root.rglob("*.yaml")) == [
        "b.yaml",
        "d.yaml",
        "dvc.yaml",
        "params.yaml",
    ]
    assert (root / "params.yaml").read_text() == PARAMS


def test_the_layout_of_this_project_stays(checkout: Paths) -> None:
    new = new_study(checkout.root, "fresh", "r4-10k", ["l2=0.001", "train_images=6000"])
    before = {file: file.read_text() if file.is_file() else "" for file in new.files}
    params, study, pipeline = (added(old, new.files[file].decode()) for file, old in before.items())
    assert params == [
        "  fresh-l2-0_001: { protocol: r4, dataset: cifar10, train_images: 10000, l2: 0.001 }",
        "  fresh-train-images-6000: { protocol: r4, dataset: cifar10, train_images: 6000 }",
    ]
    assert study[0] == "studies:"
    assert pipeline == ["  - studies/fresh.yaml"]
