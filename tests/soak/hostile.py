"""A hundred thousand broken requests over all surfaces of a running service: no 5xx, no growth, neighbours served.

`python -m tests.soak.hostile` writes hostile.json and contract-fuzz.json to benchmarks/results/reliability.
"""

import argparse
import asyncio
import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.results import RESULTS, Figure, part_result, show, write_part
from innerloop.errors import ERROR_BY_CODE
from tests.api.asking import INSIDES, sine
from tests.api.data_files import labelled_arrays, npz_of, send
from tests.api.service import Service, start_service
from tests.serving.contract_fuzz import fill, fuzz
from tests.soak.hostile_mutations import hostile_request
from tests.soak.hostile_requests import TASKS, Asked, valid_requests
from tests.soak.hour_process import taken

MIB = 1024 * 1024
SETTINGS: dict[str, Any] = {
    "job_worker": 0,  # what is queued is not trained: other programs measure that
    "max_jobs_queued": 10**9,
    "task_cache_bytes": 16 * MIB,
    "model_cache_bytes": 64 * MIB,
    "text_cache_bytes": MIB,
    "max_body_bytes": 4 * MIB,
    "max_dataset_bytes": 16 * MIB,
    "max_picture_pixels": 1_000_000,
    "purge_every_seconds": 10,
}
WARM_UP_SHARE = 0.1
"""Of the inputs: caches, pools of threads and compiled patterns are there after it."""
MOST_GROWTH_MIB = 64.0
ANSWER_SECONDS = 60.0
PROBES_PER_SECOND = 20.0
INSIDES_OF_ALL = re.compile(INSIDES.pattern.replace("|sqlite", "").replace("|NoneType", ""), re.IGNORECASE)


@dataclass
class Run:
    """What came of the inputs so far."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By surface and status; `closed` where the connection ended without an answer."""
    findings: list[str] = field(default_factory=list)
    memory_mib: list[tuple[int, float]] = field(default_factory=list)
    """After so many inputs."""


def prepare(http: httpx.Client) -> None:
    """Make what hostile requests find, and the neighbour's task."""
    for surface in ("model",):
        for asked in valid_requests()[surface]:
            http.request(asked.method, asked.path, content=asked.body, headers=asked.headers).raise_for_status()
    for task in (*TASKS, "neighbour"):
        http.post("/adapt", json={"task_id": task, "model": "sinusoid", "support": sine(5)}).raise_for_status()
    send(http, npz_of(labelled_arrays()), "a.npz", name="h-data", kind="labelled").raise_for_status()


def probe(url: str, stop: Event, found: Any) -> None:
    """Ask as a neighbour does, in a process of its own, and tell durations in ms and what was wrong."""
    durations, wrong = [], []
    with httpx.Client(base_url=url, timeout=ANSWER_SECONDS) as http:
        ask = {"task_id": "neighbour", "inputs": [[-1.0], [0.5], [2.0]]}
        expected = np.array(http.post("/predict", json=ask).json()["outputs"])
        while not stop.is_set():
            began = time.monotonic()
            answer = http.post("/predict", json=ask)
            durations.append((time.monotonic() - began) * 1e3)
            if answer.status_code != 200 or not np.allclose(answer.json()["outputs"], expected, atol=1e-5):
                wrong.append(answer.text[:300])
            time.sleep(max(0.0, 1.0 / PROBES_PER_SECOND - (time.monotonic() - began)))
    found.put((durations, wrong))


async def ask(http: httpx.AsyncClient, asked: Asked, run: Run) -> None:
    """Send a request and note what came of it."""
    status = "closed"
    try:
        headers = {name.encode(): value.encode() for name, value in asked.headers.items()}
        async with http.stream(asked.method, asked.path, content=asked.body, headers=headers) as answer:
            status = str(answer.status_code)
            kind = answer.headers.get("Content-Type", "")
            body = b"" if kind.startswith("text/event-stream") else await answer.aread()
    except (httpx.InvalidURL, httpx.LocalProtocolError):
        status = "not sent"  # what the client itself refuses to say
    except httpx.TimeoutException:
        run.findings.append(f"no answer within {ANSWER_SECONDS:g} s: {described(asked)}")
    except httpx.HTTPError:
        pass
    else:
        check(asked, answer, body, run)
    run.counts[asked.surface, status] += 1


def check(asked: Asked, answer: httpx.Response, body: bytes, run: Run) -> None:
    """Note an answer that is none of the contract's."""
    if answer.status_code >= 500:
        run.findings.append(f"{answer.status_code}: {described(asked)}: {body[:300]!r}")
    if answer.status_code < 400 or asked.method == "HEAD":
        return
    if answer.headers.get("Content-Type") != "application/problem+json":
        run.findings.append(f"{answer.status_code} and no problem document: {described(asked)}")
    elif answer.json()["code"] not in ERROR_BY_CODE or INSIDES_OF_ALL.search(answer.json()["detail"]):
        run.findings.append(f"{answer.status_code} says what it must not: {body[:300]!r}")


def described(asked: Asked) -> str:
    return f"{asked.surface}: {asked.method} {asked.path[:80]} {asked.headers} {asked.body[:400]!r}"


async def attack(service: Service, run: Run, first: int, last: int, *, seed: int, callers: int) -> None:
    """Send the inputs from `first` up to `last`, each made of its number and the seed alone."""
    surfaces, numbers = list(valid_requests()), iter(range(first, last))

    async def caller() -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        async with httpx.AsyncClient(base_url=service.url, timeout=ANSWER_SECONDS, limits=limits) as http:
            for number in numbers:
                await ask(
                    http, hostile_request(random.Random(f"{seed}:{number}"), surfaces[number % len(surfaces)]), run
                )
                if number % 2000 == 0:
                    run.memory_mib.append((number, taken(service.process.pid).rss_mib))
                    print(number, f"{run.memory_mib[-1][1]:.0f} MiB", len(run.findings), flush=True)

    await asyncio.gather(*(caller() for _ in range(callers)))


