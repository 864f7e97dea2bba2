"""Claims about reading what came back, and about trying again."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from innerloop import calls, errors
from innerloop.errors import ERROR_BY_CODE, ServiceError
from innerloop.replies import Outcome, Reply, RetryPolicy, failure_of, read, retry_after_seconds, wait_seconds

POLICY = RetryPolicy(retries=2, max_wait_seconds=10.0)
SENT_BY_SERVICE = [code for code, cls in ERROR_BY_CODE.items() if issubclass(cls, ServiceError)]


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> Reply:
    body = {"type": f"/problems/{code}", "title": "t", "status": status, "code": code, "detail": "d", **more}
    return Reply(status, httpx.Headers(headers), json.dumps(body).encode())


def failure(cause: httpx.RequestError) -> Outcome:
    return failure_of(cause, "http://here")


@pytest.mark.parametrize("code", SENT_BY_SERVICE)
def test_problem_is_raised_as_the_class_of_its_code(code: str) -> None:
    field = {"loc": ["support", 0], "msg": "m"}
    reply = problem(422, code, {"Retry-After": "7"}, request_id="r1", errors=[field])
    with pytest.raises(ERROR_BY_CODE[code]) as caught:
        read(calls.limits(), reply)
    error = caught.value
    assert (error.code, error.detail, error.request_id) == (code, "d", "r1")
    assert (error.errors, error.retry_after_seconds) == ([field], 7.0)


def test_problem_of_a_later_release_keeps_its_code() -> None:
    with pytest.raises(ServiceError) as caught:
        read(calls.limits(), problem(429, "rate-limited", {"X-Request-ID": "r2"}))
    assert (caught.value.code, caught.value.request_id) == ("rate-limited", "r2")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}, b"<html>welcome</html>"),
        Reply(200, {}, b'{"status": "fine"}'),
        Reply(302, {"Location": "/login"}, b""),
        Reply(502, {}, b"bad gateway"),
        Reply(500, {}, b'{"detail": "no code"}'),
        Reply(500, {}, b"\xff\xfe"),
    ],
)
def test_anything_else_is_an_unexpected_answer(reply: Reply) -> None:
    with pytest.raises(errors.UnexpectedAnswer, match=f"status {reply.status}"):
        read(calls.health(), reply)


def test_service_that_is_not_ready_answers_with_its_reasons() -> None:
    body = json.dumps({"ready": False, "reasons": ["no models"], "code": "not-ready", "detail": "d"}).encode()
    readiness = read(calls.ready(), Reply(503, {}, body))
    assert (readiness.ready, readiness.reasons) == (False, ["no models"])


def test_503_without_reasons_is_an_error_even_for_ready() -> None:
    with pytest.raises(errors.Draining):
        read(calls.ready(), problem(503, "draining"))


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx.ConnectError("refused"), errors.Unreachable),
        (httpx.RemoteProtocolError("closed"), errors.Unreachable),
        (httpx.ReadTimeout(""), errors.TimedOut),
        (httpx.ConnectTimeout(""), errors.TimedOut),
        (httpx.DecodingError("not gzip"), errors.UnexpectedAnswer),
    ],
)
def test_failure_keeps_its_cause_and_names_the_address(
    cause: httpx.RequestError, kind: type[errors.ClientError]
) -> None:
    with pytest.raises(kind, match="http://here") as caught:
        read(calls.limits(), failure(cause))
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None), ("1.5", None)]
)
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": value}) == seconds


@pytest.mark.parametrize(("ahead", "expected"), [(60, 60.0), (-60, 0.0)])
def test_retry_after_is_read_as_a_date(ahead: int, expected: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert retry_after_seconds({"Retry-After": date}) == pytest.approx(expected, abs=2)


ADAPT = calls.adapt([[0]], [0], {"idempotency_key": "k"})
ADAPT_WITHOUT_KEY = calls.adapt([[0]], [0], {"idempotency_key": None})
REPEATED = {
    "full": (ADAPT, problem(503, "overloaded")),
    "full, deletion": (calls.delete_task("a"), problem(503, "overloaded")),
    "rate used up": (ADAPT, problem(429, "rate-limited")),
    "too many at once": (ADAPT, problem(429, "too-many-at-once")),
    "share of the load used up": (ADAPT, problem(429, "share-used-up")),
    "a proxy's 429": (ADAPT, Reply(429, {}, b"<html>slow down</html>")),
    "a proxy's 503": (ADAPT, Reply(503, {}, b"")),
    "first one still running": (ADAPT, problem(409, "idempotency-in-flight")),
    "never connected": (ADAPT_WITHOUT_KEY, failure(httpx.ConnectError("refused"))),
    "lost, with a key": (ADAPT, failure(httpx.ReadError("reset"))),
    "lost, reading": (calls.limits(), failure(httpx.RemoteProtocolError("closed"))),
}
FINAL = {
    "an answer": (calls.limits(), Reply(200, {}, b"{}")),
    "refused content": (ADAPT, problem(422, "diverged")),
    "a conflict": (ADAPT, problem(409, "revision-conflict")),
    "no room to store": (ADAPT, problem(429, "storage-used-up", {"Retry-After": "60"})),
    "a fault": (ADAPT, problem(500, "internal-error")),
    "not ready, asked so": (calls.ready(), problem(503, "not-ready")),
    "lost, without a key": (ADAPT_WITHOUT_KEY, failure(httpx.ReadError("reset"))),
    "lost, deletion": (calls.delete_task("a"), failure(httpx.ReadError("reset"))),
    "out of time": (ADAPT, failure(httpx.ReadTimeout(""))),
    "no such protocol": (ADAPT, failure(httpx.UnsupportedProtocol("ftp"))),
}


@pytest.mark.parametrize(("call", "outcome"), REPEATED.values(), ids=REPEATED)
def test_what_may_pass_is_tried_again_twice(call: calls.Call[Any], outcome: Outcome) -> None:
    waits = [wait_seconds(call, outcome, attempt, POLICY) for attempt in range(3)]
    assert waits == [0.2, 0.4, None]


@pytest.mark.parametrize(("call", "outcome"), FINAL.values(), ids=FINAL)
def test_what_will_not_pass_or_is_not_safe_is_final(call: calls.Call[Any], outcome: Outcome) -> None:
    assert wait_seconds(call, outcome, 0, POLICY) is None


@pytest.mark.parametrize(("after", "wait"), [("3", 3.0), ("0", 0.0), ("600", 10.0)])
def test_retry_after_is_honoured_up_to_the_cap(after: str, wait: float) -> None:
    assert wait_seconds(ADAPT, problem(503, "overloaded", {"Retry-After": after}), 0, POLICY) == wait
