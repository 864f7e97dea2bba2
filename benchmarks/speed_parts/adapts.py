"""Adapts a second at 1 to 64 callers: ours with and without the estimate, the naive app, the empty endpoint."""

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.load import in_turn
from benchmarks.results import Figure
from benchmarks.service import peer, service
from benchmarks.speed_parts.bodies import adapt_requests
from benchmarks.speed_parts.conditions import Plan, Rounds, Side, compiled, first_answers, in_rounds
from benchmarks.speed_parts.targets import TARGETS

EMPTY, NAIVE, NAIVE_ASYNC, OURS, DEFAULT = "empty", "naive-def", "naive-async", "innerloop", "innerloop, estimate"
EQUAL_WORK: dict[str, Any] = {"estimate": False}
"""The naive app makes no estimate."""

ByCallers = dict[int, dict[str, Rounds]]


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Measure all sides at each number of callers."""
    with ExitStack() as running:
        sides = _sides(running)
        first_answers(list(sides.values()))
        compiled([sides[OURS], sides[DEFAULT]])
        found = {callers: in_rounds(sides, callers, _shorter(plan, callers)) for callers in plan.callers}
    numbers = {
        str(callers): {name: one.numbers() for name, one in by_side.items()} for callers, by_side in found.items()
    }
    return figures(found, command), {"by_callers": numbers}


def _shorter(plan: Plan, callers: int) -> Plan:
    """Return half the time for what is a point of the curve and no figure of its own."""
    return plan if callers == max(plan.callers) else plan._replace(seconds=plan.seconds / 2)


def _sides(running: ExitStack) -> dict[str, Side]:
    equal, default = adapt_requests(**EQUAL_WORK), adapt_requests()
    peers = {name: running.enter_context(peer(name)) for name in (EMPTY, NAIVE, NAIVE_ASYNC)}
    ours = running.enter_context(service())
    return {
        **{name: Side(server, lambda: in_turn(equal)) for name, server in peers.items()},
        OURS: Side(ours, lambda: in_turn(equal)),
        DEFAULT: Side(ours, lambda: in_turn(default)),
    }


def figures(found: ByCallers, command: str) -> list[Figure]:
    """Return the figures at the most callers, and that of the curve."""
    most = found[max(found)]
    ours, empty = most[OURS], most[EMPTY]
    naive_name, naive = faster_naive(most)
    rate = f"{ours.per_second:.0f} against {{:.0f}}, {{}}"
    least, where = least_growth([(callers, by_side[OURS].per_second) for callers, by_side in found.items()])
    return [
        TARGETS["adapts-naive"].figure(ours.over(naive), rate.format(naive.per_second, naive_name), command),
        TARGETS["adapts-empty"].figure(ours.over(empty), rate.format(empty.per_second, EMPTY), command),
        TARGETS["adapts-tail"].figure(ours.tail, f"{ours.p99_ms:.1f} ms over {ours.p50_ms:.1f} ms", command),
        TARGETS["adapts-curve"].figure(least, where, command),
    ]


def faster_naive(by_side: dict[str, Rounds]) -> tuple[str, Rounds]:
    """Return the naive app that answers more."""
    name = max((NAIVE, NAIVE_ASYNC), key=lambda name: by_side[name].per_second)
    return name, by_side[name]


def least_growth(curve: Sequence[tuple[int, float]]) -> tuple[float, str]:
    """Return the least of each rate over the highest before it, and at how many callers that is."""
    highest = list(itertools.accumulate((rate for _, rate in curve), max))
    steps = [(rate / before, callers) for (callers, rate), before in zip(curve[1:], highest[:-1], strict=True)]
    least, callers = min(steps)
    return least, f"at {callers} callers; {', '.join(f'{count}: {rate:.0f}' for count, rate in curve)}"
