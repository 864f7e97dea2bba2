"""Parquet's footer and the headers of its pages, looked at before the library reads them and takes memory for it.

Layout: parquet.thrift of Apache Parquet 2.11, `FileMetaData` and `PageHeader`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.datasets.thrift import Damaged, Reader, TooManyItems

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
DELTA_BYTE_ARRAY = 7
"""An encoding that makes long strings of a few bytes each: what comes out of it has no bound."""
KIND, UNPACKED, PACKED, OF_KIND = 1, 2, 3, {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
"""Fields of a page header: the last is that of the header for the page's kind."""
NUM_VALUES, ENCODING = 1, {DATA: 2, DICTIONARY: 2, DATA_V2: 4}
"""Fields of the header for a kind."""

TAIL_BYTES = 8
"""The length of the footer, and PAR1."""
SMALL_FOOTER_BYTES = 1 << 16
MAX_FOOTER_ITEMS = 200_000
"""A column of a row group has some five, and takes a kilobyte and a half of memory of three bytes at least."""


class Page(NamedTuple):
    """What its header says of a page."""

    kind: int
    unpacked_bytes: int
    num_values: int
    encoding: int


def check_footer(path: Path) -> None:
    """Raise Damaged for a large footer that is none, or that tells of more columns and row groups than are read."""
    with path.open("rb") as file:
        file_bytes = file.seek(0, 2)
        file.seek(max(0, file_bytes - TAIL_BYTES))
        footer_bytes = int.from_bytes(file.read(4), "little")
        if SMALL_FOOTER_BYTES < footer_bytes <= file_bytes - TAIL_BYTES:
            file.seek(file_bytes - TAIL_BYTES - footer_bytes)
            try:
                Reader(file.read(footer_bytes), 0, footer_bytes, MAX_FOOTER_ITEMS).struct()
            except TooManyItems as error:
                raise Damaged("more columns and row groups than are taken; write larger row groups") from error


def pages(data: Any, start: int, length: int) -> Iterator[Page]:
    """Give the pages with values in `length` bytes of the file `data` from `start` on; Damaged for what is none."""
    at, end = start, start + length
    if not 0 <= start <= end <= len(data):
        raise Damaged("pages beyond the file")
    while at < end:
        reader = Reader(data, at, end, max_items=0)
        fields = reader.struct()
        kind, unpacked, packed = (_number(fields, field) for field in (KIND, UNPACKED, PACKED))
        at = reader.at + packed
        if at > end:
            raise Damaged("a page beyond its column")
        if kind in OF_KIND:
            about = fields.get(OF_KIND[kind])
            if not isinstance(about, dict):
                raise Damaged("a page without its header")
            yield Page(kind, unpacked, _number(about, NUM_VALUES), _number(about, ENCODING[kind]))


def _number(fields: dict[int, Any], field: int) -> int:
    number = fields.get(field)
    if not isinstance(number, int) or number < 0:
        raise Damaged("the header of a page is none")
    return number
