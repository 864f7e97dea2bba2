"""What an overloaded service is asked for: new tasks that cost some milliseconds of compute each, in small bodies."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import save

from benchmarks.load import post

SAFETENSORS = "application/vnd.safetensors"
ID = "0" * 32
"""Stands in a request where the id of each new task goes."""
NUM_SUPPORTS = 256
WAYS, PICTURES = 5, 20
ROWS, STEPS = 20, 20

Requests = Iterator[bytes]


def pictures(rng: np.random.Generator) -> tuple[bytes, str]:
    """Return 20 pictures of 5 classes for `omniglot`: a convolutional network over each, which batches save little of.

    The rows are not stored: the disk is not what is measured.
    """
    ink = (rng.random((PICTURES, 1, 28, 28)) < 0.1).astype(np.uint8) * 255
    classes = [f"c{number}" for number in range(WAYS)]
    request = {"task_id": ID, "model": "omniglot", "classes": classes, "estimate": False, "store_support": False}
    tensors: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
        "support.inputs": ink,
        "support.targets": np.arange(PICTURES, dtype=np.int64) % WAYS,
    }
    return save(tensors, {"request": orjson.dumps(request).decode()}), SAFETENSORS


def steps(rng: np.random.Generator) -> tuple[bytes, str]:
    """Return 20 rows for `sinusoid`, with 20 steps and the estimate: small tensors, of which batches save a lot."""
    x = rng.uniform(-5, 5, ROWS).round(4)
    y = (rng.uniform(0.1, 5.0) * np.sin(x - rng.uniform(0, np.pi))).round(4)
    support = {"inputs": [[value] for value in x.tolist()], "targets": y.tolist()}
    return orjson.dumps({"task_id": ID, "support": support, "steps": STEPS}), "application/json"


WORK: dict[str, Callable[[np.random.Generator], tuple[bytes, str]]] = {"pictures": pictures, "steps": steps}


def new_tasks(work: str, headers: str = "", seed: int = 0) -> Requests:
    """Return requests without end, each for a task of its own; `headers` are lines that each end with CRLF."""
    rng = np.random.default_rng(seed)
    split = []
    for _ in range(NUM_SUPPORTS):
        body, media_type = WORK[work](rng)
        before, _, after = post("/adapt", body, media_type, headers).partition(ID.encode())
        split.append((before, after))
    run = uuid.uuid4().hex[:20]
    for number, (before, after) in enumerate(itertools.cycle(split)):
        yield b"%b%b%012d%b" % (before, run.encode(), number, after)
