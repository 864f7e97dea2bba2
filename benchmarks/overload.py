"""How the service stands more than it can do: goodput, latency and memory from half its capacity to ten times that.

An open loop sends new tasks to `python -m app serve` on one core, from the other one, at Poisson times that do not
depend on the answers. Latency counts from the moment at which a request was due. `--tenants` shows what one tenant's
flood is to another.

    python -m benchmarks.overload
    python -m benchmarks.overload --loads 0.8,3 --seconds 8 --capacity 110
    python -m benchmarks.overload --tenants
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.overload_generator import Stream, Timing, Told, most_per_second, open_loop
from benchmarks.overload_plot import plot_loads
from benchmarks.overload_service import Cores, busy_seconds, cores, new_key, pinned_service, resident_mib
from benchmarks.overload_work import WORK, new_tasks
from benchmarks.results import RESULTS, ROOT, Figure, part_result, show, write_part
from benchmarks.service import Server, wait_until_compiled
from benchmarks.speed_parts.conditions import rounded

LOADS = (0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 10.0)
CAPACITY_CALLERS = (4, 8, 16, 32, 64)
CAPACITY = Timing(seconds=6.0, warm_up_seconds=2.0)
HEATING_SECONDS = 4.0
FLOOD, BESIDE = 5.0, 0.1
"""The flooding tenant's load and the other one's, over capacity."""
TENANT_SETTINGS = {"tenant_requests_per_second": "0", "tenant_requests_at_once": "0"}
"""What a tenant may ask for is no matter of rates then: it is what the service can do and how that is shared."""
SMALL_CACHE_BYTES = 16 * 1024 * 1024
"""Of tasks, full from the start: what memory grows by then is not the cache that fills up."""
REST_SECONDS = 1.0
GOODPUT_TARGETS = {3.0: 0.9, 10.0: 0.6}
P99_TARGET, MEMORY_TARGET, GROWTH_TARGET = 2.0, 1.1, 1.05
MOST_SHARED = 0.1
FOLDER = RESULTS / "reliability"
PLOT = ROOT / "benchmarks" / "plots" / "overload.svg"

Row = dict[str, Any]


class Plan(NamedTuple):
    """What is measured and for how long."""

    work: str
    loads: tuple[float, ...]
    timing: Timing
    longest: Timing
    """Of the highest load, in which memory must not grow."""
    capacity: float | None
    headers: str
    settings: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the results where all loads were asked for."""
    asked = _parsed(arguments)
    settings = dict(each.split("=", 1) for each in asked.set)
    settings.setdefault("compile_serving", asked.compile_serving)
    settings.setdefault("task_cache_bytes", str(SMALL_CACHE_BYTES))
    headers = f"X-Request-Timeout-Ms: {asked.deadline_ms}\r\n" if asked.deadline_ms else ""
    timing = Timing(asked.seconds, asked.warm_up, asked.give_up)
    longest = timing._replace(seconds=asked.longest)
    plan = Plan(asked.work, asked.loads, timing, longest, asked.capacity, headers, settings)
    part = "overload-tenants" if asked.tenants else "overload"
    command = f"python -m benchmarks.overload{' --tenants' if asked.tenants else ''}"
    figures, numbers = (_tenants if asked.tenants else _loads)(plan, command)
    show(figures)
    if asked.loads == LOADS or asked.tenants:
        print(write_part(part_result(part, command, figures, numbers), Path(asked.results)))
        if not asked.tenants:
            plot_loads(numbers, P99_TARGET, Path(asked.plot))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=_numbers, default=LOADS, help="over capacity, with commas between")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured of each load")
    parser.add_argument("--longest", type=float, default=120.0, help="seconds measured of the highest load")
    parser.add_argument("--warm-up", type=float, default=4.0, help="seconds left out before")
    parser.add_argument("--give-up", type=float, default=10.0, help="seconds a caller waits for an answer")
    parser.add_argument("--work", choices=sorted(WORK), default="pictures")
    parser.add_argument("--capacity", type=float, help="requests a second, where it need not be measured again")
    parser.add_argument("--compile-serving", choices=("auto", "never"), default="never")
    parser.add_argument("--deadline-ms", type=int, help="X-Request-Timeout-Ms of each request")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    parser.add_argument("--tenants", action="store_true", help="one tenant floods, another asks for a little")
    parser.add_argument("--results", default=str(FOLDER))
    parser.add_argument("--plot", default=str(PLOT))
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in text.split(","))


