"""Cells of a table's column as finite numbers, or as names with a number each."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.datasets.contents import Codes, Floats, Names
from innerloop.errors import InvalidDataset

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:nan|inf|infinity)$"
INTEGER = re.compile(r"[+-]?[0-9]+")
BOOLEANS = pa.array(["true", "false"])
SHOWN_CHARS = 60


Doubles = npt.NDArray[np.float64]


class Place(NamedTuple):
    """Where in a table a piece of a column stands, for messages."""

    filename: str
    column: str
    first_row: int

    def row(self, index: int) -> str:
        """Return how a message names a row of the piece."""
        return f"{self.filename}, column {self.column!r}, row {self.first_row + index}"


class TargetKind(NamedTuple):
    """What the targets seen so far are."""

    filename: str
    column: str
    num_rows: int = 0
    first_number: int | None = None
    """The first row that holds a number, if any."""
    first_name: int | None = None
    """The first row that holds a string or a boolean, if any."""

    @property
    def is_classes(self) -> bool:
        """Whether they are names and not numbers."""
        return self.first_name is not None


def target_kind(so_far: TargetKind, cells: pa.Array, is_text: bool) -> TargetKind:
    """Return what the targets are with `cells` too; InvalidDataset when some are numbers and some are not."""
    filename, column, num_rows, number, name = so_far
    is_number = pc.match_substring_regex(pc.utf8_trim_whitespace(cells), NUMBER) if is_text else None
    if is_number is None:
        values = _value_type(cells)
        all_names = is_text_type(values) or pa.types.is_boolean(values)
        is_number = pa.array([not all_names] * len(cells), pa.bool_())
    numbers = is_number.to_numpy(zero_copy_only=False).astype(bool)
    filled = _is_filled(cells) if is_text else np.ones(len(cells), dtype=bool)
    number = _first(numbers & filled, num_rows) if number is None else number
    name = _first(~numbers & filled, num_rows) if name is None else name
    if number is not None and name is not None:
        raise InvalidDataset(
            f"{filename}, column {column!r}: row {number} is a number and row {name} is none; mend the cell, or set "
            "output to classification where all are names"
        )
    return TargetKind(filename, column, num_rows + len(cells), number, name)


def double_column(cells: pa.Array, place: Place) -> Doubles:
    """Return the cells as float64, which holds a moment to the microsecond; dates are as their numbers."""
    _check_filled(cells, place)
    if is_text_type(_value_type(cells)):
        cells = _read_numbers(cells, place)
    elif pa.types.is_temporal(cells.type):
        cells = cells.cast(pa.int32() if pa.types.is_date32(cells.type) else pa.int64())
    elif not is_number_type(cells.type):
        raise InvalidDataset(f"{place.filename}, column {place.column!r} is of type {cells.type}; numbers are expected")
    doubles: Doubles = cells.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.isfinite(doubles).all():
        raise InvalidDataset(
            f"{place.row(int(np.isfinite(doubles).argmin()))} is not finite; rows cannot be sorted by it"
        )
    return doubles


def number_column(cells: pa.Array, place: Place, is_text: bool) -> Floats:
    """Return the cells as float32; true and false are 1 and 0."""
    _check_filled(cells, place)
    if is_text_type(_value_type(cells)):
        if not is_text:
            raise InvalidDataset(f"{place.row(0)} is text, {_shown(cells[0].as_py())}; a number is expected")
        numbers = _read_numbers(cells, place)
    elif is_number_type(cells.type):
        numbers = cells.cast(pa.uint8() if pa.types.is_boolean(cells.type) else pa.float64(), safe=False)
    else:
        raise InvalidDataset(f"{place.filename}, column {place.column!r} is of type {cells.type}; numbers are expected")
    with np.errstate(over="ignore"):
        single: Floats = numbers.to_numpy(zero_copy_only=False).astype(np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        wrong = int(finite.argmin())
        shown = _shown(str(cells[wrong].as_py()))
        raise InvalidDataset(f"{place.row(wrong)} is {shown}, not finite or too large for float32")
    return single


class NameColumn:
    """A column of names, which get numbers as they come."""

    def __init__(self, filename: str, column: str) -> None:
        self._filename, self._column = filename, column
        self._code_of: dict[str, int] = {}
        self._codes: list[Codes] = []
        self.num_bytes = 0
        """Of the names."""

    def add(self, cells: pa.Array, first_row: int) -> None:
        """Take in more rows; InvalidDataset for empty cells and for what is no name."""
        place = Place(self._filename, self._column, first_row)
        values = _value_type(cells)
        if not (is_text_type(values) or pa.types.is_integer(values) or pa.types.is_boolean(values)):
            raise InvalidDataset(
                f"{place.filename}, column {place.column!r} is of type {values}; names are strings, integers or "
                "booleans"
            )
        _check_filled(cells, place)
        encoded = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
        indices: npt.NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        used, first = np.unique(indices, return_index=True)
        code_of_index = np.zeros(len(encoded.dictionary), dtype=np.int64)
        for index in used[first.argsort()]:
            code_of_index[index] = self._code(encoded.dictionary[int(index)].as_py())
        self._codes.append(code_of_index[indices])

    def found(self) -> Names:
        """Return the names of all rows."""
        return Names(np.concatenate(self._codes), tuple(self._code_of))

    def _code(self, value: str | int | bool) -> int:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text not in self._code_of:
            self._code_of[text] = len(self._code_of)
            self.num_bytes += len(text)
        return self._code_of[text]


def is_fractional(names: Sequence[str]) -> bool:
    """Tell whether all names are numbers and some are no integers."""
    number = re.compile(NUMBER.replace("^", "").replace("$", ""))
    numbers = [name for name in (name.strip() for name in names) if number.fullmatch(name)]
    return len(numbers) == len(names) and not all(INTEGER.fullmatch(name) for name in numbers)


def _read_numbers(cells: pa.Array, place: Place) -> pa.Array:
    """Return texts as numbers; those of a dictionary are read once each, however often they come."""
    if not pa.types.is_dictionary(cells.type):
        return _numbers_in(cells, place, np.arange(len(cells)))
    indices: npt.NDArray[np.int64] = cells.indices.to_numpy(zero_copy_only=False)
    used, first, inverse = np.unique(indices, return_index=True, return_inverse=True)
    order = first.argsort()  # of several that are wrong, the first row is named
    numbers = _numbers_in(cells.dictionary.take(pa.array(used[order])), place, first[order])
    return numbers.take(pa.array(order.argsort()[inverse]))


def _numbers_in(cells: pa.Array, place: Place, rows: npt.NDArray[np.int64]) -> pa.Array:
    texts = pc.utf8_trim_whitespace(cells)
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        lower = pc.utf8_lower(texts)
        digits = pc.if_else(pc.equal(lower, "true"), "1", "0")
        texts = pc.if_else(pc.is_in(lower, value_set=BOOLEANS), digits, texts)
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid as error:
        wrong = next(i for i in range(len(texts)) if not _is_number(texts[i]))
        shown = _shown(cells[wrong].as_py())
        raise InvalidDataset(f"{place.row(int(rows[wrong]))} is {shown}; a number is expected") from error


def _is_number(text: pa.Scalar) -> bool:
    try:
        return text.cast(pa.float64()).as_py() is not None
    except pa.ArrowInvalid:
        return False


def _check_filled(cells: pa.Array, place: Place) -> None:
    filled = _is_filled(cells)
    if not filled.all():
        raise InvalidDataset(f"{place.row(int(filled.argmin()))} is empty; fill the hole or drop the row")


def _is_filled(cells: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell for each cell whether it holds something beside white space."""
    valid: npt.NDArray[np.bool_] = np.asarray(cells.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_dictionary(cells.type):
        if not is_text_type(cells.type.value_type) or not len(cells.dictionary):
            return valid
        indices: npt.NDArray[np.int64] = cells.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return valid & _is_filled(cells.dictionary)[indices]
    if not is_text_type(cells.type):
        return valid
    lengths: npt.NDArray[np.int64] = pc.utf8_length(pc.utf8_trim_whitespace(cells)).fill_null(0).to_numpy(False)
    return valid & (lengths > 0)


def _value_type(cells: pa.Array) -> pa.DataType:
    return cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type


def is_text_type(kind: pa.DataType) -> bool:
    """Tell whether cells of a type are strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number_type(kind: pa.DataType) -> bool:
    """Tell whether cells of a type are numbers or booleans."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _first(matches: npt.NDArray[np.bool_], rows_before: int) -> int | None:
    return rows_before + int(matches.argmax()) + 1 if matches.any() else None


def _shown(text: object) -> str:
    shown = str(text)
    return repr(shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + "...")
