"""Parquet files of few bytes that stand for many: what is no use is not decoded, and what is read has bounds."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from app.datasets.parquet_headers import DATA, DATA_V2, DICTIONARY, Page, pages
from app.datasets.thrift import Damaged
from app.settings import REPOSITORY
from innerloop.errors import DatasetTooLarge, InvalidDataset
from tests.datasets.uploads import GROUPED, read, table_rows

MIB = 1 << 20
MOST_GROWTH = 48 * MIB
"""Where types and pages are not looked at beforehand, it is up to 541 MiB."""

READING = """
import json, sys
from pathlib import Path
from innerloop.errors import InnerloopError
from tests.datasets.uploads import GROUPED, read

def held(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":"))) * 1024

for path, spec in json.loads(sys.argv[1]):
    Path("/proc/self/clear_refs").write_text("5")
    before, told = held("VmRSS"), "read"
    try:
        read(Path(path), {**GROUPED, **spec})
    except InnerloopError as error:
        told = error.detail
    print(json.dumps([held("VmHWM") - before, told]))
"""


def write(path: Path, columns: dict[str, Any], **options: Any) -> None:
    parquet.write_table(pa.table(columns), path, compression="zstd", **options)


def beside(num_rows: int, **columns: Any) -> dict[str, Any]:
    """Return columns of a table: those given, targets and groups."""
    return {**columns, "y": np.zeros(num_rows), "who": pa.array([str(i % 5) for i in range(num_rows)])}


def equal_strings(path: Path, kind: pa.DataType) -> None:
    """A string of 60 000 characters, 3 000 times: 180 MB out of a kilobyte."""
    text = "x" * 60_000
    cells = pa.array([text] * 3_000).cast(kind)
    write(path, beside(3_000, a=cells), row_group_size=3_000)


def lists_of_zeros(path: Path) -> None:
    """Twenty rows of a list of a million and a half zeros: 120 MB."""
    zeros, ends = pa.array(np.zeros(30_000_000, dtype=np.float32)), np.arange(21, dtype=np.int32) * 1_500_000
    write(path, beside(20, a=pa.ListArray.from_arrays(pa.array(ends), zeros)))


def varint(number: int, length: int = 1) -> bytes:
    found = bytearray()
    while number or len(found) < length:
        found.append((number & 0x7F) | 0x80)
        number >>= 7
    found[-1] &= 0x7F
    return bytes(found)


def footer_that_belies_its_pages(path: Path) -> None:
    """A string of 128 MB, of which the footer says that it takes a hundred bytes."""
    write(path, beside(3, a=["x" * (128 * MIB), "b", "c"]), use_dictionary=False, write_statistics=False)
    data = path.read_bytes()
    size = parquet.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    told = varint(2 * size)
    footer_at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert told in data[footer_at:]
    path.write_bytes(data[:footer_at] + data[footer_at:].replace(told, varint(200, len(told))))


def list_of(kind: int, items: list[bytes]) -> bytes:
    """Return a list as Thrift's compact protocol writes it."""
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
    return head + b"".join(items)


def footer_of_columns_of_three_bytes(path: Path) -> None:
    """A row group of 300 000 columns, of which the library makes a kilobyte each."""
    schema = list_of(12, [b"\x48\x01s\x15\x02\x00", b"\x15\x02\x25\x00\x18\x01a\x00"])
    group = b"\x19" + list_of(12, [b"\x26\x00\x00"] * 300_000) + b"\x16\x00\x16\x00\x00"
    footer = b"\x15\x02\x19" + schema + b"\x16\x00\x19" + list_of(12, [group]) + b"\x00"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "string": (lambda path: equal_strings(path, pa.string()), "is text, 'xxx"),
    "large_string": (lambda path: equal_strings(path, pa.large_string()), "is text, 'xxx"),
    "string_view": (lambda path: equal_strings(path, pa.string_view()), "is text, 'xxx"),
    "binary": (lambda path: equal_strings(path, pa.binary()), "column 'a' is of type binary"),
    "list": (lists_of_zeros, "column 'a' is of type list<"),
    "belied": (footer_that_belies_its_pages, "bytes once unpacked"),
    "footer": (footer_of_columns_of_three_bytes, "more columns and row groups than are taken"),
}
USES: dict[str, dict[str, Any]] = {
    "input": {"inputs": ["a"]},
    "target": {"inputs": ["y"], "targets": "a"},
    "group": {"inputs": ["y"], "targets": "y", "group": "a"},
    "order": {"inputs": ["y"], "targets": "y", "order_by": "a"},
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[int, str]]:
    """By how much a process grew that read each bomb in each use, and what it was told."""
    folder = tmp_path_factory.mktemp("parquet")
    for name, (make, _) in BOMBS.items():
        make(folder / f"{name}.parquet")
        assert (folder / f"{name}.parquet").stat().st_size < MIB
    write(folder / "ordinary.parquet", table_rows(a=["1", "2", "x"] * 4))
    asked = [(name, use) for name in BOMBS for use in USES]
    warm = [[str(folder / "ordinary.parquet"), {}]] * 2  # libraries are loaded and threads have begun
    argument = json.dumps([*warm, *([str(folder / f"{name}.parquet"), USES[use]] for name, use in asked)])
    done = subprocess.run(
        [sys.executable, "-c", READING, argument], cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()][len(warm) :]
    return {which: (bytes_, text) for which, (bytes_, text) in zip(asked, told, strict=True)}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_that_stand_for_many_are_refused_and_take_little_memory(
    name: str, use: str, grown: dict[tuple[str, str], tuple[int, str]]
) -> None:
    num_bytes, told = grown[name, use]
    assert num_bytes < MOST_GROWTH, f"{num_bytes / MIB:.0f} MiB: {told}"
    if use == "input":
        assert BOMBS[name][1] in told
    else:
        assert told != "read"


