"""An open loop: requests leave when they are due, whatever was answered before; latency counts from then."""

import asyncio
import gc
import math
import random
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import httptools
import numpy as np
import uvloop

GAVE_UP, LOST = 0, -1
"""In place of a status: the caller waited no longer; the connection broke."""
SWEEP_SECONDS = 0.1
FILE_DESCRIPTORS = 8192
REFUSED = (429, 503)
PAUSE_SECONDS = 0.05
"""A caller of a closed loop who is refused comes again after so long, about."""


class Stream(NamedTuple):
    """Requests of one kind of caller, at Poisson times."""

    name: str
    per_second: float
    requests: Iterator[bytes]
    seed: int = 0


class Timing(NamedTuple):
    """How long is measured, what is left out before, and how long a caller waits."""

    seconds: float
    warm_up_seconds: float
    give_up_seconds: float = 10.0
    max_connections: int = 2_000


class Seen(NamedTuple):
    """What became of one request; moments are of time.perf_counter()."""

    scheduled: float
    late: float
    """Seconds after its time at which the generator came to it."""
    answered: float
    status: int


@dataclass(frozen=True)
class Told:
    """What one stream was told, of the requests that were due within the time measured."""

    offered_per_second: float
    goodput_per_second: float
    """201 answers that came within the time measured, over that time."""
    refused_per_second: float
    """429 and 503."""
    accepted_ms: list[float]
    refused_ms: list[float]
    late_ms: list[float]
    statuses: dict[str, int]
    num_connections: int
    num_held: int
    """Requests that waited because all connections were busy and no more may be opened; warm-up included."""

    @property
    def num_errors(self) -> int:
        """Requests that were neither accepted nor refused with a reason to come again, deadlines (504) included."""
        return sum(count for status, count in self.statuses.items() if status not in ("201", *map(str, REFUSED)))


def most_per_second(port: int, requests: Iterator[bytes], num_callers: int, timing: Timing) -> Told:
    """Return what callers are told who each ask again when they are answered, and pause when they are refused."""
    _allow_connections()
    return uvloop.run(_closed(port, requests, num_callers, timing))


async def _closed(port: int, requests: Iterator[bytes], num_callers: int, timing: Timing) -> Told:
    begin = time.perf_counter()
    callers = _Patient(port, Stream("callers", math.nan, requests), timing)
    async with asyncio.timeout(timing.warm_up_seconds + timing.seconds + 6 * timing.give_up_seconds):
        await callers.ask(num_callers, begin + timing.warm_up_seconds + timing.seconds)
    measured = begin + timing.warm_up_seconds
    return _told(callers, measured, measured + timing.seconds)


def open_loop(port: int, streams: list[Stream], timing: Timing, watch: Callable[[], None] = lambda: None) -> list[Told]:
    """Send all streams at once and return what each was told; blocks. `watch` is called ten times a second."""
    _allow_connections()
    gc.collect()
    gc.disable()  # a collection here would be latency there
    try:
        return uvloop.run(_all(port, streams, timing, watch))
    finally:
        gc.enable()


async def _all(port: int, streams: list[Stream], timing: Timing, watch: Callable[[], None]) -> list[Told]:
    begin = time.perf_counter() + 0.2
    callers = [_Callers(port, stream, timing) for stream in streams]
    watching = asyncio.create_task(_watch(callers, watch))
    try:
        await asyncio.gather(*(caller.run(begin) for caller in callers))
    finally:
        watching.cancel()
        for caller in callers:
            caller.close()
    measured = begin + timing.warm_up_seconds
    return [_told(caller, measured, measured + timing.seconds) for caller in callers]


