"""Read rows of numbers or sentences, and their targets, from a CSV file."""

import csv
import math
import re
from pathlib import Path
from typing import NamedTuple

from innerloop.errors import UnreadableFile

Number = int | float
_INTEGER = re.compile(r"[+-]?[0-9]+")
TEXT = "text"
"""The column of sentences is called so: without a name, a header over text could not be told from a row."""


class Line(NamedTuple):
    """Hold one line of the file; `place` names it in messages."""

    place: str
    cells: list[str]


def read_csv_support(path: Path, target: str | None) -> tuple[list[list[Number]] | list[str], list[Number] | list[str]]:
    """Read inputs and targets; the targets are in the column named `target`, or else in the last one.

    The header is optional where no target is named. Targets are numbers when all of them are, and class
    names otherwise. Where a column is called `text`, the inputs are its sentences alone, and the targets in the
    column named `target`, or else in the last of the others. Raises `UnreadableFile`, naming the line.
    """
    lines = _lines(path)
    if TEXT in lines[0].cells and target != TEXT:
        return _text_support(path, lines, target)
    if len(lines[0].cells) < 2:
        raise UnreadableFile(f"{lines[0].place}: one column; the targets stand in a column beside the inputs")
    column = len(lines[0].cells) - 1 if target is None else _column(lines[0], target)
    rows = lines[1:] if target is not None or _is_header(lines, column) else lines
    if not rows:
        raise UnreadableFile(f"{path} has a header and no rows")
    inputs = [_numbers(_without(line, column)) for line in rows]
    return inputs, _targets(rows, column)


def read_csv_inputs(path: Path, target: str | None) -> list[list[Number]] | list[str]:
    """Read inputs; a column named `target` is left out where there is one. The header is optional.

    Where a column is called `text`, the inputs are its sentences alone.
    """
    lines = _lines(path)
    if TEXT in lines[0].cells and target != TEXT:
        return _sentences(path, lines)
    if any(_is_number(cell) for cell in lines[0].cells):
        return [_numbers(line) for line in lines]
    rows = lines[1:]
    if target in lines[0].cells:
        rows = [_without(line, lines[0].cells.index(target)) for line in rows]
    if not rows:
        raise UnreadableFile(f"{path} has a header and no rows")
    return [_numbers(line) for line in rows]


def _text_support(path: Path, lines: list[Line], target: str | None) -> tuple[list[str], list[Number] | list[str]]:
    others = [column for column, name in enumerate(lines[0].cells) if name != TEXT]
    if not others:
        raise UnreadableFile(f"{lines[0].place}: one column; the targets stand in a column beside the sentences")
    column = others[-1] if target is None else _column(lines[0], target)
    return _sentences(path, lines), _targets(lines[1:], column)


def _sentences(path: Path, lines: list[Line]) -> list[str]:
    column = lines[0].cells.index(TEXT)
    if not lines[1:]:
        raise UnreadableFile(f"{path} has a header and no rows")
    for line in lines[1:]:
        if not line.cells[column].strip():
            raise UnreadableFile(f"{line.place} has no text")
    return [line.cells[column] for line in lines[1:]]


def _lines(path: Path) -> list[Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [Line(f"{path}, line {reader.line_num}", cells) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"{path} is not CSV in UTF-8: {error}") from error
    if not lines:
        raise UnreadableFile(f"{path} is empty")
    width = len(lines[0].cells)
    for line in lines:
        if len(line.cells) != width:
            raise UnreadableFile(f"{line.place} has {len(line.cells)} columns; the first line has {width}")
    return lines


def _column(header: Line, target: str) -> int:
    if target not in header.cells:
        raise UnreadableFile(f"{header.place}: no column {target!r}; there are {', '.join(header.cells)}")
    return header.cells.index(target)


def _is_header(lines: list[Line], column: int) -> bool:
    first, rest = lines[0], lines[1:]
    if not any(_is_number(cell) for cell in first.cells):
        return True
    if rest and not _is_number(first.cells[column]) and all(_is_number(line.cells[column]) for line in rest):
        raise UnreadableFile(
            f"{first.place} may be a header or a row: {first.cells[column]!r} stands above numbers; "
            "name the column of the targets, or put a header above"
        )
    return False


def _without(line: Line, column: int) -> Line:
    return Line(line.place, line.cells[:column] + line.cells[column + 1 :])


def _targets(lines: list[Line], column: int) -> list[Number] | list[str]:
    for line in lines:
        if not line.cells[column].strip():
            raise UnreadableFile(f"{line.place} has no target")
    if all(_is_number(line.cells[column]) for line in lines):
        return [_number(line.cells[column], line.place) for line in lines]
    return [line.cells[column] for line in lines]


def _numbers(line: Line) -> list[Number]:
    return [_number(cell, line.place) for cell in line.cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _number(cell: str, place: str) -> Number:
    if not _is_number(cell) or not math.isfinite(float(cell)):
        raise UnreadableFile(f"{place}: {cell!r} is not a finite number; sentences stand in a column called {TEXT!r}")
    return int(cell) if _INTEGER.fullmatch(cell.strip()) else float(cell)
