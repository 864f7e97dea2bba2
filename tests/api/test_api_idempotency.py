"""Claims about the header Idempotency-Key."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.api.asking import JSON, adapt, problem_of, sine

REPLAYED = "Idempotency-Replayed"


@pytest.fixture
def key() -> dict[str, str]:
    """Headers with a key that no other test uses."""
    return {"Idempotency-Key": f"key {uuid4()}"}


def test_the_same_request_gets_the_same_answer(http: httpx.Client, task_id: str, key: dict[str, str]) -> None:
    body = {"task_id": task_id, "support": sine(5), "ttl_seconds": 1000}
    first = http.post("/adapt", json=body, headers=key)
    adapt(http, task_id=task_id, support=sine(6), ttl_seconds=None)
    again = http.post("/adapt", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers[REPLAYED] == "true"
    assert REPLAYED not in first.headers
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 2


def test_a_made_id_is_made_once(http: httpx.Client, key: dict[str, str]) -> None:
    first, second = (adapt(http, headers=key) for _ in range(2))
    assert first == second


def test_an_answer_that_computed_nothing_is_repeated_too(http: httpx.Client, task_id: str, key: dict[str, str]) -> None:
    adapt(http, task_id=task_id)
    first = adapt(http, status=200, task_id=task_id, headers=key)
    adapt(http, task_id=task_id, support=sine(6))
    assert adapt(http, status=200, task_id=task_id, headers=key) == first


def test_another_body_under_the_key_is_refused(http: httpx.Client, task_id: str, key: dict[str, str]) -> None:
    adapt(http, task_id=task_id, headers=key)
    body = {"task_id": task_id, "support": sine(6)}
    problem_of(http.post("/adapt", json=body, headers=key), 422, "idempotency-key-reused")
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 1


def test_without_a_key_the_same_request_may_work_again(http: httpx.Client) -> None:
    assert adapt(http).task_id != adapt(http).task_id


@pytest.mark.parametrize("named", [True, False], ids=["named task", "id made by the server"])
def test_twenty_at_once_make_one_revision(http: httpx.Client, task_id: str, key: dict[str, str], named: bool) -> None:
    body = {"support": sine(5), "steps": 50, **({"task_id": task_id} if named else {})}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: http.post("/adapt", json=body, headers=key), range(20)))
    done = [answer for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer.status_code != 201:
            problem_of(answer, 409, "idempotency-in-flight")
    assert done
    assert all(answer.json() == done[0].json() for answer in done)
    assert http.post("/adapt", json=body, headers=key).json() == done[0].json()
    task = http.get(f"/tasks/{done[0].json()['task_id']}").json()
    assert (task["revision"], task["revisions"]) == (1, 1)


def test_a_refused_request_stores_nothing_and_answers_alike_again(
    http: httpx.Client, task_id: str, key: dict[str, str]
) -> None:
    body = {"task_id": task_id, "support": {"inputs": [], "targets": []}}
    for _ in range(2):
        problem_of(http.post("/adapt", json=body, headers=key), 422, "empty-support")
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("value", [b"", b"x" * 256, "é".encode("latin-1"), "é".encode(), b"a\tb", b"\x80"], ids=repr)
def test_keys_that_are_not_usable_are_refused(http: httpx.Client, task_id: str, value: bytes) -> None:
    request = http.build_request("POST", "/adapt", json={"task_id": task_id, "support": sine(2)})
    headers = httpx.Headers([*request.headers.raw, (b"Idempotency-Key", value)])
    response = http.post("/adapt", content=request.content, headers=headers)
    problem_of(response, 400, "invalid-idempotency-key")


@pytest.mark.usefixtures("nothing_changes")
def test_two_keys_are_refused(http: httpx.Client, task_id: str) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), *JSON.items()]
    response = http.post("/adapt", json={"task_id": task_id, "support": sine(2)}, headers=headers)
    problem_of(response, 400, "invalid-idempotency-key")


@pytest.mark.parametrize("value", ["x", "~" * 255, 'a "quoted" key; with=signs, and spaces'])
def test_printable_keys_are_taken(http: httpx.Client, value: str) -> None:
    headers = {"Idempotency-Key": value}
    assert adapt(http, headers=headers) == adapt(http, headers=headers)
