"""Predicts a second over many stored tasks of which few are cached, and what a miss costs one caller."""

from contextlib import ExitStack
from typing import Any

from benchmarks.load import Load, closed_loop, in_turn
from benchmarks.results import Figure
from benchmarks.service import Server, peer, service
from benchmarks.speed_parts.bodies import predict_requests, skewed, task_requests, uniform
from benchmarks.speed_parts.conditions import Plan, Rounds, Side, compiled, first_answers, in_rounds
from benchmarks.speed_parts.targets import TARGETS

MANY_CALLERS, MAKING_CALLERS = 64, 16
TASK_BYTES = 4 * (40 + 40 + 40 * 40 + 40 + 40 + 1)
"""The tensors of a task of the sinusoid model."""
ENTRY_BYTES = 1024
"""What the cache counts for a task beside them."""
EMPTY, UNIFORM, SKEWED, ONE = "empty", "uniform", "skewed", "one task"


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Make the tasks, then measure many callers, then one."""
    with ExitStack() as running:
        ours = running.enter_context(service(cache_settings(plan)))
        making = make_tasks(ours, plan.num_tasks)
        sides = _sides(running.enter_context(peer(EMPTY)), ours, plan)
        first_answers(list(sides.values()))
        compiled([sides[UNIFORM], sides[ONE]])
        plan = plan._replace(warm_up_seconds=2 * plan.warm_up_seconds)  # the cache fills anew with each side
        many = in_rounds(sides, MANY_CALLERS, plan)
        single = in_rounds(sides, 1, plan)
    numbers = {
        "tasks_made_per_second": round(making.per_second),
        "64": {name: one.numbers() for name, one in many.items()},
        "1": {name: one.numbers() for name, one in single.items()},
    }
    return figures(many, single, command), numbers


def cache_settings(plan: Plan) -> dict[str, object]:
    """Return the settings of a service whose cache holds so many tasks."""
    return {"task_cache_bytes": plan.num_cached * (TASK_BYTES + ENTRY_BYTES)}


def make_tasks(server: Server, num_tasks: int) -> Load:
    """Adapt the tasks that are predicted with."""
    made = closed_loop(server.port, task_requests(num_tasks), MAKING_CALLERS)
    if made.num_errors or made.num_answers != num_tasks:
        raise RuntimeError(f"{made.num_answers} of {num_tasks} tasks were made; {made.first_error[:500]!r}")
    return made


def _sides(empty: Server, ours: Server, plan: Plan) -> dict[str, Side]:
    requests = predict_requests(plan.num_tasks)
    drawn, drawn_skewed = uniform(requests), skewed(requests)  # they go on from round to round: none is drawn again
    return {
        EMPTY: Side(empty, lambda: in_turn(requests)),
        UNIFORM: Side(ours, lambda: drawn),
        SKEWED: Side(ours, lambda: drawn_skewed),
        ONE: Side(ours, lambda: in_turn(requests[:1])),
    }


def figures(many: dict[str, Rounds], single: dict[str, Rounds], command: str) -> list[Figure]:
    """Return the figures of both."""
    found = []
    for name in (UNIFORM, SKEWED):
        side, empty = many[name], many[EMPTY]
        detail = f"{side.per_second:.0f} against {empty.per_second:.0f}"
        found.append(TARGETS[f"predicts-{name}"].figure(side.over(empty), detail, command))
        detail = f"{side.p99_ms:.1f} ms over {side.p50_ms:.1f} ms"
        found.append(TARGETS[f"predicts-{name}-tail"].figure(side.tail, detail, command))
    for name in (UNIFORM, SKEWED):
        side, one = single[name], single[ONE]
        detail = f"{side.p50_ms:.2f} ms against {one.p50_ms:.2f} ms"
        ratio = side.over(one, lambda load: load.p50_ms)
        found.append(TARGETS[f"predict-{name}-p50"].figure(ratio, detail, command))
    return found