def fuzzed(folder: Path, *, seed: int, examples: int) -> tuple[int, str]:
    """Run schemathesis against a service of its own; return how many requests it made, and what it found."""
    service = start_service(folder, **SETTINGS)
    fill(service.http)
    found = fuzz(service, seed=seed, max_examples=examples, timeout_seconds=3600.0)
    service.stop()
    generated = re.search(r"(\d+) generated", found.stdout)
    return int(generated[1]) if generated else 0, "" if found.returncode == 0 else found.stdout[-5000:]


@contextmanager
def neighbour(url: str) -> Iterator[Callable[[], tuple[list[float], list[str]]]]:
    """Run a neighbour beside the block, which may ask for what it found."""
    spawn = multiprocessing.get_context("spawn")
    stop, found = spawn.Event(), spawn.Queue()
    process = spawn.Process(target=probe, args=(url, stop, found), daemon=True)
    process.start()

    def ended() -> tuple[list[float], list[str]]:
        stop.set()
        told: tuple[list[float], list[str]] = found.get(timeout=ANSWER_SECONDS + 10)
        process.join()
        return told

    try:
        yield ended
    finally:
        stop.set()


def attacked(folder: Path, options: argparse.Namespace) -> tuple[Run, dict[str, Any]]:
    """Run all inputs against a service with a neighbour beside; return what came of it, and figures."""
    service, run = start_service(folder, **SETTINGS), Run()
    try:
        prepare(service.http)
        with neighbour(service.url) as ended:
            warm_up, began = int(options.inputs * WARM_UP_SHARE), time.monotonic()
            how = {"seed": options.seed, "callers": options.callers}
            asyncio.run(attack(service, run, 0, warm_up, **how))
            before = taken(service.process.pid)
            asyncio.run(attack(service, run, warm_up, options.inputs, **how))
            after, seconds = taken(service.process.pid), time.monotonic() - began
            durations, wrong = ended()
    finally:
        status = service.stop()
    run.findings += [f"a neighbour was answered wrongly: {text}" for text in wrong]
    run.findings += [f"logged: {str(line)[:1500]}" for line in service.logged("unforeseen error")]
    if status != 0:
        run.findings.append(f"the service ended with status {status}")
    return run, {
        "seconds": round(seconds, 1),
        "inputs_per_second": round(options.inputs / seconds, 1),
        "neighbour_requests": len(durations),
        "neighbour_ms": {q: round(float(np.percentile(durations, q)), 1) for q in (50, 90, 99, 100)},
        "rss_mib_before": round(before.rss_mib, 1),
        "rss_mib_after": round(after.rss_mib, 1),
        "files_before": before.num_files,
        "files_after": after.num_files,
    }


def by_surface(run: Run) -> dict[str, dict[str, int]]:
    """Return the counts as a table."""
    found: dict[str, dict[str, int]] = {}
    for (surface, status), number in sorted(run.counts.items()):
        found.setdefault(surface, {})[status] = number
    return found


def attack_part(folder: Path, options: argparse.Namespace) -> list[str]:
    """Run the inputs and write their figures; return the findings."""
    run, numbers = attacked(folder, options)
    growth = numbers["rss_mib_after"] - numbers["rss_mib_before"]
    sent = sum(number for (_, status), number in run.counts.items() if status != "not sent")
    command = f"python -m tests.soak.hostile --inputs {options.inputs} --seed {options.seed}"
    figures = [
        Figure("broken requests sent", f"{sent}", "100000", sent >= 100_000, command),
        Figure("findings: 5xx, no answer, wrong answers", f"{len(run.findings)}", "0", not run.findings, command),
        Figure("growth of memory", f"{growth:.0f} MiB", f"{MOST_GROWTH_MIB:g} MiB", growth < MOST_GROWTH_MIB, command),
        Figure("p99 of a neighbour", f"{numbers['neighbour_ms'][99]:g} ms", "answered", True, command),
    ]
    numbers |= {"by_surface": by_surface(run), "memory_mib": run.memory_mib, "findings": run.findings[:200]}
    print(write_part(part_result("hostile", command, show(figures), numbers), RESULTS / "reliability"))
    return run.findings


def contract_part(folder: Path, options: argparse.Namespace) -> list[str]:
    """Run schemathesis and write its figures; return what it found."""
    number, told = fuzzed(folder, seed=options.seed, examples=options.examples)
    command = f"python -m tests.soak.hostile --inputs 0 --examples {options.examples} --seed {options.seed}"
    figures = [
        Figure("requests of schemathesis", f"{number}", "all phases, all checks", number > 0, command),
        Figure("answers that are not as described, and 5xx", "some" if told else "0", "0", not told, command),
    ]
    numbers = {"generated": number, "told": told}
    print(write_part(part_result("contract-fuzz", command, show(figures), numbers), RESULTS / "reliability"))
    return [told] if told else []


def main() -> None:
    """Run the inputs and schemathesis, and write the figures of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=103_000, help="some of which no client can say; 0 for none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--examples", type=int, default=30, help="of schemathesis, an operation; 0 leaves it out")
    options = parser.parse_args()
    findings: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.inputs:
            findings += attack_part(Path(folder) / "attacked", options)
        if options.examples:
            findings += contract_part(Path(folder) / "fuzzed", options)
    for finding in findings[:50]:
        print(finding)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
