"""What docs/speed.md shows of the last runs: figures beside targets, the curve, the profile; between two markers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, Section, read_part, section_lines
from benchmarks.speed_parts.targets import ADAPTS, PREDICTS, STAGES, sections

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
WAITS = {
    "queue": "waits for the device, ms",
    "compute": "computes, with its neighbours, ms",
    "total": "in all, as the service counts it, ms",
}


def write_measured(path: Path, folder: Path = RESULTS) -> None:
    """Put what was measured between the markers of a page; ValueError where it has none."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    lines = "\n".join(measured(sections(), folder))
    path.write_text(f"{before}{BEGIN}\n\n{lines}\n{END}{after}", encoding="utf-8")


def measured(of: Sequence[Section], folder: Path) -> list[str]:
    """Return the lines of all that was measured."""
    lines: list[str] = []
    for section in of:
        title = section.title.removeprefix("Speed: ")
        lines += [
            f"### {title[0].upper()}{title[1:]}",
            "",
            *section_lines(section, read_part(section.part, folder)),
            "",
        ]
        lines += _more(section.part, folder)
    return [*lines, "### Where the time goes", "", *_profile(folder), ""]


def _more(part: str, folder: Path) -> list[str]:
    """Return what a part shows beside its figures."""
    result = read_part(part, folder)
    if result is None:
        return []
    if part == ADAPTS:
        plot = "![adapts a second by callers](../benchmarks/plots/adapts.svg)"
        return [plot, "", *_curve(result.numbers["by_callers"]), ""]
    if part == PREDICTS:
        return [*_predicts(result.numbers), ""]
    return []


def _curve(by_callers: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    names = list(next(iter(by_callers.values())))
    rows = [
        [count, *(f"{by_side[name]['per_second']:.0f} ({by_side[name]['p50_ms']:.3g} ms)" for name in names)]
        for count, by_side in by_callers.items()
    ]
    return ["Answers a second, and the median answer's time:", "", *table(["callers", *names], rows)]


def _predicts(numbers: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            *(
                f"{numbers[count][name]['per_second']:.0f} ({numbers[count][name]['p50_ms']:.3g} ms)"
                for count in ("1", "64")
            ),
        ]
        for name in numbers["64"]
    ]
    made = f"The tasks were made at {numbers['tasks_made_per_second']} a second by 16 callers."
    return [made, "", *table(["", "1 caller", "64 callers"], rows)]


def _profile(folder: Path) -> list[str]:
    result = read_part(STAGES, folder)
    if result is None:
        return ["Not measured yet."]
    loads = list(result.numbers)
    stages = list(dict.fromkeys(stage for load in loads for stage in result.numbers[load]["cpu_us"]))
    rows = [[stage, *(_shown(result.numbers[load]["cpu_us"].get(stage)) for load in loads)] for stage in stages]
    rows += [["answers a second", *(f"{result.numbers[load]['per_second']:.0f}" for load in loads)]]
    rows += [
        [words, *(f"{result.numbers[load]['timing_ms'][name]:.3g}" for load in loads)] for name, words in WAITS.items()
    ]
    return [
        f"`{result.command}`, {result.date}, on {result.machine}. Microseconds that each thread computes for a "
        "request, at 64 callers; then the medians of what the service says of its own time.",
        "",
        *table(["", *loads], rows),
    ]


def _shown(us: float | None) -> str:
    return "" if us is None else f"{us:.0f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
