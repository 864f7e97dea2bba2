"""Claims about uploads that are refused: with the place that is wrong, and with nothing stored."""

import io
import json
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.asking import JSON, problem_of
from tests.api.data_files import (
    Arrays,
    csv_of,
    drawings_zip,
    grouped_arrays,
    labelled_arrays,
    npz_of,
    send,
    upload,
    zip_of,
)
from tests.api.drawings import picture, png_of_size, saved
from tests.api.service import Service, start_service

GROUPED: dict[str, Any] = {"name": "never-stored", "kind": "grouped"}
LABELLED: dict[str, Any] = {"name": "never-stored", "kind": "labelled"}
TABLE: dict[str, Any] = {**GROUPED, "targets": "y", "group": "g"}
GOOD = npz_of(grouped_arrays())
PNG = saved(picture(0, 0), "PNG")


@pytest.fixture(autouse=True)
def nothing_is_stored(http: httpx.Client) -> Iterator[None]:
    before = http.get("/datasets?limit=500").json()
    yield
    assert http.get("/datasets?limit=500").json() == before


def edited(arrays: Arrays, **changes: Any) -> bytes:
    """Return arrays with some replaced, and those of value None left out, as an npz file."""
    return npz_of({name: values for name, values in {**arrays, **changes}.items() if values is not None})


def with_hole(arrays: Arrays, value: float) -> bytes:
    inputs = arrays["inputs"].copy()
    inputs[7, 0] = value
    return edited(arrays, inputs=inputs)


def linked() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("a/1.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def folders(**more: bytes) -> dict[str, bytes]:
    return {f"{name}/{number}.png": PNG for name in "abc" for number in range(2)} | more


COLUMNS: dict[str, list[Any]] = {"g": [1, 1, 2, 2, 3, 3], "x": [1, 2, 3, 4, 5, 6], "y": [1.5, 2, 3, 4, 5, 6]}
OBJECTS = np.array([{"a": 1}] * 6, dtype=object)

WRONG: dict[str, tuple[bytes, str, dict[str, Any], int, str, str]] = {
    "nothing": (b"", "a.npz", GROUPED, 422, "invalid-dataset", "empty"),
    "noise": (b"\0\1\2" * 100, "a.bin", GROUPED, 422, "invalid-dataset", "none of"),
    "one array alone": (b"\x93NUMPY\1\0", "a.npy", GROUPED, 422, "invalid-dataset", "none of"),
    "a hole": (with_hole(grouped_arrays(), np.nan), "a.npz", GROUPED, 422, "invalid-dataset", "inputs[7][0]"),
    "infinity": (with_hole(grouped_arrays(), np.inf), "a.npz", GROUPED, 422, "invalid-dataset", "inputs[7][0]"),
    "no targets": (edited(grouped_arrays(), targets=None), "a.npz", GROUPED, 422, "invalid-dataset", "'targets'"),
    "no groups": (edited(grouped_arrays(), groups=None), "a.npz", GROUPED, 422, "invalid-dataset", "'groups'"),
    "a row too few": (
        edited(grouped_arrays(), targets=grouped_arrays()["targets"][1:]), "a.npz", GROUPED, 422, "invalid-dataset",
        "rows",
    ),
    "one group": (npz_of(grouped_arrays(1)), "a.npz", GROUPED, 422, "invalid-dataset", "at least 3 groups"),
    "two classes": (npz_of(labelled_arrays(2)), "a.npz", LABELLED, 422, "invalid-dataset", "at least 3 classes"),
    "two super-classes": (
        npz_of(labelled_arrays(4)), "a.npz", {**LABELLED, "split": {"by": "group"}}, 422, "invalid-dataset",
        "at least 3 super-classes",
    ),
    "a class of two super-classes": (
        edited(labelled_arrays(), groups=np.roll(labelled_arrays()["groups"], 1)), "a.npz",
        {**LABELLED, "split": {"by": "group"}}, 422, "invalid-dataset", "class '",
    ),
    "pickled objects": (
        npz_of({"inputs": np.zeros((6, 1)), "targets": OBJECTS, "groups": np.arange(6)}), "a.npz", GROUPED, 422,
        "invalid-dataset", "pickled",
    ),
    "text as inputs": (
        edited(grouped_arrays(), inputs=grouped_arrays()["groups"]), "a.npz", GROUPED, 422, "invalid-dataset", "numbers"
    ),
    "a cut npz": (GOOD[: len(GOOD) // 2], "a.npz", GROUPED, 422, "invalid-archive", "a.npz"),
    "a cut safetensors": (
        b"\x40\0\0\0\0\0\0\0" + b'{"inputs":', "a.safetensors", GROUPED, 400, "not-safetensors", "a.safetensors"
    ),
    "an absolute path": (
        zip_of({"/etc/a.png": PNG}), "a.zip", LABELLED, 422, "invalid-archive", "/etc/a.png: an absolute path"
    ),
    "a windows path": (zip_of({"C:\\a\\b.png": PNG}), "a.zip", LABELLED, 422, "invalid-archive", "absolute"),
    "a climbing path": (zip_of({"a/../../b.png": PNG}), "a.zip", LABELLED, 422, "invalid-archive", "climbs"),
    "a link": (linked(), "a.zip", LABELLED, 422, "invalid-archive", "a/1.png: a link"),
    "no files": (zip_of({}), "a.zip", LABELLED, 422, "invalid-archive", "without files"),
    "an archive within": (zip_of(folders(**{"a/b.zip": GOOD})), "a.zip", LABELLED, 422, "invalid-dataset", "a/b.zip"),
    "a picture that does not open": (
        zip_of(folders(**{"b/bad.png": b"\x89PNG\r\n\x1a\nnonsense"})), "a.zip", LABELLED, 422, "invalid-dataset",
        "b/bad.png",
    ),
    "a picture outside": (zip_of(folders(**{"9.png": PNG})), "a.zip", LABELLED, 422, "invalid-dataset", "9.png"),
    "a picture of absurd size": (
        zip_of(folders(**{"c/big.png": png_of_size(60_000, 60_000)})), "a.zip", LABELLED, 413, "picture-too-large",
        "c/big.png",
    ),
    "class folders as groups": (drawings_zip(3, 2), "a.zip", GROUPED, 422, "invalid-dataset", "labelled"),
    "a column that is not there": (
        csv_of(COLUMNS), "a.csv", {**TABLE, "targets": "z"}, 422, "invalid-dataset", "'z'"
    ),
    "a cell without a number": (
        csv_of({**COLUMNS, "x": [1, 2, "three", 4, 5, 6]}), "a.csv", TABLE, 422, "invalid-dataset", "three"
    ),
    "an empty cell": (csv_of({**COLUMNS, "x": [1, 2, "", 4, 5, 6]}), "a.csv", TABLE, 422, "invalid-dataset", "x"),
    "a header alone": (b"g,x,y\n", "a.csv", TABLE, 422, "invalid-dataset", "rows"),
    "a line with a cell too many": (
        csv_of(COLUMNS) + b"1,2,3,4\n", "a.csv", TABLE, 422, "invalid-dataset", "a.csv"
    ),
    "no Parquet": (b"PAR1" + b"\0" * 50 + b"PAR1", "a.parquet", TABLE, 422, "invalid-dataset", "a.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_file_is_refused_with_the_place(http: httpx.Client, what: str) -> None:
    file, filename, spec, status, code, said = WRONG[what]
    problem = problem_of(send(http, file, filename, **spec), status, code)
    assert said in problem.detail
    problem_of(http.get("/datasets/never-stored"), 404, "dataset-not-found")


WRONG_SPECS: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": 5}, "name"),
    ({"kind": None}, "kind"),
    ({"kind": "images"}, "kind"),
    ({"unheard_of": 1}, "unheard_of"),
    ({"inputs": 5}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"targets": ""}, "targets"),
    ({"group": 5}, "group"),
    ({"output": "ranking"}, "output"),
    ({"picture_size": 7}, "picture_size"),
    ({"picture_size": 257}, "picture_size"),
    ({"split": {"by": "row"}}, "split.by"),
    ({"split": {"fractions": [0.5, 0.5]}}, "split.fractions"),
    ({"split": {"fractions": [0.9, 0.2, 0.1]}}, "fractions"),
    ({"split": {"fractions": [1.0, 0.0, 0.0]}}, "split.fractions"),
    ({"split": {"seed": -1}}, "split.seed"),
    ({"split": {"unheard_of": 1}}, "split.unheard_of"),
    ({"split": {"by": "class"}}, "split.by"),
    ({"kind": "labelled", "output": "regression"}, "regression"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG_SPECS, ids=str)
def test_wrong_spec_is_refused_by_its_field(http: httpx.Client, fields: dict[str, Any], named: str) -> None:
    spec = {**GROUPED, **fields}
    assert named in problem_of(send(http, GOOD, "a.npz", **spec), 422, "invalid-request").detail


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "é", "a.b"])
def test_names_that_are_none_are_refused(http: httpx.Client, name: str) -> None:
    problem_of(send(http, GOOD, "a.npz", name=name, kind="grouped"), 422, "invalid-id")


def test_split_seed_over_64_bits_is_refused(http: httpx.Client) -> None:
    problem_of(send(http, GOOD, "a.npz", **GROUPED, split={"seed": 2**63}), 422, "invalid-request")


def post(http: httpx.Client, **parts: Any) -> httpx.Response:
    return http.post("/datasets", files=parts)


Part = tuple[str | None, bytes]
SPEC: Part = (None, json.dumps(GROUPED).encode())
FILE: Part = ("a.npz", GOOD)


def test_missing_and_unknown_parts_are_named(http: httpx.Client) -> None:
    assert "`spec`" in problem_of(post(http, file=FILE), 422, "invalid-request").detail
    assert "`file`" in problem_of(post(http, spec=SPEC), 422, "invalid-request").detail
    assert "`file`" in problem_of(post(http, file=(None, "text"), spec=SPEC), 422, "invalid-request").detail
    unknown = post(http, file=FILE, spec=SPEC, more=(None, "1"))
    assert unknown.status_code in (400, 422)
    problem_of(unknown, unknown.status_code, unknown.json()["code"])
    unknown = post(http, file=FILE, spic=SPEC)
    assert "'spic'" in problem_of(unknown, 422, "invalid-request").detail


def test_two_files_or_two_specs_are_refused(http: httpx.Client) -> None:
    file, spec = ("file", FILE), ("spec", SPEC)
    for parts in ([file, file, spec], [file, spec, spec]):
        problem_of(http.post("/datasets", files=parts), 422, "invalid-request")


@pytest.mark.parametrize("spec", [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe\xfd", b'{"name": NaN}'], ids=repr)
def test_spec_that_is_no_json_object_is_refused(http: httpx.Client, spec: bytes) -> None:
    for part in ((None, spec), ("spec.json", spec)):
        answer = post(http, file=FILE, spec=part)
        assert answer.status_code in (400, 422), answer.text
        problem_of(answer, answer.status_code, answer.json()["code"])


def test_very_long_spec_is_refused(http: httpx.Client) -> None:
    spec = json.dumps({**GROUPED, "inputs": ["x" * 100] * 20_000})
    answer = post(http, file=FILE, spec=(None, spec))
    assert answer.status_code in (400, 413, 422)
    problem_of(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "application/zip", ""])
def test_what_is_not_multipart_is_refused(http: httpx.Client, kind: str) -> None:
    answer = http.post("/datasets", content=json.dumps(GROUPED).encode(), headers={"Content-Type": kind})
    assert "multipart/form-data" in problem_of(answer, 415, "unsupported-media-type").detail


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=abc", b""),
        ("multipart/form-data; boundary=abc", b"no boundary anywhere"),
        ("multipart/form-data; boundary=abc", b"--abc\r\n"),
        ("multipart/form-data; boundary=abc", b"--abc\r\nContent-Disposition: form-data; name=file\r\n\r\ncut"),
        ("multipart/form-data; boundary=abc", b"--abc\r\nContent-Disposition: form-data\r\n\r\nx\r\n--abc--\r\n"),
        ("multipart/form-data; boundary=abc", b"--abc\r\n\xff\xfe: \0\r\n\r\nx\r\n--abc--\r\n"),
    ],
    ids=range(8),
)
def test_broken_multipart_is_refused(http: httpx.Client, kind: str, body: bytes) -> None:
    answer = http.post("/datasets", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422), answer.text
    problem_of(answer, answer.status_code, answer.json()["code"])


def test_names_of_files_lead_nowhere(http: httpx.Client) -> None:
    for filename in ("../../../etc/passwd", "/dev/null", "C:\\x.npz", "a\x01b.npz", "é" * 100 + ".npz"):
        answer = send(http, b"", filename, **GROUPED)
        problem_of(answer, 422, "invalid-dataset")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/datasets"), ("DELETE", "/datasets"), ("POST", "/datasets/x"), ("PATCH", "/datasets/x")],
)
def test_other_methods_are_refused(http: httpx.Client, method: str, path: str) -> None:
    problem_of(http.request(method, path), 405, "method-not-allowed")


