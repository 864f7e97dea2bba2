"""Arrays as numpy.savez writes them, read from bounded bytes: never unpickled, never larger than their headers."""

import math
import tokenize
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.datasets.archive import Member
from app.datasets.arrays import ArrayFile, Header
from innerloop.errors import InvalidDataset

CHUNK_BYTES = 1 << 20
MAX_DIMENSIONS = 32
LAST_CHARACTER = 0x10FFFF
NO_HEADER = (
    ValueError,
    TypeError,
    SyntaxError,
    UnicodeError,
    tokenize.TokenError,
    OverflowError,
    MemoryError,
    RecursionError,
)
"""What numpy raises for a header that is none; it reads one as Python reads its source, the last two included."""


def array_file_of(members: Sequence[Member]) -> ArrayFile:
    """Return the arrays of an archive of .npy files; InvalidDataset, naming the file, for one that is none."""
    by_name = {member.name.removesuffix(".npy"): member for member in members}
    return ArrayFile({name: _header(member) for name, member in by_name.items()}, lambda name: _load(by_name[name]))


def _header(member: Member) -> Header:
    with member.open() as file:
        shape, _, dtype = _read_header(file, member.name)
    return Header(shape, dtype.kind, str(dtype), math.prod(shape) * dtype.itemsize)


def _read_header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first index runs fastest, and dtype; the file then stands at the first number."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = read(file)
    except NO_HEADER as error:
        raise InvalidDataset(f"{name} is no array as numpy writes it; its header cannot be read") from error
    if dtype.hasobject:
        raise InvalidDataset(f"{name} holds Python objects, which are pickled and not taken; store numbers or strings")
    if len(shape) > MAX_DIMENSIONS or any(type(length) is not int or not 0 <= length < 2**62 for length in shape):
        raise InvalidDataset(f"{name} is no array as numpy writes it: shape {str(shape)[:200]}")
    if not dtype.itemsize:
        raise InvalidDataset(f"{name} is of type {dtype}, whose entries have no bytes")
    return shape, fortran, dtype


def _load(member: Member) -> npt.NDArray[Any]:
    with member.open() as file:
        shape, fortran, dtype = _read_header(file, member.name)
        wanted = math.prod(shape) * dtype.itemsize
        if wanted > member.num_bytes:
            raise InvalidDataset(f"{member.name} is cut off: shape {list(shape)} of {dtype} takes {wanted} bytes")
        data = bytearray(wanted)
        view, have = memoryview(data), 0
        while have < wanted and (num := file.readinto(view[have : have + CHUNK_BYTES])):
            have += num
        if have < wanted or file.read(1):
            raise InvalidDataset(f"{member.name} has not the {wanted} bytes that shape {list(shape)} of {dtype} takes")
    if dtype.kind == "U":
        _check_characters(np.frombuffer(data, dtype=np.dtype(np.uint32).newbyteorder(dtype.byteorder)), member.name)
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _check_characters(characters: npt.NDArray[np.uint32], name: str) -> None:
    if characters.size and int(characters.max()) > LAST_CHARACTER:
        raise InvalidDataset(f"{name} holds a character that is none")
