"""What is let in: bursts, a short queue in a rush, shares of tenants, estimates that learn."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack
from contextvars import copy_context

import pytest

from app.engine.load import CALM_SECONDS, Load, LoadLimits, Work, current_work
from innerloop.errors import InnerloopError, Overloaded, ShareUsedUp

COST = 0.01
LIMITS = LoadLimits(burst_seconds=2.0, rush_seconds=0.1, burst_requests=6, rush_requests=3)


class Desk:
    """A load on a clock of its own, with a worker that does one request after the other."""

    def __init__(self) -> None:
        self.now = 100.0
        self.load = Load(LIMITS, lambda: self.now)
        self.let_in: list[tuple[Work, Callable[[], None]]] = []
        for tenant in ("a", "b", "a", "b"):  # of a kind's first one nothing is learned
            self.enter(tenant)
            self.do_next()

    def enter(self, tenant: str = "a", kind: Hashable = "adapt") -> Work:
        """Let a request in, in a context of its own as a server's requests are."""
        context, stack = copy_context(), ExitStack()
        work = context.run(stack.enter_context, self.load.work(tenant, kind))
        self.let_in.append((work, lambda: context.run(stack.close)))
        return work

    def is_let_in(self, tenant: str = "a") -> bool:
        try:
            self.enter(tenant)
        except InnerloopError:
            return False
        return True

    def do_next(self, seconds: float = COST) -> str:
        """Do what was let in first; return whose it was."""
        work, leave = self.let_in.pop(0)
        self.load.begin([work])
        self.now += seconds
        self.load.end([work], seconds)
        leave()
        return work.tenant

    def offer(self, requests_a_second: float, seconds: float, tenants: tuple[str, ...] = ("a",)) -> dict[str, int]:
        """Let requests come evenly for a time; return how many of each tenant were let in."""
        counts = dict.fromkeys(tenants, 0)
        until, due = self.now + seconds, self.now
        while self.now < until:
            while due <= self.now:
                for tenant in tenants:
                    counts[tenant] += self.is_let_in(tenant)
                due += 1 / requests_a_second
            if self.let_in:
                self.do_next()
            else:
                self.now = due
        return counts


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.now += 2 * CALM_SECONDS  # whoever came before is forgotten
    yield desk
    while desk.let_in:
        desk.do_next()


def test_a_request_costs_what_others_of_its_kind_did(desk: Desk) -> None:
    assert desk.enter().left == pytest.approx(COST)
    assert desk.load.backlog_seconds == pytest.approx(COST)


def test_a_kind_that_was_never_seen_costs_nothing_until_it_was(desk: Desk) -> None:
    assert desk.enter(kind="predict").left == 0


def test_what_is_done_is_no_backlog_while_it_is_being_done(desk: Desk) -> None:
    work = desk.enter()
    desk.load.begin([work])
    desk.now += COST / 4
    assert desk.load.backlog_seconds == pytest.approx(COST * 3 / 4)
    desk.now += 10 * COST  # longer than was expected
    assert desk.load.backlog_seconds == 0


def test_a_batch_costs_each_its_part(desk: Desk) -> None:
    works = [desk.enter(kind="new") for _ in range(4)]
    desk.load.begin(works)
    desk.load.end(works, 0.2)
    assert [work.spent for work in works] == pytest.approx([0.05] * 4)


def test_what_is_known_better_later_takes_the_place_of_the_estimate(desk: Desk) -> None:
    work = desk.enter()
    desk.load.expect(work, 0.5)
    assert desk.load.backlog_seconds == pytest.approx(0.5)


def test_the_first_of_a_kind_which_loads_and_warms_up_is_no_measure(desk: Desk) -> None:
    desk.enter(kind="cold")
    desk.do_next(60.0)
    assert desk.enter(kind="cold").left == 0
    desk.do_next()
    assert desk.enter(kind="cold").left == pytest.approx(COST)


def test_the_first_of_a_tenant_are_expected_to_cost_what_those_of_others_did(desk: Desk) -> None:
    for tenant in ("a", "b", "a"):
        desk.enter(tenant, "known")
        desk.do_next()
    assert desk.enter("c", "known").left == pytest.approx(COST)
    desk.do_next(5 * COST)
    desk.enter("c", "known")
    desk.do_next(5 * COST)
    assert desk.enter("c", "known").left == pytest.approx(5 * COST)  # once it is known, what its own do
    assert desk.enter("a", "known").left == pytest.approx(COST)


def test_a_burst_of_a_new_tenant_is_held_to_what_may_wait(desk: Desk) -> None:
    assert sum(desk.is_let_in("newcomer") for _ in range(1000)) <= max(32, LIMITS.burst_seconds / COST + 1)


def test_time_in_a_thread_of_its_own_is_a_cost_too(desk: Desk) -> None:
    for _ in range(3):
        work = desk.enter("a", "pictures")
        desk.load.spend(work, 0.4)
        desk.do_next(0.1)
    assert desk.enter("a", "pictures").left == pytest.approx(0.5)


