"""The command line: one verb a stage of dvc.yaml. `dvc repro` calls them in the right order."""

import atexit
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from cnn_ablations.config.datasets import LONGEST_SIDE
from cnn_ablations.config.params import Params, load_params
from cnn_ablations.paths import Paths, find_project
from cnn_ablations.processes import alone, stderr_to

app = typer.Typer(
    name="cnn-ablations",
    help="Reproducible ablation studies of convolutional networks. Each verb is a stage of "
    "dvc.yaml; `dvc repro` runs the stages that are out of date.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
study = typer.Typer(no_args_is_help=True)
app.add_typer(study, name="study", help="Begin a study.")
dataset = typer.Typer(no_args_is_help=True)
app.add_typer(dataset, name="dataset", help="Add a data set.")

DatasetName = Annotated[str, typer.Argument(help="A data set of params.yaml.")]
VariantName = Annotated[str, typer.Argument(help="A variant of params.yaml.")]
StudyName = Annotated[str, typer.Argument(help="A study, by the name of its file in studies.")]

TRAINING_BYTES = 2 * 10**9
"""What a training has in memory, but for the largest batches."""

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET", help="Stages, as for `dvc repro`; without any, the whole pipeline."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        show_default="as many as cores and memory allow",
        help="Trainings at a time, on a core each.",
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing",
        help="Pass over stages of which only data are missing, as `dvc repro` does.",
    ),
]

WORSE = 3
"""The exit status of a difference that is not wanted; 1 is an error, 2 a command misspelt."""


@app.command()
def check() -> None:
    """Check params.yaml and the studies, and say what they hold."""
    from cnn_ablations.config.params import check_studies_are_listed
    from cnn_ablations.files import write_atomically
    from cnn_ablations.inputs import write_inputs
    from cnn_ablations.scheduling.pipeline import locked_stages

    paths, params = _project()
    check_studies_are_listed(paths.root)
    if "DVC_STAGE" not in os.environ:  # DVC has read it
        locked_stages(paths)
    write_inputs(params, paths)
    write_atomically(paths.checked, b"params.yaml is valid\n")
    seeds = sum(len(variant.seeds) for variant in params.variants.values())
    typer.echo(
        f"params.yaml is valid: {len(params.datasets)} data sets, "
        f"{len(params.protocols)} protocols, {len(params.variants)} variants with {seeds} seeds, "
        f"{len(params.studies)} studies"
    )


@app.command()
def download(name: DatasetName) -> None:
    """Fetch a data set and verify every file (CNN_ABLATIONS_MIRROR: a folder or URL to prefer)."""
    from cnn_ablations.data.download import download as fetch

    paths, params = _project()
    mirror = os.environ.get("CNN_ABLATIONS_MIRROR") or None
    fetch(name, params.dataset(name), paths, mirror, _say)


@app.command()
def preprocess(name: DatasetName) -> None:
    """Turn a downloaded data set into arrays."""
    from cnn_ablations.data.preprocess import preprocess as to_arrays

    paths, params = _project()
    to_arrays(name, params.dataset(name), paths, _say)


@app.command()
def explore(name: DatasetName) -> None:
    """Execute the notebook that looks at a data set."""
    paths, params = _project()
    entry = params.dataset(name).model_dump(exclude={"images"})  # of which only `plan` knows
    parameters = {"name": name, "dataset": entry}
    template = "own-data" if entry["format"] in ("folder", "npz") else "dataset"
    _execute(template, paths.notebook("datasets", name), parameters, paths)


@app.command()
def train(name: VariantName) -> None:
    """Train the seeds of a variant that are not trained yet, from checkpoints where there are."""
    from cnn_ablations.scheduling.display import shown

    paths, params = _project()
    variant = params.variant(name)
    output = paths.notebook(variant.group, name, "train")
    progress = shown(name, paths.progress(variant.group, name), _console())
    _execute("train", output, {"variant": variant.model_dump()}, paths, progress)


@app.command()
def inspect(name: VariantName) -> None:
    """Execute the notebook that looks into a trained variant."""
    paths, params = _project()
    variant = params.variant(name)
    output = paths.notebook(variant.group, name, "inspect")
    parameters = {
        "variant": variant.model_dump(),
        "example_classes": params.dataset(variant.dataset).example_classes,
    }
    _execute("inspect", output, parameters, paths)


@app.command()
def compare(name: StudyName) -> None:
    """Execute the notebook of a study: tables, figures and verdicts on its claims."""
    paths, params = _project()
    asked = params.study(name)
    from cnn_ablations.analysis.study import answer

    output = paths.notebook("studies", name)
    _execute("study", output, {"name": name, "write": True}, paths)
    typer.echo(answer(asked, paths, name))


