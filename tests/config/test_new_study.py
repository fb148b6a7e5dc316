import difflib
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
    classes: ["0", "1"]
    citation: c

protocols:
  plain:  # small
    split: { method: last, val: 0.2 }
    pixels: unit
    optimizer: adam
    learning_rate: 0.001
    batch_size: 32
    epochs: 3
    filters: [4, 4]
    seeds: [0, 1]

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
"""
PIPELINE = """\
# The pipeline.
vars:
  # Studies.
  - studies/b.yaml

stages:
  check:
    cmd: exec cnn-ablations check
"""
STUDY = """\
studies:
  b:
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
    (tmp_path / "studies" / "b.yaml").write_text(STUDY)
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
    """The lines that `after` has and `before` has not; all others stay as they are."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert [line for line in lines if line[0] in "-?"] == []
    return [line[2:] for line in lines if line[0] == "+"]


def test_variants_a_study_and_its_line_are_added_and_all_else_stays(root: Path) -> None:
    new = written(root, "c", "base", "l2=0.001,0.1", "kernel_size=5")
    assert added(PARAMS, (root / "params.yaml").read_text()) == [
        "  c-l2-0_001: {protocol: plain, dataset: digits, l2: 0.001}",
        "  c-l2-0_1: {protocol: plain, dataset: digits, l2: 0.1}",
        "  c-kernel-size-5: {protocol: plain, dataset: digits, kernel_size: 5}",
    ]
    assert added(PIPELINE, (root / "dvc.yaml").read_text()) == ["  - studies/c.yaml"]
    assert new.variants == ["c-l2-0_001", "c-l2-0_1", "c-kernel-size-5"]
    text = (root / "studies" / "c.yaml").read_text()
    assert text.startswith(
        """\
studies:
  c:
    title: L2 and kernel size on digits
    group: plain
    question: Does it help to change L2 or kernel size?
    variants:
      - base
      - c-l2-0_001
      - c-l2-0_1
      - c-kernel-size-5
    margin: 0.01
    claims:
      l2-0_001-helps:
        statement: '{c-l2-0_001} gives a higher test accuracy than {base}.'
        tests:
          - quantity: test_accuracy
            of: c-l2-0_001
            than: base
      l2-0_1-helps:
"""
    )
    assert new.study.claims["l2-0_1-helps"].statement == (
        "“L2 0.1” gives a higher test accuracy than “base”."
    )


def test_of_very_unequal_classes_claims_are_about_the_balanced_accuracy(root: Path) -> None:
    (root / "params.yaml").write_text(
        PARAMS.replace("citation: c", "citation: c\n    unequal_classes: true")
    )
    (claim,) = written(root, "c", "base", "l2=0.1").study.claims.values()
    assert claim.statement == "“L2 0.1” gives a higher balanced test accuracy than “base”."
    assert claim.tests[0].quantity == "test_balanced_accuracy"


def test_one_factor_changes_at_a_time_unless_a_grid_is_wanted(root: Path) -> None:
    vary = ("kernel_size=3,5", "strides=2", "batch_norm=true")
    one = new_study(root, "c", "base", vary)
    assert [*one.study.labels] == ["base", "c-kernel-size-5", "c-strides-2", "c-batch-norm-true"]
    grid = written(root, "c", "base", *vary, grid=True).study
    assert len(grid.labels) == 2 * 2 * 2
    assert len(grid.claims) == 7
    assert grid.labels["c-kernel-size-5-strides-2"] == "kernel size 5, strides 2"


def test_new_variants_have_what_the_base_changes(root: Path) -> None:
    assert written(root, "c", "wide", "l2=0.1").study.labels == {
        "wide": "base",
        "c-l2-0_1": "L2 0.1",
    }
    assert load_params(root / "params.yaml").variant("c-l2-0_1").factors["filters"] == [16, 16]


@pytest.mark.parametrize("vary", ["l2=0,0.1", "l2=0.0,0.1", "l2=0.1,0.1,0.10"])
def test_values_of_the_base_and_values_written_twice_make_no_variant(vary: str, root: Path) -> None:
    assert new_study(root, "c", "base", [vary]).variants == ["c-l2-0_1"]


def test_a_variant_that_is_there_already_is_taken(root: Path) -> None:
    new = written(root, "c", "base", "l2=0.1,0.01")
    assert new.variants == ["c-l2-0_1"]
    assert [*new.study.labels] == ["base", "c-l2-0_1", "l2"]
    params = (root / "params.yaml").read_text()
    assert written(root, "e", "base", "l2=0.1,0.01").variants == []
    assert (root / "params.yaml").read_text() == params


@pytest.mark.parametrize(
    ("vary", "variants"),
    [
        ("filters=[16],[32,32]", ["c-filters-16", "c-filters-32-32"]),
        ("l2=1e-3,0.00001", ["c-l2-0_001", "c-l2-1e-05"]),
        ("train_on=train+val", ["c-train-on-train-val"]),
        (
            "augmentation={mirror: random, crop: 1},{rotation: 5}",
            ["c-augmentation-mirror-random-crop-1", "c-augmentation-rotation-5"],
        ),
        ("model=res_net", ["c-model-res_net"]),
        ("train_images=null,500", ["c-train-images-500"]),
    ],
)
def test_values_are_yaml_and_name_their_variants(
    vary: str, variants: list[str], root: Path
) -> None:
    assert written(root, "c", "base", vary).variants == variants


def test_other_layouts_survive(root: Path) -> None:
    text = PARAMS + "  same: {protocol: plain, dataset: digits}"
    variants = text.index("variants:")
    for params in (text, text[variants:] + "\n\n# Below.\n" + text[:variants]):
        (root / "params.yaml").write_text(params)
        after = new_study(root, "e", "base", ["l2=0.1"]).files[root / "params.yaml"].decode()
        line = "  e-l2-0_1: {protocol: plain, dataset: digits, l2: 0.1}"
        assert added(params, after) == [line]
        assert f"  same: {{protocol: plain, dataset: digits}}\n{line}\n" in after


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (
            "params.yaml",
            PARAMS[PARAMS.index("variants:") :],
            "variants: { base: &base { protocol: plain, dataset: digits }, l2: *base }\n",
            "variants has no plain place for new lines; add by hand: c-l2-0_1: {",
        ),
        (
            "dvc.yaml",
            PIPELINE,
            "vars: [studies/b.yaml]\n",
            "dvc.yaml: vars has no plain place for new lines; add by hand: - studies/c.yaml",
        ),
        ("dvc.yaml", PIPELINE, "[]\n", "dvc.yaml: the top level must be a mapping"),
        ("dvc.yaml", "vars:", "vars: {", "dvc.yaml is not valid YAML: line"),
    ],
)
def test_a_layout_without_a_place_for_new_lines_is_an_error(
    file: str, before: str, after: str, message: str, root: Path
) -> None:
    path = root / file
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(ProjectError, match=re.escape(message)):
        new_study(root, "c", "base", ["l2=0.1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("C", "base", "l2=1"), "has the name 'C-l2-1', but names are lower-case"),
        (("../c", "base", "l2=1"), "has the name '../c-l2-1'"),
        (("b", "base", "l2=1"), "there is a study 'b' already; choose another name"),
        (("c", "bsae", "l2=1"), "there is no variant 'bsae'; did you mean 'base'?"),
        (("c", "base", "stride=2"), "--vary stride: variant 'base' has no such key; did you mean"),
        (("c", "base", "protocol=other"), "--vary protocol: variant 'base' has no such key"),
        (("c", "base", "l2=1],[2"), "--vary l2=1],[2: must be KEY=V1,V2"),
        (("c", "base", "l2=2001-13-01"), "must be KEY=V1,V2"),
        (("c", "base", "l2=0"), "study 'c' was not written: nothing differs from 'base'"),
        (("c", "base", "l2"), "--vary l2: must be KEY=V1,V2"),
        (("c", "base", "l2=-1,-2"), "not written: variants.c-l2-1.l2 is wrong"),
        (("c", "base", "dataset=nope"), "there is no data set 'nope'"),
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


def test_the_layout_of_this_project_stays(checkout: Paths) -> None:
    new = new_study(checkout.root, "fresh", "r4-10k", ["l2=0.001", "train_images=6000"])
    before = {file: file.read_text() if file.is_file() else "" for file in new.files}
    params, study, pipeline = (added(old, new.files[file].decode()) for file, old in before.items())
    assert params == [
        "  fresh-l2-0_001: {protocol: r4, dataset: cifar10, train_images: 10000, l2: 0.001}",
        "  fresh-train-images-6000: {protocol: r4, dataset: cifar10, train_images: 6000}",
    ]
    assert study[0] == "studies:"
    assert pipeline == ["  - studies/fresh.yaml"]
