"""The two plots of `benchmarks.worth`: estimate against truth, and familiarity by where tasks are from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANEL_INCHES = 3.2


def plot_estimates(seen: Sequence[tuple[str, Sequence[tuple[float, float]], bool]], path: Path) -> None:
    """Draw a panel a model, (name, pairs of estimate and truth, whether they are errors), as SVG."""
    figure, panels = _panels(len(seen))
    for axes, (name, pairs, is_error) in zip(panels, seen, strict=True):
        found, truth = np.array(pairs).T
        axes.scatter(found, truth, s=8, alpha=0.4, linewidths=0)
        low, high = min(found.min(), truth.min()), max(found.max(), truth.max())
        axes.plot([low, high], [low, high], color="grey", linewidth=0.8)
        if is_error:
            axes.set_xscale("log")
            axes.set_yscale("log")
        what = "mean squared error" if is_error else "accuracy"
        axes.set(title=name, xlabel=f"estimated {what}", ylabel=f"{what} of the query rows")
    _write(figure, path)


def plot_familiarity(seen: Sequence[tuple[str, Mapping[str, Sequence[float]]]], path: Path) -> None:
    """Draw a panel a model, (name, familiarities by where the tasks are from), as SVG; uniform is the diagonal."""
    figure, panels = _panels(len(seen))
    for axes, (name, shares) in zip(panels, seen, strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for source, values in shares.items():
            if len(values):
                axes.ecdf(np.array(values), label=source)
        axes.set(title=name, xlabel="familiarity", ylabel="share of tasks up to it", xlim=(0, 1.01))
        axes.legend(fontsize=7, loc="upper left")
    _write(figure, path)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PANEL_INCHES * max(1, count), PANEL_INCHES), layout="constrained")
    return figure, list(figure.subplots(1, max(1, count), squeeze=False)[0])[:count]


def _write(figure: Figure, path: Path) -> None:
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):  # equal figures are equal files
        figure.savefig(path, metadata={"Date": None})
