"""The worker: one piece of work at a time, in order; late, cancelled and surplus work is not done."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.engine.worker import DeviceWorker
from innerloop.errors import DeadlineExceeded, Draining, Overloaded


class Blocker:
    """Work that keeps the worker busy until it is released."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(10)
        return "released"


@pytest.fixture
def worker() -> Iterator[DeviceWorker]:
    made = DeviceWorker("test", max_depth=4)
    yield made
    made.close()


def recording(done: list[int], number: int) -> Callable[[], int]:
    def work() -> int:
        done.append(number)
        return number

    return work


async def busy(worker: DeviceWorker) -> tuple[Blocker, "asyncio.Task[object]"]:
    blocker = Blocker()
    task: asyncio.Task[object] = asyncio.create_task(worker.run(blocker))
    await asyncio.to_thread(blocker.begun.wait, 10)
    return blocker, task


async def test_work_is_done_in_the_order_of_asking(worker: DeviceWorker) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    others = [asyncio.create_task(worker.run(recording(done, number))) for number in range(3)]
    await asyncio.sleep(0)
    blocker.released.set()
    results = await asyncio.gather(*others)
    await first
    assert done == [0, 1, 2]
    assert [timed.result for timed in results] == [0, 1, 2]


async def test_a_thread_that_waits_gives_up_at_its_deadline(worker: DeviceWorker) -> None:
    done: list[int] = []
    blocker, first = await busy(worker)
    with pytest.raises(DeadlineExceeded):
        await asyncio.to_thread(worker.run_blocking, recording(done, 1), time.monotonic() + 0.05)
    blocker.released.set()
    await first
    assert await asyncio.to_thread(worker.run_blocking, recording(done, 2), time.monotonic() + 10.0) == 2
    assert done == [2]


async def test_times_are_those_of_waiting_and_of_working(worker: DeviceWorker) -> None:
    blocker, first = await busy(worker)
    waiting = asyncio.create_task(worker.run(lambda: time.sleep(0.02)))
    await asyncio.sleep(0.05)
    blocker.released.set()
    timed = await waiting
    await first
    assert timed.queue_ms >= 45
    assert timed.compute_ms >= 19


async def test_late_work_is_refused_at_its_deadline_and_never_done(worker: DeviceWorker) -> None:
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


async def test_a_deadline_that_has_passed_is_refused_when_idle_too(worker: DeviceWorker) -> None:
    done: list[int] = []
    with pytest.raises(DeadlineExceeded):
        await worker.run(recording(done, 1), deadline=time.monotonic() - 1.0)
    assert done == []


async def test_work_that_has_begun_is_finished_past_its_deadline(worker: DeviceWorker) -> None:
    done: list[int] = []

    def slow() -> None:
        time.sleep(0.1)
        done.append(1)

    await worker.run(slow, deadline=time.monotonic() + 0.05)
    assert done == [1]


async def test_a_cancelled_caller_leaves_the_line_and_harms_nobody(worker: DeviceWorker) -> None:
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


async def test_a_full_line_is_refused_with_a_time_to_come_back(worker: DeviceWorker) -> None:
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


async def test_failing_work_tells_its_own_caller_alone(worker: DeviceWorker) -> None:
    def failing() -> None:
        raise ArithmeticError("this task")

    failed, fine = await asyncio.gather(worker.run(failing), worker.run(lambda: 1), return_exceptions=True)
    assert isinstance(failed, ArithmeticError)
    assert not isinstance(fine, BaseException)
    assert fine.result == 1


async def test_a_closed_worker_takes_nothing_more() -> None:
    worker = DeviceWorker("closing", max_depth=1)
    worker.close()
    with pytest.raises(Draining):
        await worker.run(lambda: None)
