"""An hour of mixed traffic against the service: whether memory grows, anything is wrong, or answers get slower.

    python -m tests.soak.hour --minutes 60

Callers adapt, append, take rows out, predict, delete and ask for things that are wrong, break connections, and train
small models meanwhile. Few tasks fit into the cache, and tasks expire. Each answer is held against what was told
before. Results are `benchmarks/results/reliability/soak.json` and `benchmarks/plots/soak.svg`; the status is 1 if
anything was not as expected.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.results import RESULTS, ROOT, Figure, part_result, show, write_part
from tests.api.service import Service, start_service
from tests.soak.hour_hostile import MAX_BODY_BYTES
from tests.soak.hour_jobs import Jobs
from tests.soak.hour_plot import plot_soak
from tests.soak.hour_process import database_mib, taken
from tests.soak.hour_record import Record
from tests.soak.hour_statistics import Slope, slope
from tests.soak.hour_traffic import Caller

SETTINGS: dict[str, object] = {
    "task_cache_bytes": 256 * 1024,  # some tens of tasks
    "purge_every_seconds": 2,
    "max_body_bytes": MAX_BODY_BYTES,
    "compute_threads": 1,
    "training_threads": 1,
    "heartbeat_seconds": 1,
}
LEFT_OUT = 0.25
"""The share of the time in which the service may still grow to what it takes."""
MOST_MIB_AN_HOUR = 5.0
"""About one hundredth of what the service takes; a leak of 100 bytes a request would be several times that."""
ROWS_KEPT = 60
FOLDER = RESULTS / "reliability"
PLOT = ROOT / "benchmarks" / "plots" / "soak.svg"

Sample = dict[str, float | None]


class Plan(NamedTuple):
    """How much is asked for how long."""

    seconds: float
    sample_every_seconds: float = 10.0
    num_callers: int = 4
    pause_seconds: float = 0.05
    tasks_a_caller: int = 60
    job_every_seconds: float = 60.0


class Soaked(NamedTuple):
    """What a soak saw."""

    samples: list[Sample]
    record: Record
    status: int
    """The service's exit status."""


def soak(folder: Path, plan: Plan) -> Soaked:
    """Start a service with its data in `folder`, ask it, and end it."""
    service = start_service(folder, **SETTINGS)
    record, stop = Record(), threading.Event()
    try:
        with _asking(service, plan, record, stop):
            samples = _watched(service, folder, plan, record)
            stop.set()
    finally:
        stop.set()
        status = service.stop()
    return Soaked(samples, record, status)


@contextmanager
def _asking(service: Service, plan: Plan, record: Record, stop: threading.Event) -> Iterator[None]:
    callers = [
        Caller(service.url, f"caller-{number}", record, stop, plan.pause_seconds, plan.tasks_a_caller, number)
        for number in range(plan.num_callers)
    ]
    jobs = Jobs(service.url, record, stop, plan.job_every_seconds)
    with ThreadPoolExecutor(plan.num_callers + 1) as threads:
        running = [*(threads.submit(caller.run) for caller in callers), threads.submit(jobs.run)]
        try:
            yield
        finally:
            stop.set()
    for one in running:
        one.result()


def _watched(service: Service, folder: Path, plan: Plan, record: Record) -> list[Sample]:
    samples: list[Sample] = []
    began = time.monotonic()
    while (now := time.monotonic() - began) < plan.seconds:
        time.sleep(max(0.0, min(plan.seconds, (len(samples) + 1) * plan.sample_every_seconds) - now))
        samples.append(_sample(service, folder, time.monotonic() - began, record))
        _tell(samples[-1])
    return samples


def _sample(service: Service, folder: Path, seconds: float, record: Record) -> Sample:
    metrics = _metrics(service)
    process, window = taken(service.process.pid), record.window()
    return {
        "seconds": round(seconds, 1),
        **{name: round(value, 2) for name, value in process._asdict().items()},
        "database_mib": round(database_mib(folder), 2),
        **window._asdict(),
        **metrics,
    }


def _metrics(service: Service) -> Sample:
    """Return what is told of the cache of tasks and of the queue."""
    answer = service.http.get("/metrics")
    answer.raise_for_status()
    wanted = {
        ("innerloop_cache_evictions_total", "tasks"): "evictions",
        ("innerloop_cache_hits_total", "tasks"): "cache_hits",
        ("innerloop_cache_misses_total", "tasks"): "cache_misses",
        ("innerloop_cache_bytes", "tasks"): "cache_bytes",
    }
    found: Sample = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            name = wanted.get((sample.name, sample.labels.get("cache", "")))
            if name is not None:
                found[name] = sample.value
    return found


