"""The service that a tutorial would write: a copy of the module for each request, trained by SGD, kept in a dictionary.

It adapts from the same initialisation, by the same rule, and answers the same fields. Nothing is stored: a restart
forgets every task.
"""

import copy
import time
import uuid
from typing import Any

import torch
from fastapi import FastAPI
from safetensors.torch import load_file
from torch import nn

from benchmarks.peers_http.bodies import AdaptBody
from benchmarks.results import ROOT

LEARNING_RATE = 0.01


def sinusoid_network() -> nn.Sequential:
    """Return the shipped initialisation as a module."""
    leaves = load_file(ROOT / "models" / "sinusoid.safetensors")
    network = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    for place, layer in ((0, "body.0"), (2, "body.1"), (4, "head")):
        for kind in ("weight", "bias"):
            (leaf,) = (value for name, value in leaves.items() if name.endswith(f"{layer}.{kind}"))
            network[place].get_parameter(kind).data.copy_(leaf)
    return network


torch.set_num_threads(1)
network = sinusoid_network()
tasks: dict[str, nn.Module] = {}
by_def, by_async_def = FastAPI(), FastAPI()


@by_def.post("/adapt", status_code=201)
def adapt(body: AdaptBody) -> dict[str, Any]:
    """Adapt in a thread of the pool."""
    return adapted(body)


@by_async_def.post("/adapt", status_code=201)
async def adapt_async(body: AdaptBody) -> dict[str, Any]:
    """Adapt on the event loop."""
    return adapted(body)


def adapted(body: AdaptBody) -> dict[str, Any]:
    """Fine-tune a copy on the request's rows."""
    began = time.perf_counter()
    inputs, targets = torch.tensor(body.support.inputs), torch.tensor(body.support.targets)[:, None]
    mine = copy.deepcopy(network)
    optimizer = torch.optim.SGD(mine.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(body.steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(mine(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        losses.append(nn.functional.mse_loss(mine(inputs), targets).item())
    task_id = body.task_id or uuid.uuid4().hex
    tasks[task_id] = mine
    milliseconds = (time.perf_counter() - began) * 1e3
    return answer_of(task_id, body, losses, milliseconds)


def answer_of(task_id: str, body: AdaptBody, losses: list[float], milliseconds: float) -> dict[str, Any]:
    """Return the fields of an answer of /adapt."""
    return {
        "task_id": task_id,
        "revision": 1,
        "model": "sinusoid",
        "model_version": 1,
        "steps": body.steps,
        "kept_step": body.steps,
        "support_size": len(body.support.inputs),
        "support_stored": True,
        "classes": None,
        "support_loss": losses,
        "validation": None,
        "estimate": None,
        "familiarity": None,
        "cached": False,
        "expires_at": None,
        "timing_ms": {"queue": 0.0, "compute": round(milliseconds, 3), "total": round(milliseconds, 3)},
    }