async def _watch(callers: "list[_Callers]", watch: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        watch()
        for caller in callers:
            caller.give_up()


def poisson_times(per_second: float, seconds: float, seed: int) -> list[float]:
    """Return moments from 0 to `seconds`, at a mean rate, each independent of the others."""
    rng = np.random.default_rng(seed)
    number = int(rng.poisson(per_second * seconds))
    return cast(list[float], np.sort(rng.uniform(0.0, seconds, number)).tolist())


def _told(callers: "_Callers", begin: float, end: float) -> Told:
    due = [seen for seen in callers.seen if begin <= seen.scheduled < end]
    seconds = end - begin

    def spans(*statuses: int) -> list[float]:
        return [(seen.answered - seen.scheduled) * 1e3 for seen in due if seen.status in statuses]

    answered = Counter(seen.status for seen in callers.seen if begin <= seen.answered < end)
    return Told(
        offered_per_second=len(due) / seconds,
        goodput_per_second=answered[201] / seconds,
        refused_per_second=sum(answered[status] for status in REFUSED) / seconds,
        accepted_ms=spans(201),
        refused_ms=spans(*REFUSED),
        late_ms=[seen.late * 1e3 for seen in due],
        statuses={_name(status): count for status, count in sorted(Counter(seen.status for seen in due).items())},
        num_connections=callers.num_opened,
        num_held=callers.num_held,
    )


def _name(status: int) -> str:
    return {GAVE_UP: "gave up", LOST: "connection lost"}.get(status, str(status))


def _allow_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(FILE_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(eq=False)
class _Asked:
    """A request that is under way."""

    scheduled: float
    late: float
    body: bytes
    again: bool = False
    """Whether it was sent once on a connection that the service had closed as idle."""


@dataclass(eq=False)
class _Callers:
    """The callers of a stream: as many connections as are needed at once, kept alive between requests."""

    port: int
    stream: Stream
    timing: Timing
    seen: list[Seen] = field(default_factory=list)
    num_opened: int = 0
    num_held: int = 0

    def __post_init__(self) -> None:
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._waiting: deque[_Asked] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._missing, self._complete = -1, asyncio.Event()

    async def run(self, begin: float) -> None:
        """Send every request at its time, and wait for the last answers."""
        timing = self.timing
        times = poisson_times(self.stream.per_second, timing.warm_up_seconds + timing.seconds, self.stream.seed)
        requests, now = self.stream.requests, time.perf_counter
        for at in times:
            scheduled = begin + at
            if (ahead := scheduled - now()) > 0:
                await asyncio.sleep(ahead)
            self._send(_Asked(scheduled, now() - scheduled, next(requests)))
        self._missing = len(times) - len(self.seen)
        if self._missing:
            async with asyncio.timeout(timing.give_up_seconds + 5.0):  # those who wait too long are noted before
                await self._complete.wait()

    def _send(self, asked: _Asked) -> None:
        if self._idle:
            self._idle.pop().send(asked)
            return
        self._waiting.append(asked)
        self._connect_or_hold()

    def _connect_or_hold(self) -> None:
        if len(self._open) + len(self._connecting) >= self.timing.max_connections:
            self.num_held += 1
            return
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        connection = _Connection(self)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self.port)
        except OSError:
            if self._waiting:
                self.note(self._waiting.popleft(), LOST)

    def opened(self, connection: "_Connection") -> None:
        """Take a new connection."""
        self.num_opened += 1
        self._open.add(connection)
        self.free(connection)

    def free(self, connection: "_Connection") -> None:
        """Give a connection what waits longest, or keep it."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: "_Connection", unanswered: _Asked | None) -> None:
        """Forget a connection; what it carried is asked again if the service had closed it as idle."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if unanswered is None:
            return
        if connection.num_answers and not unanswered.again:
            unanswered.again = True
            self._send(unanswered)
        else:
            self.note(unanswered, LOST)

    def note(self, asked: _Asked, status: int) -> None:
        """Write down what became of a request."""
        self.seen.append(Seen(asked.scheduled, asked.late, time.perf_counter(), status))
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()

    def give_up(self) -> None:
        """Wait no longer for what should have been answered long ago."""
        before = time.perf_counter() - self.timing.give_up_seconds
        while self._waiting and self._waiting[0].scheduled < before:
            self.note(self._waiting.popleft(), GAVE_UP)
        for connection in [one for one in self._open if one.asked and one.asked.scheduled < before]:
            connection.give_up()

    def close(self) -> None:
        """Leave all connections."""
        for task in self._connecting:
            task.cancel()
        for connection in list(self._open):
            connection.abort()


class _Patient(_Callers):
    """A number of callers, each of whom waits for an answer before the next request."""

    async def ask(self, num_callers: int, end: float) -> None:
        """Ask until the end, and wait for the last answers."""
        self._end = end
        loop = asyncio.get_running_loop()
        for _ in range(num_callers):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
        await self._complete.wait()

    def free(self, connection: "_Connection") -> None:
        """Let a caller ask again, at once or, where it was refused, a little later."""
        if connection.num_answers and self.seen[-1].status in REFUSED:
            pause = random.uniform(0.5, 1.5) * PAUSE_SECONDS  # so that they do not come together
            asyncio.get_running_loop().call_later(pause, self._next, connection)
        else:
            self._next(connection)

    def _next(self, connection: "_Connection") -> None:
        now = time.perf_counter()
        if now < self._end:
            connection.send(_Asked(now, 0.0, next(self.stream.requests)))
        else:
            connection.abort()

    def lost(self, connection: "_Connection", unanswered: _Asked | None) -> None:
        """Count a caller who has left."""
        self._open.discard(connection)
        if unanswered is not None:
            self.note(unanswered, LOST)
        if not self._open:
            self._complete.set()


class _Connection(asyncio.Protocol):
    """One connection; it parses answers with uvicorn's own parser, which costs a few microseconds."""

    def __init__(self, callers: _Callers) -> None:
        self._callers = callers
        self._parser = httptools.HttpResponseParser(self)
        self.asked: _Asked | None = None
        self.num_answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._callers.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        asked, self.asked = self.asked, None
        self._callers.lost(self, asked)

    def send(self, asked: _Asked) -> None:
        self.asked = asked
        self._transport.write(asked.body)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_complete(self) -> None:
        asked, self.asked = self.asked, None
        if asked is None:  # nobody asked: what follows cannot be told apart
            self.abort()
            return
        self.num_answers += 1
        self._callers.note(asked, self._parser.get_status_code())
        if self._parser.should_keep_alive():
            self._callers.free(self)
        else:
            self._transport.close()

    def give_up(self) -> None:
        if self.asked is not None:
            self._callers.note(self.asked, GAVE_UP)
        self.asked = None
        self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()