def test_calls_of_one_request_are_let_in_with_it(desk: Desk) -> None:
    desk.offer(300, 10)
    while desk.let_in:
        desk.do_next()
    desk.now += 10
    with desk.load.work("a", "many", is_of_many=True) as whole:
        for _ in range(1000):
            with desk.load.work("a", "adapt") as work:
                assert work is whole
                desk.load.expect(work, 100.0)  # what one of them costs says nothing of the rest
        assert desk.load.backlog_seconds == 0


def test_whoever_goes_away_while_its_work_is_done_leaves_nothing_behind(desk: Desk) -> None:
    work = desk.enter()
    desk.load.begin([work])
    desk.let_in.pop()[1]()
    desk.load.expect(work, 5.0)
    desk.now += 10
    desk.enter("b")  # the other tenant is forgotten meanwhile
    desk.do_next()
    desk.load.end([work], 0.1)
    assert desk.load.backlog_seconds == 0


def test_estimates_follow_what_requests_cost(desk: Desk) -> None:
    for _ in range(100):
        desk.enter()
        desk.do_next(0.04)
    assert desk.enter().left == pytest.approx(0.04, rel=0.01)


def test_what_leaves_leaves_nothing(desk: Desk) -> None:
    for _ in range(5):
        desk.enter()
    while desk.let_in:
        desk.let_in.pop()[1]()
    assert desk.load.backlog_seconds == 0


def test_the_work_of_a_request_is_known_while_it_is_worked_on() -> None:
    assert current_work() is None
    with Load().work("a", "adapt") as work:
        assert current_work() is work
    assert current_work() is None


def test_a_burst_is_let_in_whole(desk: Desk) -> None:
    assert sum(desk.is_let_in() for _ in range(200)) == 200  # 2 s of work


def test_beyond_a_burst_nothing_is_let_in(desk: Desk) -> None:
    let_in = sum(desk.is_let_in() for _ in range(300))
    assert 200 <= let_in <= 202
    with pytest.raises(Overloaded, match="of work wait") as caught:
        desk.enter()
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 1


def test_in_a_rush_the_queue_is_held_short_and_the_worker_busy(desk: Desk) -> None:
    desk.offer(300, 10)  # three times what can be done: the queue fills up, and is then worked off
    done = 0
    for _ in range(20):
        desk.offer(300, 0.5)
        assert desk.load.backlog_seconds <= LIMITS.rush_seconds + COST
        done += len(desk.let_in) > 0
    assert done == 20  # there was always something to do


def test_after_the_rush_a_burst_is_let_in_again(desk: Desk) -> None:
    desk.offer(300, 10)
    while desk.let_in:
        desk.do_next()
    desk.now += 1.1 * CALM_SECONDS
    assert sum(desk.is_let_in() for _ in range(150)) == 150


def test_a_few_callers_with_much_to_do_are_no_flood(desk: Desk) -> None:
    for _ in range(40):
        desk.enter(kind="dear")
        desk.do_next(5.0)
    let_in = 0
    while let_in < 100 and desk.is_let_in():
        desk.load.expect(desk.let_in[-1][0], 5.0)
        let_in += 1
    assert let_in == LIMITS.burst_requests


def test_less_than_can_be_done_is_all_let_in(desk: Desk) -> None:
    assert desk.offer(80, 20)["a"] == pytest.approx(1600, abs=2)


def test_whoever_floods_takes_nothing_from_a_tenant_with_less_than_its_share(desk: Desk) -> None:
    desk.offer(500, 5)
    refused = sum(not desk.is_let_in("b") for _ in range(3))
    assert refused == 0
    while desk.is_let_in("a"):
        pass
    with pytest.raises(ShareUsedUp, match="a share of 2"):
        desk.enter("a")


def test_two_that_flood_get_the_same(desk: Desk) -> None:
    desk.offer(300, 5, ("a", "b"))
    counts = desk.offer(300, 10, ("a", "b"))
    assert counts["a"] == pytest.approx(counts["b"], rel=0.1)
    assert counts["a"] + counts["b"] == pytest.approx(1000, rel=0.05)


def test_a_tenant_that_went_away_leaves_its_share_to_the_others(desk: Desk) -> None:
    desk.offer(300, 3, ("a", "b"))
    counts = desk.offer(300, 10, ("b",))
    assert counts["b"] == pytest.approx(1000, rel=0.05)


def test_threads_leave_no_rest_behind() -> None:
    load = Load(LoadLimits(1e9, 1e9))

    def ask(tenant: str) -> None:
        for _ in range(500):
            with load.work(tenant, tenant) as work:
                load.expect(work, 0.5)
                load.begin([work])
                load.end([work], 0.1)

    threads = [threading.Thread(target=ask, args=(f"tenant-{i % 3}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load.backlog_seconds == 0
