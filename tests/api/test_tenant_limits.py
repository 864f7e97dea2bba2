"""How often, how many at a time, and how much: on clocks of their own."""

import threading
from contextlib import suppress

import pytest

from app.api.storage_limits import COUNT_EVERY_SECONDS, StorageLimits
from app.api.tenant_limits import Rates, TenantLimits
from app.store import Usage
from innerloop.errors import RateLimited, StorageUsedUp, TooManyAtOnce


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def _text(limits: TenantLimits, tenant: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in limits.headers(tenant)}


def test_a_burst_is_taken_and_then_so_many_a_second() -> None:
    clock = Clock()
    limits = TenantLimits(Rates(10.0, 5, 0), clock)
    for _ in range(5):
        limits.enter("a").leave()
    with pytest.raises(RateLimited, match="10 requests a second, 5 at once") as caught:
        limits.enter("a")
    assert caught.value.retry_after_seconds == 1
    clock.now += 0.1
    limits.enter("a").leave()
    with pytest.raises(RateLimited):
        limits.enter("a")
    clock.now += 1000
    for _ in range(5):
        limits.enter("a").leave()
    with pytest.raises(RateLimited):
        limits.enter("a")


def test_whoever_asks_too_slowly_for_a_second_is_told_how_long_to_wait() -> None:
    limits = TenantLimits(Rates(0.1, 1, 0), Clock())
    limits.enter("a").leave()
    with pytest.raises(RateLimited) as caught:
        limits.enter("a")
    assert caught.value.retry_after_seconds == pytest.approx(10)


def test_so_many_at_once_until_one_is_answered() -> None:
    limits = TenantLimits(Rates(0.0, 1, 2), Clock())
    first, _ = limits.enter("a"), limits.enter("a")
    with pytest.raises(TooManyAtOnce, match="at most 2 may"):
        limits.enter("a")
    first.leave()
    limits.enter("a")


def test_tenants_have_limits_each_of_its_own() -> None:
    limits = TenantLimits(Rates(1.0, 1, 1), Clock())
    limits.enter("a")
    limits.enter("b")
    with pytest.raises(TooManyAtOnce):
        limits.enter("a")


def test_a_request_that_is_refused_takes_nothing() -> None:
    clock = Clock()
    limits = TenantLimits(Rates(1.0, 1, 1), clock)
    slot = limits.enter("a")
    for _ in range(10):
        with pytest.raises(TooManyAtOnce):
            limits.enter("a")
    slot.leave()
    clock.now += 1
    limits.enter("a")


def test_headers_tell_the_limits_and_what_is_left() -> None:
    limits = TenantLimits(Rates(10.0, 50, 4), Clock())
    limits.enter("a")
    limits.enter("a")
    assert _text(limits, "a") == {
        "ratelimit-policy": '"rate";q=50;w=5, "at-once";q=4;qu="concurrent-requests"',
        "ratelimit": '"rate";r=48;t=1, "at-once";r=2',
    }


def test_without_limits_nothing_is_refused_and_nothing_told() -> None:
    limits = TenantLimits(Rates(0.0, 1, 0), Clock())
    assert all(limits.enter("a") for _ in range(1000))
    assert limits.headers("a") == []


class Shelf:
    """Storage limits over a store whose content is set by hand."""

    def __init__(self, max_tasks: int, max_bytes: int) -> None:
        self.clock, self.stored, self.num_counts = Clock(), Usage(0, 0), 0
        self.limits = StorageLimits(max_tasks, max_bytes, self._count, self.clock)

    def _count(self, tenant: str) -> Usage:
        self.num_counts += 1
        return self.stored if tenant == "a" else Usage(0, 0)

    def put(self, num_tasks: int = 0, num_bytes: int = 0) -> None:
        room = self.limits.take("a", num_tasks=num_tasks, num_bytes=num_bytes)
        del room
        self.stored = Usage(self.stored.num_tasks + num_tasks, self.stored.num_bytes + num_bytes)


def test_the_last_that_has_room_is_taken_and_the_next_refused() -> None:
    shelf = Shelf(max_tasks=3, max_bytes=0)
    for _ in range(3):
        shelf.put(num_tasks=1)
    with pytest.raises(StorageUsedUp, match="you have 3 tasks; at most 3") as caught:
        shelf.put(num_tasks=1)
    assert caught.value.retry_after_seconds
    shelf.put(num_bytes=10**12)  # a new revision of a task that is there


def test_bytes_are_counted_to_the_last_one() -> None:
    shelf = Shelf(max_tasks=0, max_bytes=100)
    shelf.put(num_bytes=60)
    with pytest.raises(StorageUsedUp, match="60 bytes, and 41 more"):
        shelf.put(num_bytes=41)
    shelf.put(num_bytes=40)
    with pytest.raises(StorageUsedUp):
        shelf.put(num_bytes=0)


def test_what_was_deleted_leaves_room_at_once() -> None:
    shelf = Shelf(max_tasks=2, max_bytes=0)
    shelf.put(num_tasks=2)
    shelf.stored = Usage(1, 0)
    shelf.put(num_tasks=1)


def test_the_store_is_asked_seldom_while_there_is_room() -> None:
    shelf = Shelf(max_tasks=10_000, max_bytes=0)
    for _ in range(1000):
        shelf.put(num_tasks=1)
    assert shelf.num_counts == 1
    shelf.clock.now += COUNT_EVERY_SECONDS
    shelf.put(num_tasks=1)
    assert shelf.num_counts == 2


def test_what_other_replicas_store_counts_after_a_while() -> None:
    shelf = Shelf(max_tasks=10, max_bytes=0)
    shelf.put(num_tasks=1)
    shelf.stored = Usage(10, 0)
    shelf.clock.now += COUNT_EVERY_SECONDS
    with pytest.raises(StorageUsedUp):
        shelf.put(num_tasks=1)


def test_bytes_that_were_not_known_before_count_too() -> None:
    shelf = Shelf(max_tasks=0, max_bytes=100)
    room = shelf.limits.take("a", num_bytes=50)
    assert room is not None
    room.note(40)
    with pytest.raises(StorageUsedUp, match="90 bytes"):
        shelf.put(num_bytes=11)
    shelf.put(num_bytes=10)


def test_room_that_was_given_back_and_not_used_is_there_again() -> None:
    shelf = Shelf(max_tasks=1, max_bytes=0)
    room = shelf.limits.take("a", num_tasks=1)
    with pytest.raises(StorageUsedUp):
        shelf.put(num_tasks=1)
    del room  # its request failed: nothing was stored
    shelf.put(num_tasks=1)


def test_a_tenant_at_its_limit_does_not_keep_the_store_busy() -> None:
    shelf = Shelf(max_tasks=1, max_bytes=0)
    shelf.put(num_tasks=1)

    def slow(tenant: str) -> Usage:
        shelf.num_counts += 1
        shelf.clock.now += 0.1
        return shelf.stored

    limits = StorageLimits(1, 0, slow, shelf.clock)
    for _ in range(100):
        with pytest.raises(StorageUsedUp):
            limits.take("a", num_tasks=1)
        shelf.clock.now += 0.01
    assert shelf.num_counts < 10


def test_threads_together_get_no_more_than_there_is() -> None:
    shelf = Shelf(max_tasks=100, max_bytes=0)
    rooms: list[object] = []

    def ask() -> None:
        for _ in range(30):
            with suppress(StorageUsedUp):
                rooms.append(shelf.limits.take("a", num_tasks=1))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rooms) == 100
