"""QUALITY.md, drawn from the results that are there: methods down, tasks across."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.quality.comparing import Difference, difference, ratio
from benchmarks.quality.comparisons import Cell, Comparison
from benchmarks.quality.parts import Part, name_of, parts_of
from benchmarks.quality.published import PUBLISHED, Published
from benchmarks.quality.results import CellResult, Result, read_result

NOT_RUN = "not run yet"
REFERENCE = "baseline-logistic"
"""What intents are compared with, pair by pair."""
INTRODUCTION = """\
# Quality

Methods down, tasks across, all measured here. `python -m app evaluate --all --data NAME=PATH ...` makes this page; a
row is a file under `quality/results`, and a row that has its file is not run again.

- Every method has the same budget for a data set: {minutes} of training, counted in seconds of its own on the
  processor with one thread, so that two run side by side on two cores. The number of iterations is planned from a
  short trial so that a full cosine schedule ends with the budget. One training serves all cells of its row. Shipped
  models were trained without a budget; their seconds are those of a clock on the wall.
- Every cell has the same held-out tasks for every method and baseline. Figures are means over tasks with 95%
  intervals.
- No statistic of the query batch is used: every query row is answered by itself. Published figures that lean on such
  statistics say so; they are worth 2 to 3 points.
- How many inner-loop steps are taken, and the step size of fine-tuning, is chosen for each cell on validation tasks.
  Learners with a head row a class have as many rows as the largest cell has ways, and are trained on tasks of fewer
  and more ways with the other rows masked.
- **Bold**: the best of the baselines and of the methods under the budget in that column.
"""


def write_page(folder: Path, results: Path, comparisons: Mapping[str, Comparison]) -> Path:
    """Write QUALITY.md from the results in a folder; rows without one say so."""
    by_comparison = {name: _rows(comparison, results) for name, comparison in comparisons.items()}
    sections = [_section(comparisons[name], rows) for name, rows in by_comparison.items()]
    path = folder / "QUALITY.md"
    path.write_text("\n".join([_introduction(by_comparison), *sections]), encoding="utf-8")
    return path


Rows = list[tuple[Part, Result | None]]


def _rows(comparison: Comparison, results: Path) -> Rows:
    return [(part, read_result(results, comparison.name, part.name)) for part in parts_of(comparison)]


def _introduction(by_comparison: Mapping[str, Rows]) -> str:
    results = [result for rows in by_comparison.values() for _, result in rows if result is not None]
    minutes = sorted({result.minutes for result in results if result.minutes is not None})
    words = " or ".join(f"{value:g}" for value in minutes) + " minutes" if minutes else "some minutes"
    missing = sum(result is None for rows in by_comparison.values() for _, result in rows)
    dates = sorted({result.date for result in results})
    when = f"Measured {dates[0]} to {dates[-1]}" if dates else f"Drawn {datetime.now(UTC):%Y-%m-%d}"
    machines = "; ".join(sorted({result.machine for result in results}))
    on = f" on {machines}" if machines else ""
    return INTRODUCTION.format(minutes=words) + f"\n{when}{on}; {missing} rows are {NOT_RUN}.\n"


def _section(comparison: Comparison, rows: Rows) -> str:
    lines = [f"## {comparison.title}", "", comparison.conditions, ""]
    if any(result is not None and result.cells for _, result in rows):
        lines += [f"![{comparison.name}]({plot_of(comparison)})", ""]
    lines += _table(comparison, rows)
    if comparison.name == "intents":
        lines += _differences(comparison, rows)
    if comparison.name == "patients":
        lines += _ratios(comparison, rows)
    return "\n".join([*lines, ""])


def plot_of(comparison: Comparison) -> str:
    """Return where a comparison's plot lies, from the page."""
    return f"plots/quality-{comparison.name}.svg"


def _table(comparison: Comparison, rows: Rows) -> list[str]:
    names = [cell.name for cell in comparison.cells]
    best = {cell.name: best_part(comparison, cell, rows) for cell in comparison.cells}
    lines = [_line(["", *names, "training seconds"]), _line(["---", *["---:"] * (len(names) + 1)])]
    for part, result in rows:
        figures = [_figure(comparison, result, name, bold=best[name] == part.name) for name in names]
        lines.append(_line([name_of(part), *figures, _seconds(part, result)]))
        published = PUBLISHED.get(comparison.name, {}).get(part.name)
        if published is not None:
            lines.append(_published(published, names))
    return [*lines, ""]


