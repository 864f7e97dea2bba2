"""Claims about bodies that are no JSON, or no JSON of this service, on every route that takes one."""

import json

import httpx
import pytest

from tests.api.asking import JSON, SUPPORT, adapt, problem_of

PATHS = ("/adapt", "/predict", "/models/sinusoid/promote")
WHOLE = json.dumps({"task_id": "bad-bodies", "support": SUPPORT}).encode()
NOT_JSON = {
    "nothing": b"",
    "white space": b" \n\t ",
    "words": b"hello",
    "a form": b"task_id=a&steps=3",
    "single quotes": b"{'support': 1}",
    "truncated": WHOLE[:-1],
    "cut in the middle": WHOLE[: len(WHOLE) // 2],
    "trailing comma": WHOLE[:-1] + b",}",
    "two documents": WHOLE + WHOLE,
    "a comment": WHOLE + b"// done",
    "a byte that is no UTF-8": WHOLE.replace(b"bad-bodies", b"bad-\xff-bodies"),
    "an overlong slash": WHOLE.replace(b"bad-bodies", b"bad\xc0\xafbodies"),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "UTF-32": WHOLE.decode().encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "a NUL": WHOLE + b"\0",
    "NUL alone": b"\0" * 100,
    "gzip": bytes.fromhex("1f8b0800000000000003abae050043bfa6a302000000"),
    "brackets, 100 000 deep": b"[" * 100_000,
    "closed brackets, 100 000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects, 100 000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "hexadecimal": b'{"steps": 0x10}',
    "leading zero": b'{"steps": 010}',
    "leading plus": b'{"steps": +1}',
    "bare point": b'{"steps": .5}',
    "None": b"None",
}
NOT_AN_OBJECT = [b"[]", b"[1, 2]", b'"text"', b"1", b"1.5", b"true", b"null", b"[[]]"]
NESTED = {
    "brackets": (b"[", b"]"),
    "objects": (b'{"a":', b"}"),
}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_a_bad_request(http: httpx.Client, path: str, name: str) -> None:
    problem_of(http.post(path, content=NOT_JSON[name], headers=JSON), 400, "not-json")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", NOT_AN_OBJECT)
def test_json_that_is_no_object_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    problem_of(http.post(path, content=body, headers=JSON), 422, "invalid-request")


@pytest.mark.parametrize("path", PATHS)
def test_no_body_at_all_is_refused(http: httpx.Client, path: str) -> None:
    problem_of(http.post(path), 400, "not-json")
    problem_of(http.post(path, headers=JSON), 400, "not-json")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("field", ["inputs", "targets"])
@pytest.mark.parametrize("depth", [70, 300, 500, 900, 1000, 1100])
def test_rows_of_any_depth_are_refused(http: httpx.Client, depth: int, field: str, kind: str) -> None:
    opening, closing = NESTED[kind]
    deep = b"[" + opening * depth + b"1" + closing * depth + b"]"
    rows = {"inputs": b"[[1]]", "targets": b"[1]", field: deep}
    body = b'{"support": {"inputs": ' + rows["inputs"] + b', "targets": ' + rows["targets"] + b"}}"
    response = http.post("/adapt", content=body, headers=JSON)
    assert response.status_code in (400, 422), response.text[:300]
    problem_of(response, response.status_code, response.json()["code"])
    assert len(response.content) < 10_000, "an answer is for reading"


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("field", [b'"task_id": "\\ud800"', b'"model": "\\udfff"', b'"\\ud800": 1'])
def test_half_a_surrogate_pair_is_no_number_that_is_too_large(http: httpx.Client, field: bytes) -> None:
    response = http.post("/adapt", content=b'{"support": {"inputs": [[1]], "targets": [1]}, ' + field + b"}")
    assert response.json()["code"] in ("not-json", "invalid-id", "invalid-request")
    problem_of(response, response.status_code, response.json()["code"])


@pytest.mark.usefixtures("nothing_changes")
def test_many_wrong_fields_make_no_long_answer(http: httpx.Client) -> None:
    wrong = {f"field{i}": 1 for i in range(20_000)}
    response = http.post("/adapt", json={**wrong, "support": SUPPORT})
    problem = problem_of(response, 422, "invalid-request")
    assert len(problem.errors) <= 1000, "an answer larger than its request"


def test_a_body_of_many_spaces_is_a_body(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = b" " * 1_000_000 + json.dumps({"task_id": task_id, "inputs": [[1.0]]}).encode() + b"\n" * 1_000_000
    assert http.post("/predict", content=body, headers=JSON).status_code == 200