TEXTS = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of large strings": pa.dictionary(pa.uint32(), pa.large_string()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_type_of_strings_is_read_as_names(name: str, tmp_path: Path) -> None:
    """pandas, polars and pyarrow write one or another of them."""
    rows = table_rows(y=["no", "yes", "maybe"] * 4)
    cells = {key: pa.array(rows[key]).cast(TEXTS[name]) for key in ("who", "y")}
    write(tmp_path / "rows.parquet", {**rows, **cells}, row_group_size=5)
    found = read(tmp_path / "rows.parquet", GROUPED)
    assert found.class_names == ("no", "yes", "maybe")
    assert found.group_names == ("anna", "ben", "cléo", "dora")
    assert found.targets.tolist() == [0, 1, 2] * 4


MOMENTS = [datetime(2026, 1, 1) + timedelta(days=(5 * i) % 12) for i in range(12)]
ORDERS: dict[str, pa.Array] = {
    "timestamps": pa.array(MOMENTS, pa.timestamp("us")),
    "timestamps with a zone": pa.array(MOMENTS, pa.timestamp("ns", "UTC")),
    "dates": pa.array([moment.date() for moment in MOMENTS], pa.date32()),
    "times": pa.array([(5 * i) % 12 for i in range(12)], pa.time64("us")),
    "durations": pa.array([(5 * i) % 12 for i in range(12)], pa.duration("ms")),
    "decimals": pa.array([Decimal((5 * i) % 12) for i in range(12)], pa.decimal128(38, 2)),
    "numbers in strings": pa.array([str((5 * i) % 12) for i in range(12)], pa.large_string()),
}


@pytest.mark.parametrize("name", ORDERS)
def test_rows_are_sorted_by_columns_of_every_type_that_has_an_order(name: str, tmp_path: Path) -> None:
    rows = {**table_rows(), "when": ORDERS[name]}
    write(tmp_path / "rows.parquet", rows)
    found = read(tmp_path / "rows.parquet", {**GROUPED, "inputs": ["a"], "order_by": "when"})
    assert found.inputs[:, 0].tolist() == [((5 * i) % 12) / 4 for i in range(12)]  # 5 is its own inverse modulo 12


def test_of_strings_that_are_no_numbers_the_first_row_is_named(tmp_path: Path) -> None:
    """The dictionary has 1, 2, later, never; the third row is the first that is wrong."""
    when = ["1", "2", "never", "later", *["1"] * 8]
    write(tmp_path / "rows.parquet", {**table_rows(), "when": when})
    with pytest.raises(InvalidDataset, match="column 'when', row 3 is 'never'; a number is expected"):
        read(tmp_path / "rows.parquet", {**GROUPED, "inputs": ["a"], "order_by": "when"})


