"""What was measured, as a page: ratios and aims first, then the figures of each part."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from benchmarks import parts as p

INTRODUCTION = """\
# Benchmarks

The project beside plain Keras (`model.fit` with validation data and TensorFlow's default of
threads, as in a course notebook) and beside [ictonyx](https://pypi.org/project/ictonyx/): the same
networks, data and epochs. `make bench` wrote this page and every turn into `benchmarks.json`. What
is compared takes turns, A, B, A, B. A cell has the median over the turns and, in brackets, lowest
and highest; a ratio is that of the ratios within a turn. The aims are for two cores."""
PARTS = {  # what is measured, in the words of the page
    "throughput": """\
One epoch of part of the data set, evaluation included, after one to warm up. *One core* is one
thread, pinned. The project's rates are lowered by what its checkpoints cost. An image counts three
times the operations of its forward pass; the matrices have 2048 × 2048 numbers. Memory is that of
the process that trains.""",
    "study": """\
Quickstart's networks on digits: `cnn-ablations repro` from empty scratch to the executed notebooks
of the `train` stages; one script in plain Keras; one with ictonyx, which trains one run after the
other and keeps a checkpoint after each. Memory is that of all processes together.""",
    "overhead": "The same with one epoch: what it takes besides training.",
    "kill": """\
The same, undisturbed, and by the same command once it was killed (SIGKILL) after half of that time.
The less it then takes, the more was left.""",
}


class Ratio(NamedTuple):
    """Of a figure of two ways, or of one way the figure itself; and what it was meant to be."""

    part: str
    figure: str
    above: str
    below: str | None
    least: float | None = None
    most: float | None = None
    of: str = ""  # how the names begin of the networks that the aim is for


RATIOS = (
    Ratio("throughput", p.RATE, p.CORE, p.PLAIN_CORE, least=0.97),
    Ratio("throughput", p.RATE, p.WORKERS, p.PLAIN, least=1.4),
    Ratio("throughput", p.RATE, p.WORKERS, p.THREADS, least=1.4),
    Ratio("throughput", p.RATE, p.WORKERS, p.CORE, least=1.8),
    Ratio("throughput", p.GFLOPS, p.CORE, p.MATRICES, least=0.7, of="r1-cifar10-stride1"),
    Ratio("throughput", p.MIB, p.CORE, p.PLAIN_CORE, most=1),
    Ratio("throughput", p.RATE, p.BFLOAT16, p.PLAIN, least=2.5, of="r1-"),
    Ratio("overhead", p.SECONDS, p.PROJECT, None, most=20),
    Ratio("study", p.SECONDS, p.PLAIN, p.PROJECT, least=1.4),
    Ratio("study", p.SECONDS, p.PEER, p.PROJECT),
    Ratio("study", p.MIB, p.PROJECT, p.PLAIN),
    Ratio("study", p.MIB, p.PROJECT, p.PEER),
)


def markdown(results: Mapping[str, Any]) -> str:
    """The page, from what there is of the results."""
    parts = results["parts"]
    sections = [INTRODUCTION, "## Machine\n\n" + _table(["", ""], _machine(results))]
    if rows := [row for ratio in RATIOS for row in _judged(ratio, parts)]:
        heading = ["part", "ratio", "of", "measured", "aim", ""]
        sections.append("## Ratios and aims\n\n" + _table(heading, rows))
    missing = [f"{part}: not asked for" for part in PARTS if part not in parts]
    for name, part in parts.items():
        missing += [f"{name}, {what}: {why}" for what, why in part["failed"].items()]
    if missing := [*missing, *results["without"]]:
        sections.append("## Not measured\n\n" + "\n".join(f"- {words}" for words in missing))
    for name, words in PARTS.items():
        if name in parts and parts[name]["measured"]:
            sections.append(f"## {name.capitalize()}\n\n{words}\n\n{_figures(parts[name])}")
    return "\n\n".join(sections) + "\n"


def within_turns(ratio: Ratio, parts: Mapping[str, Any]) -> pd.DataFrame:
    """The ratio by network (rows) and turn (columns); empty where a way was not measured."""
    records = pd.DataFrame(parts.get(ratio.part, {}).get("measured", []), columns=p.COLUMNS)
    records = records[records["figure"] == ratio.figure]
    ways = records.pivot_table("value", ["what", "turn"], "way", sort=False)
    if not {ratio.above, ratio.below or ratio.above} <= set(ways):
        return pd.DataFrame()
    found = ways[ratio.above] / (ways[ratio.below] if ratio.below else 1)
    return found.dropna().unstack("turn")


def _judged(ratio: Ratio, parts: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a network, to two digits: less, no repetition would show again."""
    name = f"{ratio.figure}: {ratio.above}{f' / {ratio.below}' if ratio.below else ''}"
    for what, turns in within_turns(ratio, parts).iterrows():
        aim, value = "", round(float(turns.median()), 2)
        met = value >= (ratio.least or value) and value <= (ratio.most or value)
        if (ratio.least or ratio.most) and str(what).startswith(ratio.of):
            aim = f"at least {ratio.least}" if ratio.least else f"at most {ratio.most}"
        verdict = aim and ("met" if met else "**missed**")
        yield [ratio.part, name, str(what), _cell(turns, "{:.2f}"), aim, verdict]


def _figures(part: Mapping[str, Any]) -> str:
    """All that a part measured: a row a way, a column a figure."""
    records = pd.DataFrame(part["measured"], columns=p.COLUMNS)
    cells = records.groupby(["what", "way", "figure"], sort=False)["value"].agg(_cell)
    table = cells.unstack("figure", sort=False).fillna("–")
    rows = [[*names, *row] for names, row in zip(table.index, table.values, strict=True)]
    return f"{_table(['', 'way', *table], rows)}\n\nTurns: {records['turn'].max()}."


def _cell(values: "pd.Series[float]", form: str = "{:,.6g}") -> str:
    """Median, lowest and highest."""
    shown = [form.format(value) for value in (values.median(), values.min(), values.max())]
    return "{} ({}–{})".format(*shown) if len(values) > 1 else shown[0]


def _machine(results: Mapping[str, Any]) -> Iterator[list[str]]:
    yield from map(list, results["machine"].items())
    for name, part in results["parts"].items():
        code = f"{'changed since ' * bool(part['modified'])}commit {part['commit'] or '?':.12}"
        loads = ", ".join(map(str, part["load"]))
        yield [name, f"{code}; {part['begun']}; load before each job {loads}"]


def _table(heading: list[str], rows: Any) -> str:
    return pd.DataFrame(rows, columns=heading).to_markdown(index=False, disable_numparse=True)
