"""Callers that hang up in the middle of batches, half of all of them, and whether the others ever notice.

`python -m tests.soak.load_dropped --minutes 3` writes what it found to
`benchmarks/results/reliability/dropped-callers.json` and ends with status 1 if anything was wrong.
"""

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.results import RESULTS, Figure, part_result, show, write_part
from tests.api.asking import Json, close
from tests.api.service import start_service

QUERY = [[-3.0], [0.5], [2.5]]
CALLERS = 32
AFTERWARDS = 100
"""Requests when it is over, each held against the answer of one that was asked alone."""
NUM_SUPPORTS = 40
LONGEST_WAIT_SECONDS = 0.05
"""A caller that hangs up does so within this time: in line, in a batch, or while its answer is written."""
WITHIN = 1e-3
"""Every step of adapting carries the rounding of the one before on, and rounding depends on the batch's shape."""


class Callers:
    """Callers of one service, half of whom hang up."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._seed = url, seed
        self._random = random.Random(seed)
        self._supports = [self._support() for _ in range(NUM_SUPPORTS)]
        self._alone: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    async def run(self, seconds: float) -> None:
        """Ask for so long, half of the callers hanging up, and then a hundred times with none."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60.0) as http:
            for number in range(NUM_SUPPORTS):  # one after the other: no batch has a second task
                self._alone.append((await http.post("/predict", json=self._body(number))).json()["outputs"])
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._caller(number, until) for number in range(CALLERS)))
        async with httpx.AsyncClient(base_url=self._url, timeout=60.0) as http:
            asked = [self._ask(http, number, f"after-{number}") for number in range(AFTERWARDS)]
            await asyncio.gather(*asked)
        self.counts["right answers to the hundred afterwards"] = AFTERWARDS - len(self.findings)

    async def _caller(self, number: int, until: float) -> None:
        turn = 0
        async with httpx.AsyncClient(base_url=self._url, timeout=60.0) as http:
            while time.monotonic() < until:
                turn += 1
                task_id = f"caller-{number}-{turn % 5}"
                if number % 2:
                    await self._ask(http, number + turn, task_id)
                else:
                    await self._hang_up(number + turn, f"dropped-{task_id}")

    async def _ask(self, http: httpx.AsyncClient, number: int, task_id: str) -> None:
        """Adapt and predict, and hold the answer against what the same rows gave alone."""
        support = self._supports[number % NUM_SUPPORTS]
        adapted = await http.post("/adapt", json={"task_id": task_id, "support": support, "estimate": False})
        if adapted.status_code not in (200, 201):
            self.findings.append(f"{task_id}: {adapted.status_code} {adapted.text[:200]}")
            return
        body = {"task_id": task_id, "revision": adapted.json()["revision"], "inputs": QUERY}
        answer = await http.post("/predict", json=body)
        self.counts["answers to callers that stayed"] += 1
        if answer.status_code != 200 or not close(
            answer.json()["outputs"], self._alone[number % NUM_SUPPORTS], within=WITHIN
        ):
            self.findings.append(f"{task_id}: {answer.text[:200]}, not {self._alone[number % NUM_SUPPORTS]}")

    async def _hang_up(self, number: int, task_id: str) -> None:
        """Send a request and close its connection before the answer is there."""
        async with httpx.AsyncClient(base_url=self._url) as http:
            support = self._supports[number % NUM_SUPPORTS]
            body: Json = {"task_id": task_id, "support": support, "estimate": False}
            asking = asyncio.create_task(http.post("/adapt", json=body))
            await asyncio.wait([asking], timeout=self._random.uniform(0.0, LONGEST_WAIT_SECONDS))
            if asking.done():
                self.counts["answered before they hung up"] += 1
                return
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            self.counts["callers that hung up"] += 1

    def _body(self, number: int) -> Json:
        return {"support": self._supports[number], "inputs": QUERY}

    def _support(self) -> Json:
        x = [-4.5 + 9.0 * i / 7 for i in range(self._random.randint(6, 8))]
        amplitude, phase = self._random.uniform(0.5, 3.0), self._random.uniform(0.0, 3.0)
        return {"inputs": [[value] for value in x], "targets": [amplitude * math.sin(value + phase) for value in x]}


def dropped(folder: Path, seconds: float, *, seed: int = 0) -> Callers:
    """Run callers against a service of their own and return what they found."""
    # On a machine that is busy with other things a hundred requests may be more than is let in by default.
    service = start_service(folder, max_wait_seconds=600, rush_wait_seconds=600)
    try:
        callers = Callers(service.url, seed)
        asyncio.run(callers.run(seconds))
        status = service.http.get("/readyz").status_code
        if status != 200:
            callers.findings.append(f"/readyz answers {status} afterwards")
        callers.findings += [f"logged: {line}" for line in service.logged("unforeseen error")]
    finally:
        status = service.stop()
    if status:
        callers.findings.append(f"the service ended with status {status}")
    return callers


def main() -> None:
    """Run, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = dropped(Path(folder), 60 * options.minutes, seed=options.seed)
    for finding in found.findings[:20]:
        print(finding)
    hung_up = found.counts["callers that hung up"]
    right = found.counts["right answers to the hundred afterwards"]
    figures = [
        Figure("callers that hung up", f"{hung_up}", "1000", hung_up >= 1000, ""),
        Figure("wrong or missing answers", f"{len(found.findings)}", "0", not found.findings, ""),
        Figure("right answers to the next 100 requests", f"{right}", "100", right == AFTERWARDS, ""),
    ]
    numbers = {"counts": dict(found.counts), "minutes": options.minutes, "findings": found.findings[:20]}
    command = f"python -m tests.soak.load_dropped --minutes {options.minutes:g}"
    print(write_part(part_result("dropped-callers", command, show(figures), numbers), RESULTS / "reliability"))
    sys.exit(1 if found.findings else 0)


if __name__ == "__main__":
    main()
