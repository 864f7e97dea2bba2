"""Counting a zip archive's entries before they are read, since each takes a kilobyte of memory when it is."""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

END, END_BYTES, MAX_COMMENT = b"PK\x05\x06", 22, 65_535
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20
END_64, END_64_BYTES = b"PK\x06\x06", 56
ENTRY = b"PK\x01\x02"
MOST_BYTES_A_ENTRY = 1024
"""Of the directory, on average: 46, the name, and what systems add."""


def num_entries(path: Path, max_entries: int) -> int:
    """Return how many entries the directory holds, or one more than `max_entries` for one far too long to look at.

    Layout: PKWARE's APPNOTE 6.3.10, sections 4.3.12 to 4.3.16. BadZipFile where there is no such directory.
    """
    with path.open("rb") as file:
        num_bytes, end = _directory(file)
        if num_bytes > max_entries * MOST_BYTES_A_ENTRY:
            return max_entries + 1
        file.seek(end - num_bytes)
        return file.read(num_bytes).count(ENTRY)


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Return the directory's size and where it ends; it lies right before its end record."""
    file_bytes = file.seek(0, 2)
    tail_start = max(0, file_bytes - END_BYTES - MAX_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        raise zipfile.BadZipFile("no end record")
    size, end = struct.unpack_from("<L", tail, at + 12)[0], tail_start + at
    file.seek(max(0, end - LOCATOR_BYTES))
    locator = file.read(LOCATOR_BYTES)
    if locator.startswith(LOCATOR):
        end -= LOCATOR_BYTES + END_64_BYTES
        file.seek(max(0, end))
        record = file.read(END_64_BYTES)
        if not record.startswith(END_64) or len(record) < END_64_BYTES:
            raise zipfile.BadZipFile("no zip64 end record")
        size = struct.unpack_from("<Q", record, 40)[0]
    if size > end:
        raise zipfile.BadZipFile("its directory is longer than the file")
    return size, end
