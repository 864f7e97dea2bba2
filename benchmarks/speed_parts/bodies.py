"""The requests that are sent: sinusoid tasks, and single rows of stored ones."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from benchmarks.load import Request, post

NUM_ROWS, NUM_STEPS, NUM_SUPPORTS = 10, 5, 1024
ZIPF = 1.1
SEED = 0


def adapt_requests(count: int = NUM_SUPPORTS, **fields: Any) -> list[Request]:
    """Return requests for new tasks, each with rows of its own; `fields` are further ones of the body."""
    rng = np.random.default_rng(SEED)
    return [post("/adapt", orjson.dumps({**sinusoid(rng), **fields})) for _ in range(count)]


def sinusoid(rng: np.random.Generator) -> dict[str, Any]:
    """Return the body of a task: ten rows of a sinusoid, five steps."""
    x = rng.uniform(-5, 5, NUM_ROWS)
    y = rng.uniform(0.1, 5.0) * np.sin(x - rng.uniform(0, np.pi))
    return {"support": {"inputs": [[value] for value in x.tolist()], "targets": y.tolist()}, "steps": NUM_STEPS}


def task_requests(num_tasks: int) -> Iterator[Request]:
    """Return the requests that make the tasks that are predicted with, one for each."""
    rng = np.random.default_rng(SEED)
    for number in range(num_tasks):
        yield post("/adapt", orjson.dumps({**sinusoid(rng), "task_id": task_id(number), "estimate": False}))


def task_id(number: int) -> str:
    """Return the id of a stored task."""
    return f"task-{number}"


def predict_requests(num_tasks: int) -> list[Request]:
    """Return a request for one row of each task."""
    rng = np.random.default_rng(SEED)
    return [
        post("/predict", orjson.dumps({"task_id": task_id(number), "inputs": [[float(rng.uniform(-5, 5))]]}))
        for number in range(num_tasks)
    ]


def uniform(requests: list[Request], seed: int = SEED) -> Iterator[Request]:
    """Return requests drawn one as likely as another, without end."""
    return _drawn(requests, np.full(len(requests), 1 / len(requests)), seed)


def skewed(requests: list[Request], seed: int = SEED) -> Iterator[Request]:
    """Return requests drawn by Zipf's law, without end: the k-th most frequent with a chance as 1 / k**1.1."""
    chances = 1 / np.arange(1, len(requests) + 1) ** ZIPF
    return _drawn(requests, np.random.default_rng(seed + 1).permutation(chances / chances.sum()), seed)


def _drawn(requests: list[Request], chances: "np.ndarray[Any, np.dtype[np.float64]]", seed: int) -> Iterator[Request]:
    numbers = np.random.default_rng(seed).choice(len(requests), 1 << 17, p=chances)
    return itertools.cycle([requests[number] for number in numbers.tolist()])
