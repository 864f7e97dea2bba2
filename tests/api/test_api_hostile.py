"""Claims about what strangers send, wherever it may stand: numbers that are none, pickles, damaged files, paths."""

import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save

from app.jobs.model_files import read_model_files
from app.settings import REPOSITORY
from innerloop.errors import ERROR_BY_CODE
from innerloop.wire import Problem
from tests.api.asking import JSON, Json, adapt, problem_of, sine
from tests.api.data_files import csv_of, grouped_arrays, npz_of, send, zip_of
from tests.api.drawings import drawing

SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}
X, Y = np.linspace(-1, 1, 4, dtype=np.float64)[:, None], np.linspace(0, 1, 4, dtype=np.float64)
GROUPED: Json = {"name": "not-finite", "kind": "grouped"}
TABLE: Json = {**GROUPED, "targets": "y", "group": "g"}

NOT_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf, "1e400": np.inf}
"""As JSON and CSV write it, and what arrays hold in its place; 1e400 is no float64."""


def _with(array: npt.NDArray[Any], number: float) -> npt.NDArray[Any]:
    found = array.astype(np.float64)
    found.reshape(-1)[-1] = number
    return found


def _in_json(path: str, body: str) -> tuple[str, dict[str, str], bytes]:
    return path, JSON, body.encode()


