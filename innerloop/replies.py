"""Read what came back: an answer, an error, or a reason to send the request again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar

import httpx
from pydantic import Field, ValidationError

from innerloop.calls import Call
from innerloop.errors import (
    ClientError,
    IdempotencyInFlight,
    InnerloopError,
    StorageUsedUp,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
    error_of,
)
from innerloop.wire import Answer, ProblemField

T = TypeVar("T")

# The first wait; each further one is twice as long.
_BACKOFF_SECONDS = 0.2


class Reply(NamedTuple):
    """Hold what the service sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RetryPolicy(NamedTuple):
    """Say how often to send again, and how long to wait at most each time."""

    retries: int = 2
    max_wait_seconds: float = 10.0


Outcome = Reply | ClientError


class _SentProblem(Answer):
    code: str
    detail: str
    request_id: str | None = None
    errors: list[ProblemField] = Field(default_factory=list)


def reply_of(response: httpx.Response) -> Reply:
    """Take what is needed from a response that was read."""
    return Reply(response.status_code, response.headers, response.content)


def failure_of(error: httpx.RequestError, url: str) -> ClientError:
    """Say in terms of this client why there is no reply."""
    failure: ClientError
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        failure = TimedOut(f"no answer from {url} in time ({type(error).__name__})")
    elif isinstance(error, httpx.DecodingError):
        failure = UnexpectedAnswer(f"{url} sent a body that cannot be decoded: {reason}")
    else:
        failure = Unreachable(f"cannot reach {url}: {reason}")
    failure.__cause__ = error
    return failure


def read(call: Call[T], outcome: Outcome) -> T:
    """Return the answer of a call, or raise the error that came instead."""
    if isinstance(outcome, ClientError):
        raise outcome
    if outcome.status < 300 or outcome.status in call.also_reads:
        try:
            return call.read(outcome.body)
        except ValidationError as error:
            if outcome.status < 300:
                raise UnexpectedAnswer(_unexpected(outcome)) from error
    raise error_in(outcome)


def error_in(reply: Reply) -> InnerloopError:
    """Read a problem document into the error of its code."""
    error: InnerloopError
    try:
        sent = _SentProblem.model_validate_json(reply.body)
    except ValidationError:
        error = UnexpectedAnswer(_unexpected(reply))
        error.request_id = reply.headers.get("X-Request-ID")
        return error
    error = error_of(
        sent.code,
        sent.detail,
        errors=[{"loc": entry.loc, "msg": entry.msg} for entry in sent.errors],
        retry_after_seconds=retry_after_seconds(reply.headers),
    )
    error.request_id = sent.request_id or reply.headers.get("X-Request-ID")
    return error


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`, in seconds or as a date; None where there is none that can be read."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def wait_seconds(call: Call[T], outcome: Outcome, attempt: int, policy: RetryPolicy) -> float | None:
    """Say how long to wait before sending again; None: this outcome is final. Attempts count from 0."""
    if attempt >= policy.retries or not _may_repeat(call, outcome):
        return None
    wait = None if isinstance(outcome, ClientError) else retry_after_seconds(outcome.headers)
    return min(policy.max_wait_seconds, _BACKOFF_SECONDS * 2**attempt if wait is None else wait)


def _may_repeat(call: Call[T], outcome: Outcome) -> bool:
    if isinstance(outcome, Unreachable):
        kinds = (httpx.NetworkError, httpx.RemoteProtocolError) if call.repeatable else httpx.ConnectError
        return isinstance(outcome.__cause__, kinds)
    if isinstance(outcome, ClientError) or outcome.status in call.also_reads:
        return False
    # An adaptation whose answer was lost may still be running when it is asked for again.
    if outcome.status == 409:
        return isinstance(error_in(outcome), IdempotencyInFlight)
    # Room to store comes by deleting, seldom by waiting.
    return outcome.status == 503 or (outcome.status == 429 and not isinstance(error_in(outcome), StorageUsedUp))


def _unexpected(reply: Reply) -> str:
    start = reply.body[:200].decode(errors="replace")
    return f"status {reply.status} with a body that this client cannot read: {start!r}"