@dataset.command("add")
def add_dataset(
    name: Annotated[str, typer.Argument(help="Of the data set.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder with a folder of images for each class, a zip archive of one, a .npz "
            "file, or a folder of IDX files or of CIFAR-10's batches.",
        ),
    ],
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LONGEST_SIDE,
            show_default="what suits the images",
            help="Pixels on a side of images in the arrays.",
        ),
    ] = None,
) -> None:
    """Look at images of your own, say what is odd, and write their entry into params.yaml."""
    from cnn_ablations.data.new_dataset import new_dataset
    from cnn_ablations.files import write_atomically

    paths = find_project()
    params, lines = new_dataset(paths.root, name, source, size, _say)
    write_atomically(paths.params, params.encode())
    typer.echo("\n".join(lines))
    typer.echo(
        f"wrote the data set '{name}', a protocol of that name and the variant '{name}-base' into "
        "params.yaml: see to title, citation and size there\n"
        f"next: `cnn-ablations repro explore@{name}` looks at its arrays, `cnn-ablations study "
        f'new STUDY --base {name}-base --vary "filters=[8,16,32],[32,64,128]"` asks a question'
    )


@study.command("new")
def new_study(
    name: Annotated[str, typer.Argument(help="Of the study; names of its new variants begin so.")],
    base: Annotated[str, typer.Option(metavar="VARIANT", help="What others are compared with.")],
    vary: Annotated[
        list[str],
        typer.Option(metavar="KEY=V1,V2", help="A key and values for it; once for each key."),
    ],
    grid: Annotated[
        bool, typer.Option("--grid", help="All combinations, instead of one change at a time.")
    ] = False,
) -> None:
    """Write variants that differ from a base, and a study with a claim for each difference."""
    from cnn_ablations.config.new_study import new_study as written
    from cnn_ablations.files import write_atomically

    paths = find_project()
    new = written(paths.root, name, base, vary, grid=grid)
    for file, content in new.files.items():
        write_atomically(file, content)
    for variant, label in new.study.labels.items():
        typer.echo(f"{'new' if variant in new.variants else 'there':5}  {variant}: {label}")
    typer.echo(
        f"wrote studies/{name}.yaml, its new variants into params.yaml, its line into dvc.yaml\n"
        f"next: `cnn-ablations repro compare@{name}` "
        f"(`cnn-ablations plan compare@{name}` says how long it takes)"
    )


@app.command()
def convolution() -> None:
    """Execute the notebook that writes a convolution out by hand."""
    paths, _ = _project()
    _execute("convolution", paths.notebook("convolution"), {}, paths)


@app.command()
def repro(
    targets: Targets = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, whose workers do the trainings."),
    ] = None,
    allow_missing: AllowMissing = False,
) -> None:
    """Run all that is out of date, as `dvc repro` does, with trainings side by side.

    Exit status 1 where a variant or another stage failed; the others are done all the same.
    """
    paths, params = _project()
    from cnn_ablations.scheduling.runner import repro as run

    done = run(
        targets or [],
        params,
        paths,
        _console(),
        workers=workers or _workers(),
        scheduler=scheduler,
        allow_missing=allow_missing,
    )
    raise typer.Exit(not done)


@app.command()
def plan(
    targets: Targets = None, workers: Workers = None, allow_missing: AllowMissing = False
) -> None:
    """Say what `repro` would train and why, and about how long that takes."""
    paths, params = _project()
    from cnn_ablations.scheduling.plan import plan_of

    count = workers or _workers()
    typer.echo(plan_of(targets or [], params, paths, count, allow_missing=allow_missing))


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT|STUDY",
            help="Variants, or studies for all of theirs; without any, all that have results.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Only so many seeds of each variant, the first.")
    ] = None,
) -> None:
    """Train variants again in a temporary place and compare with what is committed in git.

    Each output is bit-identical, within seed noise, or different; unknown where fewer than two
    seeds tell how much seeds differ. Exit status 0 means that all are one of the first two.
    """
    from cnn_ablations.verification import verify as run

    paths, params = _project()
    try:
        same = run(names or [], params, paths, _console(), typer.echo, seeds=seeds)
    except SystemExit:
        sys.exit("interrupted: no result was touched; `verify` starts anew the next time")
    raise typer.Exit(not same)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="REV")] = "HEAD",
    now: Annotated[
        str | None, typer.Argument(metavar="REV", show_default="the working tree")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of Markdown.")] = False,
    fail_on: Annotated[
        Literal["worse"] | None,
        typer.Option(help="Exit status 3 where a variant is worse; on a single seed is no reason."),
    ] = None,
) -> None:
    """Say of each variant whether it is better or worse than in a commit, from what git holds.

    As in `git diff`: the working tree with HEAD or with another commit, or the second of two
    commits with the first. Needs no cache of DVC, and trains nothing.
    """
    from cnn_ablations.analysis.difference import compare

    found = compare(find_project(), before, now)
    typer.echo(found.json() if as_json else found.markdown())
    failed = fail_on is not None and any(change.verdict == fail_on for change in found.variants)
    raise typer.Exit(WORSE if failed else 0)


