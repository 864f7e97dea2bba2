"""Whose turn it is: tenants share a worker's time, whatever each has sent; neighbours in a bucket go together."""

import random
from collections import deque
from collections.abc import Hashable
from typing import Any, cast

import pytest

from app.engine.batcher import Batcher
from app.engine.lines import Lines
from app.engine.load import Load
from app.engine.ticket import Onward, Ticket


class Machine:
    """Stands in for a batcher: notes what it is given, and takes as long as it is told."""

    def __init__(self, most: int = 4) -> None:
        self.num_most = most
        self.costs: dict[Hashable, float] = {}
        self.batches: list[tuple[Hashable, list[str]]] = []

    def most(self, bucket: Hashable) -> int:
        return self.num_most

    def run_one(self, bucket: Hashable, line: deque[Ticket], most: int) -> float:
        batch = [line.popleft() for _ in range(min(most, len(line)))]
        self.batches.append((bucket, [ticket.way.item for ticket in batch]))
        return self.costs.get(bucket, 1.0) * len(batch)

    @property
    def items(self) -> list[str]:
        return [item for _, batch in self.batches for item in batch]


class Shop:
    """Lines, and tenants that send to them."""

    def __init__(self, most: int = 4) -> None:
        self.lines, self.machine, self.load = Lines(), Machine(most), Load()

    def send(self, tenant: str, num: int, bucket: Hashable = "bucket") -> None:
        for _ in range(num):
            way = Onward(cast("Batcher[Any, Any]", self.machine), bucket, tenant)
            with self.load.work(tenant, tenant):
                self.lines.put(Ticket(way, None, None))

    def run(self, batches: int | None = None) -> list[str]:
        """Run some batches, or all; return whose items they were."""
        before = len(self.machine.items)
        while self.lines and (batches is None or batches > 0):
            self.lines.run_next()
            batches = None if batches is None else batches - 1
        return self.machine.items[before:]


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("same_bucket", [True, False])
def test_a_tenant_with_little_does_not_wait_for_one_with_much(most: int, same_bucket: bool) -> None:
    shop = Shop(most)
    shop.send("flood", 400, "flood")
    shop.run(2)
    shop.send("other", 3, "flood" if same_bucket else "other")
    served = shop.run()
    assert max(i for i, tenant in enumerate(served) if tenant == "other") < 4 * most + 4
    assert sorted(shop.machine.items) == sorted(["flood"] * 400 + ["other"] * 3)


def test_what_may_go_together_is_asked_once_for_a_batch_of_several_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    answers = iter([8, *[1] * 100])  # one more tenant came in between, and batches are to be shorter
    monkeypatch.setattr(shop.machine, "most", lambda bucket: next(answers))
    shop.send("a", 6)
    shop.send("b", 6)
    assert sorted(shop.run()) == ["a"] * 6 + ["b"] * 6


def test_tenants_of_a_bucket_go_together_one_of_each_in_turn() -> None:
    shop = Shop(4)
    shop.send("a", 5)
    shop.send("b", 1)
    shop.send("c", 5)
    shop.run()
    first, second, third = (batch for _, batch in shop.machine.batches)
    assert first == ["a", "b", "c", "a"]
    assert sorted(second) == ["a", "a", "c", "c"]
    assert sorted(third) == ["a", "c", "c"]


def test_what_is_shared_is_time_and_not_items() -> None:
    shop = Shop(1)
    shop.machine.costs = {"dear": 5.0, "cheap": 1.0}
    shop.send("a", 100, "dear")
    shop.send("b", 100, "cheap")
    served = shop.run(60)
    assert served.count("b") == pytest.approx(5 * served.count("a"), abs=6)


def test_a_tenant_that_was_away_is_not_paid_for_it() -> None:
    shop = Shop(1)
    shop.send("a", 1)
    shop.send("b", 1)
    shop.run()
    shop.send("a", 100, "a")
    shop.run(50)
    shop.send("b", 100, "b")
    served = shop.run(40)
    assert served.count("a") == pytest.approx(20, abs=1)


def test_a_tenant_cannot_get_more_by_coming_and_going() -> None:
    shop = Shop(1)
    shop.send("steady", 200, "steady")
    served = []
    for _ in range(100):
        shop.send("jumpy", 1, "jumpy")  # its line is empty most of the time
        served += shop.run(1)
    assert served.count("jumpy") <= 51


def test_with_one_tenant_lines_take_turns_and_keep_their_order() -> None:
    shop = Shop(2)
    shop.send("a", 3, "first")
    shop.send("a", 3, "second")
    shop.run()
    assert [(bucket, len(batch)) for bucket, batch in shop.machine.batches] == [
        ("first", 2),
        ("second", 2),
        ("first", 1),
        ("second", 1),
    ]


def test_whatever_is_sent_is_served_once() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        shop, sent = Shop(chance.choice([1, 2, 7])), 0
        for _ in range(60):
            if chance.random() < 0.6:
                num = chance.randrange(1, 6)
                shop.send(chance.choice("abcd"), num, chance.choice("xyz"))
                sent += num
            else:
                shop.run(1)
        shop.run()
        assert len(shop.machine.items) == sent
        assert not shop.lines
