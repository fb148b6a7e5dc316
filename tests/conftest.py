"""What several parts of the tests share: the real configuration, shrunk to seconds."""

import ast
import copy
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from filelock import FileLock

from cnn_ablations.config.params import Params, load_params, parse_params
from cnn_ablations.config.variants import Variant
from cnn_ablations.data import digits
from cnn_ablations.data.writer import write_arrays
from cnn_ablations.paths import Paths
from cnn_ablations.processes import environment

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cnn_ablations"

# The same examples in every run and no limit of time: machines differ, verdicts should not.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "real_data: needs the folder of data sets that CNN_ABLATIONS_MIRROR names"
    )
    config.addinivalue_line("markers", "faults: takes minutes; `make test-faults` runs it")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes name a test by their number: compressed files hold the time they were made, and the
    workers of pytest-xdist must all find the same tests.
    """
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("real_data") and not os.environ.get("CNN_ABLATIONS_MIRROR"):
        pytest.skip("CNN_ABLATIONS_MIRROR is not set")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: processes share the files, and the last leaves one idle."""
    items.sort(key=lambda item: item.path.parent.name not in ("scheduling", "training"))


@pytest.fixture(scope="session")
def checkout() -> Paths:
    """The project itself, to read from."""
    return Paths(ROOT)


@pytest.fixture(scope="session")
def real_params(checkout: Paths) -> Params:
    return load_params(checkout.params)


@pytest.fixture(scope="session")
def tiny_document(checkout: Paths) -> dict[str, Any]:
    """The content of a params.yaml with one variant, `tiny-net`, that has every random layer."""
    real = yaml.safe_load(checkout.params.read_bytes())
    shrunk = {"filters": [4], "pooling": 2, "dense": [8], "epochs": 3, "seeds": [0, 1]}
    return {
        "datasets": {"digits": real["datasets"]["digits"]},
        "protocols": {"tiny": {**real["protocols"]["quickstart"], **shrunk}},
        "variants": {
            "tiny-net": {
                "protocol": "tiny",
                "dataset": "digits",
                "conv_dropout": 0.2,
                "dense_dropout": 0.2,
                "batch_norm": True,
                "learning_rate": {"peak": 0.01, "decay": "cosine"},
                "augmentation": {
                    "rotation": 10.0,
                    "shift": 0.1,
                    "shear": 5.0,
                    "zoom": 0.1,
                    "mirror": "random",
                },
                "record_iterations": True,
            }
        },
    }


@pytest.fixture
def document(tiny_document: dict[str, Any]) -> dict[str, Any]:
    """A copy of `tiny_document` to change."""
    return copy.deepcopy(tiny_document)


@pytest.fixture(scope="session")
def tiny_variant(tiny_document: dict[str, Any]) -> Variant:
    return parse_params(tiny_document).variant("tiny-net")


@pytest.fixture(scope="session")
def make_project(tiny_document: dict[str, Any]) -> Callable[[Path], Paths]:
    """Fills a folder: the tiny params.yaml and the arrays of 300 + 100 digits."""

    def make(root: Path) -> Paths:
        paths = Paths(root)
        root.mkdir(parents=True, exist_ok=True)
        paths.params.write_text(yaml.safe_dump(tiny_document))
        raw = root / digits.FILE
        raw.write_bytes(digits.bundled_digits())
        images, labels = digits.read_digits(raw)
        write_arrays(
            paths.arrays("digits"),
            train_images=images[:300],
            train_labels=labels[:300],
            test_images=images[300:400],
            test_labels=labels[300:400],
            classes=[str(label) for label in range(10)],
            pixel_max=digits.PIXEL_MAX,
        )
        return paths

    return make


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An empty project."""
    return Paths(tmp_path)


@pytest.fixture
def project(tmp_path: Path, make_project: Callable[[Path], Paths]) -> Paths:
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def place() -> dict[str, Any]:
    """What a training writes of how far it is."""
    counts = {"seed": 7, "number": 2, "seeds": 3, "epoch": 4, "epochs": 12}
    return {**counts, "accuracy": 0.98765, "seconds_left": 3725}


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    """Runs git in a folder, as somebody, and returns what it prints."""

    def run(root: Path, *arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture(scope="session")
def add_dvc() -> Callable[..., None]:
    """Gives a project this checkout's code, and DVC with some of its stages and others."""

    def add(paths: Paths, *names: str, **others: dict[str, Any]) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", paths.root / "src", ignore=ignored)
        for name in ("pyproject.toml", ".dvcignore"):
            shutil.copy(ROOT / name, paths.root)
        (paths.root / "studies").mkdir()
        (paths.root / ".dvc").mkdir()
        (paths.root / ".dvc" / "config").write_text("[core]\nanalytics = false\nno_scm = true\n")
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_bytes())["stages"]
        kept = {name: stages[name] for name in names} | others
        (paths.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))

    return add


