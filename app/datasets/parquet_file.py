"""Parquet, its sizes looked at in the footer before a row group is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from app.datasets.caps import DatasetCaps
from app.datasets.table import Table
from innerloop.errors import InvalidDataset

ROWS_AT_ONCE = 16_384
GROWING = "DELTA_BYTE_ARRAY"
"""An encoding that makes long strings of a few bytes each: what comes out of it has no bound."""


@contextmanager
def opened_parquet(path: Path, filename: str, caps: DatasetCaps) -> Iterator[Table]:
    """Give the table; InvalidDataset for a file that is no Parquet or cut off, DatasetTooLarge by its footer."""
    try:
        with parquet.ParquetFile(path) as file:
            text_columns = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
            num_bytes = _checked_bytes(file.metadata, filename)
        caps.check_rows(file.metadata.num_rows, filename)
        caps.check_bytes(num_bytes, filename)
        # As a dictionary a string that comes a million times takes its length once.
        with parquet.ParquetFile(path, read_dictionary=text_columns) as file:
            opened = file

            def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
                for batch in opened.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False):
                    yield batch.select(list(columns))

            yield Table(tuple(file.schema_arrow.names), batches, is_text=False, num_rows=file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset(f"{filename} is no Parquet file, or a damaged one: {str(error)[:300]}") from error


def _checked_bytes(metadata: parquet.FileMetaData, filename: str) -> int:
    """Return the unpacked bytes of all columns; InvalidDataset for an encoding without a bound."""
    num_bytes = 0
    for i in range(metadata.num_row_groups):
        for j in range(metadata.num_columns):
            chunk = metadata.row_group(i).column(j)
            num_bytes += max(0, chunk.total_uncompressed_size)
            if GROWING in chunk.encodings:
                raise InvalidDataset(
                    f"{filename}, column {chunk.path_in_schema!r}: encoded as {GROWING}; write it plain"
                )
    return num_bytes
