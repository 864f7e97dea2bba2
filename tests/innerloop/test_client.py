"""Claims about the clients; the blocking and the awaiting one run the same tables."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from innerloop import AsyncClient, Client, errors
from tests.innerloop.answers import JOB, REQUEST, page
from tests.innerloop.client_calls import ADAPTED, CALLS, LIMITS, SUPPORT, TASK, X, Y
from tests.innerloop.shells import Shell

# What sends or brings files, in test_client_files.py, and what goes on for long, in test_client_following.py.
ELSEWHERE = {
    *("add_dataset", "checkpoint", "model_weights", "task_weights", "upload_model_version"),
    *("job_events", "wait_for_job"),
}


def overloaded(after: str = "0") -> httpx.Response:
    body = {"code": "overloaded", "detail": "full"}
    return httpx.Response(503, json=body, headers={"Retry-After": after})


@pytest.mark.parametrize(("use", "line", "body", "answer", "expected"), CALLS.values(), ids=CALLS)
async def test_call_sends_its_request_and_reads_its_answer(
    shell: Shell,
    use: Callable[[Any], Any],
    line: str,
    body: dict[str, Any] | None,
    answer: Any,
    expected: Any,
) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204) if answer is None else httpx.Response(200, json=answer)

    assert await shell(handler, use) == expected
    (request,) = seen
    assert f"{request.method} {request.url.raw_path.decode()}" == line
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers.get("Content-Type") == (None if body is None else "application/json")


def test_every_method_of_both_clients_is_in_the_table() -> None:
    for cls in (Client, AsyncClient):
        methods = {name for name in vars(cls) if not name.startswith("_")} - {"close"}
        assert methods == {name.split()[0] for name in CALLS} | ELSEWHERE


async def test_lists_go_through_all_pages(shell: Shell) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.params["model"] == "sinusoid"
        after = int(request.url.params.get("after", 0))
        task = {**TASK, "task_id": f"t{after}"}
        return httpx.Response(200, json=page(task, following=str(after + 1) if after < 2 else None))

    found = await shell(handler, lambda client: client.tasks("sinusoid"))
    assert [task.task_id for task in found] == ["t0", "t1", "t2"]


async def test_error_is_raised_by_its_code(shell: Shell) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        body = {"code": "task-not-found", "detail": "no task a"}
        return httpx.Response(404, json=body, headers={"X-Request-ID": "r1"})

    with pytest.raises(errors.TaskNotFound, match="no task a") as caught:
        await shell(handler, lambda client: client.task("a"))
    assert caught.value.request_id == "r1"


async def test_adapt_is_sent_again_under_the_same_key_and_body(shell: Shell) -> None:
    seen: list[tuple[str, bytes]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["Idempotency-Key"], request.content))
        return overloaded() if len(seen) < 3 else httpx.Response(201, json=ADAPTED)

    await shell(handler, lambda client: client.adapt(X, Y))
    assert len(seen) == 3
    assert len(set(seen)) == 1


async def test_job_is_started_again_under_the_same_key(shell: Shell) -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        assert json.loads(request.content) == REQUEST
        return overloaded() if len(keys) < 2 else httpx.Response(202, json=JOB)

    await shell(handler, lambda client: client.meta_train(REQUEST))
    await shell(handler, lambda client: client.meta_train(REQUEST, idempotency_key="mine"))
    assert keys[0] == keys[1] != keys[2] == "mine"


async def test_room_to_store_is_not_waited_for(shell: Shell) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        body = {"code": "storage-used-up", "detail": "you have 4 tasks"}
        return httpx.Response(429, json=body, headers={"Retry-After": "0"})

    with pytest.raises(errors.StorageUsedUp, match="you have 4 tasks"):
        await shell(handler, lambda client: client.adapt(X, Y))
    assert len(seen) == 1


async def test_each_adaptation_has_a_key_of_its_own(shell: Shell) -> None:
    keys: set[str] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        keys.add(request.headers["Idempotency-Key"])
        return httpx.Response(201, json=ADAPTED)

    await shell(handler, lambda client: client.adapt(X, Y))
    await shell(handler, lambda client: client.adapt(X, Y))
    assert len(keys) == 2


async def test_key_of_the_caller_is_used_and_stays_out_of_the_body(shell: Shell) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Idempotency-Key"] == "mine"
        assert request.headers["X-Request-Timeout-Ms"] == "500"
        assert json.loads(request.content) == {"support": SUPPORT}
        return httpx.Response(201, json=ADAPTED)

    await shell(handler, lambda client: client.adapt(X, Y, idempotency_key="mine", timeout_ms=500))


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_full_service_is_asked_as_often_as_said(shell: Shell, retries: int) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return overloaded()

    with pytest.raises(errors.Overloaded) as caught:
        await shell(handler, lambda client: client.limits(), retries=retries)
    assert len(seen) == retries + 1
    assert caught.value.retry_after_seconds == 0


async def test_wait_is_capped(shell: Shell) -> None:
    answers = iter([overloaded("3600"), httpx.Response(200, json=LIMITS)])
    assert await shell(lambda _: next(answers), lambda client: client.limits(), max_wait_seconds=0.0)


async def test_lost_connection_is_tried_again(shell: Shell) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx.ReadError("reset")
        return httpx.Response(201, json=ADAPTED)

    await shell(handler, lambda client: client.adapt(X, Y), max_wait_seconds=0.0)
    assert len(seen) == 2


async def test_service_that_is_away_is_unreachable(shell: Shell) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(errors.Unreachable, match="http://here"):
        await shell(handler, lambda client: client.health(), max_wait_seconds=0.0)


NOT_SENT: dict[str, tuple[Callable[[Any], Any], type[errors.InnerloopError]]] = {
    "NaN in inputs": (lambda client: client.adapt([[float("nan")]], [1.0]), errors.NotFinite),
    "infinity in an array": (
        lambda client: client.predict(np.array([[np.inf]]), task_id="a"),
        errors.NotFinite,
    ),
    "NaN in a job": (lambda client: client.meta_train(REQUEST, meta_learning_rate=float("nan")), errors.NotFinite),
    "job of two lines": (lambda client: client.cancel_job("a\nb"), errors.InvalidId),
    "key of a job": (lambda client: client.meta_train(idempotency_key="\n"), errors.InvalidIdempotencyKey),
    "path as an id": (lambda client: client.delete_task("../models/m"), errors.InvalidId),
    "dots as an id": (lambda client: client.task(".."), errors.InvalidId),
    "empty name": (lambda client: client.model(""), errors.InvalidId),
    "key of two lines": (
        lambda client: client.adapt(X, Y, idempotency_key="a\nb"),
        errors.InvalidIdempotencyKey,
    ),
}


@pytest.mark.parametrize(("use", "kind"), NOT_SENT.values(), ids=NOT_SENT)
async def test_what_cannot_be_right_is_refused_before_it_is_sent(
    shell: Shell, use: Callable[[Any], Any], kind: type[errors.InnerloopError]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    with pytest.raises(kind):
        await shell(handler, use)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("url", ["nonsense", "ftp://here", "http://", "http://here:99999", "http://\n"])
def test_address_that_is_none_is_unreachable(client: Callable[[str], object], url: str) -> None:
    with pytest.raises(errors.Unreachable, match="is no address"):
        client(url)


def test_address_comes_from_the_argument_the_environment_or_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(url: str | None = None) -> str:
        seen: list[str] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(str(request.url))
            return httpx.Response(200, json={"status": "ok"})

        with Client(url, transport=httpx.MockTransport(handler)) as client:
            client.health()
        return seen[0]

    monkeypatch.delenv("INNERLOOP_URL", raising=False)
    assert asked() == "http://127.0.0.1:8000/healthz"
    monkeypatch.setenv("INNERLOOP_URL", "http://there:81/under/")
    assert asked() == "http://there:81/under/healthz"
    assert asked("https://here") == "https://here/healthz"
