"""The command line as its users meet it: in a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from cnn_ablations.cli import _workers, app
from cnn_ablations.errors import ProjectError
from cnn_ablations.paths import Paths

ROOT = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).with_name("cnn-ablations"))
HEAVY = {"tensorflow", "keras", "pandas", "matplotlib", "sklearn", "scipy", "IPython"}
INTERRUPTED = (
    "interrupted (SIGINT): run the same command again; a training goes on from its last "
    "checkpoint\n"
)

WriteTemplate = Callable[..., None]
Here = Callable[..., str]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def here(project: Paths, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs a command in the project, in this process: what it prints, or why it is refused."""
    monkeypatch.chdir(project.root)

    def run(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, arguments)
        if isinstance(done.exception, ProjectError):
            assert done.output == ""
            return str(done.exception)
        assert done.exit_code == status, done.output
        return done.stdout

    return run


def spoil(project: Paths) -> None:
    document = yaml.safe_load(project.params.read_bytes())
    document["variants"]["tiny-net"]["epochs"] = -1
    project.params.write_text(yaml.safe_dump(document))


def test_a_stage_that_fails_under_dvc_says_how_to_get_the_old_reports_back(
    project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "error: there is no variant 'tiny-nett'; did you mean 'tiny-net'?"
    for back in ("", "; `git restore reports` brings back what DVC removed"):
        done = run(project.root, "train", "tiny-nett")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{words}{back}\n")
        monkeypatch.setenv("DVC_STAGE", "train@tiny-nett")


def test_a_new_study_is_written_and_passes_the_check(project: Paths, here: Here) -> None:
    (project.root / "dvc.yaml").write_text("vars:\n  - other.yaml\n")
    arguments = ("study", "new", "mine", "--base", "tiny-net", "--vary", "l2=0,0.1,0.01")
    assert "--vary l3: variant 'tiny-net' has no such key" in here(*arguments, "--vary", "l3=1")
    said = here(*arguments).splitlines()
    assert said[:4] == [
        "there  tiny-net: base",
        "new    mine-l2-0_1: L2 0.1",
        "new    mine-l2-0_01: L2 0.01",
        "wrote studies/mine.yaml, its new variants into params.yaml, its line into dvc.yaml",
    ]
    assert said[4].startswith("next: `cnn-ablations repro compare@mine` (`cnn-ablations plan ")
    assert "3 variants with 6 seeds, 1 studies" in here("check")


def test_a_folder_becomes_a_data_set(here: Here, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (folder := tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    assert "pets/cat must have a folder" in here("dataset", "add", "pets", "../pets/cat")
    said = here("dataset", "add", "pets", "../pets", "--size", "2")
    assert said.splitlines()[:4] == [
        "images: 4 to train on, 2 to test on",
        "classes: 2, each with 2 images to train on",
        "files: 6 PNG; 4×4 pixels (height×width)",
        "arrays: 2×2 pixels, grey",
    ]
    assert "next: `cnn-ablations repro explore@pets`" in said
    assert "2 data sets" in here("check")


def test_a_study_that_was_compared_ends_with_its_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("cnn_ablations.cli._execute", lambda *_: None)
    first, *_, last = CliRunner().invoke(app, ["compare", "quickstart"]).stdout.splitlines()
    verdict = "contradicted: L2 0.01 gives a higher test accuracy than no regularisation. "
    assert first.startswith(f"{verdict}The test accuracy of “L2 0.01” is 3.52 points below")
    assert last == "reports/notebooks/studies/quickstart.ipynb says why"


def test_a_valid_project_is_summed_up_from_a_folder_inside_it(project: Paths) -> None:
    inside = project.root / "notebooks" / "deeper"
    inside.mkdir(parents=True)
    done = run(inside, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "params.yaml is valid: 1 data sets, 1 protocols, 1 variants with 2 seeds, 0 studies\n"
    )


def test_outside_a_project_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"no params\.yaml in .* run this inside a checkout"):
        CliRunner().invoke(app, ["check"], catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["download", "digits"],
        ["preprocess", "digits"],
        ["explore", "digits"],
        ["train", "tiny-net"],
        ["inspect", "tiny-net"],
        ["compare", "study"],
        ["convolution"],
        ["predict", "tiny-net", "a.png"],
        ["export", "tiny-net", "--to", "a"],
        ["report"],
        ["repro"],
        ["plan"],
        ["verify"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_verb_checks_the_whole_file_first(
    project: Paths, arguments: list[str], here: Here
) -> None:
    spoil(project)
    before = sorted(project.root.rglob("*"))
    assert "params.yaml: variants.tiny-net.epochs" in here(*arguments)
    assert sorted(project.root.rglob("*")) == before


@pytest.mark.parametrize(("gigabytes", "workers"), [(100, 8), (5, 2), (1, 1)])
def test_there_are_as_many_workers_as_cores_and_memory_of_a_container_allow(
    gigabytes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", gigabytes * 10**9)
    assert _workers() == workers


def test_more_workers_than_anyone_has_are_refused() -> None:
    done = CliRunner().invoke(app, ["repro", "--workers", "9" * 20])
    assert done.exit_code == 2
    assert "'--workers': Input should be less than or equal to 1024" in done.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_behind_the_output_is_one_line(project: Paths) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [COMMAND, "check"], cwd=project.root, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"error: cannot read or write: No space left on device\n"


def test_an_unwritable_folder_is_named(project: Paths) -> None:
    blocked = project.root / "data" / "scratch"
    blocked.write_text("a file where a folder should be")
    done = run(project.root, "train", "tiny-net")
    assert done.returncode == 1
    assert re.fullmatch(r"error: cannot write .*data/scratch/notebooks.*\n", done.stderr)


def imported(arguments: Sequence[str], folder: Path) -> tuple[set[str], str]:
    """The top-level modules that a command line imports, and what else it writes to stderr."""
    script = "from cnn_ablations.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    lines = done.stderr.splitlines()
    modules = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    rest = "\n".join(line for line in lines if not line.startswith("import time:"))
    return {module.partition(".")[0] for module in modules}, rest


def test_help_and_a_schema_error_import_nothing_heavy(project: Paths) -> None:
    spoil(project)
    for arguments, answer in ((["--help"], ""), (["train", "tiny-net"], "error: params.yaml")):
        modules, rest = imported(arguments, project.root)
        assert rest.startswith(answer)
        assert {"typer", "pydantic"} <= modules
        assert modules & HEAVY == set()


def test_a_difference_is_told_by_the_exit_status_without_keras(
    project: Paths, git: Callable[..., str], here: Here
) -> None:
    git(project.root, "init", "--quiet")
    assert "no revision 'HEAD'" in here("diff")
    results = Paths(ROOT)
    kinds = (Paths.metrics, Paths.details, Paths.curves, Paths.weights, Paths.features)
    for name in ("quickstart-batchnorm", "quickstart-l2"):  # the better one and the worse
        for kind in (Paths.predictions, *kinds):
            file = kind(project, "tiny", "tiny-net")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kind(results, "quickstart", name), file)
        git(project.root, "add", ".")
        git(project.root, "commit", "--quiet", "--message", name)
    worse = here("diff", "HEAD~1", "HEAD", "--fail-on", "worse", status=3)
    assert worse.startswith("## HEAD~1 → HEAD: 1 worse\n\n- **worse** `tiny-net`: The test ")
    better = here("diff", "HEAD", "HEAD~1", "--fail-on", "worse", "--json")
    assert json.loads(better)["variants"][0]["verdict"] == "better"
    modules, _ = imported(["diff", "HEAD~1", "HEAD"], project.root)
    assert "pandas" in modules
    assert modules & {"tensorflow", "keras", "matplotlib", "papermill"} == set()


def test_who_waits_for_a_kernel_does_not_import_keras(project: Paths) -> None:
    modules, _ = imported(["explore", "digits"], project.root)  # the template is missing
    assert "papermill" in modules
    assert modules & {"tensorflow", "keras", "matplotlib"} == set()


def test_a_training_gets_its_resolved_variant(
    project: Paths, write_template: WriteTemplate
) -> None:
    write_template(
        project.template("train"),
        "variant = None",
        "from cnn_ablations.config.variants import Variant\nVariant.model_validate(variant).epochs",
    )
    done = run(project.root, "train", "tiny-net")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "wrote reports/notebooks/tiny/tiny-net/train.ipynb\n"
    notebook = project.notebook("tiny", "tiny-net", "train").read_text()
    assert '"text/plain": [\n       "3"\n' in notebook


@pytest.fixture
def kernel_at_work(
    project: Paths,
    write_template: WriteTemplate,
    start: Callable[..., "subprocess.Popen[str]"],
    wait_for: Callable[..., None],
) -> Callable[..., Any]:
    """Starts a command that executes a notebook without an end, and waits until it does."""
    write_template(
        project.template("dataset"),
        "name = ''\ndataset = None",
        "import os, pathlib, time\n"
        "pathlib.Path('pid.tmp').write_text(str(os.getpid()))\n"
        "os.replace('pid.tmp', 'pid')\n"
        "time.sleep(600)",
    )

    def at_work(*command: str) -> "tuple[subprocess.Popen[str], psutil.Process]":
        process = start(project.root, *command)
        file = project.root / "pid"
        wait_for(file.exists, process)
        return process, psutil.Process(int(file.read_text()))

    return at_work


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_end_is_one_clear_line_and_takes_the_kernel_along(
    project: Paths,
    kernel_at_work: Callable[..., Any],
    wait_for_end: Callable[..., None],
    signum: signal.Signals,
) -> None:
    before = signal.signal(signum, signal.SIG_DFL)  # which a child inherits; nohup would ignore it
    try:
        process, kernel = kernel_at_work(COMMAND, "explore", "digits")
    finally:
        signal.signal(signum, before)
    process.send_signal(signum)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, INTERRUPTED.replace("SIGINT", signum.name))
    wait_for_end([kernel])
    assert not project.notebook("datasets", "digits").exists()
    assert list(project.scratch("notebooks").glob("*.json")) == []


@pytest.mark.parametrize("module", ["cnn_ablations.processes", "typer"])
def test_an_interruption_while_modules_are_loaded_is_one_clear_line(
    project: Paths, module: str
) -> None:
    """Also where Python loses the exception, as it does in callbacks of the import system."""
    program = (
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            try:\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "            except SystemExit:\n"
        "                pass\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from cnn_ablations.__main__ import main\n"
        "main()"
    )
    command = [sys.executable, "-c", program, "check"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, INTERRUPTED)


def test_what_an_interruption_makes_fail_is_no_news(project: Paths) -> None:
    """A kernel gets Ctrl-C as well, and may end first."""
    program = (
        "import os, signal\n"
        "from cnn_ablations import __main__, cli\n"
        "from cnn_ablations.errors import ProjectError\n"
        "def app():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except SystemExit:\n"
        "        raise ProjectError('the kernel died')\n"
        "cli.app = app\n"
        "__main__.main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, INTERRUPTED)


def test_an_interruption_while_papermill_loads_modules_is_told_on_the_terminal(
    project: Paths, write_template: Callable[..., None], tmp_path: Path
) -> None:
    """At that time file descriptor 2 leads into the kernel's log."""
    write_template(project.template("dataset"), "name = ''\ndataset = None", "pass")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if os.readlink('/proc/self/fd/2').endswith('.log') and self in sys.meta_path:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "if os.path.basename(sys.argv[0]) == 'cnn-ablations':\n"
        "    sys.meta_path.insert(0, Interrupts())\n"
    )
    done = subprocess.run(
        [COMMAND, "explore", "digits"],
        cwd=project.root,
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", INTERRUPTED)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end a child with its parent")
@pytest.mark.parametrize("stage", ["{}", "DVC_STAGE=explore@digits {}"], ids=["a parent", "DVC"])
def test_a_killed_parent_takes_the_command_and_the_kernel_along(
    kernel_at_work: Callable[..., Any],
    wait_for_end: Callable[..., None],
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = stage.format(f'"{COMMAND}" explore digits')
    parent, kernel = kernel_at_work("sh", "-c", f"{command} & wait")
    tree = psutil.Process(parent.pid).children(recursive=True)
    assert kernel in tree
    parent.kill()
    wait_for_end(tree)
    assert list(temporary.iterdir()) == []


def test_with_nohup_the_command_outlives_the_shell_that_began_it(
    kernel_at_work: Callable[..., Any],
) -> None:
    parent, _ = kernel_at_work("sh", "-c", f'nohup "{COMMAND}" explore digits & wait')
    (command,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    time.sleep(1)
    assert command.status() != psutil.STATUS_ZOMBIE  # as which a container may keep the dead
    command.terminate()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end a child with its parent")
def test_a_stage_whose_dvc_is_gone_does_not_begin(
    project: Paths, wait_for_end: Callable[..., None]
) -> None:
    # The shell outlives its parent before it becomes the command.
    script = f"while kill -0 $DVC; do sleep 0.05; done; exec '{COMMAND}' check"
    starts_it = (
        "import os, subprocess; os.environ.update(DVC=str(os.getpid()), DVC_STAGE='check'); "
        f"print(subprocess.Popen(['/bin/sh', '-c', {script!r}], stdout=2).pid)"
    )
    dvc = subprocess.run(
        [sys.executable, "-c", starts_it],
        cwd=project.root,
        start_new_session=True,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    wait_for_end([psutil.Process(int(dvc.stdout))])
    assert not project.checked.exists()
