"""Where the remaining time goes, at 64 callers: what each stage computes for a request, and what a request waits."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from benchmarks.load import Load, Request, closed_loop, in_turn
from benchmarks.results import Figure
from benchmarks.service import Server, service, thread_cpu_seconds
from benchmarks.speed_parts.adapts import EQUAL_WORK
from benchmarks.speed_parts.bodies import adapt_requests, predict_requests, skewed, uniform
from benchmarks.speed_parts.conditions import Plan, Side, compiled, first_answers, rounded
from benchmarks.speed_parts.predicts import cache_settings, make_tasks

MANY_CALLERS = 64
NAMED_THREADS = "benchmarks.speed_parts.named_threads"
READING, DEVICE = "reading", "batcher-cpu"
"""A stage of its own in the thread of the device; and that thread."""
STAGES: Mapping[str, str] = {
    READING: "parsing: bodies, the store read, rows to tensors",
    DEVICE: "compute",
    "batcher-writing": "store: one transaction for all that wait",
    "write-ahead-log": "store: the log put into the database",
}
"""By the name of a thread, or of a stage in one; the event loop is the process's first thread."""
REPLY = "HTTP in, reply out: the event loop"
OTHERS = "other threads"
WRITTEN_WITHIN_SECONDS = 0.3
"""Until the file tells of all that was done before."""
LOADS = ("adapt", "adapt, estimate", "predict, uniform", "predict, skewed")


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Measure each kind of load; the profile has no target."""
    with ExitStack() as running:
        spent = Path(running.enter_context(TemporaryDirectory())) / "stages.json"
        ours = running.enter_context(service({**cache_settings(plan), "stage_seconds": spent}, NAMED_THREADS))
        make_tasks(ours, plan.num_tasks)
        loads = _loads(plan)
        compiled([Side(ours, lambda requests=requests: requests) for requests in loads.values()])  # type: ignore[misc]
        return [], {name: profile(ours, requests, plan, spent) for name, requests in loads.items()}


def _loads(plan: Plan) -> dict[str, Iterator[Request]]:
    requests = predict_requests(plan.num_tasks)
    made = (in_turn(adapt_requests(**EQUAL_WORK)), in_turn(adapt_requests()), uniform(requests), skewed(requests))
    return dict(zip(LOADS, made, strict=True))


def profile(server: Server, requests: Iterator[Request], plan: Plan, told: Path) -> dict[str, Any]:
    """Return microseconds a request of each stage, and the milliseconds that requests waited.

    `told` is the file in which the service tells what stages that share a thread compute.
    """
    first_answers([Side(server, lambda: requests)])
    before = cpu_by_stage(server.pid, told)
    load = closed_loop(server.port, requests, MANY_CALLERS, plan.seconds, plan.warm_up_seconds)
    if load.num_errors:
        raise RuntimeError(f"{load.num_errors} errors, such as {load.first_error[:500]!r}")
    after = cpu_by_stage(server.pid, told)
    spent = {name: (after[name] - before.get(name, 0.0)) / load.num_in_all * 1e6 for name in after}
    return {
        "per_second": rounded(load.per_second),
        "p50_ms": rounded(load.p50_ms),
        "cpu_us": {name: rounded(us) for name, us in by_stage(spent).items()},
        "timing_ms": timing_ms(load),
    }


def cpu_by_stage(pid: int, told: Path) -> dict[str, float]:
    """Return the seconds that threads have computed, with reading apart from the device."""
    time.sleep(WRITTEN_WITHIN_SECONDS)
    found = cpu_by_thread(pid)
    reading: float = orjson.loads(told.read_bytes()).get(READING, 0.0)
    return {**found, READING: reading, DEVICE: found[DEVICE] - reading}


def cpu_by_thread(pid: int) -> dict[str, float]:
    """Return the seconds that threads have computed, by name; the process's first one is called REPLY."""
    found: defaultdict[str, float] = defaultdict(float)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = REPLY if thread.name == str(pid) else (thread / "comm").read_text().strip()
            found[name] += thread_cpu_seconds(thread)
        except FileNotFoundError:  # it ended meanwhile
            continue
    return dict(found)


def by_stage(spent: Mapping[str, float]) -> dict[str, float]:
    """Return what threads spent by stage, in the order a request comes through; what is under 1 us is left out."""
    found: defaultdict[str, float] = defaultdict(float)
    for name, us in spent.items():
        found[name if name == REPLY else STAGES.get(name, OTHERS)] += us
    return {name: found[name] for name in (*STAGES.values(), REPLY, OTHERS) if found[name] >= 1}


def timing_ms(load: Load) -> dict[str, float]:
    """Return the medians of what the service says of its own time."""
    told: Sequence[dict[str, float]] = [orjson.loads(answer)["timing_ms"] for answer in load.answers]
    return {name: rounded(statistics.median(one[name] for one in told)) for name in told[0]}
