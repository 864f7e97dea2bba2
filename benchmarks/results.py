"""How a benchmark says what it measured: figures beside their targets, a small file a part, one page of all parts."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
NOT_MEASURED = "not measured yet"
HEADER = ["| What | Reached | Target | Met |", "|---|---|---|---|"]


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its target."""

    what: str
    reached: str
    target: str
    met: bool
    command: str


@dataclass(frozen=True)
class PartResult:
    """What one run of one part of the benchmarks gave; a part that is run again replaces its own alone."""

    part: str
    command: str
    date: str
    machine: str
    figures: tuple[Figure, ...]
    numbers: dict[str, Any] = field(default_factory=dict)
    """What the figures were made of, for tables and plots."""


@dataclass(frozen=True)
class Section:
    """A part on the page; `expected` are the figures it is to have, as (what, target)."""

    part: str
    title: str
    expected: tuple[tuple[str, str], ...] = ()


def show(figures: list[Figure]) -> list[Figure]:
    """Print figures as lines and return them."""
    for figure in figures:
        mark = "reached" if figure.met else "NOT reached"
        print(f"{figure.what}: {figure.reached} (target {figure.target}: {mark})")
    return figures


def machine() -> str:
    """Return what the figures were measured on."""
    name = "one processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = f"{len(names)} x {names[0]}" if names else name
    return f"{name}, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"


def part_result(
    part: str, command: str, figures: Sequence[Figure], numbers: Mapping[str, Any] | None = None
) -> PartResult:
    """Return a result with today's date and this machine's words."""
    return PartResult(part, command, f"{datetime.now(UTC):%Y-%m-%d}", machine(), tuple(figures), dict(numbers or {}))


def write_part(result: PartResult, folder: Path = RESULTS) -> Path:
    """Write a part's result, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.part}.json"
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def read_part(part: str, folder: Path = RESULTS) -> PartResult | None:
    """Return a part's result, None where it was never run; ValueError, with the path, for a file that is none."""
    path = folder / f"{part}.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        return PartResult(**{**found, "figures": tuple(Figure(**figure) for figure in found["figures"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of a benchmark: {error}; delete it") from error


def as_markdown(sections: Sequence[Section], folder: Path = RESULTS) -> str:
    """Return the page that is committed: each section's figures, and what is missing of those it is to have."""
    lines = [
        "# Results",
        "",
        "`make bench` measures the speed, `python -m benchmarks.all` the rest; both write this page from "
        "`benchmarks/results`, where each part keeps what its last run gave.",
        "",
    ]
    for section in sections:
        lines += [f"## {section.title}", "", *section_lines(section, read_part(section.part, folder)), ""]
    return "\n".join(lines)


def section_lines(section: Section, result: PartResult | None) -> list[str]:
    """Return when and how a part was measured and the table of its figures."""
    figures = {figure.what: figure for figure in result.figures} if result else {}
    missing = {what: target for what, target in section.expected if what not in figures}
    names = [*dict.fromkeys([*(what for what, _ in section.expected), *figures])]
    rows = [_row(figures[name]) if name in figures else _missing_row(name, missing[name]) for name in names]
    when = f"`{result.command}`, {result.date}, on {result.machine}." if result else f"{NOT_MEASURED.capitalize()}."
    return [when, "", *HEADER, *rows]


def write_page(sections: Sequence[Section], path: Path = PAGE, folder: Path = RESULTS) -> None:
    """Write the page anew."""
    path.write_text(as_markdown(sections, folder), encoding="utf-8")


def _row(figure: Figure) -> str:
    return f"| {figure.what} | {figure.reached} | {figure.target} | {'yes' if figure.met else 'no'} |"


def _missing_row(what: str, target: str) -> str:
    return f"| {what} | {NOT_MEASURED} | {target} | |"