def forms_of(literal: str) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Give a request of every form that numbers come in, with one that is not finite: (name, path, headers, body)."""
    number = NOT_FINITE[literal]
    good = '{"inputs": [[0.5], [1.0]], "targets": [0.1, 0.2]}'
    for name, path, body in (
        ("support", "/adapt", '{"support": {"inputs": [[%s]], "targets": [1]}}'),
        ("targets", "/adapt", '{"support": {"inputs": [[1]], "targets": [%s]}}'),
        ("targets of several outputs", "/adapt", '{"support": {"inputs": [[1]], "targets": [[%s]]}}'),
        ("validation", "/adapt", f'{{"support": {good}, "validation": {{"inputs": [[%s]], "targets": [1]}}}}'),
        ("a rate", "/adapt", f'{{"support": {good}, "learning_rate": %s}}'),
        ("a time to live", "/adapt", f'{{"support": {good}, "ttl_seconds": %s}}'),
        ("a field that is none", "/adapt", f'{{"support": {good}, "other": %s}}'),
        ("inputs", "/predict", '{"task_id": "finite", "inputs": [[%s]]}'),
        ("a revision", "/predict", '{"task_id": "finite", "inputs": [[1]], "revision": %s}'),
        ("a threshold", "/predict", '{"task_id": "finite", "inputs": [[1]], "abstain_below": %s}'),
        ("a batch", "/adapt/batch", '[{"support": {"inputs": [[%s]], "targets": [1]}}]'),
        ("a batch of predictions", "/predict/batch", '[{"task_id": "finite", "inputs": [[%s]]}]'),
        ("a job", "/meta-train", '{"name": "a", "meta_learning_rate": %s}'),
        ("a promotion", "/models/sinusoid/promote", '{"version": %s}'),
        ("an authority", "/models/sinusoid/authority", '{"authority": %s}'),
        ("a protocol's data", "/v2/models/finite/infer",
         '{"inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 1], "data": [%s]}]}'),
        ("a protocol's parameter", "/v2/models/finite/infer", '{"inputs": [], "parameters": {"abstain_below": %s}}'),
        ("a control request", "/v2/repository/models/finite/unload", '{"parameters": %s}'),
        ("an index", "/v2/repository/index", '{"ready": %s}'),
    ):  # fmt: skip
        yield f"{name}, in JSON", path, JSON, (body % literal).encode()
    for dtype in ("F16", "F32", "F64"):
        as_type = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
        wrong, right = _with(X, number).astype(as_type), Y.astype(np.float32)
        yield f"support, {dtype}", "/adapt", SAFETENSORS, save({"support.inputs": wrong, "support.targets": right})
    wrong_targets = {"support.inputs": X.astype(np.float32), "support.targets": _with(Y, number).astype(np.float32)}
    yield "targets, F32", "/adapt", SAFETENSORS, save(wrong_targets)
    request = {"request": '{"task_id": "finite"}'}
    yield "inputs, F64", "/predict", SAFETENSORS, save({"inputs": _with(X, number)}, request)
    yield (
        "the request's own JSON",
        "/predict",
        SAFETENSORS,
        save({"inputs": X}, {"request": f'{{"revision": {literal}}}'}),
    )
    for datatype, form in (("FP16", "<e"), ("FP32", "<f"), ("FP64", "<d")):
        raw = struct.pack(form, number)
        tensor = {"name": "inputs", "datatype": datatype, "shape": [1, 1], "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        yield f"raw tensors, {datatype}", "/v2/models/finite/infer", headers, head + raw


ALL_FORMS = {
    f"{literal} in {name}": (path, headers, body)
    for literal in NOT_FINITE
    for name, path, headers, body in forms_of(literal)
}


@pytest.fixture(scope="module")
def finite(service: Any) -> str:
    """A task that requests name."""
    return adapt(service.http, task_id="finite", support=sine(3)).task_id


@pytest.mark.parametrize("name", ALL_FORMS)
def test_numbers_that_are_not_finite_are_refused_in_every_form(http: httpx.Client, finite: str, name: str) -> None:
    path, headers, body = ALL_FORMS[name]
    response = http.post(path, content=body, headers=headers)
    if path.endswith("/batch") and response.status_code == 200:  # each call of a batch is answered by itself
        (refused,) = response.json()
        assert Problem.model_validate(refused).status == 422
    else:
        problem_of(response, 422, response.json()["code"])
    assert http.get(f"/tasks/{finite}").json()["revision"] == 1


def data_files(literal: str) -> Iterator[tuple[str, bytes, str, Json]]:
    """Give a data set of each form with a number that is not finite."""
    number, rows = NOT_FINITE[literal], grouped_arrays()
    for part in ("inputs", "targets"):
        yield f"npz: {part}", npz_of({**rows, part: _with(rows[part], number)}), "a.npz", GROUPED
        tensors = {"inputs": rows["inputs"], "targets": rows["targets"], "groups": np.arange(len(rows["groups"])) // 20}
        yield f"safetensors: {part}", save({**tensors, part: _with(rows[part], number)}), "a.safetensors", GROUPED
    x: list[Any] = rows["inputs"][:, 0].tolist()
    columns: dict[str, list[Any]] = {"g": rows["groups"].tolist(), "x": x, "y": rows["targets"].tolist()}
    for column in ("x", "y"):
        wrong = {**columns, column: [*columns[column][:-1], literal]}
        yield f"CSV: {column}", csv_of(wrong), "a.csv", TABLE
        file = io.BytesIO()
        parquet.write_table(pa.table({**columns, column: [*columns[column][:-1], number]}), file)
        yield f"Parquet: {column}", file.getvalue(), "a.parquet", TABLE
    spec = {**GROUPED, "split": {"seed": "LITERAL"}}
    yield "a spec", npz_of(rows), "a.npz", spec


ALL_FILES = {
    f"{literal} in {found[0]}": (literal, *found[1:]) for literal in NOT_FINITE for found in data_files(literal)
}


@pytest.mark.parametrize("name", ALL_FILES)
def test_data_that_is_not_finite_is_refused_in_every_form(http: httpx.Client, name: str) -> None:
    literal, file, filename, spec = ALL_FILES[name]
    text = json.dumps(spec).replace('"LITERAL"', literal).encode()
    form: dict[str, Any] = {"file": (filename, file), "spec": (None, text, "application/json")}
    response = http.post("/datasets", files=form)
    problem_of(response, 422, "not-finite" if name.endswith("a spec") else "invalid-dataset")
    problem_of(http.get("/datasets/not-finite"), 404, "dataset-not-found")


PICKLE = b"cos\nsystem\n(S'touch unpickled'\ntR."
"""A call, as pickles write it."""


def objects_npz() -> bytes:
    """Return arrays of Python objects, which numpy pickles."""
    rows = grouped_arrays()
    return npz_of({**rows, "inputs": np.array([{"a": 1}] * len(rows["inputs"]), dtype=object)})


def disguised_npz() -> bytes:
    """Return an npz whose first member is a pickle behind the head of an array of objects."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": (3,)})
    members = dict.fromkeys(("targets.npy", "groups.npy"), b"")
    return zip_of({"inputs.npy": head.getvalue() + PICKLE, **members})


