"""What was measured, as a page: aims first, then each part with what explains it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cnn_ablations.training.loop import CHECKPOINT_SECONDS

UNSTEADY = 1.5
"""The highest rate over the lowest from which a ratio is marked."""
SECTIONS = {"throughput": "acf", "study": "b", "overhead": "d", "memory": "e"}
"""What is measured together, and the parts that it is shown in."""
R1 = ("r1-mnist-base", "r1-cifar10-stride1")
INTRODUCTION = """\
# Benchmarks

What the project's determinism, checkpoints and documents cost, and what its way to use a machine
gains, against plain Keras: scripts that train the same networks by the same protocols as a course
notebook does, with `model.fit(validation_data=...)`, a default of threads, and no word about
determinism. `make bench` wrote this page; its figures are beside it in `benchmarks.json`. What is
compared is measured in turns, one right after the other, and a ratio is the median over the turns
of ratios within a turn. Seconds are this machine's; the ratios are what travels, and not far: the
aims were set for two cores.

The project does more than the scripts: permutations of its own in each epoch, probabilities of
every evaluated image instead of two sums, a checkpoint at most every {checkpoint:.0f} s, an
executed notebook, weights, predictions and summaries on disk. The scripts are spared what a
notebook adds to them: a kernel, progress bars, plots.
"""

RATES = {
    "thread_for_thread": ("project, 1 thread", "plain, 1 thread"),
    "machine": ("project, workers", "plain, default"),
    "machine_against_float32": ("project, workers", "plain float32, default"),
    "workers_against_threads": ("project, workers", "project, threads"),
    "scaling": ("project, workers", "project, 1 thread"),
}
"""The arrangements that each ratio compares."""


@dataclass(frozen=True)
class Aim:
    """A figure beside what it was meant to be."""

    part: str
    aim: str
    measured: float
    limit: float
    at_most: bool = False
    form: str = "{:.2f}"
    note: str = ""
    unsteady: str = ""
    why: str = ""
    """What the profile says of it, for where it is missed."""

    @property
    def met(self) -> bool:
        """To the digits that are shown: what is less, no repetition would show again."""
        measured = round(self.measured, 2)
        return measured <= self.limit if self.at_most else measured >= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        figure = self.form.format(self.measured) + self.unsteady
        figure += f" ({self.note})" if self.note else ""
        return self.part, self.aim, figure, "met" if self.met else "**missed**"


def markdown(results: Mapping[str, Any]) -> str:
    """The page, from what there is of the results."""
    trained = _of(results, "throughput")
    parts = [INTRODUCTION.format(checkpoint=CHECKPOINT_SECONDS), _machine(results)]
    if found := aims(results):
        rows = [aim.cells for aim in found]
        parts.append("## Aims\n\n" + table(("part", "aim", "measured", ""), rows))
        parts.append(
            "Of several networks the worst counts, to the two digits shown. A question mark is "
            "beside a ratio of rates that were unsteady (part a)."
        )
        reasons = [f"- {aim.part}, {aim.aim}: {aim.why}" for aim in found if not aim.met]
        if reasons:
            parts.append("What the profiles below say of those missed:\n\n" + "\n".join(reasons))
    failures = [
        f"- {section} {name}: {words}"
        for section, part in results["parts"].items()
        for name, words in part["failed"].items()
    ]
    missing = [name for name in SECTIONS if name not in results["parts"]]
    failures += [f"- {name}: not asked for" for name in missing]
    if failures:
        parts.append("## Not measured\n\n" + "\n".join(failures))
    sections = []
    if trained:
        throughput = f"{_throughput(trained)}\n\n{_profile(trained)}"
        sections += [throughput, _scaling(trained), _peak(trained)]
    for name, section in (("study", _study), ("overhead", _overhead), ("memory", _memory)):
        sections += [section(measured) for measured in _of(results, name)]
    parts += sorted(sections)  # by the letters of their headings
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _of(results: Mapping[str, Any], section: str) -> list[Any]:
    """What was measured for a section."""
    return list(results["parts"].get(section, {"measured": {}})["measured"].values())


def aims(results: Mapping[str, Any]) -> list[Aim]:
    """The aims of which there are figures; of several figures the worst counts, and is named."""
    trained = _of(results, "throughput")
    single = {t["variant"]: t for t in trained if t["precision"] == "float32"}
    half = {t["variant"]: t for t in trained if t["precision"] != "float32"}
    # Where an epoch takes a second or more: below, starting an epoch weighs too much.
    slow = [t for t in trained if t["epoch_seconds"]["project, 1 thread"]["total"] >= 1]
    found = []

    def worst(
        part: str, aim: str, key: str, limit: float, among: Iterable[Any], why: Callable[[Any], str]
    ) -> None:
        if among := list(among):
            t = min(among, key=lambda t: t[key])
            unsteady = _unsteady(t, *RATES[key])
            found.append(
                Aim(part, aim, t[key], limit, note=_name(t), unsteady=unsteady, why=why(t))
            )

    thread = "thread for thread, the project trains at 0.97 of plain Keras or faster"
    worst("a", thread, "thread_for_thread", 0.97, slow, _of_an_epoch)
    for study in _of(results, "study"):
        text = "a whole study in float32 is 1.4 times as fast as scripts one after another"
        why = (
            f"training and evaluation took {_trained_share(study):.0%} of the cores' seconds, the "
            "fixed cost of stages (d) and the last ones' tail the others."
        )
        note = f"{len(study['seeds'])} seeds of each network"
        found.append(Aim("b", text, study["ratio"], 1.4, note=note, why=why))
    text = "and so is training alone, in the limit of many seeds"
    worst("b", text, "machine", 1.4, single.values(), _of_default_threads)
    text = "bfloat16 trains R1's networks 2.5 times as fast as plain Keras in float32"

    def of_bfloat16(t: Mapping[str, Any]) -> str:
        float32 = single.get(t["variant"], t)
        gain = t["matmul_gflops"] / float32["matmul_gflops"]
        return f"products of matrices gain {gain:.2f} on this core; {_of_default_threads(float32)}"

    of_r1 = [half[name] for name in R1 if name in half]
    worst("b", text, "machine_against_float32", 2.5, of_r1, of_bfloat16)
    text = "as many workers as cores train 1.4 times what one process with as many threads does"
    worst("c", text, "workers_against_threads", 1.4, single.values(), _of_own_threads)
    text = "and 0.9 of as many times what one worker alone does"
    worst("c", text, "scaling", 0.9, single.values(), _of_the_cores)
    for overhead in _of(results, "overhead"):
        text = "a `train` stage takes at most 20 s besides training"
        shares = overhead["shares"]
        most = max(shares, key=lambda part: shares[part])
        why = f"the largest part is {most}, {shares[most]:.1f} s."
        found.append(
            Aim("d", text, overhead["stage_seconds"], 20, at_most=True, form="{:.1f} s", why=why)
        )
    held = {n: v for measured in _of(results, "memory") for n, v in measured.items()}
    memory = {name: v["project"] / v["plain"] for name, v in held.items()}
    if memory:
        name = max(memory, key=lambda name: memory[name])
        text = "a training holds no more memory than the plain script"
        holds = held[name]
        why = (
            f"{holds['project_own']:,} MiB of it are its own against {holds['plain_own']:,}, "
            "a notebook's kernel among it; "
            f"{holds['project'] - holds['project_own']:,} against "
            f"{holds['plain'] - holds['plain_own']:,} are mapped from files."
        )
        found.append(
            Aim("e", text, memory[name], 1, at_most=True, form="{:.2f} of it", note=name, why=why)
        )
    if stride1 := single.get("r1-cifar10-stride1"):
        text = "the CIFAR-10 network with stride 1 trains at 0.7 of the peak of a core"
        why = _of_an_epoch(stride1)
        found.append(Aim("f", text, stride1["share_of_peak"], 0.7, why=why))
    return found


def _of_an_epoch(t: Mapping[str, Any]) -> str:
    project, plain = (t["epoch_seconds"][f"{name}, 1 thread"] for name in ("project", "plain"))
    rates = (t["images_per_second"][arrangement] for arrangement in RATES["thread_for_thread"])
    turns = [own / other for own, other in zip(*rates, strict=True)]
    return (
        f"its turns went from {min(turns):.2f} to {max(turns):.2f}; "
        f"of {project['total']:.2f} s an epoch, training takes {project['train']:.2f} against "
        f"{plain['rest']:.2f}, evaluation {project['evaluate']:.2f} against "
        f"{plain['evaluate']:.2f}."
    )


def _of_the_cores(t: Mapping[str, Any]) -> str:
    return (
        f"Here {t['cores']} trainings at a time do {t['scaling']:.2f} of {t['cores']} times what "
        f"one does alone, products of matrices, which share nothing, {t['matmul_scaling']:.2f}."
    )


def _of_default_threads(t: Mapping[str, Any]) -> str:
    return f"{_of_threads(t, 'plain', 'plain, default', 'the script')} {_of_the_cores(t)}"


def _of_own_threads(t: Mapping[str, Any]) -> str:
    return f"{_of_threads(t, 'project', 'project, threads', 'one process')} {_of_the_cores(t)}"


def _of_threads(t: Mapping[str, Any], way: str, threads: str, who: str) -> str:
    rates = t["images_per_second"]
    gain = median(rates[threads]) / median(rates[f"{way}, 1 thread"])
    return (
        f"{who} does {gain:.2f} times on {t['cores']} threads what it does on one, which leaves "
        f"{t['cores'] / gain:.2f} for a training a core."
    )


def _trained_share(study: Mapping[str, Any]) -> float:
    """Of a study's seconds times cores, by the project, those of training and evaluation."""
    own = sum(v["project_training_seconds"] for v in study["variants"].values())
    return float(own / median(study["project_seconds"]) / study["cores"])


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(results: Mapping[str, Any]) -> str:
    rows = list(results["machine"].items())
    for section, letters in SECTIONS.items():
        if not (part := results["parts"].get(section)):
            continue
        code = part["revision"]
        state = f"commit {(code['commit'] or 'unknown')[:12]}" + (
            ", with changes" if code["modified"] else ""
        )
        loads = ", ".join(f"{load:.1f}" for load in part["load"])
        rows.append((f"code, {', '.join(letters)}", f"{state}, {part['begun']}; load {loads}"))
    text = "## Machine\n\n" + table(("", ""), rows)
    text += "\n\nLoad is that of the minute before each step, this program's own among it."
    if results["quick"]:
        text += "\n\n**Quick: too few and too short turns to tell anything but that it works.**"
    return text


