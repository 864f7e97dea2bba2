"""The plot of adapts a second by callers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INCHES = (7.0, 4.2)
COLOURS = {
    "empty": "#8a8a8a",
    "naive-def": "#bc8c00",
    "naive-async": "#cf222e",
    "innerloop": "#1f6feb",
    "innerloop, estimate": "#1a7f37",
}


def write_curve(path: Path, by_callers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Path:
    """Write the plot, with the lowest and highest of the rounds as a band; equal bytes for equal numbers."""
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    callers = [int(count) for count in by_callers]
    for name, colour in COLOURS.items():
        rounds = [by_side[name] for by_side in by_callers.values()]
        axes.plot(callers, [one["per_second"] for one in rounds], "o-", markersize=4, color=colour, label=name)
        lowest, highest = ([one[edge] for one in rounds] for edge in ("lowest", "highest"))
        axes.fill_between(callers, lowest, highest, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(callers, [str(count) for count in callers])
    axes.set_xlabel("callers")
    axes.set_ylabel("answers a second")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "adapts", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path