def _loads(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    on = _cores()
    with pinned_service(on, plan.settings) as (server, _):
        found, capacity_ms = _capacity(server, plan, plan.headers)
        base_mib = resident_mib(server.pid)
        print(f"resident {base_mib:.0f} MiB\n{_HEAD}")
        rows = []
        for seed, load in enumerate(plan.loads):
            stream = Stream("all", load * found, new_tasks(plan.work, plan.headers, seed), seed)
            timing = plan.longest if load == max(plan.loads) else plan.timing
            rows.append({"load": load, **_one_load(server, on.service, [stream], timing)[0]})
            print(_line(f"{load:g}", rows[-1]), flush=True)
            time.sleep(REST_SECONDS)
    shared = max(row["cpu_share_of_others"] for row in rows)
    if shared > MOST_SHARED:
        print(f"others took up to {shared:.2f} of the core of the service: the figures tell little")
    numbers = {
        "work": plan.work,
        "capacity_per_second": rounded(found),
        "cpu_ms_at_capacity": rounded(capacity_ms),
        "seconds": plan.timing.seconds,
        "seconds_of_highest_load": plan.longest.seconds,
        "cores_apart": on.apart,
        "resident_mib_before": rounded(base_mib),
        "rows": rows,
    }
    return figures(numbers, command), numbers


def _cores() -> Cores:
    on = cores()
    if not on.apart:
        print("one core alone: the generator takes time from the service")
    return on


def _capacity(server: Server, plan: Plan, headers: str) -> tuple[float, float]:
    """Return the most tasks a second of callers who each wait for their answer, and what one then costs in ms of CPU.

    Last it is asked for more than it can do, so that it has grown to what it takes before memory is looked at.
    """
    requests = new_tasks(plan.work, headers, seed=1_000)
    if plan.settings.get("compile_serving") == "auto":
        most_per_second(server.port, requests, CAPACITY_CALLERS[2], CAPACITY)
        wait_until_compiled()
    best, best_ms = 0.0, float("nan")
    for callers in CAPACITY_CALLERS if plan.capacity is None else CAPACITY_CALLERS[2:3]:
        cpu, began = server.cpu_seconds(), time.perf_counter()
        told = most_per_second(server.port, requests, callers, CAPACITY)
        share = (server.cpu_seconds() - cpu) / (time.perf_counter() - began)
        each_ms = 1e3 * share / told.goodput_per_second
        print(
            f"{callers} callers: {told.goodput_per_second:.0f}/s, {told.refused_per_second:.0f}/s refused, "
            f"p99 {_percentile(told.accepted_ms, 99)} ms, {each_ms:.1f} ms of CPU each, {share:.2f} of a core",
            flush=True,
        )
        if told.goodput_per_second > best:
            best, best_ms = told.goodput_per_second, each_ms
    found = plan.capacity or best
    open_loop(server.port, [Stream("heating", max(LOADS) * found, requests)], Timing(HEATING_SECONDS, 0.0))
    time.sleep(REST_SECONDS)
    return found, best_ms


def _one_load(server: Server, core: int, streams: list[Stream], timing: Timing) -> list[Row]:
    """Return a row a stream."""
    memory = [resident_mib(server.pid)]
    began, cpu, busy = time.perf_counter(), server.cpu_seconds(), busy_seconds(core)
    told = open_loop(server.port, streams, timing, lambda: memory.append(resident_mib(server.pid)))
    took = time.perf_counter() - began
    share = (server.cpu_seconds() - cpu) / took
    of_service = {
        "cpu_share": rounded(share),
        "cpu_share_of_others": rounded(max(0.0, (busy_seconds(core) - busy) / took - share)),
        "resident_mib": [rounded(memory[0]), rounded(max(memory)), rounded(memory[-1])],
        "resident_mib_by_quarter": [rounded(float(part.mean())) for part in np.array_split(memory, 4)],
    }
    return [{**_row(one), **of_service} for one in told]


def _row(told: Told) -> Row:
    return {
        "offered_per_second": rounded(told.offered_per_second),
        "goodput_per_second": rounded(told.goodput_per_second),
        "refused_per_second": rounded(told.refused_per_second),
        "num_errors": told.num_errors,
        "accepted_p50_ms": _percentile(told.accepted_ms, 50),
        "accepted_p99_ms": _percentile(told.accepted_ms, 99),
        "refused_p50_ms": _percentile(told.refused_ms, 50),
        "refused_p99_ms": _percentile(told.refused_ms, 99),
        "generator_late_p99_ms": _percentile(told.late_ms, 99),
        "num_connections": told.num_connections,
        "num_held": told.num_held,
        "statuses": told.statuses,
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return rounded(float(np.percentile(values, percent))) if values else None


_COLUMNS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("offered/s", lambda row: row["offered_per_second"]),
    ("good/s", lambda row: row["goodput_per_second"]),
    ("refused/s", lambda row: row["refused_per_second"]),
    ("errors", lambda row: row["num_errors"]),
    ("p50 ms", lambda row: row["accepted_p50_ms"]),
    ("p99 ms", lambda row: row["accepted_p99_ms"]),
    ("ref. p99", lambda row: row["refused_p99_ms"]),
    ("late p99", lambda row: row["generator_late_p99_ms"]),
    ("cpu", lambda row: row["cpu_share"]),
    ("others", lambda row: row["cpu_share_of_others"]),
    ("conns", lambda row: row["num_connections"]),
    ("MiB", lambda row: row["resident_mib"][2]),
    ("peak", lambda row: row["resident_mib"][1]),
)
_HEAD = " ".join(["load".rjust(12), *(name.rjust(9) for name, _ in _COLUMNS)])


def _line(name: str, row: Row) -> str:
    cells = [of(row) for _, of in _COLUMNS]
    shown = ["-" if cell is None else f"{cell:.2f}" if 0 < cell < 10 else f"{cell:.0f}" for cell in cells]
    odd = {status: count for status, count in row["statuses"].items() if status not in ("201", "429", "503")}
    return " ".join([name.rjust(12), *(cell.rjust(9) for cell in shown)]) + (f"  {odd}" if odd else "")


def figures(numbers: Mapping[str, Any], command: str) -> list[Figure]:
    """Return what is promised of overload, as far as the loads that were measured tell."""
    rows = {row["load"]: row for row in numbers["rows"]}
    peak = max(numbers["capacity_per_second"], *(row["goodput_per_second"] for row in rows.values()))
    found = []
    for load, target in GOODPUT_TARGETS.items():
        if load in rows:
            good = rows[load]["goodput_per_second"]
            reached = f"{good / peak:.2f} ({good:.0f}/s of {peak:.0f}/s)"
            what = f"goodput at {load:g} times capacity, over its peak"
            found.append(Figure(what, reached, f"at least {target}", good >= target * peak, command))
    found += _p99_figure(rows, command)
    highest = max(row["resident_mib"][1] for row in rows.values())
    before = numbers["resident_mib_before"]
    reached = f"{highest / before:.2f} ({highest:.0f} MiB of {before:.0f} MiB)"
    what = "resident memory at its highest, over that after the measurement of capacity"
    found.append(Figure(what, reached, f"at most {MEMORY_TARGET}", highest <= MEMORY_TARGET * before, command))
    load = max(rows)
    first, *_, last = rows[load]["resident_mib_by_quarter"]
    reached = f"{last / first:.2f} ({first:.0f} MiB, then {last:.0f} MiB)"
    what = f"resident memory in the last quarter of {load:g} times capacity, over that in the first"
    return [*found, Figure(what, reached, f"at most {GROWTH_TARGET}", last <= GROWTH_TARGET * first, command)]


def _p99_figure(rows: Mapping[float, Row], command: str) -> list[Figure]:
    beyond = {load: row["accepted_p99_ms"] for load, row in rows.items() if load > 1}
    if 0.8 not in rows or not beyond:
        return []
    what = "accepted p99 beyond capacity at its highest, over that at 0.8"
    base = rows[0.8]["accepted_p99_ms"]
    if base is None or None in beyond.values():
        return [Figure(what, "nothing was accepted at one of the loads", f"at most {P99_TARGET:g}", False, command)]
    load = max(beyond, key=lambda load: beyond[load])
    reached = f"{beyond[load] / base:.2f} ({beyond[load]:.0f} ms at {load:g} times, {base:.0f} ms at 0.8)"
    return [Figure(what, reached, f"at most {P99_TARGET:g}", beyond[load] <= P99_TARGET * base, command)]


def _tenants(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    on = _cores()
    with pinned_service(on, {**TENANT_SETTINGS, **plan.settings}) as (server, folder):
        keys = {name: new_key(folder, name) for name in ("flooding", "neighbour")}
        time.sleep(2 * REST_SECONDS)  # the first key counts after a second
        headers = {name: f"Authorization: Bearer {key}\r\n{plan.headers}" for name, key in keys.items()}
        found, _ = _capacity(server, plan, headers["flooding"])

        def stream(name: str, load: float, seed: int) -> Stream:
            return Stream(name, load * found, new_tasks(plan.work, headers[name], seed), seed)

        print(_HEAD)
        (alone,) = _one_load(server, on.service, [stream("neighbour", BESIDE, 1)], plan.timing)
        print(_line("alone", alone), flush=True)
        time.sleep(REST_SECONDS)
        both = [stream("neighbour", BESIDE, 2), stream("flooding", FLOOD, 3)]
        beside, flood = _one_load(server, on.service, both, plan.timing)
        print(_line("beside", beside), _line("the flood", flood), sep="\n", flush=True)
    numbers = {
        "work": plan.work,
        "capacity_per_second": rounded(found),
        "cores_apart": on.apart,
        "alone": alone,
        "beside": beside,
        "flood": flood,
    }
    return tenant_figures(numbers, command), numbers


def tenant_figures(numbers: Mapping[str, Any], command: str) -> list[Figure]:
    """Return what a neighbour feels of a flood."""
    alone, beside = numbers["alone"], numbers["beside"]
    served = beside["goodput_per_second"] / beside["offered_per_second"]
    slower = f"p50 {alone['accepted_p50_ms']} and p99 {alone['accepted_p99_ms']} ms alone, {beside['accepted_p50_ms']} "
    slower += f"and {beside['accepted_p99_ms']} ms beside the flood"
    what = "share of a neighbour's requests that are served beside a flood"
    return [
        Figure(what, f"{served:.2f}", "at least 0.95", served >= 0.95, command),
        Figure("latency of a neighbour", slower, "told", True, command),
    ]


if __name__ == "__main__":
    main()