def _throughput(trained: Sequence[Mapping[str, Any]]) -> str:
    heading = (
        "variant",
        "project, 1 thread",
        "plain, 1 thread",
        "ratio",
        f"project, {trained[0]['cores']} workers",
        "plain, default threads",
        "ratio",
        "checkpoint",
    )
    rows = [
        (
            _name(t),
            *(_images(t, name) for name in ("project, 1 thread", "plain, 1 thread")),
            f"{t['thread_for_thread']:.2f}{_unsteady(t, *RATES['thread_for_thread'])}",
            *(_images(t, name) for name in ("project, workers", "plain, default")),
            f"{t['machine']:.2f}{_unsteady(t, *RATES['machine'])}",
            f"{t['checkpoint_seconds']:.3f} s",
        )
        for t in trained
    ]
    return (
        "## a. Throughput\n\nImages trained a second, evaluation after each epoch included, "
        "medians and, in brackets, lowest and highest. Thread for thread, and as each uses the "
        "machine: the project with a training a core, plain Keras with TensorFlow's default of "
        "threads. An epoch is one of a part of the data set, with training, validation and test "
        "images in the proportions of the whole. No checkpoint fell into these turns: the ratios "
        f"are lowered by what one each {CHECKPOINT_SECONDS:.0f} s costs. A question mark is "
        f"beside ratios of rates of which the highest is more than {UNSTEADY} times the lowest: "
        "the machine did something else as well.\n\n"
    ) + "\n\n".join([table(heading, rows), *_against_float32(trained)])


