"""Running the table: each part that has no result yet, and the page drawn anew after each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from app.commands.requests import datasets_from
from app.task_distributions.registry import Datasets
from benchmarks.quality.comparisons import COMPARISONS, Comparison
from benchmarks.quality.page import write_page
from benchmarks.quality.parts import Part, run_part, selected
from benchmarks.quality.plots import write_plots
from benchmarks.quality.results import read_result, write_result
from benchmarks.results import ROOT
from innerloop.errors import InnerloopError

FOLDER = ROOT / "benchmarks"
"""QUALITY.md, quality/results and plots lie here."""
RESULTS = Path("quality") / "results"

Tell = Callable[[str], None]


def run(
    data: Sequence[str],
    only: Sequence[str],
    methods: Sequence[str],
    minutes: float,
    *,
    again: bool = False,
    folder: Path = FOLDER,
    comparisons: Mapping[str, Comparison] = COMPARISONS,
    tell: Tell = print,
) -> bool:
    """Run the parts asked for that have no result at this budget, and draw the page; return whether all could be run.

    A part is left out where its data is not at hand. ValueError for names that are none; typer's usage error for data.
    """
    parts = list(selected(dict(comparisons), list(only), list(methods)))
    datasets, _ = datasets_from(data)
    torch.set_num_threads(1)
    done = [_run_one(part, datasets, minutes, again, folder, comparisons, tell) for part in parts]
    write_page(folder, folder / RESULTS, comparisons)
    write_plots(folder / "plots", folder / RESULTS, comparisons)
    tell(f"wrote {folder / 'QUALITY.md'}")
    return all(done)


def _run_one(
    part: Part,
    datasets: Datasets,
    minutes: float,
    again: bool,
    folder: Path,
    comparisons: Mapping[str, Comparison],
    tell: Tell,
) -> bool:
    what = f"{part.comparison.name} {part.name}"
    if not again and _is_done(part, minutes, folder):
        tell(f"{what}: there already; --again runs it anew")
        return True
    if part.comparison.dataset is not None and part.comparison.dataset not in datasets:
        tell(f"{what}: left out, --data {part.comparison.dataset}=PATH names its data")
        return True
    tell(f"{what}: running")
    try:
        result = run_part(part, datasets, minutes)
    except (InnerloopError, ValueError, KeyError) as error:
        tell(f"{what}: cannot be run: {error}")
        return False
    write_result(folder / RESULTS, result)
    write_page(folder, folder / RESULTS, comparisons)
    tell(f"{what}: trained {result.training_seconds} s, judged {result.evaluation_seconds} s; {_shown(result.cells)}")
    return True


def _is_done(part: Part, minutes: float, folder: Path) -> bool:
    """Tell whether a part has its result; one of another budget is none."""
    result = read_result(folder / RESULTS, part.comparison.name, part.name)
    return result is not None and (part.role != "method" or result.minutes == minutes)


def _shown(cells: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {getattr(cell, 'mean', None)}" for name, cell in cells.items())
