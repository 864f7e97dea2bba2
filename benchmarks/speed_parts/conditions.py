"""Under which conditions all is measured: every side in turn, several rounds, and medians of them."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.load import Load, Request, closed_loop
from benchmarks.service import Server, wait_until_compiled

HEATING_CALLERS, HEATING_SECONDS = 16, 4.0
CALLERS = (1, 2, 4, 8, 16, 32, 64)


class Plan(NamedTuple):
    """How long, how often and with how much is measured."""

    rounds: int = 3
    seconds: float = 2.0
    warm_up_seconds: float = 0.5
    callers: tuple[int, ...] = CALLERS
    num_tasks: int = 10_000
    num_cached: int = 1_000


QUICK = Plan(rounds=1, seconds=0.3, warm_up_seconds=0.1, callers=(1, 4), num_tasks=200, num_cached=20)
"""Shows that all of it works; its figures mean nothing."""


class Side(NamedTuple):
    """One of those that are compared: who is asked, and what."""

    server: Server
    requests: Callable[[], Iterator[Request]]


class Round(NamedTuple):
    """What one side did in one round."""

    load: Load
    server_cpu_us: float
    """Time that the server's threads computed, for a request; NaN where the system does not tell."""


@dataclass(frozen=True)
class Rounds:
    """What one side did in all rounds."""

    rounds: tuple[Round, ...]

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.median(lambda one: one.load.per_second)

    @property
    def p50_ms(self) -> float:
        """What the median answer took."""
        return self.median(lambda one: one.load.p50_ms)

    @property
    def p99_ms(self) -> float:
        """What the slowest hundredth took at least."""
        return self.median(lambda one: one.load.p99_ms)

    @property
    def tail(self) -> float:
        """p99 over p50."""
        return self.median(lambda one: one.load.tail)

    @property
    def server_cpu_us(self) -> float:
        """Time that the server's threads computed, for a request."""
        return self.median(lambda one: one.server_cpu_us)

    @property
    def answers(self) -> list[bytes]:
        """Some of the answers."""
        return [answer for one in self.rounds for answer in one.load.answers]

    def median(self, of: Callable[[Round], float]) -> float:
        """Return the median over rounds."""
        return statistics.median(of(one) for one in self.rounds)

    def over(self, other: "Rounds", of: Callable[[Load], float] = lambda load: load.per_second) -> float:
        """Return the median of the ratios to another side in the same round, which stood the same noise."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(of(mine.load) / of(theirs.load) for mine, theirs in pairs)

    def numbers(self) -> dict[str, float]:
        """Return what is kept of it."""
        rates = [one.load.per_second for one in self.rounds]
        found = {
            "per_second": self.per_second,
            "lowest": min(rates),
            "highest": max(rates),
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "server_cpu_us": self.server_cpu_us,
        }
        return {name: rounded(value) for name, value in found.items() if value == value}


def in_rounds(sides: Mapping[str, Side], num_callers: int, plan: Plan) -> dict[str, Rounds]:
    """Give each side its turn in each round; RuntimeError where an answer is an error."""
    found: dict[str, list[Round]] = {name: [] for name in sides}
    for _ in range(plan.rounds):
        for name, side in sides.items():
            found[name].append(_one_round(name, side, num_callers, plan))
    return {name: Rounds(tuple(rounds)) for name, rounds in found.items()}


def _one_round(name: str, side: Side, num_callers: int, plan: Plan) -> Round:
    before = side.server.cpu_seconds()
    load = closed_loop(side.server.port, side.requests(), num_callers, plan.seconds, plan.warm_up_seconds)
    if load.num_errors:
        raise RuntimeError(f"{name}: {load.num_errors} errors, such as {load.first_error[:500]!r}")
    return Round(load, (side.server.cpu_seconds() - before) / load.num_in_all * 1e6)


def first_answers(sides: Sequence[Side]) -> None:
    """Ask each server once, with no time limit: some load half of themselves for their first answer."""
    for side in sides:
        first = closed_loop(side.server.port, iter([next(side.requests())]), 1)
        if first.num_errors:
            raise RuntimeError(f"{side.server.name} answers {first.first_error[:500]!r}")


def compiled(sides: Sequence[Side]) -> None:
    """Ask each side so often that what it asks for gets compiled, and wait until that is done."""
    for side in sides:
        closed_loop(side.server.port, side.requests(), HEATING_CALLERS, seconds=HEATING_SECONDS)
    wait_until_compiled()


def rounded(value: float) -> float:
    """Return a number to four digits, which is more than is known of it."""
    return float(f"{value:.4g}")