@app.command()
def predict(
    name: VariantName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Files of pictures.")],
) -> None:
    """Say what a variant's networks take pictures for, how surely, and how many of them agree.

    A picture is read as an image of the data set, and what changed is said. It is never
    inverted: MNIST, Fashion-MNIST and the digits are light on black. The probability is that of
    the seed in the middle by test accuracy (balanced where classes are unequal).
    """
    paths, params = _project()
    import numpy as np

    from cnn_ablations.prediction import open_run, probabilities, read_picture, verdict

    run = open_run(params.variant(name), paths)
    dataset = params.dataset(run.variant.dataset)
    pictures = [read_picture(image, run.arrays, dataset) for image in images]
    pixels = np.stack([picture.pixels for picture in pictures])
    with stderr_to(Path(os.devnull)):
        found = {seed: probabilities(run, seed, pixels) for seed in run.variant.seeds}
    for number, (image, picture) in enumerate(zip(images, pictures, strict=True)):
        said = verdict({seed: of_all[number] for seed, of_all in found.items()}, run)
        typer.echo(f"{image}{f' ({picture.changes})' if picture.changes else ''}: {said}")


@app.command()
def export(
    name: VariantName,
    to: Annotated[
        Path,
        typer.Option(metavar="FILE.keras|FOLDER", help="A folder gets TensorFlow's SavedModel."),
    ],
    seed: Annotated[
        int | None, typer.Option(show_default="the one in the middle by accuracy")
    ] = None,
) -> None:
    """Write a trained network for use without this project, and a model card beside it.

    It takes uint8 pixels as the data set has them and gives probabilities.
    """
    paths, params = _project()
    from cnn_ablations.export import export as exported
    from cnn_ablations.prediction import open_run

    run = open_run(params.variant(name), paths)
    seed = run.result.typical_seed if seed is None else seed
    with stderr_to(Path(os.devnull)):
        card, difference = exported(run, params.dataset(run.variant.dataset), seed, to)
    same = f"differ by at most {difference:.1g} from" if difference else "are the same bits as"
    typer.echo(
        f"wrote {to}, the network of seed {seed}, and {card}; its probabilities for test images "
        f"{same} those after the training"
    )


@app.command()
def report() -> None:
    """Compile all studies: reports/comparison, reports/claims and the tables of README.md."""
    from cnn_ablations.analysis.report import write_report

    paths, params = _project()
    write_report(params, paths)


@app.command()
def site() -> None:
    """Make pages of all results, site/index.html: from what git holds, nothing is executed."""
    from cnn_ablations.site.build import build_site

    paths, params = _project()
    typer.echo(f"open {build_site(params, paths, paths.site)}")


def _project() -> tuple[Paths, Params]:
    paths = find_project()
    return paths, load_params(paths.params)


def _execute(
    template: str,
    output: Path,
    parameters: dict[str, Any],
    paths: Paths,
    progress: AbstractContextManager[None] | None = None,
) -> None:
    from cnn_ablations.notebooks import execute

    name = output.relative_to(paths.root).as_posix()
    lock = paths.scratch("notebooks", f"{name.replace('/', '-')}.lock")
    with alone(lock, f"another process is at {name}", _say), progress or nullcontext():
        execute(template, output, parameters, paths)
    _say(f"wrote {name}")


def _workers() -> int:
    """As many as this process may use cores, and as fit into the memory it may use."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, MEMORY_LIMIT // TRAINING_BYTES))


@cache
def _console() -> Console:
    # A descriptor of its own: while a kernel runs, standard error is kept in a file.
    file = os.fdopen(os.dup(2), "w")
    atexit.register(file.close)
    return Console(file=file)


def _say(text: str) -> None:
    _console().print(text, highlight=False, soft_wrap=True)
