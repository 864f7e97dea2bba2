"""How a benchmark says what it measured."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its target."""

    what: str
    reached: str
    target: str
    met: bool
    command: str


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


def as_markdown(figures: list[Figure]) -> str:
    """Return the figures as the page that is committed."""
    lines = [
        "# Results",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; `make bench` makes this page anew.",
        "",
        "| What | Reached | Target | Met | Command |",
        "|---|---|---|---|---|",
    ]
    rows = [f"| {f.what} | {f.reached} | {f.target} | {'yes' if f.met else 'no'} | `{f.command}` |" for f in figures]
    return "\n".join([*lines, *rows]) + "\n"
