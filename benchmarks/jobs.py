"""Meta-training beside serving: what a job costs the callers of /adapt, how fast it starts, how fast it trains."""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.results import ROOT, Figure, show
from benchmarks.service import served
from innerloop import Client

COMMAND = "python -m benchmarks.jobs"
ROUNDS, CALLS, WARM_UP_CALLS = 5, 300, 50
START_RUNS, THROUGHPUT_RUNS, THROUGHPUT_ITERATIONS = 5, 3, 6000
X = [-4.0 + i for i in range(10)]
BODY = {"support": {"inputs": [[x] for x in X], "targets": [2.0 * math.sin(x) for x in X]}, "steps": 5}
REQUEST = {
    "name": "waves",
    "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "tasks": {"kind": "sinusoid", "shots": 10, "queries": 10},
    "meta_batch_size": 25,
    "iterations": 1_000_000,
    "validate_every": 1000,
}


def main() -> list[Figure]:
    """Measure all three."""
    with served(training_threads=1) as url, Client(url) as client:
        figures = [*latency(client, url, callers=1), *latency(client, url, callers=4), start(client)]
        figures.append(throughput(client))
    return show(figures)


def latency(client: Client, url: str, callers: int) -> list[Figure]:
    """Compare /adapt with a job running and without one, in turn."""
    alone, beside = [], []
    adapt_ms(url, callers, WARM_UP_CALLS)
    for _ in range(ROUNDS):
        alone.append(adapt_ms(url, callers, CALLS))
        job = client.meta_train(REQUEST)
        wait_for_progress(client, job.job_id)
        beside.append(adapt_ms(url, callers, CALLS))
        cancel(client, job.job_id)
    p50s, p99s = (
        [statistics.median(quantile(times, q) for times in rounds) for rounds in (alone, beside)] for q in (0.5, 0.99)
    )
    for name, (without, with_job) in (("p50", p50s), ("p99", p99s)):
        print(f"  {callers} callers, {name}: {without:.1f} ms alone, {with_job:.1f} ms beside a job")
    ratio = p99s[1] / p99s[0]
    what = f"p99 of /adapt beside a running job over that without, {callers} caller{'s' if callers > 1 else ''}"
    reached = f"{ratio:.2f} times ({p99s[1]:.1f} ms against {p99s[0]:.1f} ms; p50 {p50s[1]:.1f} against {p50s[0]:.1f})"
    return [Figure(what, reached, "≤ 3 times", ratio <= 3, COMMAND)]


def adapt_ms(url: str, callers: int, calls: int) -> list[float]:
    """Return the milliseconds of `calls` adaptations shared by `callers` that each ask one after the other."""

    def caller(number: int) -> list[float]:
        found = []
        with httpx.Client(base_url=url, timeout=60.0) as http:
            for _ in range(calls // callers):
                began = time.perf_counter()
                http.post("/adapt", json=BODY).raise_for_status()
                found.append((time.perf_counter() - began) * 1e3)
        return found

    with ThreadPoolExecutor(callers) as threads:
        return [ms for found in threads.map(caller, range(callers)) for ms in found]


def start(client: Client) -> Figure:
    """Measure from the accepted request to the first progress."""
    seconds = []
    for _ in range(START_RUNS):
        began = time.monotonic()
        job = client.meta_train(REQUEST)
        wait_for_progress(client, job.job_id)
        seconds.append(time.monotonic() - began)
        cancel(client, job.job_id)
    median = statistics.median(seconds)
    reached = f"{median:.1f} s (from {min(seconds):.1f} to {max(seconds):.1f} in {START_RUNS} runs)"
    return Figure("a job from accepted to its first progress", reached, "≤ 6 s", median <= 6, COMMAND)


def throughput(client: Client) -> Figure:
    """Compare the tasks a second of a job with those of the same training from the command line, in turn."""
    request = {**REQUEST, "iterations": THROUGHPUT_ITERATIONS}
    jobs, commands = [], []
    for _ in range(THROUGHPUT_RUNS):
        commands.append(command_seconds(request))
        jobs.append(job_seconds(client, request))
    job, command = (THROUGHPUT_ITERATIONS * 25 / statistics.median(seconds) for seconds in (jobs, commands))
    reached = f"{job / command:.2f} times ({job:.0f} against {command:.0f} tasks a second)"
    what = "throughput of a job over that of the same training from the command line"
    return Figure(what, reached, "≥ 0.9 times", job / command >= 0.9, COMMAND)


def job_seconds(client: Client, request: dict[str, object]) -> float:
    """Return the seconds from a job's first progress to its last."""
    job = client.meta_train(request)
    times = [time.monotonic() for event in client.job_events(job.job_id) if event.event == "progress"]
    return times[-1] - times[0]


def command_seconds(request: dict[str, object]) -> float:
    """Return the seconds that `python -m app train` says its training took, in one thread as the job."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "request.json")
        file.write_text(json.dumps(request))
        command = [sys.executable, "-m", "app", "train", "--request", str(file), "--out", folder, "--threads", "1"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        card = json.loads(Path(folder, f"{request['name']}.json").read_text())
    return float(card["provenance"]["training_seconds"])


def wait_for_progress(client: Client, job_id: str) -> None:
    """Return when a job has told of its first iteration."""
    next(event for event in client.job_events(job_id) if event.event == "progress")


def cancel(client: Client, job_id: str) -> None:
    """Cancel a job and wait until it has stopped."""
    client.cancel_job(job_id)
    client.wait_for_job(job_id)


def quantile(values: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
