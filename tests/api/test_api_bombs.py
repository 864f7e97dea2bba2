"""Claims about decompression bombs: whatever a body unpacks to, memory grows by less than the cap that refuses it."""

import gzip
import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.api.asking import JSON, adapt, problem_of, sine
from tests.api.data_files import csv_of, grouped_arrays, npz_of, send, upload, zip_of
from tests.api.drawings import MODEL, PNG_SIGNATURE, drawing, in_base64
from tests.api.service import Service, start_service

MIB = 1024 * 1024
GIB = 1024 * MIB
CAPS = {"max_body_bytes": 64 * MIB, "max_dataset_bytes": 64 * MIB, "max_request_pixels": 100_000_000}
GROUPED: dict[str, Any] = {"name": "bomb", "kind": "grouped"}
TABLE: dict[str, Any] = {"name": "bomb", "kind": "grouped", "targets": "y", "group": "g"}
PICTURES: dict[str, Any] = {"name": "bomb", "kind": "labelled"}
SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}


def packed_zeros(num_bytes: int, byte: bytes = b"\0") -> bytes:
    """Return raw deflate of equal bytes, a thousandth of their size: one piece of it, again and again."""
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packing.compress(byte * (16 * MIB)) + packing.flush(zlib.Z_FULL_FLUSH)
    return piece * (num_bytes // (16 * MIB)) + b"\x03\x00"


def checksums(num_bytes: int, byte: bytes = b"\0") -> tuple[int, int]:
    """Return the CRC-32 and the Adler-32 of equal bytes."""
    crc, adler, piece = 0, 1, byte * (16 * MIB)
    for _ in range(num_bytes // len(piece)):
        crc, adler = zlib.crc32(piece, crc), zlib.adler32(piece, adler)
    return crc, adler


def gzip_bomb(num_bytes: int, byte: bytes) -> bytes:
    """Return a valid gzip file of equal bytes."""
    head, tail = gzip.compress(b"", mtime=0)[:10], struct.pack("<LL", checksums(num_bytes, byte)[0], num_bytes % 2**32)
    return head + packed_zeros(num_bytes, byte) + tail


def deflate_bomb(num_bytes: int, byte: bytes) -> bytes:
    """Return valid zlib data of equal bytes."""
    return b"\x78\xda" + packed_zeros(num_bytes, byte) + struct.pack(">L", checksums(num_bytes, byte)[1])


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """A gigabyte in about a megabyte, of spaces, which JSON may begin with, by Content-Encoding."""
    found = {"gzip": gzip_bomb(GIB, b" "), "deflate": deflate_bomb(GIB, b" ")}
    assert all(len(bomb) < 1.1 * MIB for bomb in found.values())
    return found


class Memory:
    """The most memory that a service held at once, since it was last looked at."""

    def __init__(self, service: Service) -> None:
        self._folder = Path(f"/proc/{service.process.pid}")

    def forget_peak(self) -> int:
        """Begin anew; returns what is held now."""
        (self._folder / "clear_refs").write_text("5")
        return self._read("VmRSS")

    def peak(self) -> int:
        return self._read("VmHWM")

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has seen a request of each kind, so that no library is loaded while memory is watched."""
    running = start_service(tmp_path_factory.mktemp("bombs"), job_worker=0, **CAPS)
    body = gzip.compress(json.dumps({"support": sine(3), "task_id": "bombed"}).encode())
    for _ in range(3):
        assert running.http.post("/adapt", content=body, headers={**JSON, "Content-Encoding": "gzip"}).status_code < 202
    rows = grouped_arrays()
    upload(running.http, npz_of(rows), "a.npz", name="warm-npz", kind="grouped")
    columns = {"g": rows["groups"].tolist(), "x": rows["inputs"][:, 0].tolist(), "y": rows["targets"].tolist()}
    upload(running.http, csv_of(columns), "a.csv", **{**TABLE, "name": "warm-csv"})
    table = io.BytesIO()
    parquet.write_table(pa.table(columns), table)
    upload(running.http, table.getvalue(), "a.parquet", **{**TABLE, "name": "warm-parquet"})
    characters = zip_of({f"{c}/{n}.png": drawing(c, n) for c in range(6) for n in range(3)})
    upload(running.http, characters, "a.zip", **{**PICTURES, "name": "warm-zip"})
    yield running
    running.stop()


@pytest.fixture
def grows_less_than_the_cap(small: Service) -> Iterator[None]:
    """Hold the most memory of a test against what there was, and see that the service answers as before."""
    memory = Memory(small)
    before = memory.forget_peak()
    yield
    grown = memory.peak() - before
    assert grown < 64 * MIB, f"memory grew by {grown / MIB:.0f} MiB"
    adapt(small.http)


ROUTES = {
    "adapt": ("/adapt", JSON),
    "adapt in safetensors": ("/adapt", SAFETENSORS),
    "predict": ("/predict", JSON),
    "predict in safetensors": ("/predict", SAFETENSORS),
    "a batch of adapt": ("/adapt/batch", JSON),
    "a batch of predict": ("/predict/batch", JSON),
    "meta-train": ("/meta-train", JSON),
    "a model": ("/models/bombed/versions", SAFETENSORS),
    "promote": ("/models/sinusoid/promote", JSON),
    "authority": ("/models/sinusoid/authority", JSON),
    "infer": ("/v2/models/bombed/infer", JSON),
    "infer with raw tensors": (
        "/v2/models/bombed/infer",
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "100"},
    ),
    "load": ("/v2/repository/models/bombed/load", JSON),
    "index": ("/v2/repository/index", JSON),
}


@pytest.mark.usefixtures("grows_less_than_the_cap")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_megabyte_that_is_a_gigabyte_is_refused(
    small: Service, bombs: dict[str, bytes], route: str, encoding: str
) -> None:
    path, headers = ROUTES[route]
    response = small.http.post(path, content=bombs[encoding], headers={**headers, "Content-Encoding": encoding})
    assert "bytes that are taken here" in problem_of(response, 413, "body-too-large").detail


@pytest.mark.usefixtures("grows_less_than_the_cap")
def test_a_bomb_in_a_compressed_form_is_not_even_unpacked(small: Service, bombs: dict[str, bytes]) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}
    response = small.http.post("/datasets", content=bombs["gzip"], headers=headers)
    problem_of(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP"])
def test_compressed_requests_are_answered_as_plain_ones(small: Service, encoding: str) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if "gzip" in encoding.lower() else zlib.compress
    body = {"support": sine(4), "inputs": [[0.5], [1.0]]}
    plain = small.http.post("/predict", json=body).json()["outputs"]
    packed = pack(json.dumps(body).encode())
    response = small.http.post("/predict", content=packed, headers={**JSON, "Content-Encoding": encoding})
    assert response.status_code == 200, response.text
    assert np.allclose(response.json()["outputs"], plain, atol=1e-5)


@pytest.mark.parametrize("path", ["/adapt", "/predict", "/meta-train", "/v2/models/bombed/infer"])
@pytest.mark.parametrize("damage", ["none of it", "cut off", "a wrong checksum", "more behind it"])
def test_broken_compression_is_a_bad_request(small: Service, path: str, damage: str) -> None:
    packed = gzip.compress(json.dumps({"support": sine(3)}).encode())
    wrong = {
        "none of it": b"{}",
        "cut off": packed[:-9],
        "a wrong checksum": packed[:-8] + bytes(4) + packed[-4:],
        "more behind it": packed + b"more",
    }[damage]
    response = small.http.post(path, content=wrong, headers={**JSON, "Content-Encoding": "gzip"})
    assert "gzip" in problem_of(response, 400, "bad-request").detail


def zip_entry_of_zeros(name: str, num_bytes: int) -> bytes:
    """Return an archive of class folders with one enormous file, correct in every field."""
    archive = io.BytesIO()
    data, crc = packed_zeros(num_bytes), checksums(num_bytes)[0]
    local = struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, len(data), num_bytes, len(name), 0)
    archive.write(local + name.encode() + data)
    start = archive.tell()
    central = struct.pack(
        "<4sHHHHHHLLLHHHHHLL",
        b"PK\x01\x02", 20, 20, 0, 8, 0, 33, crc, len(data), num_bytes, len(name), 0, 0, 0, 0, 0o644 << 16, 0,
    )  # fmt: skip
    archive.write(central + name.encode())
    size = archive.tell() - start
    archive.write(struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 1, 1, size, start, 0))
    return archive.getvalue()


def overlapping_entries(num_entries: int = 200) -> bytes:
    """Return an archive whose entries are all the same bytes, of 16 MiB once unpacked."""
    data = bytearray(zip_entry_of_zeros("c00000/a.png", 16 * MIB))
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = bytes(data[start:end])
    entries = b"".join(entry.replace(b"c00000", b"c%05d" % number) for number in range(num_entries))
    tail = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, num_entries, num_entries, len(entries), start, 0)
    return bytes(data[:start]) + entries + tail


def liar(num_bytes: int) -> bytes:
    """Return an archive whose entry says 100 bytes and unpacks to far more."""
    data, size = zip_entry_of_zeros("c/a.png", num_bytes), struct.pack("<L", num_bytes)
    assert data.count(size) >= 2
    return data.replace(size, struct.pack("<L", 100))


def npz_bomb(num_bytes: int) -> bytes:
    """Return an npz of a gigabyte of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1000, num_bytes // 4000)}
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("inputs.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(16):
                member.write(bytes(num_bytes // 16))
        for name in ("targets", "groups"):
            part = io.BytesIO()
            np.save(part, np.arange(1000))
            archive.writestr(f"{name}.npy", part.getvalue())
    return file.getvalue()


def parquet_bomb() -> bytes:
    """Return equal rows, encoded as runs: a million of a few bytes, of 200 columns."""
    column = pa.array(np.zeros(100_000, dtype=np.float64))
    columns = {f"x{i}": column for i in range(200)} | {"g": pa.array(np.arange(100_000) % 9), "y": column}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd", use_dictionary=True)
    return file.getvalue()


def parquet_of_long_strings() -> bytes:
    """Return strings of a megabyte, one of which each of a hundred thousand rows has."""
    names = pa.array([letter * MIB for letter in "abcde"])
    text = pa.DictionaryArray.from_arrays(pa.array(np.arange(100_000, dtype=np.int32) % 5), names)
    columns = {"g": text, "x": pa.array(np.zeros(100_000)), "y": pa.array(np.zeros(100_000))}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def parquet_with_a_false_footer() -> bytes:
    """Return a gigabyte of zeros whose footer says that it takes a hundred bytes."""
    file = io.BytesIO()
    zeros = np.zeros(16 * MIB)
    parquet.write_table(
        pa.table({"x": zeros, "g": zeros.astype(np.int64), "y": zeros}),
        file,
        compression="zstd",
        use_dictionary=False,
        row_group_size=16 * MIB,
    )
    data = file.getvalue()
    sizes = {
        _varint(2 * table_chunk.total_uncompressed_size): _varint(2 * 100)
        for table_chunk in [parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(i) for i in range(3)]
    }
    for size in sizes:
        assert size in data
        data = data.replace(size, _varint(2 * 100, len(size)))
    return data


def _varint(number: int, length: int = 1) -> bytes:
    """Return a number as Thrift's compact protocol writes it, in at least so many bytes."""
    found = bytearray()
    while number or len(found) < length:
        found.append((number & 0x7F) | 0x80)
        number >>= 7
    found[-1] &= 0x7F
    return bytes(found)


@cache
def png_bomb(side: int) -> bytes:
    """Return a black picture of one bit a pixel, a few kilobytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    packing = zlib.compressobj(9)
    rows = b"".join(packing.compress(bytes(1 + side // 8) * 64) for _ in range(side // 64)) + packing.flush()
    head = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


FILES: dict[str, tuple[Callable[[], bytes], str, dict[str, Any], int, str]] = {
    "a gigabyte in a zip": (lambda: zip_entry_of_zeros("c/a.png", GIB), "a.zip", PICTURES, 413, "dataset-too-large"),
    "entries that share their bytes": (overlapping_entries, "a.zip", PICTURES, 413, "dataset-too-large"),
    "an entry that says too little": (lambda: liar(GIB), "a.zip", PICTURES, 422, "invalid-archive"),
    "a gigabyte in an npz": (lambda: npz_bomb(GIB), "a.npz", GROUPED, 413, "dataset-too-large"),
    "equal rows in Parquet": (parquet_bomb, "a.parquet", TABLE, 413, "dataset-too-large"),
    "a long string in Parquet": (parquet_of_long_strings, "a.parquet", TABLE, 422, "invalid-dataset"),
    "a footer that says too little": (parquet_with_a_false_footer, "a.parquet", TABLE, 413, "dataset-too-large"),
    "a picture of a billion pixels": (
        lambda: zip_of({f"{c}/{n}.png": png_bomb(32_768) for c in range(3) for n in range(2)}),
        "a.zip", PICTURES, 413, "picture-too-large",
    ),
}  # fmt: skip


@pytest.fixture
def file(request: pytest.FixtureRequest) -> tuple[bytes, str, dict[str, Any], int, str]:
    """A bomb and what becomes of it; made before memory is watched."""
    make, filename, spec, status, code = FILES[request.param]
    return make(), filename, spec, status, code


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_a_file_of_data_that_is_a_bomb_is_refused(
    small: Service, file: tuple[bytes, str, dict[str, Any], int, str], request: pytest.FixtureRequest
) -> None:
    data, filename, spec, status, code = file
    assert len(data) < 8 * MIB
    request.getfixturevalue("grows_less_than_the_cap")
    problem_of(send(small.http, data, filename, **spec), status, code)
    problem_of(small.http.get("/datasets/bomb"), 404, "dataset-not-found")


@pytest.mark.usefixtures("grows_less_than_the_cap")
@pytest.mark.parametrize("path", ["/adapt", "/predict"])
def test_pictures_of_a_billion_pixels_are_refused(small: Service, path: str) -> None:
    bomb = in_base64(png_bomb(32_768))
    body = {"model": MODEL, "support": {"inputs": [bomb] * 20, "targets": ["a", "b"] * 10}}
    response = small.http.post(path, json={**body, **({"inputs": [bomb]} if path == "/predict" else {})})
    problem_of(response, 413, "picture-too-large")


@pytest.mark.usefixtures("grows_less_than_the_cap")
def test_many_pictures_that_are_just_small_enough_take_no_minutes(small: Service) -> None:
    """Each is 3 kB and takes a third of a second: a request, or an archive, of a thousand would keep a thread busy."""
    started, bomb = time.monotonic(), png_bomb(4992)
    support = {"inputs": [in_base64(bomb)] * 1000, "targets": ["a", "b"] * 500}
    headers = {**JSON, "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"model": MODEL, "support": support}).encode())
    problem_of(small.http.post("/adapt", content=body, headers=headers), 413, "picture-too-large")
    archive = zip_of({f"{number % 4}/{number}.png": bomb for number in range(1000)})
    problem_of(send(small.http, archive, "a.zip", **PICTURES), 413, "picture-too-large")
    assert time.monotonic() - started < 60.0


@pytest.mark.usefixtures("grows_less_than_the_cap")
def test_bombs_that_come_together_cost_no_more_than_the_caps_of_each(small: Service, bombs: dict[str, bytes]) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: small.http.post("/adapt", content=bombs["gzip"], headers=headers), range(8))
    for answer in answers:
        problem_of(answer, 413, "body-too-large")
