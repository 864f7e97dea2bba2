"""`python -m benchmarks.speed_parts.filled_cache TASKS`: bytes that an engine grows by for a cached task, as JSON."""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import torch

from app.engine.engine import Engine, TaskKey
from app.engine.executor import AdaptWork
from app.episode import Support
from app.jobs.model_files import model_of, read_model_files
from app.learners.model import Model
from benchmarks.results import ROOT
from benchmarks.speed_parts.bodies import NUM_ROWS, NUM_STEPS
from benchmarks.speed_parts.memory import Found

TOGETHER = 64
UNBOUNDED = 1 << 40

Fill = Callable[[Engine, int], Awaitable[None]]
"""(engine, number of the first task) -> once so many tasks more are cached as go together."""


def main(num_tasks: int) -> None:
    """Print what was found as JSON."""
    torch.set_num_threads(1)
    model = model_of(read_model_files(ROOT / "models" / "sinusoid.safetensors"))
    print(json.dumps(asyncio.run(_measured(model, num_tasks))))


async def _measured(model: Model, num_tasks: int) -> Found:
    work, stored, tensors = _work(model), b"", 0

    async def adapted(engine: Engine, first: int) -> None:
        nonlocal stored, tensors
        done = await asyncio.gather(*(engine.adapt(work, None, None) for _ in range(TOGETHER)))
        for number, one in enumerate(done, first):
            engine.keep_task_params(_key(number), one.result.adapted.params)
        stored, tensors = done[0].result.adapted.params.as_bytes(), done[0].result.adapted.params.num_bytes

    async def loaded(engine: Engine, first: int) -> None:
        for number in range(first, first + TOGETHER):
            engine.task_params(_key(number), lambda: bytes(bytearray(stored)))

    engines = [_engine(model), _engine(model)]  # the first keeps what it has: memory given back would be used again
    grown = [
        await _bytes_a_task(engine, fill, num_tasks) for engine, fill in zip(engines, (adapted, loaded), strict=True)
    ]
    for engine in engines:
        engine.close()
    return Found(tensors, *grown)


def _engine(model: Model) -> Engine:
    return Engine(
        torch.device("cpu"),
        lambda name, version: model,
        cache_bytes=UNBOUNDED,
        model_cache_bytes=UNBOUNDED,
        max_depth=10 * TOGETHER,
    )


async def _bytes_a_task(engine: Engine, fill: Fill, num_tasks: int) -> float:
    """Return what memory grows by for a task, once a fifth of the tasks has grown what is shared."""
    begin = max(TOGETHER, num_tasks // 5 // TOGETHER * TOGETHER)
    end = begin + max(TOGETHER, num_tasks // TOGETHER * TOGETHER)
    before = 0
    for first in range(0, end, TOGETHER):
        if first == begin:
            before = resident_bytes()
        await fill(engine, first)
    return (resident_bytes() - before) / (end - begin)


def _work(model: Model) -> AdaptWork:
    inputs = torch.linspace(-5, 5, NUM_ROWS)[:, None]
    rows = torch.ones(NUM_ROWS, dtype=torch.bool)
    support = Support(inputs, torch.sin(inputs), rows, torch.zeros(0, dtype=torch.bool))
    return AdaptWork(model, support, NUM_STEPS)


def _key(number: int) -> TaskKey:
    return TaskKey("default", f"task-{number}", 1)


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(int(sys.argv[1]))