REFUSED: dict[str, pa.Array] = {
    "binary": pa.array([b"1"] * 12),
    "large_binary": pa.array([b"1"] * 12, pa.large_binary()),
    "fixed_size_binary": pa.array([b"12"] * 12, pa.binary(2)),
    "list": pa.array([[1.0]] * 12),
    "large_list": pa.array([[1.0]] * 12, pa.large_list(pa.float32())),
    "struct": pa.array([{"x": 1.0}] * 12),
    "map": pa.array([[("x", 1.0)]] * 12, pa.map_(pa.string(), pa.float64())),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_cell_is_refused_by_its_type_and_does_no_harm_where_it_is_not_asked_for(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    write(path, {**table_rows(), "odd": REFUSED[kind]})
    for spec in ({}, {"targets": "odd"}, {"inputs": ["a"], "group": "odd"}, {"inputs": ["a"], "order_by": "odd"}):
        with pytest.raises(InvalidDataset, match=f"rows.parquet, column 'odd' is of type {kind}"):
            read(path, {**GROUPED, **spec})
    assert read(path, {**GROUPED, "inputs": ["a", "b"]}).inputs.shape == (12, 2)


def test_a_column_that_is_named_like_a_part_of_another_does_not_bring_that_one_in(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(path, {**table_rows(), "s": pa.array([{"x": [1.0]}] * 12), "s.x": np.zeros(12)})
    with pytest.raises(InvalidDataset, match=r"column 's.x' is named like a part of column 's'"):
        read(path, {**GROUPED, "inputs": ["s.x"]})
    write(path, {**table_rows(), "s.x": np.ones(12), "t": pa.array([{"x": 1.0}] * 12)})
    assert read(path, {**GROUPED, "inputs": ["s.x"]}).inputs[:, 0].tolist() == [1.0] * 12


def pages_of(path: Path, column: int) -> Iterator[Page]:
    data = path.read_bytes()
    metadata = parquet.ParquetFile(path).metadata
    for i in range(metadata.num_row_groups):
        chunk = metadata.row_group(i).column(column)
        start = min(at for at in (chunk.data_page_offset, chunk.dictionary_page_offset) if at)
        yield from pages(data, start, chunk.total_compressed_size)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_headers_of_pages_tell_what_the_library_wrote(
    version: str, compression: str, use_dictionary: bool, tmp_path: Path
) -> None:
    path, num_rows = tmp_path / "rows.parquet", 5_000
    columns = {"a": np.arange(num_rows) / 8, "b": pa.array([None if i % 3 else f"{i:09}" for i in range(num_rows)])}
    options: dict[str, Any] = {"data_page_version": version, "compression": compression, "data_page_size": 4096}
    parquet.write_table(pa.table(columns), path, row_group_size=2_000, use_dictionary=use_dictionary, **options)
    metadata = parquet.ParquetFile(path).metadata
    for column in range(2):
        found = list(pages_of(path, column))
        told = sum(metadata.row_group(i).column(column).total_uncompressed_size for i in range(3))
        of_headers = told - sum(page.unpacked_bytes for page in found)
        assert 0 < of_headers < 100 * len(found)
        assert sum(page.num_values for page in found if page.kind != DICTIONARY) == num_rows
        assert {page.kind for page in found} - {DICTIONARY} == {DATA if version == "1.0" else DATA_V2}
        assert any(page.kind == DICTIONARY for page in found) is use_dictionary


def test_more_values_than_rows_are_refused(tmp_path: Path) -> None:
    """Some encodings make room for all values that a page says it has."""
    path = tmp_path / "rows.parquet"
    rows = table_rows(b=["a", "b", "c"] * 4)
    write(
        path, {**rows, "b": pa.array(rows["b"])}, column_encoding={"b": "DELTA_LENGTH_BYTE_ARRAY"}, use_dictionary=False
    )
    data = path.read_bytes()
    chunk = parquet.ParquetFile(path).metadata.row_group(0).column(1)
    said = b"\x2c\x15\x18"  # the header of the page's kind, and in its first field twelve
    at = data.index(said, chunk.data_page_offset, chunk.data_page_offset + 60)
    path.write_bytes(data[: at + 2] + varint(2 * 13) + data[at + 3 :])
    with pytest.raises(InvalidDataset, match="column 'b': more values than rows"):
        read(path, {**GROUPED, "targets": "b"})


def written(**options: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(table_rows()), file, **options)
    return file.getvalue()


@given(st.data())
def test_damaged_headers_are_pages_or_damaged(data: st.DataObject) -> None:
    whole = written(compression="none")
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(-1, len(whole)))
    length = data.draw(st.integers(-1, len(whole)))
    try:
        found = list(pages(bytes(changed), start, length))
    except Damaged:
        return
    assert all(page.unpacked_bytes >= 0 and page.num_values >= 0 for page in found)


def test_large_footers_of_ordinary_files_are_read(tmp_path: Path) -> None:
    columns = {f"column number {i}": np.arange(12.0) for i in range(1_000)}
    write(tmp_path / "rows.parquet", {**columns, **table_rows()})
    assert read(tmp_path / "rows.parquet", GROUPED).inputs.shape == (12, 1_002)


def test_pages_of_all_row_groups_count_together(tmp_path: Path) -> None:
    """Each is below the cap of 8 MiB, and the footer tells a hundred bytes of each."""
    path = tmp_path / "rows.parquet"
    strings = [letter * (3 * MIB) for letter in "abcd"] * 3
    write(path, {**table_rows(), "b": strings}, use_dictionary=False, write_statistics=False, row_group_size=1)
    data = path.read_bytes()
    size = parquet.ParquetFile(path).metadata.row_group(0).column(1).total_uncompressed_size
    footer_at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    told = varint(2 * size)
    assert data[footer_at:].count(told) >= 12
    path.write_bytes(data[:footer_at] + data[footer_at:].replace(told, varint(200, len(told))))
    with pytest.raises(DatasetTooLarge, match="bytes once unpacked"):
        read(path, {**GROUPED, "inputs": ["a"], "targets": "b"})