def _figure(comparison: Comparison, result: Result | None, cell: str, *, bold: bool) -> str:
    if result is None:
        return NOT_RUN
    if result.failed is not None:
        return "diverged"
    if cell not in result.cells:
        return "does not take so many ways" if result.role == "shipped" else NOT_RUN
    shown = as_text(comparison, result.cells[cell])
    return f"**{shown}**" if bold else shown


def as_text(comparison: Comparison, cell: CellResult) -> str:
    """Return mean and interval: percent for accuracy, three digits for errors."""
    if cell.mean is None:
        return "not finite"
    interval = cell.interval or 0.0
    if comparison.metric == "accuracy":
        return f"{100 * cell.mean:.1f} ± {100 * interval:.1f}"
    return f"{cell.mean:.3g} ± {interval:.2g}"


def _seconds(part: Part, result: Result | None) -> str:
    if part.role == "baseline":
        return "none"
    if result is None or result.training_seconds is None:
        return ""
    return f"{result.training_seconds:.0f}"


def _published(published: Published, names: Sequence[str]) -> str:
    label = f"*published: {published.source}, {published.conditions}*"
    return _line([label, *(f"*{published.cells[name]}*" if name in published.cells else "" for name in names), ""])


def best_part(comparison: Comparison, cell: Cell, rows: Rows, role: str | None = None) -> str | None:
    """Return the row with the best mean in a cell, of this role or else of all but the shipped; None for none."""
    sign = 1.0 if comparison.metric == "accuracy" else -1.0
    wanted = {part.name: result for part, result in rows if (part.role == role if role else part.role != "shipped")}
    means = {name: _mean_of(result, cell.name) for name, result in wanted.items()}
    found = {name: sign * mean for name, mean in means.items() if mean is not None}
    return max(found, key=lambda name: found[name]) if found else None


def _mean_of(result: Result | None, cell: str) -> float | None:
    return result.cells[cell].mean if result is not None and cell in result.cells else None


def _differences(comparison: Comparison, rows: Rows) -> list[str]:
    """Return each method less logistic regression, pair by pair, over the cells with right labels."""
    reference = {part.name: result for part, result in rows}.get(REFERENCE)
    if reference is None:
        return [f"Differences to logistic regression, task by task: {NOT_RUN}.", ""]
    clean = [cell.name for cell in comparison.cells if not cell.options.get("evaluation_label_noise")]
    lines = [
        "Points above logistic regression (C=10) on the same rows, task by task, with the interval of the differences; "
        "the mean is that of the columns.",
        "",
        _line(["", *clean, "mean"]),
        _line(["---", *["---:"] * (len(clean) + 1)]),
    ]
    for part, result in rows:
        if result is None or part.name == REFERENCE or not set(clean) <= set(result.cells):
            continue
        found = [difference(result.cells[name], reference.cells[name]) for name in clean]
        lines.append(_line([name_of(part), *map(_points, found), f"{100 * _mean(found):+.2f}"]))
    return [*lines, ""]


def _points(found: Difference) -> str:
    return f"{100 * found.mean:+.1f} ± {100 * found.interval:.1f}"


def _mean(found: Sequence[Difference]) -> float:
    return sum(one.mean for one in found) / len(found)


def _ratios(comparison: Comparison, rows: Rows) -> list[str]:
    """Return each method's error over that of the best baseline of the cell."""
    results = {part.name: result for part, result in rows}
    best = {cell.name: best_part(comparison, cell, rows, "baseline") for cell in comparison.cells}
    if None in best.values():
        return [f"Errors over the best baseline's: {NOT_RUN}.", ""]
    names = list(best)
    lines = [
        f"Errors over that of the best baseline ({', '.join(f'{name}: {best[name]}' for name in names)}), with the 95% "
        "interval by bootstrap over patients, drawn for both at once.",
        "",
        _line(["", *names, "mean"]),
        _line(["---", *["---:"] * (len(names) + 1)]),
    ]
    for part, result in rows:
        if result is None or part.role == "baseline" or not set(names) <= set(result.cells):
            continue
        found = [ratio(result.cells[name], _cell_of(results[str(best[name])], name)) for name in names]
        shown = [f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})" for one in found]
        lines.append(_line([name_of(part), *shown, f"{sum(one.mean for one in found) / len(found):.2f}"]))
    return [*lines, ""]


def _cell_of(result: Result | None, name: str) -> CellResult:
    if result is None:
        raise ValueError(f"the best baseline of {name} has no result")
    return result.cells[name]


def _line(columns: Sequence[str]) -> str:
    return "| " + " | ".join(columns) + " |"
