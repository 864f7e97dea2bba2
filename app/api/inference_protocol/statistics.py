"""Counts and durations of `infer` by task and revision: those that were asked last, since the process began."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from app.engine.engine import TaskKey

MAX_REVISIONS = 1_000
"""Of a tenant."""
MAX_TENANTS = 100
"""What is counted takes some 500 bytes a revision: 50 MB at most."""


Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry")


class Durations(NamedTuple):
    """Where the time of an answer went, in nanoseconds."""

    total: int
    queue: int
    compute: int


@dataclass(slots=True)
class Counts:
    """What was counted of one revision."""

    num_answers: int = 0
    num_failures: int = 0
    num_rows: int = 0
    total_ns: int = 0
    failure_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    last_ms: int = 0
    """Milliseconds since 1970 at the last answer; 0 where there was none."""


class Statistics:
    """Counts what the protocol was asked; for one event loop.

    Of a tenant past `MAX_REVISIONS` the one that was not asked for the longest is dropped, and so are all of a tenant
    past `MAX_TENANTS`: no tenant drops what is counted of another by having many tasks.
    """

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, OrderedDict[TaskKey, Counts]] = OrderedDict()

    def answered(self, key: TaskKey, num_rows: int, durations: Durations) -> None:
        """Count an answer."""
        of_tenant = _used(self._tenants, key.tenant, OrderedDict[TaskKey, Counts], MAX_TENANTS)
        counts = _used(of_tenant, key, Counts, MAX_REVISIONS)
        counts.num_answers += 1
        counts.num_rows += num_rows
        counts.total_ns += durations.total
        counts.queue_ns += durations.queue
        counts.compute_ns += durations.compute
        counts.last_ms = time.time_ns() // 1_000_000

    def failed(self, tenant: str, task_id: str, revision: int | None, total_ns: int) -> None:
        """Count an error under the revision that was asked for, else the one that answered last, else nowhere.

        Nobody makes entries by asking for what is not there.
        """
        of_tenant = self._tenants.get(tenant, OrderedDict[TaskKey, Counts]())
        for key in reversed(of_tenant):
            if key.task_id == task_id and revision in (None, key.revision):
                of_tenant[key].num_failures += 1
                of_tenant[key].failure_ns += total_ns
                return

    def of(self, tenant: str, task_id: str | None = None, revision: int | None = None) -> dict[TaskKey, Counts]:
        """Return what was counted of a tenant, of one task, or of one revision."""
        return {
            key: counts
            for key, counts in self._tenants.get(tenant, OrderedDict[TaskKey, Counts]()).items()
            if task_id in (None, key.task_id) and revision in (None, key.revision)
        }


def _used(entries: OrderedDict[Key, Entry], key: Key, make: Callable[[], Entry], most: int) -> Entry:
    """Return an entry, made where there is none, as the one that was used last; past `most` the first of them goes."""
    entry = entries.get(key)
    if entry is None:
        entry = entries[key] = make()
    entries.move_to_end(key)
    if len(entries) > most:
        entries.popitem(last=False)
    return entry


def as_json(key: TaskKey, counts: Counts) -> dict[str, Any]:
    """Return what was counted of a revision, as the protocol shows it."""
    return {
        "name": key.task_id,
        "version": str(key.revision),
        "last_inference": counts.last_ms,
        "inference_count": counts.num_rows,
        "execution_count": counts.num_answers,
        "inference_stats": {
            "success": {"count": counts.num_answers, "ns": counts.total_ns},
            "fail": {"count": counts.num_failures, "ns": counts.failure_ns},
            "queue": {"count": counts.num_answers, "ns": counts.queue_ns},
            "compute_input": {"count": 0, "ns": 0},
            "compute_infer": {"count": counts.num_answers, "ns": counts.compute_ns},
            "compute_output": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }
