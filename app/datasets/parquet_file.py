"""Parquet, its types and sizes looked at before a row group is read: a few bytes may stand for any number of values."""

import mmap
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from app.datasets.caps import DatasetCaps
from app.datasets.columns import is_number_type, is_text_type
from app.datasets.parquet_headers import DELTA_BYTE_ARRAY, DICTIONARY, Page, check_footer, pages
from app.datasets.table import Table
from app.datasets.thrift import Damaged
from innerloop.errors import DatasetTooLarge, InvalidDataset

ROWS_AT_ONCE, BYTES_AT_ONCE = 16_384, 32 << 20
MAX_PAGES = 200_000
"""Of the columns that are read; a page takes some bytes of the file, and more time than they do."""
INDEX_BYTES = 4
"""A string is read as its index in a dictionary."""


@contextmanager
def opened_parquet(path: Path, filename: str, caps: DatasetCaps) -> Iterator[Table]:
    """Give the table; InvalidDataset for a file that is no Parquet or cut off, DatasetTooLarge by its footer.

    Its batches raise the same for columns of other types than numbers, strings, booleans and moments, and for those
    that unpack to more than the cap.
    """
    try:
        check_footer(path)
        with parquet.ParquetFile(path) as file:
            texts = [field.name for field in file.schema_arrow if is_text_type(_value_type(field))]
            metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        num_rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
        caps.check_rows(num_rows, filename)
        chunks = [group.column(j) for group in groups for j in range(metadata.num_columns)]
        caps.check_bytes(sum(max(0, chunk.total_uncompressed_size) for chunk in chunks), filename)
        # As a dictionary a string that comes a million times takes its length once.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            opened = file

            def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
                width = _checked_width(opened.schema_arrow, columns, filename)
                _check_pages(path, opened.metadata, columns, filename, caps)
                at_once = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, width)))
                for batch in opened.iter_batches(at_once, columns=list(columns), use_threads=False):
                    yield batch.select(list(columns))

            yield Table(tuple(file.schema_arrow.names), batches, is_text=False, num_rows=num_rows)
    except (pa.ArrowException, OSError, Damaged) as error:
        raise InvalidDataset(f"{filename} is no Parquet file, or a damaged one: {str(error)[:300]}") from error


def _value_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _checked_width(schema: pa.Schema, columns: Sequence[str], filename: str) -> int:
    """Return the bytes of a row of these columns; InvalidDataset, naming the column, for types that are not read."""
    nested = [field for field in schema if pa.types.is_nested(field.type)]
    width = 0
    for name in columns:
        kind = _value_type(schema.field(name))
        if is_text_type(kind):
            width += INDEX_BYTES
        elif is_number_type(kind) or pa.types.is_temporal(kind):
            width += (kind.bit_width + 7) // 8
        elif not pa.types.is_null(kind):
            raise InvalidDataset(
                f"{filename}, column {name!r} is of type {kind}; numbers, strings, booleans and moments are read"
            )
        for other in nested:  # the library takes a name with a dot for a column within a column too
            if name.startswith(f"{other.name}."):
                raise InvalidDataset(
                    f"{filename}, column {name!r} is named like a part of column {other.name!r}, which is of type "
                    f"{other.type}; rename it or leave the other out"
                )
    return width


def _check_pages(
    path: Path, metadata: parquet.FileMetaData, columns: Sequence[str], filename: str, caps: DatasetCaps
) -> None:
    """Raise DatasetTooLarge for pages of more bytes than the cap, InvalidDataset for strings that have no bound.

    A footer may say anything of them. Raises Damaged for headers that belie it.
    """
    wanted = set(columns)
    num_bytes = num_pages = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for page, where in _wanted_pages(data, metadata, wanted):
            num_bytes, num_pages = num_bytes + page.unpacked_bytes, num_pages + 1
            caps.check_bytes(num_bytes, filename)
            if num_pages > MAX_PAGES:
                raise DatasetTooLarge(f"{filename}: more than {MAX_PAGES} pages; write larger ones")
            if page.encoding == DELTA_BYTE_ARRAY:
                raise InvalidDataset(f"{filename}, {where}: encoded as DELTA_BYTE_ARRAY; write it plain")


def _wanted_pages(data: Any, metadata: parquet.FileMetaData, wanted: Set[str]) -> Iterator[tuple[Page, str]]:
    """Give the pages of the columns `wanted`, and how a message names their column."""
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(metadata.num_columns if group.num_rows else 0):
            chunk = group.column(j)
            if chunk.path_in_schema not in wanted:
                continue
            where, num_values = f"column {chunk.path_in_schema!r}", 0
            for page in pages(data, *_place(chunk)):
                yield page, where
                if page.kind != DICTIONARY:
                    num_values += page.num_values
                elif page.num_values > page.unpacked_bytes:
                    raise Damaged(f"{where}: a dictionary of fewer bytes than values")
                if num_values > group.num_rows:
                    raise Damaged(f"{where}: more values than rows")


def _place(chunk: Any) -> tuple[int, int]:
    """Return where a column's pages begin, and how many bytes they are."""
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return start, chunk.total_compressed_size
