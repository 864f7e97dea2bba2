"""A plot for each comparison: one panel a cell, a row a method, mean and interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.comparisons import Cell, Comparison
from benchmarks.quality.page import plot_of
from benchmarks.quality.parts import Part, name_of, parts_of
from benchmarks.quality.results import CellResult, Result, read_result

PANEL_WIDTH, ROW_HEIGHT, HEADROOM, LABELS_WIDTH = 2.2, 0.26, 0.9, 3.0
"""Inches."""
COLOURS = {"baseline": "#8a8a8a", "method": "#1f6feb", "shipped": "#1a7f37"}


def write_plots(folder: Path, results: Path, comparisons: Mapping[str, Comparison]) -> list[Path]:
    """Write a plot for each comparison that has any result, equal bytes for equal results."""
    written = []
    for comparison in comparisons.values():
        found = [(part, read_result(results, comparison.name, part.name)) for part in parts_of(comparison)]
        rows = [(part, result) for part, result in found if result is not None and result.cells]
        if rows:
            folder.mkdir(parents=True, exist_ok=True)
            written.append(_write(folder.parent / plot_of(comparison), comparison, rows))
    return written


def _write(path: Path, comparison: Comparison, rows: Sequence[tuple[Part, Result]]) -> Path:
    width = LABELS_WIDTH + PANEL_WIDTH * len(comparison.cells)
    figure = Figure(figsize=(width, HEADROOM + ROW_HEIGHT * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(comparison.cells), sharey=True, squeeze=False)[0]
    for panel, cell in zip(panels, comparison.cells, strict=True):
        _draw(panel, comparison, cell, rows)
    panels[0].set_yticks(range(len(rows)), [name_of(part).replace("`", "") for part, _ in rows], fontsize=8)
    panels[0].invert_yaxis()
    with mpl.rc_context({"svg.hashsalt": comparison.name, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def _draw(panel: Axes, comparison: Comparison, cell: Cell, rows: Sequence[tuple[Part, Result]]) -> None:
    scale = 100.0 if comparison.metric == "accuracy" else 1.0
    for place, (part, result) in enumerate(rows):
        found: CellResult | None = result.cells.get(cell.name)
        if found is not None and found.mean is not None:
            panel.errorbar(
                scale * found.mean,
                place,
                xerr=scale * (found.interval or 0.0),
                fmt="o",
                markersize=4,
                color=COLOURS[part.role],
            )
    panel.set_title(cell.name, fontsize=8)
    panel.tick_params(labelsize=7)
    panel.grid(axis="x", alpha=0.3)
    if comparison.metric == "loss":
        panel.set_xscale("log")
