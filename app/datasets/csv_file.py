"""CSV with a header, read in blocks; all cells are text here."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as pa_csv

from app.datasets.table import Table
from innerloop.errors import InvalidDataset

HEADER_BYTES = 1 << 20
BLOCK_BYTES = 4 << 20
"""Read at a time; a row is not longer."""


def csv_table(path: Path, filename: str) -> Table:
    """Return the table; InvalidDataset when the file is no CSV in UTF-8 with a header."""
    names = _header(path, filename)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        read = pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
        parse = pa_csv.ParseOptions(newlines_in_values=True)
        convert = pa_csv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
        )
        try:
            with pa_csv.open_csv(path, read, parse, convert) as reader:
                yield from reader
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise InvalidDataset(f"{filename} is not CSV in UTF-8: {_first_line(error)}") from error

    return Table(names, batches, is_text=True)


def _header(path: Path, filename: str) -> tuple[str, ...]:
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    lines = head.splitlines(keepends=True)
    whole = lines[:-1] if len(head) == HEADER_BYTES else lines
    if not whole:
        raise InvalidDataset(f"{filename}: its first line is longer than {HEADER_BYTES} bytes")
    try:
        rows = csv.reader(io.StringIO(b"".join(whole).decode("utf-8-sig"), newline=""), strict=True)
        names = next((row for row in rows if row), None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{filename} is not CSV in UTF-8: {error}") from error
    if not names:
        raise InvalidDataset(f"{filename} is empty; its first line names the columns")
    return tuple(names)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
