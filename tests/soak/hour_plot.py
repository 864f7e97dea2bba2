"""The plot of a soak: memory, latency, traffic and what else the process takes, over time."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from tests.soak.hour_statistics import Slope

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 5.6
BLUE, ORANGE, GREEN, GREY = "#1f6fb4", "#b8590b", "#2f7d4f", "#7a7a7a"

Samples = Sequence[Mapping[str, float | None]]


def plot_soak(samples: Samples, rss: Slope, left_out: float, most_mib_an_hour: float, path: Path) -> None:
    """Draw four panels over minutes."""
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    (memory, latency), (traffic, process) = figure.subplots(2, 2, sharex=True)
    _memory(memory, samples, rss, left_out, most_mib_an_hour)
    _latency(latency, samples)
    _traffic(traffic, samples)
    _process(process, samples)
    for axes in (memory, latency, traffic, process):
        axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(axes.get_title(), fontsize=10)
        axes.legend(
            fontsize=7,
            frameon=False,
            loc="lower left" if axes is memory else "upper right",
            ncols=1 if axes is memory else 2,
        )
        axes.set_xlim(0, (samples[-1]["seconds"] or 0.0) / 60.0)
    for axes in (traffic, process):
        axes.set_xlabel("minutes")
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):  # equal figures are equal files
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _series(axes: Axes, samples: Samples, name: str, label: str, color: str, style: str = "-") -> None:
    found = [((sample["seconds"] or 0.0) / 60.0, value) for sample in samples if (value := sample[name]) is not None]
    if found:
        axes.plot(*zip(*found, strict=True), color=color, linestyle=style, linewidth=1.1, label=label)


def _memory(axes: Axes, samples: Samples, rss: Slope, left_out: float, most_mib_an_hour: float) -> None:
    _series(axes, samples, "rss_mib", "resident", BLUE)
    _series(axes, samples, "anonymous_mib", "of it, backed by no file", GREY)
    end = (samples[-1]["seconds"] or 0.0) / 60.0
    told = f"{rss.per_hour:+.1f} MiB an hour ({rss.low:+.1f} to {rss.high:+.1f}); target: at most {most_mib_an_hour:g}"
    axes.plot([left_out * end, end], [rss.first, rss.last], color=ORANGE, linestyle="--", linewidth=1.4, label=told)
    axes.set(title="Memory of the service", ylabel="MiB", ylim=(0, 1.15 * max(s["rss_mib"] or 0.0 for s in samples)))


def _latency(axes: Axes, samples: Samples) -> None:
    for what, color in (("adapt", ORANGE), ("predict", BLUE)):
        _series(axes, samples, f"{what}_p99_ms", f"{what}, p99", color)
        _series(axes, samples, f"{what}_p50_ms", f"{what}, p50", color, ":")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    _, highest = axes.get_ylim()
    axes.set_ylim(None, 3 * highest)  # room for the legend
    axes.set(title="Time of a request, as its caller sees it", ylabel="milliseconds")


def _traffic(axes: Axes, samples: Samples) -> None:
    moments = [0.0, *(sample["seconds"] or 0.0 for sample in samples)]
    spans = [later - earlier for earlier, later in itertools.pairwise(moments)]
    evicted = [0.0, *(sample["evictions"] or 0.0 for sample in samples)]
    rates = {
        "requests": [(sample["num_requests"] or 0.0) / span for sample, span in zip(samples, spans, strict=True)],
        "evictions": [
            (later - earlier) / span for (earlier, later), span in zip(itertools.pairwise(evicted), spans, strict=True)
        ],
        "not as expected": [
            (sample["num_unexpected"] or 0.0) / span for sample, span in zip(samples, spans, strict=True)
        ],
    }
    for (name, values), color in zip(rates.items(), (BLUE, GREEN, ORANGE), strict=True):
        axes.plot([moment / 60.0 for moment in moments[1:]], values, color=color, linewidth=1.1, label=name)
    axes.set(title="Traffic", ylabel="a second", ylim=(0, 1.25 * max(rates["requests"])))


def _process(axes: Axes, samples: Samples) -> None:
    _series(axes, samples, "num_files", "open files", BLUE)
    _series(axes, samples, "num_threads", "threads", ORANGE)
    _series(axes, samples, "database_mib", "database, MiB", GREEN)
    _, highest = axes.get_ylim()
    axes.set(title="What else it takes", ylabel="number; MiB", ylim=(0, 1.2 * highest))
