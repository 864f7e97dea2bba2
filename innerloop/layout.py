"""Lay facts and rows out so that they fit the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_UNBOUNDED_COLUMNS = 1_000_000


class Column(NamedTuple):
    """Name a column; those of the lowest `weight` are left out first where all do not fit, None never."""

    head: str
    weight: int | None = None


class Listing(NamedTuple):
    """Hold rows to show, in as many of their columns as fit side by side."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Leave columns out until the rest fits; what still does not is folded."""
        kept = list(range(len(self.columns)))
        while _width(table := self._table(kept), console, options) > options.max_width:
            lightest = min((i for i in kept if self.columns[i].weight is not None), key=self._weight, default=None)
            if lightest is None:
                break
            kept.remove(lightest)
        yield table

    def _weight(self, index: int) -> int:
        return self.columns[index].weight or 0

    def _table(self, kept: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for index in kept:
            table.add_column(Text(self.columns[index].head), overflow="fold")
        for row in self.rows:
            table.add_row(*(cell(row[index]) for index in kept))
        return table


def facts(shown: dict[str, object]) -> Table:
    """Show one fact a line."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in shown.items():
        table.add_row(Text(name), cell(value))
    return table


def cell(value: object) -> Text:
    """Return a value as it is shown: as text, since names may hold what rich would take for markup."""
    if isinstance(value, Text):
        return value
    return Text("–" if value is None else moment(value) if isinstance(value, datetime) else str(value))


def moment(value: datetime | None) -> str:
    """Show a moment in UTC, to the minute."""
    return "–" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def number(value: float | None) -> str:
    """Show a number in four digits."""
    return "–" if value is None else f"{value:.4g}"


def size(value: float) -> str:
    """Show a number of bytes."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    return Measurement.get(console, options.update(max_width=_UNBOUNDED_COLUMNS), table).maximum
