"""What waits for a worker: lines by tenant, batcher and bucket, and whose turn it is."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from app.engine.ticket import Ticket

if TYPE_CHECKING:
    from app.engine.batcher import Batcher

NOBODY = ""
"""Whose work it is that no request asked for."""
MOST_REMEMBERED = 1_000

Line = tuple["Batcher[Any, Any]", Hashable]


class _Queue:
    """The lines of a tenant."""

    __slots__ = ("lines", "seconds")

    def __init__(self, seconds: float) -> None:
        self.lines: OrderedDict[Line, deque[Ticket]] = OrderedDict()
        self.seconds = seconds
        """Time that the tenant has had, as far as it counts: its virtual time."""


class Lines:
    """The next batch is of the tenant that has had the least time, filled up with what others have in its bucket.

    So tenants that wait share a worker's time evenly, however much each has sent: start-time fair queueing, Goyal, Vin
    and Cheng (1996), with batches. A tenant that comes back is not paid for the time that it was away. Within a tenant
    the line of the oldest item is next, and what is left of a line goes behind its others. A worker's thread alone uses
    it.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._ahead: dict[str, float] = {}  # of tenants with nothing in line, who had more than their share
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, ticket: Ticket) -> None:
        """Put a ticket at the end of its line."""
        tenant = ticket.work.tenant if ticket.work else NOBODY
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = _Queue(max(self._now, self._ahead.pop(tenant, 0.0)))
        queue.lines.setdefault((ticket.way.batcher, ticket.way.bucket), deque()).append(ticket)

    def run_next(self) -> None:
        """Run a batch of what waits."""
        if len(self._queues) == 1:
            (queue,) = self._queues.values()
        else:
            queue = min(self._queues.values(), key=lambda waiting: waiting.seconds)
        self._now = queue.seconds
        line = next(iter(queue.lines))
        sharing = [name for name, other in self._queues.items() if line in other.lines]
        if len(sharing) == 1:
            tickets = queue.lines.pop(line)
            queue.seconds += line[0].run_one(line[1], tickets, line[0].most(line[1]))
            if tickets:
                queue.lines[line] = tickets  # behind the others: none waits for another one's whole line
        else:
            self._run_shared(line, sharing)
        for name in sharing:
            self._forget_if_empty(name)

    def _run_shared(self, line: Line, tenants: list[str]) -> None:
        """Run a batch of what several tenants have in line, one of each in turn."""
        batcher, bucket = line
        most = batcher.most(bucket)
        tenants.sort(key=lambda name: self._queues[name].seconds)
        taken: deque[Ticket] = deque()
        counts = dict.fromkeys(tenants, 0)
        while len(taken) < most and any(self._queues[name].lines.get(line) for name in tenants):
            for name in tenants:
                tickets = self._queues[name].lines[line]
                if tickets and len(taken) < most:
                    taken.append(tickets.popleft())
                    counts[name] += 1
        num = len(taken)
        seconds = batcher.run_one(bucket, taken, most)
        for name, count in counts.items():
            queue = self._queues[name]
            queue.seconds += seconds * count / num
            tickets = queue.lines.pop(line)
            if tickets:
                queue.lines[line] = tickets

    def _forget_if_empty(self, tenant: str) -> None:
        queue = self._queues[tenant]
        if queue.lines:
            return
        del self._queues[tenant]
        if not self._queues:
            self._ahead.clear()  # nobody waits: all begin anew
            return
        self._ahead[tenant] = queue.seconds
        if len(self._ahead) > MOST_REMEMBERED:
            self._ahead = {name: seconds for name, seconds in self._ahead.items() if seconds > self._now}