@pytest.mark.parametrize("name", ["a.b", "x" * 65, "%00", "a%20b"])
def test_paths_that_are_no_names_are_refused(http: httpx.Client, name: str) -> None:
    problem_of(http.get(f"/datasets/{name}"), 422, "invalid-id")
    problem_of(http.delete(f"/datasets/{name}"), 422, "invalid-id")


CAPS = {"max_body_bytes": 50_000, "max_dataset_rows": 300, "max_dataset_bytes": 200_000, "max_archive_entries": 50}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small caps, which uploads that are just within them are sent to as well."""
    running = start_service(tmp_path_factory.mktemp("small"), job_worker=0, **CAPS)
    yield running
    running.stop()


def bomb() -> bytes:
    """Return an npz whose zeros take a thousandth of their size."""
    file = io.BytesIO()
    arrays = {"inputs": np.zeros((250, 1000)), "targets": np.zeros(250), "groups": np.arange(250)}
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def lying_bomb() -> bytes:
    """Return an archive whose member unpacks to much more than its directory says."""
    data = bytearray(zip_of(folders(**{"c/z.png": b"\0" * 3_000_000})))
    size, crc = (3_000_000).to_bytes(4, "little"), zlib.crc32(b"\0" * 3_000_000).to_bytes(4, "little")
    assert data.count(size) >= 2
    data[:] = data.replace(size, (100).to_bytes(4, "little")).replace(
        crc, zlib.crc32(b"\0" * 100).to_bytes(4, "little")
    )
    return bytes(data)


TOO_LARGE: dict[str, tuple[bytes, str, dict[str, Any], str, str]] = {
    "rows": (npz_of(grouped_arrays(16)), "a.npz", GROUPED, "dataset-too-large", "320 rows; at most 300"),
    "rows of a table": (
        csv_of({"g": list(range(301)), "x": [1.5] * 301, "y": [2.5] * 301}), "a.csv", TABLE, "dataset-too-large", "300"
    ),
    "bytes once unpacked": (bomb(), "a.npz", GROUPED, "dataset-too-large", "200000"),
    "entries": (
        zip_of({f"{n % 3}/{n}.png": b"" for n in range(51)}), "a.zip", LABELLED, "dataset-too-large", "at most 50"
    ),
    "bytes of pictures": (
        zip_of(folders()), "a.zip", {**LABELLED, "picture_size": 256}, "dataset-too-large", "200000"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOO_LARGE)
def test_data_over_a_cap_is_refused_with_the_cap(small: Service, what: str) -> None:
    file, filename, spec, code, said = TOO_LARGE[what]
    assert len(file) < CAPS["max_body_bytes"]
    assert said in problem_of(send(small.http, file, filename, **spec), 413, code).detail
    assert small.http.get("/datasets").json()["data"] == []


def test_archive_that_lies_about_its_size_is_refused(small: Service) -> None:
    answer = send(small.http, lying_bomb(), "a.zip", **LABELLED)
    assert answer.status_code in (413, 422)
    problem_of(answer, answer.status_code, answer.json()["code"])
    assert small.http.get("/datasets").json()["data"] == []


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_bytes_of_an_upload_are_capped_while_they_come(small: Service, chunked: bool) -> None:
    request = small.http.build_request(
        "POST", "/datasets", files={"file": ("a.npz", bytes(2 * MIB + 50_000)), "spec": (None, json.dumps(GROUPED))}
    )
    body = request.read()
    content: Any = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
    headers = {"Content-Type": request.headers["Content-Type"]}
    problem = problem_of(small.http.post("/datasets", content=content, headers=headers), 413, "body-too-large")
    assert "bytes" in problem.detail
    assert small.http.get("/healthz").status_code == 200


def test_file_over_the_cap_by_a_byte_is_refused_and_at_the_cap_is_not(small: Service) -> None:
    cap = CAPS["max_body_bytes"]
    problem_of(send(small.http, bytes(cap + 1), "a.bin", **GROUPED), 413, "body-too-large")
    problem_of(send(small.http, bytes(cap), "a.bin", **GROUPED), 422, "invalid-dataset")


def test_data_within_the_caps_is_taken(small: Service) -> None:
    upload(small.http, npz_of(grouped_arrays(15)), "a.npz", name="within", kind="grouped")
    assert small.http.delete("/datasets/within").status_code == 204


def test_a_body_that_is_json_is_not_a_data_set(http: httpx.Client) -> None:
    problem_of(http.post("/datasets", content=b"{}", headers=JSON), 415, "unsupported-media-type")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "utf-7", "unicode_escape", "utf-16"])
def test_text_that_is_not_utf8_is_refused(http: httpx.Client, charset: str) -> None:
    """Python has codecs of these names: some refuse all, some make halves of characters that no answer can hold."""
    parts = {"file": b'form-data; name="file"; filename="\\ud800.csv"', "spec": b'form-data; name="spec"'}
    body = b"".join(b"--x\r\nContent-Disposition: " + part + b"\r\n\r\n+2AA-\r\n" for part in parts.values()) + b"--x--"
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    problem_of(http.post("/datasets", content=body, headers={"Content-Type": kind}), 415, "unsupported-media-type")
