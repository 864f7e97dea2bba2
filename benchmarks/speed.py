"""`make bench`: the speed of the service and of its peers, in turn, and the pages of what was found.

Each part keeps its result in benchmarks/results, so that parts can be run alone and the pages are of all of them. A
machine that has nothing else to do is needed; the load generator takes one of its cores.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.all import SECTIONS
from benchmarks.results import RESULTS, ROOT, Figure, part_result, read_part, show, write_page, write_part
from benchmarks.speed_parts import adapts, idle, large_bodies, memory, meta_steps, predicts, stages
from benchmarks.speed_parts.conditions import QUICK, Plan
from benchmarks.speed_parts.curve import write_curve
from benchmarks.speed_parts.page import write_measured
from benchmarks.speed_parts.targets import ADAPTS, IDLE, LARGE, MEMORY, META_STEPS, PREDICTS, STAGES

log = logging.getLogger(__name__)

Measure = Callable[[Plan, str], tuple[list[Figure], dict[str, Any]]]
PARTS: Mapping[str, Measure] = {
    META_STEPS: meta_steps.measure,
    IDLE: idle.measure,
    MEMORY: memory.measure,
    LARGE: large_bodies.measure,
    PREDICTS: predicts.measure,
    ADAPTS: adapts.measure,
    STAGES: stages.measure,
}
PLOT = ROOT / "benchmarks" / "plots" / "adapts.svg"
DOCS = ROOT / "docs" / "speed.md"


def main(arguments: Sequence[str]) -> int:
    """Run the parts asked for and write the pages; returns 1 where a part failed."""
    asked = _parser().parse_args(arguments)
    if asked.quick:
        with tempfile.TemporaryDirectory() as folder:
            return run(asked.only or list(PARTS), QUICK, Path(folder))
    failed = 0 if asked.page else run(asked.only or list(PARTS), Plan(rounds=asked.rounds), RESULTS)
    write_pages()
    return failed


def run(names: Sequence[str], plan: Plan, folder: Path) -> int:
    """Run parts one after the other, the next one also where one failed; returns 1 if any did."""
    failed = 0
    for name in names:
        began = time.monotonic()
        try:
            run_part(name, plan, folder)
        except Exception:
            log.exception("%s failed; the other parts are worth their minutes all the same", name)
            failed = 1
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return failed


def run_part(name: str, plan: Plan, folder: Path) -> None:
    """Run a part and keep what it gave."""
    command = f"python -m benchmarks.speed --only {name}"
    figures, numbers = PARTS[name](plan, command)
    show(figures)
    if figures or numbers:
        write_part(part_result(name, command, figures, numbers), folder)


def write_pages() -> None:
    """Write RESULTS.md, the plot and the measured part of docs/speed.md from the results that are there."""
    write_page(SECTIONS)
    write_measured(DOCS)
    curve = read_part(ADAPTS)
    if curve is not None:
        write_curve(PLOT, curve.numbers["by_callers"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Measure the speed.")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="a part to run; may be repeated")
    parser.add_argument("--rounds", type=int, default=Plan().rounds, help="rounds of each comparison")
    parser.add_argument("--quick", action="store_true", help="show that all works; keeps nothing")
    parser.add_argument("--page", action="store_true", help="write the pages anew, run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
