"""The header of a safetensors file: checked before anything is allocated for what it declares, and written."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

LENGTH_BYTES = 8
ALIGNMENT = 8
METADATA = "__metadata__"
MAX_AXES = 16
"""The sizes of a shape are multiplied before they are believed, and Python multiplies numbers of any length."""
MAX_NUMBERS = 2**48
"""Of a tensor without numbers, by its other sizes: numpy counts their bytes all the same."""

ITEM_BYTES: Mapping[str, int] = {
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
    "F32": 4,
    "U32": 4,
    "I32": 4,
    "BF16": 2,
    "F16": 2,
    "U16": 2,
    "I16": 2,
    "F8_E5M2FNUZ": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E8M0": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of a number, in the order in which the format's own library writes tensors; types below a byte are left out."""
_ORDER = {dtype: place for place, dtype in enumerate(ITEM_BYTES)}


class Entry(NamedTuple):
    """A tensor, as a header declares it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    """Of its bytes, counted from the header's end."""


class Header(NamedTuple):
    """What a file declares, found to be true of its length."""

    entries: tuple[Entry, ...]
    """In the order of their bytes, which they fill without gaps."""
    metadata: dict[str, str]
    num_bytes: int
    """Before the tensors' bytes begin."""


def declared_header(data: bytes | bytearray) -> memoryview:
    """Return the text of a file's header as its first bytes declare it, as far as the file goes; not looked at."""
    return memoryview(data)[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")]


def read_header(data: bytes | bytearray) -> Header:
    """Return the header of a file; ValueError, which says why, where it is none.

    The header's length is within the file, every shape is as large as its bytes, and these follow each other without
    overlap or gap up to the end of the file.
    """
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or end > len(data):
        raise ValueError(f"the header would end at byte {end} of {len(data)}")
    try:
        document = orjson.loads(memoryview(data)[LENGTH_BYTES:end])
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("the header is no JSON object")
    metadata = document.pop(METADATA, None)
    entries = tuple(sorted((_entry(name, found) for name, found in document.items()), key=_place))
    _check_filled(entries, len(data) - end)
    return Header(entries, _metadata(metadata), end)


def header_bytes(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, list[str]]:
    """Return the header of (name, dtype, shape)s, and the names in the order in which the tensors' bytes must follow.

    All of it is as the format's own library would write it.
    """
    ordered = sorted(tensors, key=lambda tensor: (_ORDER[tensor[1]], tensor[0]))
    document: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    begin = 0
    for name, dtype, shape in ordered:
        end = begin + math.prod(shape) * ITEM_BYTES[dtype]
        document[name] = {"dtype": dtype, "shape": [*shape], "data_offsets": [begin, end]}
        begin = end
    text = orjson.dumps(document)
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, [name for name, _, _ in ordered]


def _entry(name: str, found: Any) -> Entry:
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:64]!r} has not a dtype, a shape and data_offsets")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{name[:64]!r} is of no type that is known here")
    if not _are_sizes(shape) or len(shape) > MAX_AXES or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"the shape or the data_offsets of {name[:64]!r} are no sizes")
    begin, end = offsets
    num_numbers = math.prod(shape)
    if num_numbers * ITEM_BYTES[dtype] != end - begin or (not num_numbers and _is_huge(shape)):
        raise ValueError(f"the shape of {name[:64]!r} is not that of its {end - begin} bytes")
    return Entry(name, dtype, tuple(shape), begin, end)


def _is_huge(shape: list[int]) -> bool:
    return math.prod(size for size in shape if size) > MAX_NUMBERS


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and (not found or (set(map(type, found)) == {int} and min(found) >= 0))


def _place(entry: Entry) -> tuple[int, int]:
    return entry.begin, entry.end


def _check_filled(entries: Iterable[Entry], num_bytes: int) -> None:
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise ValueError(f"{entry.name[:64]!r} begins at byte {entry.begin}, the one before it ends at {end}")
        end = entry.end
    if end != num_bytes:
        raise ValueError(f"the tensors end at byte {end}, and {num_bytes} bytes follow the header")


def _metadata(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its metadata does not map names to strings")
    return found
