"""Claims about the header of safetensors files: read as the library reads it, and held against the file."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from app.safetensors_header import header_bytes, read_header

NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}
TREES = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(list(NAMES)), st.lists(st.integers(0, 3), max_size=3).map(tuple)),
    max_size=4,
)
METADATA = st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=8), min_size=1, max_size=1))


def arrays_of(tree: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    return {name: np.zeros(shape, dtype=NAMES[dtype]) for name, (dtype, shape) in tree.items()}


def file_of(header: Any, tail: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tail


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@given(TREES, METADATA)
def test_header_is_written_as_the_library_writes_it(
    tree: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str] | None
) -> None:
    header, names = header_bytes([(name, *kind) for name, kind in tree.items()], metadata)
    arrays = arrays_of(tree)
    assert header + b"".join(arrays[name].tobytes() for name in names) == save(arrays, metadata)


@given(TREES, METADATA)
def test_header_that_the_library_wrote_is_read(
    tree: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str] | None
) -> None:
    data = save(arrays_of(tree), metadata)
    header = read_header(data)
    assert {found.name: (found.dtype, found.shape) for found in header.entries} == tree
    assert header.metadata == (metadata or {})
    assert header.num_bytes + sum(found.end - found.begin for found in header.entries) == len(data)


@given(st.data())
def test_mutated_file_is_read_only_where_the_library_reads_it(data: st.DataObject) -> None:
    valid = save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.uint8)}, {"request": "{}"})
    at = data.draw(st.integers(0, len(valid) - 1))
    mutated = valid[:at] + data.draw(st.binary(max_size=3)) + valid[at + data.draw(st.integers(0, 3)) :]
    try:
        read_header(mutated)
    except ValueError:
        return
    try:
        load(mutated)
    except KeyError:  # a type that the library reads and numpy lacks
        return


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_value_error_or_a_header(data: bytes) -> None:
    try:
        header = read_header(data)
    except ValueError:
        return
    assert header.num_bytes <= len(data)


HUGE = 2**63
WRONG = {
    "nothing": b"",
    "half a length": b"\x10\x00",
    "a length beyond the file": file_of({}, length=9),
    "the largest length": file_of({}, length=2**64 - 1),
    "no JSON": file_of(b"{]"),
    "no UTF-8": file_of(b'{"\xff": 1}'),
    "deeply nested": file_of(b"[" * 100_000),
    "no object": file_of([]),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
    "metadata that is a list": file_of({"__metadata__": ["a"]}),
    "an entry that is no object": file_of({"a": 1}),
    "an entry without a shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "an entry with more": file_of({"a": {**entry(), "x": 1}}, bytes(8)),
    "an unknown type": file_of({"a": entry("F31")}, bytes(8)),
    "a type below a byte": file_of({"a": entry("F4", [16])}, bytes(8)),
    "a type that is a list": file_of({"a": {**entry(), "dtype": ["F32"]}}, bytes(8)),
    "a truncated tail": file_of({"a": entry()}, bytes(7)),
    "a longer tail": file_of({"a": entry()}, bytes(9)),
    "a hole at the beginning": file_of({"a": entry(offsets=[4, 12])}, bytes(12)),
    "a hole in between": file_of({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
    "an overlap": file_of({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "the same bytes twice": file_of({"a": entry(), "b": entry()}, bytes(8)),
    "offsets in the wrong order": file_of({"a": entry(offsets=[8, 0])}, bytes(8)),
    "negative offsets": file_of({"a": entry(offsets=[-8, 0])}, bytes(8)),
    "three offsets": file_of({"a": entry(offsets=[0, 8, 8])}, bytes(8)),
    "fractional offsets": file_of({"a": entry(offsets=[0.0, 8.0])}, bytes(8)),
    "boolean sizes": file_of({"a": entry("U8", [True], [0, 1])}, bytes(1)),
    "a negative size": file_of({"a": entry(shape=[-1, -2])}, bytes(8)),
    "a size too small": file_of({"a": entry(shape=[1])}, bytes(8)),
    "a huge size": file_of({"a": entry(shape=[HUGE])}, bytes(8)),
    "sizes that come round to few bytes in 64 bits": file_of({"a": entry(shape=[2**62, 2**2 + 2])}, bytes(8)),
    "sizes that come round to no bytes in 64 bits": file_of({"a": entry(shape=[2**32, 2**32], offsets=[0, 0])}),
    "a huge size of nothing": file_of({"a": entry(shape=[0, HUGE - 1], offsets=[0, 0])}),
    "many large sizes of nothing": file_of({"a": entry(shape=[0, 2**31, 2**31, 2**31], offsets=[0, 0])}),
    "an endless shape": file_of({"a": entry("U8", [1] * 10_000, [0, 1])}, bytes(1)),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_header_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_header(data)