def _against_float32(trained: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """What bfloat16 gains on what a notebook does, in float32: those two in turns."""
    rows = [
        (
            _name(t),
            *(_images(t, name) for name in ("project, workers", "plain float32, default")),
            f"{t['machine_against_float32']:.2f}{_unsteady(t, *RATES['machine_against_float32'])}",
        )
        for t in trained
        if "machine_against_float32" in t
    ]
    if rows:
        cores = trained[0]["cores"]
        yield table(
            ("variant", f"project, {cores} workers", "plain float32, default threads", "ratio"),
            rows,
        )


def _profile(trained: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for t in trained:
        project = t["epoch_seconds"]["project, 1 thread"]
        plain = t["epoch_seconds"]["plain, 1 thread"]
        rows.append(
            (
                _name(t),
                *(f"{project[key]:.2f}" for key in ("total", "train", "evaluate")),
                f"{project['rest']:.3f}",
                *(f"{plain[key]:.2f}" for key in ("total", "rest", "evaluate")),
            )
        )
    phases = ("training", "evaluation")
    heading = ("variant", "project", *phases, "rest", "plain", *phases)
    return (
        "### Where an epoch goes\n\nSeconds of an epoch on one thread. The project's *rest* is "
        "its permutation, the seeding of generators and the record of the epoch.\n\n"
    ) + table(heading, rows)


def _scaling(trained: Sequence[Mapping[str, Any]]) -> str:
    cores = trained[0]["cores"]
    heading = (
        "variant",
        "1 worker",
        f"{cores} workers",
        f"of {cores} times one",
        f"1 process with {cores} threads",
        "workers against threads",
        f"{cores} times matrix products, of {cores} times one",
    )
    rows = [
        (
            _name(t),
            _images(t, "project, 1 thread"),
            _images(t, "project, workers"),
            f"{t['scaling']:.2f}{_unsteady(t, *RATES['scaling'])}",
            _images(t, "project, threads"),
            f"{t['workers_against_threads']:.2f}{_unsteady(t, *RATES['workers_against_threads'])}",
            f"{t['matmul_scaling']:.2f}",
        )
        for t in trained
        if "workers_against_threads" in t
    ]
    return (
        "## c. Workers\n\nThe project's own loop, in images a second: alone on one core, on all "
        "cores with a training each, and one training with all cores to itself. The last column "
        "is what the machine itself has to give: products of matrices, which share nothing, on "
        "all cores at a time against on one. Where it is below 1, the cores are no whole ones.\n\n"
    ) + table(heading, rows)


def _peak(trained: Sequence[Mapping[str, Any]]) -> str:
    heading = ("variant", "MFLOP an image", "GFLOP/s", "matrix products, GFLOP/s", "share")
    rows = [
        (
            _name(t),
            f"{3 * t['forward_flops'] / 1e6:.1f}",
            f"{t['gflops']:.0f}",
            f"{t['matmul_gflops']:.0f}",
            f"{t['share_of_peak']:.0%}",
        )
        for t in trained
    ]
    return (
        "## f. Share of a core's peak\n\nOne thread, against products of 2048 × 2048 matrices by "
        "`tf.linalg.matmul` in the same precision. An image counts three times the operations of "
        "its forward pass (`models/cost.py`: convolutions and dense layers), for the gradients by "
        "the inputs and by the weights; the first layer needs no gradient by its input, so its "
        "share is a little overstated, and the time has evaluation in it, so all is "
        "understated.\n\n"
    ) + table(heading, rows)


def _study(study: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{v['project_training_seconds']:.0f}", f"{v['plain_seconds']:.0f}")
        for name, v in study["variants"].items()
    ]
    turns = table(
        ("round", "project, s", "scripts, s", "ratio"),
        [
            (f"{number}", f"{project:.0f}", f"{plain:.0f}", f"{plain / project:.2f}")
            for number, (project, plain) in enumerate(
                zip(study["project_seconds"], study["plain_seconds"], strict=True), start=1
            )
        ],
    )
    return (
        "## b. A study\n\nThe networks of R2's table, each with the seeds "
        f"{', '.join(map(str, study['seeds']))}: `cnn-ablations repro train@...` in a copy of the "
        "checkout with empty scratch, to the written notebooks, against one plain script after "
        "another. The stages `inspect` and `compare` are left out: the scripts open no network "
        f"and test no claim. Order reversed every other round.\n\n{turns}\n\n"
        f"Of the project's seconds times cores, {_trained_share(study):.0%} went into training and "
        "evaluation, the others into what part d shows. Medians by variant:\n\n"
    ) + table(("variant", "project: training, s", "plain: script, s"), rows)


def _overhead(overhead: Mapping[str, Any]) -> str:
    medians = {name: median(seconds) for name, seconds in overhead["seconds"].items()}
    shares = table(
        ("of a stage's seconds", "s"),
        [(name, f"{seconds:.1f}") for name, seconds in overhead["shares"].items()],
    )
    return (
        "## d. What a stage takes besides training\n\n`dvc repro train@quickstart-none` with one "
        f"epoch and one seed takes {medians['stage']:.1f} s less its training, the plain script "
        f"{medians['plain']:.1f} s. The parts are differences: of the stage and its command "
        f"without DVC ({medians['command']:.1f} s), a notebook with an empty cell "
        f"({medians['empty notebook']:.1f} s), and a process that imports TensorFlow and Keras "
        f"({medians['import']:.1f} s).\n\n{shares}"
    )


def _memory(memory: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        (
            name,
            *(f"{v[kind]:,}" for kind in ("project", "plain")),
            f"{v['project'] / v['plain']:.2f}",
            *(f"{v[kind]:,}" for kind in ("project_own", "plain_own")),
            f"{v['project_own'] / v['plain_own']:.2f}",
        )
        for name, v in memory.items()
    ]
    return (
        "## e. Memory\n\nThe most that the training process held, in MiB, over an epoch of the "
        "whole data set and the evaluations after it. While a stage runs, DVC and papermill wait "
        "beside it in processes of their own. *Own* memory leaves out what is mapped from files: "
        "libraries, and the project's images, which the system may take back and which trainings "
        "side by side share; a script has a copy of its own. What the project holds besides "
        "is the kernel of a notebook.\n\n"
    ) + table(("variant", "project", "plain", "ratio", "own", "plain, own", "ratio"), rows)


def _name(trained: Mapping[str, Any]) -> str:
    bfloat16 = ", bfloat16" if trained["precision"] != "float32" else ""
    return f"{trained['variant']}{bfloat16}"


def _unsteady(trained: Mapping[str, Any], *arrangements: str) -> str:
    rates = [trained["images_per_second"][arrangement] for arrangement in arrangements]
    return " ?" if any(max(each) > UNSTEADY * min(each) for each in rates) else ""


def _images(trained: Mapping[str, Any], arrangement: str) -> str:
    rates = trained["images_per_second"][arrangement]
    return f"{median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"
