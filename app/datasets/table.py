"""Tables: columns of inputs, targets and groups, read in batches of rows."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from app.datasets.caps import DatasetCaps
from app.datasets.columns import (
    Doubles,
    NameColumn,
    Place,
    TargetKind,
    double_column,
    is_fractional,
    number_column,
    target_kind,
)
from app.datasets.contents import Contents, Floats, Names
from innerloop.errors import InvalidDataset
from innerloop.wire import DatasetSpec

FLOAT_BYTES, CODE_BYTES = 4, 8
MAX_COLUMNS = 10_000


class Table(NamedTuple):
    """A file of named columns; `batches` may be called again and again."""

    names: tuple[str, ...]
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    """(column names) -> the rows of these columns, in batches."""
    is_text: bool
    """Whether all cells are text, as in CSV, and numbers have to be read from it."""
    num_rows: int | None = None
    """Where the file says so; a few bytes may stand for any number of equal rows."""


class _Columns(NamedTuple):
    inputs: list[str]
    targets: list[str]
    group: str | None


def contents_of_table(spec: DatasetSpec, table: Table, filename: str, caps: DatasetCaps) -> Contents:
    """Return the rows of the columns that `spec` names, in the file's order.

    InvalidDataset, naming column and row, for holes and for text where numbers should be; the first row is 1.
    """
    columns = _columns(spec, table, filename)
    by_class = _wants_classes(spec, columns, table, filename)
    classes, groups = NameColumn(filename, columns.targets[0]), NameColumn(filename, columns.group or "")
    inputs: list[Floats] = []
    targets: list[Floats] = []
    keys: list[Doubles] = []
    num_rows = 0
    wanted = [*columns.inputs, *columns.targets, *([columns.group] if columns.group else [])]
    if spec.order_by is not None and spec.order_by not in wanted:
        wanted.append(spec.order_by)
    width = len(columns.inputs) * FLOAT_BYTES + len(columns.targets) * CODE_BYTES + CODE_BYTES
    caps.check_bytes((table.num_rows or 0) * width, filename)
    for batch in table.batches(wanted):
        num_rows += batch.num_rows
        caps.check_rows(num_rows, filename)
        caps.check_bytes(num_rows * width + classes.num_bytes + groups.num_bytes, filename)
        first_row = num_rows - batch.num_rows + 1
        inputs.append(_numbers(batch, columns.inputs, filename, first_row, table.is_text))
        if by_class:
            classes.add(batch.column(columns.targets[0]), first_row)
        else:
            targets.append(_numbers(batch, columns.targets, filename, first_row, table.is_text))
        if columns.group:
            groups.add(batch.column(columns.group), first_row)
        if spec.order_by is not None:
            keys.append(double_column(batch.column(spec.order_by), Place(filename, spec.order_by, first_row)))
    if not num_rows:
        raise InvalidDataset(f"{filename} has no rows")
    caps.check_bytes(num_rows * width + classes.num_bytes + groups.num_bytes, filename)
    found = _classes(classes.found(), f"{filename}, column {columns.targets[0]!r}") if by_class else _joined(targets)
    contents = Contents(
        inputs=_joined(inputs),
        targets=found,
        groups=groups.found() if columns.group else None,
        input_names=tuple(columns.inputs),
        target_names=tuple(columns.targets),
    )
    return contents.in_order(np.concatenate(keys).argsort(kind="stable")) if keys else contents


def _columns(spec: DatasetSpec, table: Table, filename: str) -> _Columns:
    """Return the columns of each use; InvalidDataset for missing, doubled and ambiguous ones."""
    if len(table.names) > MAX_COLUMNS:
        raise InvalidDataset(f"{filename} has {len(table.names)} columns; at most {MAX_COLUMNS}; an array takes more")
    doubled = sorted({name for name in table.names if table.names.count(name) > 1}) if _has_twins(table) else []
    if doubled:
        raise InvalidDataset(f"{filename} has two columns {doubled[0]!r}; give each a name of its own")
    targets = _listed(spec.targets)
    if not targets:
        raise InvalidDataset(f"spec.targets names no column; {filename} is a table with {_shown(table.names)}")
    if spec.kind == "grouped" and spec.group is None:
        raise InvalidDataset(
            f"spec.group names no column; the task of a row is in one of {filename}: {_shown(table.names)}"
        )
    if spec.order_by is not None and spec.order_by not in table.names:
        raise InvalidDataset(f"spec.order_by: {filename} has no column {spec.order_by!r}; it has {_shown(table.names)}")
    others = [name for name in table.names if name not in targets and name != spec.group]
    columns = _Columns(_listed(spec.inputs) or others, targets, spec.group)
    _check_uses(columns, table, filename)
    return columns


def _has_twins(table: Table) -> bool:
    return len(set(table.names)) < len(table.names)


def _check_uses(columns: _Columns, table: Table, filename: str) -> None:
    used: dict[str, str] = {}
    uses = {"inputs": columns.inputs, "targets": columns.targets, "group": [columns.group] if columns.group else []}
    for use, names in uses.items():
        for name in names:
            if name not in table.names:
                raise InvalidDataset(f"spec.{use}: {filename} has no column {name!r}; it has {_shown(table.names)}")
            if not name.strip():
                raise InvalidDataset(f"{filename}: column {table.names.index(name) + 1} has no name; give it one")
            if name in used:
                raise InvalidDataset(f"column {name!r} is in spec.{used[name]} and spec.{use}; a column has one use")
            used[name] = use
    if not columns.inputs:
        raise InvalidDataset(f"{filename} has no column for inputs beside {_shown(list(used))}")


def _wants_classes(spec: DatasetSpec, columns: _Columns, table: Table, filename: str) -> bool:
    if spec.kind == "labelled" or spec.output == "classification":
        if len(columns.targets) > 1:
            raise InvalidDataset(f"spec.targets: classes are in one column; {len(columns.targets)} are named")
        return True
    if spec.output == "regression" or len(columns.targets) > 1:
        return False
    name = columns.targets[0]
    kind = TargetKind(filename, name)
    for batch in table.batches([name]):
        kind = target_kind(kind, batch.column(name), table.is_text)
    return kind.is_classes


def _numbers(batch: pa.RecordBatch, names: Sequence[str], filename: str, first_row: int, is_text: bool) -> Floats:
    """Return [rows, columns]."""
    found = np.empty((batch.num_rows, len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        found[:, i] = number_column(batch.column(name), Place(filename, name, first_row), is_text)
    return found


def _classes(names: Names, where: str) -> Names:
    """Return the classes; InvalidDataset when they are numbers with a fraction, which are no names."""
    if is_fractional(names.names):
        raise InvalidDataset(
            f"{where} holds numbers with a fraction; classes are strings, integers or booleans. For regression the "
            "kind is grouped"
        )
    return names


def _joined(pieces: list[Floats]) -> Floats:
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:30]))
    return f"{shown} and {len(names) - 30} more" if len(names) > 30 else f"the columns {shown}"
