"""Decide how a job is followed over lost connections and restarts of the service; nothing here waits."""

from typing import TypeVar

import httpx

from innerloop import calls
from innerloop.calls import Call
from innerloop.errors import TimedOut, UnexpectedAnswer
from innerloop.events import END, EventReader
from innerloop.replies import Outcome, Reply, RetryPolicy, failure_of, read, wait_seconds
from innerloop.wire import JobEvent, JobInfo

T = TypeVar("T")

# With waits that double up to the policy's longest (10 s), eleven last about a minute: longer than a restart.
_RECONNECTS = 11
# A service that has nothing to say sends a comment far more often than this.
QUIET_SECONDS = 60.0
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.1, 2.0
ENDED = ("succeeded", "failed", "cancelled")
"""The states that a job leaves only when it is resumed."""


class Patience:
    """Count the failures in a row; who was heard once is waited for longer."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0

    def heard(self) -> None:
        """Take note that the service is there."""
        self._failures = 0
        self._policy = self._policy._replace(retries=max(self._policy.retries, _RECONNECTS))

    def wait_seconds(self, call: Call[T], outcome: Outcome) -> float | None:
        """Say how long to wait before trying again; None: this outcome is final."""
        wait = wait_seconds(call, outcome, self._failures, self._policy)
        self._failures += 1
        return wait


class EventFollower:
    """Follow the events of a job through as many connections as it takes."""

    def __init__(self, job_id: str, last_event_id: int | None, policy: RetryPolicy) -> None:
        self._job_id, self._last_id = job_id, last_event_id
        self._patience = Patience(policy)
        self._reader = EventReader()
        self.ended = False
        """Whether the `end` has come."""

    def connect(self) -> Call[None]:
        """Build the call for the next connection, which goes on after the last event that came."""
        self._reader = EventReader(self._last_id or 0)
        return calls.job_events(self._job_id, self._last_id)

    def events(self, chunk: bytes) -> list[JobEvent]:
        """Read what the connection brought; nothing after the `end`."""
        self._patience.heard()
        found = []
        for event in self._reader.feed(chunk):
            found.append(event)
            self._last_id = event.id
            if event.event == END:
                self.ended = True
                break
        return found

    def wait_seconds(self, call: Call[None], outcome: Outcome) -> float | None:
        """Say how long to wait before connecting again; None: there is nothing more. Raises what is final."""
        if isinstance(outcome, Reply) and outcome.status == 204:
            return None
        wait = self._patience.wait_seconds(call, outcome)
        if wait is None:
            read(call, outcome)
            raise UnexpectedAnswer(f"an answer to {call.path} that is no stream of events")
        return max(wait, self._reader.retry_seconds or 0.0)


class JobWait:
    """Wait for the end of a job, asking less and less often."""

    def __init__(self, job_id: str, timeout_seconds: float | None, policy: RetryPolicy) -> None:
        self.call = calls.job(job_id)
        self._timeout_seconds = timeout_seconds
        self._patience = Patience(policy)
        self._poll_seconds = _FIRST_POLL_SECONDS

    def wait_seconds(self, outcome: Outcome, waited_seconds: float) -> float | None:
        """Say how long to wait before asking again; None: this outcome is final.

        Raises `TimedOut` where `timeout_seconds` are over and the job is not.
        """
        left = float("inf") if self._timeout_seconds is None else self._timeout_seconds - waited_seconds
        wait = self._patience.wait_seconds(self.call, outcome)
        if wait is not None:
            return min(wait, max(left, 0.0)) if left > 0 else None
        job: JobInfo = read(self.call, outcome)
        if job.status in ENDED:
            return None
        self._patience.heard()
        if left <= 0:
            raise TimedOut(f"job {job.job_id} is {job.status} after {waited_seconds:.3g} s of waiting; it goes on")
        wait, self._poll_seconds = self._poll_seconds, min(2 * self._poll_seconds, _LONGEST_POLL_SECONDS)
        return min(wait, left)


def is_stream(response: httpx.Response) -> bool:
    """Tell whether a response brings events, rather than an error or nothing."""
    kind = response.headers.get("Content-Type", "")
    return response.status_code == 200 and kind.partition(";")[0].strip().lower() == calls.EVENT_STREAM


def lost(url: str, error: httpx.RequestError | None = None) -> Outcome:
    """Say that a stream ended before its end; a silence is a lost connection as well."""
    if error is None or isinstance(error, httpx.ReadTimeout):
        why = "the stream ended early" if error is None else f"nothing came for {QUIET_SECONDS:g} s"
        error = httpx.RemoteProtocolError(why)
    return failure_of(error, url)
