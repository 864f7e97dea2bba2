"""The plot of `benchmarks.overload`: goodput and latency over load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

WIDTH_INCHES, HEIGHT_INCHES = 8.0, 3.7
GOOD, REFUSED, TARGET = "#1f6fb4", "#b8590b", "#7a7a7a"


def plot_loads(numbers: Mapping[str, Any], p99_target: float, path: Path) -> None:
    """Draw a panel of rates and one of latencies, each over load in multiples of capacity."""
    rows = numbers["rows"]
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    loads = [row["load"] for row in rows]
    _rates(rates, loads, rows, numbers["capacity_per_second"])
    _latencies(latencies, loads, rows, p99_target)
    for axes in (rates, latencies):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(loads))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(loads, [f"{load:g}" for load in loads])
        axes.set_xlabel("offered load, times capacity")
        axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):  # equal figures are equal files
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _rates(axes: Axes, loads: list[float], rows: list[dict[str, Any]], capacity: float) -> None:
    good = [row["goodput_per_second"] for row in rows]
    peak = max(capacity, *good)
    axes.plot(loads, good, color=GOOD, marker="o", markersize=4, label="goodput (201)")
    ideal = [min(row["offered_per_second"], peak) for row in rows]
    axes.plot(loads, ideal, color=TARGET, linewidth=0.8, linestyle=":", label="offered, up to the peak")
    for load, share in ((3.0, 0.9), (10.0, 0.6)):
        axes.plot([load / 1.15, load * 1.15], [share * peak] * 2, color=TARGET, linewidth=1.6)
        axes.annotate(
            f"target {share:g} of the peak",
            (load, share * peak),
            (0, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7,
            color="#555555",
        )
    axes.set_title("Tasks adapted a second", fontsize=10)
    axes.set(ylabel="tasks a second", ylim=(0, 1.1 * peak))


def _latencies(axes: Axes, loads: list[float], rows: list[dict[str, Any]], p99_target: float) -> None:
    lines = (
        ("accepted_p99_ms", "accepted, p99", GOOD, "-"),
        ("accepted_p50_ms", "accepted, p50", GOOD, "--"),
        ("refused_p99_ms", "refused, p99", REFUSED, "-"),
    )
    for name, label, color, style in lines:
        seen = [(load, row[name]) for load, row in zip(loads, rows, strict=True) if row[name] is not None]
        if seen:
            axes.plot(*zip(*seen, strict=True), color=color, linestyle=style, marker="o", markersize=4, label=label)
    base = next((row["accepted_p99_ms"] for row in rows if row["load"] == 0.8), None)
    if base is not None:
        label = f"target of p99: {p99_target:g} x that at 0.8"
        axes.axhline(p99_target * base, color=TARGET, linewidth=1.2, linestyle=":", label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title("Latency, from when a request was due", fontsize=10)
    axes.set_ylabel("milliseconds")
