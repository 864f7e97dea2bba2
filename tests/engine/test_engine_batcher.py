"""The batcher: what waits goes together; late, cancelled and surplus work is not done, and neighbours never notice."""

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest

from app.current_request import StageTime, collect_stage_times
from app.engine.batcher import Batcher
from app.engine.histogram import SECONDS, SIZES
from app.engine.load import Load
from app.engine.ticket import Onward, Timed
from app.engine.worker import Worker
from innerloop.errors import DeadlineExceeded, Draining, Overloaded


class Blocker:
    """Work that keeps the worker busy until it is released."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(10)
        return "released"


class Line:
    """A batcher of callables, each alone in its bucket unless one is named; remembers its batches."""

    def __init__(self, max_depth: int, worker: Worker | None = None) -> None:
        self.batches: list[int] = []
        self.batcher: Batcher[Callable[[], object], Any] = Batcher(
            "test", self._run, max_depth=max_depth, worker=worker
        )

    def _run(self, bucket: Hashable, items: list[Callable[[], object]]) -> list[object]:
        self.batches.append(len(items))
        return [_attempted(item) for item in items]

    @property
    def depth(self) -> int:
        return self.batcher.depth

    async def run(self, work: Callable[[], object], deadline: float | None = None, bucket: object = None) -> Any:
        return await self.batcher.run(bucket or work, work, deadline)

    def run_blocking(self, work: Callable[[], object], deadline: float | None = None) -> Any:
        return self.batcher.run_blocking(work, work, deadline).result

    def close(self) -> None:
        self.batcher.close()


def _attempted(work: Callable[[], object]) -> object:
    try:
        return work()
    except ArithmeticError as error:
        return error


@pytest.fixture
def worker() -> Iterator[Line]:
    made = Line(max_depth=4)
    yield made
    made.close()


def recording(done: list[int], number: int) -> Callable[[], int]:
    def work() -> int:
        done.append(number)
        return number

    return work


async def busy(worker: Line) -> tuple[Blocker, "asyncio.Task[object]"]:
    blocker = Blocker()
    task: asyncio.Task[object] = asyncio.create_task(worker.run(blocker))
    await asyncio.to_thread(blocker.begun.wait, 10)
    return blocker, task


async def test_work_is_done_in_the_order_of_asking(worker: Line) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    others = [asyncio.create_task(worker.run(recording(done, number))) for number in range(3)]
    await asyncio.sleep(0.01)
    blocker.released.set()
    results = await asyncio.gather(*others)
    await first
    assert done == [0, 1, 2]
    assert [timed.result for timed in results] == [0, 1, 2]


class Panic(BaseException):
    """What a library in another language raises, past every `except Exception`."""


async def test_a_panic_is_told_and_the_next_one_is_served(worker: Line) -> None:
    def panic() -> object:
        raise Panic

    with pytest.raises(RuntimeError, match="Panic"):
        await worker.run(panic)
    with pytest.raises(RuntimeError, match="Panic"):
        await worker.batcher.run("then", lambda: 1, None, lambda timed: panic())
    assert (await worker.run(lambda: 1)).result == 1
    assert worker.batcher.worker.is_alive
    assert worker.depth == 0


async def test_a_thread_that_waits_gives_up_at_its_deadline(worker: Line) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    with pytest.raises(DeadlineExceeded):
        await asyncio.to_thread(worker.run_blocking, recording(done, 1), time.monotonic() + 0.05)
    blocker.released.set()
    await first
    assert await asyncio.to_thread(worker.run_blocking, recording(done, 2), time.monotonic() + 10.0) == 2
    assert done == [2]


async def test_times_are_those_of_waiting_and_of_working(worker: Line) -> None:
    blocker, first = await busy(worker)
    waiting = asyncio.create_task(worker.run(lambda: time.sleep(0.02)))
    await asyncio.sleep(0.05)
    blocker.released.set()
    timed = await waiting
    await first
    assert timed.queue_ms >= 45
    assert timed.compute_ms >= 19


async def test_late_work_is_refused_at_its_deadline_and_never_done(worker: Line) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await worker.run(recording(done, 1), deadline=start + 0.05)
    assert not blocker.released.is_set()
    blocker.released.set()
    await first
    await worker.run(lambda: None)
    assert done == []


async def test_a_deadline_that_has_passed_is_refused_when_idle_too(worker: Line) -> None:
    done: list[int] = []
    with pytest.raises(DeadlineExceeded):
        await worker.run(recording(done, 1), deadline=time.monotonic() - 1.0)
    assert done == []


async def test_work_that_has_begun_is_finished_past_its_deadline(worker: Line) -> None:
    done: list[int] = []

    def slow() -> None:
        time.sleep(0.1)
        done.append(1)

    await worker.run(slow, deadline=time.monotonic() + 0.05)
    assert done == [1]


async def test_a_cancelled_caller_leaves_the_line_and_harms_nobody(worker: Line) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    given_up = asyncio.create_task(worker.run(recording(done, 1)))
    patient = asyncio.create_task(worker.run(recording(done, 2)))
    await asyncio.sleep(0.01)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    blocker.released.set()
    await asyncio.gather(first, patient)
    assert done == [2]


async def test_a_full_line_is_refused_with_a_time_to_come_back(worker: Line) -> None:
    blocker, first = await busy(worker)
    waiting = [asyncio.create_task(worker.run(lambda: None)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert worker.depth == 4
    with pytest.raises(Overloaded) as refused:
        await worker.run(lambda: None)
    assert refused.value.retry_after_seconds
    blocker.released.set()
    await asyncio.gather(first, *waiting)
    assert (await worker.run(lambda: "free again")).result == "free again"
    assert worker.depth == 0


async def test_failing_work_tells_its_own_caller_alone(worker: Line) -> None:
    def failing() -> None:
        raise ArithmeticError("this task")

    outcomes: Any = await asyncio.gather(worker.run(failing), worker.run(lambda: 1), return_exceptions=True)
    failed, fine = outcomes
    assert isinstance(failed, ArithmeticError)
    assert not isinstance(fine, BaseException)
    assert fine.result == 1


async def test_a_closed_worker_takes_nothing_more() -> None:
    worker = Line(max_depth=1)
    worker.close()
    with pytest.raises(Draining):
        await worker.run(lambda: None)


async def test_what_waits_in_a_bucket_goes_together_and_each_gets_its_own(worker: Line) -> None:
    blocker, first = await busy(worker)
    others = [asyncio.create_task(worker.run(lambda number=number: number, bucket="b")) for number in range(3)]  # type: ignore[misc]
    await asyncio.sleep(0)
    blocker.released.set()
    assert [timed.result for timed in await asyncio.gather(*others)] == [0, 1, 2]
    await first
    assert worker.batches == [1, 3]
    assert worker.batcher.counters.batches == 2
    assert worker.batcher.counters.items == 4


async def test_batches_are_counted_by_size_and_time_and_items_by_their_wait(worker: Line) -> None:
    blocker, first = await busy(worker)
    others = [asyncio.create_task(worker.run(lambda: time.sleep(0.06), bucket="b")) for _ in range(3)]
    await asyncio.sleep(0.3)
    blocker.released.set()
    await asyncio.gather(first, *others)
    counters = worker.batcher.counters
    assert counters.sizes == [1, 0, 1, *[0] * (len(SIZES) - 2)]
    assert (sum(counters.durations), sum(counters.waits)) == (2, 4)
    assert sum(counters.waits[bisect_left(SECONDS, 0.25) + 1 :]) == 3
    assert 0.9 <= counters.wait_seconds < 30.0
    assert counters.seconds >= 0.3 + 3 * 0.06


async def test_where_the_time_went_is_noted_for_who_wants_to_know(worker: Line) -> None:
    async def asking() -> list[StageTime]:
        times = collect_stage_times()
        await worker.run(lambda: time.sleep(0.05), bucket="b")
        return times.stages

    unasked, (noted,) = await asyncio.gather(worker.run(lambda: None, bucket="b"), asyncio.create_task(asking()))
    assert (unasked.result, noted.stage, noted.num_together) == (None, "test", 2)
    assert noted.asked <= noted.began <= noted.ended - 0.05


async def test_no_bucket_waits_for_the_whole_line_of_another() -> None:
    done: list[str] = []
    line = Line(max_depth=100)
    batcher: Batcher[Callable[[], object], object] = Batcher("fair", line._run, max_depth=100, most=lambda bucket: 2)

    def noting(name: str) -> Callable[[], None]:
        return lambda: done.append(name)

    try:
        blocker = Blocker()
        first = asyncio.create_task(batcher.run("first", blocker))
        await asyncio.to_thread(blocker.begun.wait, 10)
        many = [asyncio.create_task(batcher.run("many", noting("many"))) for _ in range(6)]
        await asyncio.sleep(0)
        one = asyncio.create_task(batcher.run("one", noting("one")))
        await asyncio.sleep(0.01)
        blocker.released.set()
        await asyncio.gather(first, one, *many)
    finally:
        batcher.close()
        line.close()
    assert done.index("one") == 2


async def test_late_and_cancelled_items_are_left_out_of_a_batch_and_counted(worker: Line) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    late = asyncio.create_task(worker.run(recording(done, 1), time.monotonic() + 0.02, bucket="b"))
    gone = asyncio.create_task(worker.run(recording(done, 2), bucket="b"))
    patient = asyncio.create_task(worker.run(recording(done, 3), bucket="b"))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.sleep(0)
    blocker.released.set()
    assert (await patient).result == 3
    await first
    with pytest.raises(DeadlineExceeded):
        await late
    assert done == [3]
    counters = worker.batcher.counters
    assert (counters.items, counters.late, counters.gone) == (2, 1, 1)
    assert worker.depth == 0


async def test_callers_that_are_dropped_in_the_middle_of_batches_harm_nobody() -> None:
    line = Line(max_depth=10_000)

    def slowly(number: int) -> Callable[[], int]:
        def work() -> int:
            time.sleep(0.0002)
            return number

        return work

    try:
        for start in range(0, 2000, 100):
            tasks = [asyncio.create_task(line.run(slowly(n), bucket="b")) for n in range(start, start + 100)]
            await asyncio.sleep(0.003)
            for task in tasks[::2]:
                task.cancel()
            kept = await asyncio.gather(*tasks[1::2])
            assert [timed.result for timed in kept] == list(range(start + 1, start + 100, 2))
        after = await asyncio.gather(*(line.run(slowly(n), bucket="b") for n in range(100)))
        assert [timed.result for timed in after] == list(range(100))
        assert line.depth == 0
    finally:
        line.close()


async def test_an_error_of_the_whole_batch_reaches_everybody_in_it() -> None:
    def broken(bucket: Hashable, items: list[int]) -> list[int]:
        raise ArithmeticError("the device")

    batcher: Batcher[int, int] = Batcher("broken", broken, max_depth=10)
    try:
        outcomes = await asyncio.gather(*(batcher.run("b", n) for n in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ArithmeticError] * 3
        assert batcher.depth == 0
    finally:
        batcher.close()


async def test_closing_finishes_what_was_taken(worker: Line) -> None:
    blocker, first = await busy(worker)
    waiting = [asyncio.create_task(worker.run(lambda: "done", bucket="b")) for _ in range(3)]
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(asyncio.to_thread(worker.close))
    await asyncio.sleep(0.02)
    blocker.released.set()
    await closing
    assert [timed.result for timed in await asyncio.gather(*waiting)] == ["done"] * 3
    await first


async def test_closing_does_not_wait_for_a_caller_that_went_away(worker: Line) -> None:
    blocker, first = await busy(worker)
    waiting = asyncio.create_task(worker.run(lambda: "never", bucket="b"))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(asyncio.to_thread(worker.close))
    await asyncio.sleep(0.01)
    blocker.released.set()
    waiting.cancel()
    await asyncio.wait_for(closing, 10)
    await asyncio.gather(first, waiting, return_exceptions=True)


async def test_an_item_goes_on_by_itself_and_tells_how_long_it_waited_in_all(worker: Line) -> None:
    second = Line(max_depth=4)

    def onward(timed: Timed[object]) -> Onward:
        assert threading.current_thread().name == "batcher-test"
        return Onward(second.batcher, "second", lambda: timed.result, then=lambda last: (timed, last))

    blocker, busy_task = await busy(worker)
    waiting = asyncio.create_task(worker.batcher.run("first", lambda: "made", then=onward))
    await asyncio.sleep(0.03)
    blocker.released.set()
    first, last = await waiting
    await busy_task
    assert (first.result, last.result) == ("made", "made")
    assert last.queue_ms >= first.queue_ms >= 25
    assert second.batcher.counters.items == 1
    assert (worker.depth, second.depth) == (0, 0)
    second.close()


async def test_what_goes_on_without_a_deadline_is_done_past_that_of_its_beginning(worker: Line) -> None:
    done: list[int] = []
    second = Line(max_depth=4)
    blocker, busy_task = await busy(second)
    way = Onward(second.batcher, "second", recording(done, 1), then=lambda timed: timed.result)
    waiting = asyncio.create_task(
        worker.batcher.run("first", lambda: None, time.monotonic() + 0.05, then=lambda timed: way)
    )
    await asyncio.sleep(0.1)
    assert not waiting.done()
    blocker.released.set()
    assert await waiting == 1
    await busy_task
    second.close()


async def test_a_deadline_goes_along_to_the_next_line(worker: Line) -> None:
    done: list[int] = []
    second = Line(max_depth=4)
    blocker, busy_task = await busy(second)
    deadline = time.monotonic() + 0.05
    way = Onward(second.batcher, "second", recording(done, 1), deadline)
    with pytest.raises(DeadlineExceeded):
        await worker.batcher.run("first", lambda: None, deadline, then=lambda timed: way)
    assert not blocker.released.is_set()
    blocker.released.set()
    await busy_task
    assert (done, second.batcher.counters.late, second.depth) == ([], 1, 0)
    second.close()


async def test_an_item_whose_caller_is_gone_goes_no_further(worker: Line) -> None:
    done: list[int] = []
    second = Line(max_depth=4)
    blocker = Blocker()
    way = Onward(second.batcher, "second", recording(done, 1))
    caller = asyncio.create_task(worker.batcher.run("first", blocker, then=lambda timed: way))
    await asyncio.to_thread(blocker.begun.wait, 10)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    blocker.released.set()
    await worker.run(lambda: None)
    await second.run(lambda: None)
    assert (done, second.batcher.counters.gone, second.depth) == ([], 1, 0)
    second.close()


async def test_what_goes_wrong_on_the_way_is_its_own_callers_alone(worker: Line) -> None:
    def wrong(timed: Timed[object]) -> object:
        raise ValueError("no way on")

    blocker, busy_task = await busy(worker)
    failing = asyncio.create_task(worker.batcher.run("same", lambda: 1, then=wrong))
    fine = asyncio.create_task(worker.batcher.run("same", lambda: 2, then=lambda timed: timed.result))
    await asyncio.sleep(0.01)
    blocker.released.set()
    assert await fine == 2
    with pytest.raises(ValueError, match="no way on"):
        await failing
    await busy_task


async def test_batchers_of_one_thread_take_turns_and_close_one_by_one() -> None:
    done: list[int] = []
    shared = Worker("shared")
    lines = [Line(max_depth=4, worker=shared) for _ in range(2)]
    assert await lines[0].run(recording(done, 1)) is not None
    assert await lines[1].run(recording(done, 2)) is not None
    lines[0].close()
    with pytest.raises(Draining):
        await lines[0].run(recording(done, 3))
    await lines[1].run(recording(done, 4))
    lines[1].close()
    shared.close()
    assert done == [1, 2, 4]


def test_the_thread_itself_does_what_it_would_have_to_wait_for(worker: Line) -> None:
    assert worker.run_blocking(lambda: worker.run_blocking(lambda: "inner")) == "inner"


def test_batches_of_long_work_are_short_while_several_tenants_ask() -> None:
    load = Load()
    worker = Worker("shared", load=load)
    batcher: Batcher[int, int] = Batcher(
        "shared",
        lambda bucket, items: items,
        max_depth=10,
        most=lambda bucket: 64,
        seconds={"long": 0.01, "short": 0.0001, "endless": 5.0}.get,  # type: ignore[arg-type]
        worker=worker,
    )
    buckets = ("long", "short", "endless", "unknown")
    with load.work("a", "adapt"):
        assert [batcher.most(bucket) for bucket in buckets] == [64] * 4
    with load.work("b", "adapt"):
        assert [batcher.most(bucket) for bucket in buckets] == [2, 64, 1, 64]
    batcher.close()
    worker.close()