@pytest.fixture(scope="session")
def room_for() -> Callable[..., Any]:
    """A context in which files cannot grow beyond so many bytes, as on a disk that is full."""

    @contextmanager
    def room(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return room


@pytest.fixture(scope="session")
def run_cells() -> Callable[..., tuple[dict[str, Any], list[Any]]]:
    """Runs the code cells of a notebook in this process: a kernel takes ten seconds to start.

    Returns all their names, and what the cells that end in an expression show.
    """

    def run(template: Path, /, **parameters: Any) -> tuple[dict[str, Any], list[Any]]:
        names: dict[str, Any] = {}
        shown = []
        for cell in json.loads(template.read_text())["cells"]:
            if cell["cell_type"] != "code":
                continue
            code = ast.parse("".join(cell["source"]))
            end = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
            exec(compile(code, "cell", "exec"), names)
            if isinstance(end, ast.Expr):
                shown.append(eval(compile(ast.Expression(end.value), "cell", "eval"), names))
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(parameters) <= set(names)
                names.update(parameters)
        return names, shown

    return run


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook hands to `display`."""
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


@pytest.fixture(scope="session")
def trained_project(
    tiny_document: dict[str, Any],
    make_project: Callable[[Path], Paths],
    tmp_path_factory: pytest.TempPathFactory,
) -> Paths:
    """A project with three trained variants, to read from: `tiny-net`, `tiny-plain`, which computes
    the same bits everywhere, and `tiny-res`, which looks at mirror images too.
    """
    from cnn_ablations.training.variant import train_variant

    document = copy.deepcopy(tiny_document)
    tiny = {"protocol": "tiny", "dataset": "digits"}
    residual = {"model": "res_net", "stages": 2, "blocks": 1, "width": 4, "activation": "gelu"}
    document["variants"] |= {
        "tiny-plain": {**tiny, "seeds": [0, 1, 2]},
        "tiny-res": {**tiny, **residual, "evaluate_mirrored": True, "seeds": [3]},
    }
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which all workers share
    project, done = base / "trained", base / "trained.done"
    with FileLock(base / "trained.lock"), warnings.catch_warnings():
        if done.exists():
            return Paths(project)
        paths = make_project(project)
        paths.params.write_text(yaml.safe_dump(document))
        warnings.simplefilter("ignore")
        for variant in load_params(paths.params).variants.values():
            train_variant(variant, paths)
        done.touch()
    return paths


@pytest.fixture(scope="session")
def python_2_pickle() -> Callable[[Any], bytes]:
    """Pickles strings, numbers, lists, dictionaries and arrays as Python 2 pickled CIFAR-10."""
    return lambda value: b"\x80\x02" + python_2_opcodes(value) + b"."


def python_2_opcodes(value: Any) -> bytes:
    if isinstance(value, str) and len(value) < 256:
        return b"U" + bytes([len(value)]) + value.encode("latin-1")
    if isinstance(value, str):
        return b"T" + len(value).to_bytes(4, "little") + value.encode("latin-1")
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python_2_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python_2_opcodes(x) for pair in value.items() for x in pair) + b"u"
    shape = b"(" + b"".join(map(python_2_opcodes, value.shape)) + b"t"
    order, kind = value.dtype.str[0], value.dtype.str[1:]
    in_fortran_order = b"\x89" if value.flags.c_contiguous else b"\x88"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
        + shape
        + (b"cnumpy\ndtype\n" + python_2_opcodes(kind) + b"K\0K\1\x87R(K\3")
        + (python_2_opcodes(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb")
        + in_fortran_order
        + (python_2_opcodes(value.tobytes("A").decode("latin-1")) + b"tb")
    )


@pytest.fixture(scope="session")
def imports() -> Callable[..., set[str]]:
    """What files import of the project, directly and through each other: see `all_imports`."""
    return all_imports


def all_imports(entries: Iterable[Path], without: Collection[str] = ()) -> set[str]:
    """The project's modules that `entries` import, as paths below src/cnn_ablations.

    Imports inside functions count. An entry is a module (and in the answer) or a notebook.
    Neither the modules in `without` nor what only they import are in the answer.
    """
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file.suffix == ".py":
            name = file.relative_to(PACKAGE).as_posix()
            if name in found or name in without:
                continue
            found.add(name)
        waiting += direct_imports(file)
    return found


def direct_imports(file: Path) -> Iterator[Path]:
    source = file.read_text()
    if file.suffix == ".ipynb":
        cells = json.loads(source)["cells"]
        source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from filter(None, (module_file(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = module_file(node.module)
            for alias in node.names:
                file_of_alias = module_file(f"{node.module}.{alias.name}") or package
                if file_of_alias:
                    yield file_of_alias


def module_file(name: str) -> Path | None:
    """The file of one of the project's modules."""
    top, *parts = name.split(".")
    module = PACKAGE.joinpath(*parts)
    candidates = (module.with_suffix(".py"), module / "__init__.py") if parts else ()
    return next((c for c in candidates if top == PACKAGE.name and c.is_file()), None)


@pytest.fixture(scope="session")
def write_template() -> Callable[..., None]:
    """Writes a notebook: its path, the source of the cell with the parameters, other cells."""

    def write(path: Path, parameters: str, *cells: str) -> None:
        made: list[dict[str, Any]] = [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": source}
            | {"execution_count": None, "outputs": []}
            for number, source in enumerate((parameters, *cells))
        ]
        made[0]["metadata"] = {"tags": ["parameters"]}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        metadata = {"kernelspec": kernel}
        notebook = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook))

    return write


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command in a folder, as in a terminal of its own: the head of a session.

    What its session says is one text. What is left of it at the end of the module is killed.
    """
    started = []

    def start(folder: Path, *command: str, **variables: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process, suppress(ProcessLookupError):  # closes its pipe and waits for it
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Waits until a condition holds, while a process (where one is given) is at work."""

    def wait(
        condition: Callable[[], object],
        process: "subprocess.Popen[str] | None" = None,
        seconds: float = 300,
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert process is None or process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def wait_for_end(wait_for: Callable[..., None]) -> Callable[[Iterable[psutil.Process]], None]:
    """Waits until processes have ended: as zombies at most, where nobody collects orphans."""

    def ended(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        return True

    return lambda processes: wait_for(lambda: all(map(ended, processes)), seconds=30)


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras, configured as trainings configure it.

    A worker of pytest-xdist that uses it pays for its import: several seconds.
    """
    from cnn_ablations.training.backend import configure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        configure()
        import keras

    module: ModuleType = keras
    return module