def torch_zip() -> bytes:
    """Return a file as torch.save writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/version", "3")
    return file.getvalue()


PICKLES = {"a pickle": PICKLE, "objects": objects_npz(), "objects, disguised": disguised_npz(), "of torch": torch_zip()}
FILENAMES = ("a.npz", "a.npy", "a.pkl", "a.pt", "a.safetensors", "a.csv", "a.parquet", "a.zip", "a")
UPLOADS = {
    "/adapt": SAFETENSORS,
    "/predict": SAFETENSORS,
    "/models/pickled/versions": SAFETENSORS,
    "/meta-train": JSON,
    "/adapt/batch": JSON,
    "/v2/models/finite/infer": {"Content-Type": "application/octet-stream"},
}


@pytest.mark.parametrize("filename", FILENAMES)
@pytest.mark.parametrize("what", PICKLES)
def test_pickles_and_objects_are_no_data(http: httpx.Client, what: str, filename: str) -> None:
    assert [code.name for code, _, _ in pickletools.genops(PICKLE)].count("REDUCE") == 1
    for spec in ({**GROUPED, "name": "pickled"}, {**TABLE, "name": "pickled"}, {"name": "pickled", "kind": "labelled"}):
        response = send(http, PICKLES[what], filename, **spec)
        code = response.json()["code"]
        assert code in ("invalid-dataset", "invalid-archive", "invalid-request", "not-safetensors")
        problem_of(response, 400 if code == "not-safetensors" else 422, code)
    problem_of(http.get("/datasets/pickled"), 404, "dataset-not-found")
    assert not (REPOSITORY / "unpickled").exists()


@pytest.mark.parametrize(
    "kind", ["application/python-pickle", "application/x-pickle", "application/octet-stream", None]
)
@pytest.mark.parametrize("what", PICKLES)
@pytest.mark.parametrize("path", UPLOADS)
def test_pickles_are_no_bodies(http: httpx.Client, finite: str, path: str, what: str, kind: str | None) -> None:
    headers = UPLOADS[path] if kind is None else {"Content-Type": kind}
    response = http.post(path, content=PICKLES[what], headers=headers)
    problem_of(response, response.status_code, response.json()["code"])
    assert response.status_code in (400, 415)  # none of what is taken there, whatever it is
    assert not (REPOSITORY / "unpickled").exists()


def _mutated(chance: random.Random, data: bytes) -> bytes:
    """Change some bytes, most often of the header, or where the file ends."""
    found = bytearray(data)
    end = 8 + int.from_bytes(data[:8], "little")
    for _ in range(chance.choice((1, 1, 2, 5))):
        found[chance.randrange(min(len(found), end) if chance.random() < 0.8 else len(found))] = chance.randrange(256)
    if chance.random() < 0.2:
        del found[chance.randrange(len(found)) :]
    return bytes(found)


WHOLE = {
    "/adapt": save({"support.inputs": X, "support.targets": Y}, {"request": '{"steps": 1, "task_id": "mutated"}'}),
    "/predict": save({"inputs": X}, {"request": '{"task_id": "finite"}'}),
    "/models/mutated/versions": read_model_files(REPOSITORY / "models" / "sinusoid.safetensors").packed(),
}


@pytest.mark.parametrize("path", WHOLE)
def test_mutated_safetensors_are_refused_or_still_good(http: httpx.Client, finite: str, path: str) -> None:
    chance = random.Random(10)
    statuses = set()
    for _ in range(150):
        response = http.post(path, content=_mutated(chance, WHOLE[path]), headers=SAFETENSORS)
        statuses.add(response.status_code)
        if response.status_code >= 400:
            problem_of(response, response.status_code, response.json()["code"])
    assert statuses <= {200, 201, 400, 404, 413, 422}
    assert statuses & {400, 422}
    assert http.get(f"/tasks/{finite}").status_code == 200


def _described(http: httpx.Client) -> Json:
    document: Json = http.get("/openapi.json").json()
    return document


def _named(part: Any, within: str = "") -> Iterator[str]:
    """Give the names of all properties and parameters of a description."""
    if isinstance(part, dict):
        if part.get("in") in ("query", "path", "header", "cookie"):
            yield part["name"]
        properties = part.get("properties")
        if isinstance(properties, dict) and within != "properties":
            yield from properties
        for name, value in part.items():
            yield from _named(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)


LOCATIONS = re.compile(r"url|uri|href|path|file|dir|folder|host|endpoint|callback|webhook|proxy|source|location|remote")
ANSWERED_OR_SENT = {"file"}
"""The bytes of an upload themselves."""


def test_no_parameter_names_a_url_or_a_path(http: httpx.Client) -> None:
    document = _described(http)
    names = set(_named(document))
    assert {"task_id", "support", "inputs", "spec", "file", "after", "revision", "job_id", "dataset"} <= names
    assert {name for name in names if LOCATIONS.search(name.lower())} <= ANSWERED_OR_SENT
    assert '"format": "uri"' not in json.dumps(document)


NO_IDS = (
    "..", "../..", "../../etc/passwd", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2fetc", "%252e%252e",
    ".%2e", "..%5c..", "%00", "a%00", "a%00.npz", "%0d%0aX-A:%201", "a" * 300, "a" * 65, "%ff", "%c0%ae%c0%ae",
    "%uff0e", "a%20b", "a.b", "a;b", "a'b", "%22", "%3Cscript%3E", "~root", "%7e", "*", "a,b", "a%2fb", "%2f",
    "%2fetc%2fpasswd", "%c3%a9", "%e2%80%8b",
)  # fmt: skip


def _path_parameters(document: Json) -> Iterator[tuple[str, str, str]]:
    for path, operations in document["paths"].items():
        for method in operations:
            for name in re.findall(r"\{(\w+)\}", path):
                yield method.upper(), path, name


def test_ids_that_are_none_lead_nowhere_on_every_path(http: httpx.Client, finite: str) -> None:
    others = {"task_id": finite, "name": "sinusoid", "job_id": "none", "version": "1", "revision": "1", "row": "0"}
    others |= {"code": "not-json"}
    found = list(_path_parameters(_described(http)))
    assert len({path for _, path, _ in found}) > 25
    for method, path, name in found:
        for wrong in NO_IDS:
            target = path
            for other in re.findall(r"\{(\w+)\}", path):
                target = target.replace(f"{{{other}}}", wrong if other == name else others[other])
            status, problem = _sent_as_it_is(http, method, target)
            assert status in (404, 422), (method, target, problem)
            assert problem["code"] in ERROR_BY_CODE
    assert http.get(f"/tasks/{finite}").status_code == 200
    assert http.get("/models/sinusoid").status_code == 200


def _sent_as_it_is(http: httpx.Client, method: str, target: str) -> tuple[int, Json]:
    """Return status and document of the answer to a path that other clients would tidy up."""
    connection = HTTPConnection(http.base_url.host, http.base_url.port, timeout=60)
    try:
        connection.request(method, target, b"{}" if method == "POST" else None, JSON)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


QUERIES = ("after", "limit", "model", "revision", "form", "task_id", "if_revision")


def test_queries_that_are_none_lead_nowhere(http: httpx.Client, finite: str) -> None:
    for path in ("/tasks", "/models", "/datasets", "/meta-train", "/audit", f"/tasks/{finite}/weights",
                 f"/tasks/{finite}/revisions", f"/tasks/{finite}/support"):  # fmt: skip
        declared = {
            part["name"] for part in _parameters(http, path.replace(finite, "{task_id}")) if part["in"] == "query"
        }
        assert declared <= {*QUERIES}
        for name in declared:
            for wrong in (
                "../../etc/passwd",
                "%2e%2e%2f",
                "%00",
                "a" * 600,
                "http://127.0.0.1:1/",
                "file:///etc/passwd",
            ):
                response = http.get(f"{path}?{name}={wrong}")
                problem_of(response, 422, response.json()["code"])


def _parameters(http: httpx.Client, path: str) -> list[Json]:
    found: list[Json] = _described(http)["paths"][path]["get"].get("parameters", [])
    return found


def test_pictures_lead_nowhere(http: httpx.Client) -> None:
    """Other services take a URL in the place of a picture."""
    for text in ("http://127.0.0.1:1/a.png", "file:///etc/passwd", "data:image/png;base64,iVBORw0KGgo=", "/etc/passwd"):
        body = {"model": "omniglot-5way", "support": {"inputs": [text, text], "targets": ["a", "b"]}}
        problem_of(http.post("/adapt", json=body), 422, "invalid-picture")
    assert drawing(0, 0).startswith(b"\x89PNG")


SINE: Json = {"support": sine(3)}
BODIES: dict[str, Json] = {
    "/adapt": SINE,
    "/predict": {**SINE, "inputs": [[0.5]]},
    "/meta-train": {
        "name": "owned", "learner": {"kind": "maml"}, "network": {"kind": "mlp", "hidden": [4]},
        "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
    },
    "/models/sinusoid/promote": {"version": 1},
    "/models/sinusoid/authority": {"authority": "weights"},
    "/v2/models/finite/infer": {"inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]},
    "/v2/repository/models/finite/load": {},
    "/v2/repository/models/finite/unload": {},
}  # fmt: skip
NOBODYS = {"owner": "me", "status": "done", "tenant": "default", "tenant_id": 1, "created_at": None, "__class__": "x"}


@pytest.mark.parametrize("field", NOBODYS)
@pytest.mark.parametrize("path", BODIES)
def test_fields_that_no_body_has_are_refused(http: httpx.Client, finite: str, path: str, field: str) -> None:
    body = {**BODIES[path], field: NOBODYS[field]}
    problem_of(http.post(path, json=body), 422, "invalid-request")
    for name, part in BODIES[path].items():
        if isinstance(part, dict) and name not in ("learner", "network", "tasks"):  # whose options are their own
            problem_of(http.post(path, json={**BODIES[path], name: {**part, field: 1}}), 422, "invalid-request")
    if path in ("/adapt", "/predict"):
        (refused,) = http.post(f"{path}/batch", json=[body]).json()
        assert (refused["status"], refused["code"]) == (422, "invalid-request")
        tensors = save({"support.inputs": X, "support.targets": Y, **({"inputs": X} if path == "/predict" else {})},
                       {"request": json.dumps({field: NOBODYS[field]})})  # fmt: skip
        problem_of(http.post(path, content=tensors, headers=SAFETENSORS), 422, "invalid-request")
    assert http.get(f"/tasks/{finite}").json()["revision"] == 1


@pytest.mark.parametrize("field", NOBODYS)
def test_fields_that_no_data_set_has_are_refused(http: httpx.Client, field: str) -> None:
    rows = npz_of(grouped_arrays())
    problem_of(send(http, rows, "a.npz", **{**GROUPED, field: NOBODYS[field]}), 422, "invalid-request")
    problem_of(send(http, rows, "a.npz", **{**GROUPED, "split": {field: NOBODYS[field]}}), 422, "invalid-request")
    parts: dict[str, Any] = {"file": ("a.npz", rows), "spec": (None, json.dumps(GROUPED)), field: (None, "x")}
    response = http.post("/datasets", files=parts)
    problem_of(response, response.status_code, response.json()["code"])
    assert response.status_code in (400, 422)
    problem_of(http.get("/datasets/not-finite"), 404, "dataset-not-found")