def _tell(sample: Sample) -> None:
    print(
        f"{sample['seconds']:7.0f} s  {sample['rss_mib']:6.1f} MiB  {sample['num_files']:3.0f} files  "
        f"{sample['num_threads']:2.0f} threads  {sample['num_requests']:5.0f} requests  p99 of adapt "
        f"{sample['adapt_p99_ms']} and predict {sample['predict_p99_ms']} ms  {sample['evictions']:6.0f} evictions  "
        f"{sample['num_refused']} refused  {sample['num_unexpected']} unexpected",
        flush=True,
    )


def growth(samples: Sequence[Sample], name: str) -> Slope:
    """Return how a series changes, without the first quarter."""
    end = samples[-1]["seconds"] or 0.0
    kept = [sample for sample in samples if (sample["seconds"] or 0.0) >= LEFT_OUT * end]
    return slope([sample["seconds"] or 0.0 for sample in kept], [sample[name] or 0.0 for sample in kept])


def figures(soaked: Soaked, command: str) -> list[Figure]:
    """Return what is promised of an hour."""
    samples, record = soaked.samples, soaked.record
    rss = growth(samples, "rss_mib")
    reached = f"{rss.per_hour:+.1f} MiB an hour (95%: {rss.low:+.1f} to {rss.high:+.1f}), {rss.last:.0f} MiB at the end"
    unexpected = record.total("unexpected")
    num_answers = sum(record.answers.values())
    evictions = samples[-1]["evictions"] or 0.0
    return [
        Figure("growth of memory", reached, f"at most {MOST_MIB_AN_HOUR:g}", rss.per_hour <= MOST_MIB_AN_HOUR, command),
        Figure("answers not as expected", f"{unexpected} of {num_answers}", "0", unexpected == 0, command),
        Figure(
            "answers held against what was told before",
            str(record.num_checked),
            "some",
            record.num_checked > 0,
            command,
        ),
        Figure("evictions from the cache of tasks", f"{evictions:.0f}", "some", evictions > 0, command),
        _steady("predict", samples, command),
        _steady("adapt", samples, command),
        Figure("exit status after SIGTERM", str(soaked.status), "0", soaked.status == 0, command),
    ]


def _steady(what: str, samples: Sequence[Sample], command: str) -> Figure:
    """Return the median of the p99s of the second quarter and of the last."""
    values = [value for sample in samples if (value := sample[f"{what}_p99_ms"]) is not None]
    quarter = max(1, len(values) // 4)
    early, late = (
        sorted(part)[len(part) // 2] for part in (values[quarter : 2 * quarter] or values, values[-quarter:])
    )
    return Figure(
        f"p99 of {what}, second quarter and last",
        f"{early:.1f} and {late:.1f} ms",
        "at most twice",
        late <= 2 * early,
        command,
    )


def numbers(soaked: Soaked, plan: Plan) -> dict[str, Any]:
    """Return what is kept: settings, answers, slopes, and some samples as columns."""
    samples = soaked.samples
    kept = samples[:: max(1, len(samples) // ROWS_KEPT)]
    answers = sorted(soaked.record.answers.items())
    return {
        "plan": plan._asdict(),
        "settings": SETTINGS,
        "answers": {f"{what}, {status}, {verdict}": count for (what, status, verdict), count in answers},
        "complaints": soaked.record.complaints,
        "slopes_an_hour": {
            name: [round(each, 3) for each in growth(samples, name)[:3]]
            for name in ("rss_mib", "anonymous_mib", "num_files", "num_threads", "database_mib")
        },
        "samples": {name: [sample.get(name) for sample in kept] for name in kept[0]},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.05, help="mean seconds between a caller's requests")
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--plot", type=Path, default=PLOT)
    asked = parser.parse_args(arguments)
    plan = Plan(60.0 * asked.minutes, num_callers=asked.callers, pause_seconds=asked.pause)
    command = f"python -m tests.soak.hour --minutes {asked.minutes:g}"
    with tempfile.TemporaryDirectory() as folder:
        soaked = soak(Path(folder) / "data", plan)
    found = show(figures(soaked, command))
    print("\n".join(soaked.record.complaints))
    print(write_part(part_result("soak", command, found, numbers(soaked, plan)), asked.results))
    plot_soak(soaked.samples, growth(soaked.samples, "rss_mib"), LEFT_OUT, MOST_MIB_AN_HOUR, asked.plot)
    return int(not all(figure.met for figure in found))


if __name__ == "__main__":
    sys.exit(main())
