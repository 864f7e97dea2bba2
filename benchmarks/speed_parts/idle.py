"""What one caller waits for /adapt, against the same steps in bare autograd plus an endpoint that does nothing."""

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from benchmarks.load import in_turn
from benchmarks.results import ROOT, Figure
from benchmarks.service import peer, service
from benchmarks.speed_parts.adapts import EMPTY, EQUAL_WORK
from benchmarks.speed_parts.bodies import NUM_ROWS, NUM_STEPS, adapt_requests
from benchmarks.speed_parts.conditions import Plan, Rounds, Side, compiled, first_answers, in_rounds, rounded
from benchmarks.speed_parts.targets import TARGETS

MODES: Mapping[str, Mapping[str, object]] = {
    "eager": {"compile_serving": "never"},
    "compiled": {"compile_serving": "auto"},
}
"""Settings of the service that choose a path."""
CALLS = 200
LEARNING_RATE = 0.01


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Measure each path of the service, the empty endpoint and bare autograd."""
    with ExitStack() as running:
        sides = _sides(running)
        first_answers(list(sides.values()))
        compiled([sides["compiled"]])
        bare_ms = statistics.median(bare_autograd_ms() for _ in range(plan.rounds))
        found = in_rounds(sides, 1, plan)
    numbers = {"bare_autograd_ms": rounded(bare_ms), **{name: one.numbers() for name, one in found.items()}}
    return figures(found, bare_ms, command), numbers


def _sides(running: ExitStack) -> dict[str, Side]:
    requests = adapt_requests(**EQUAL_WORK)
    servers = {mode: running.enter_context(service(chosen)) for mode, chosen in MODES.items()}
    servers[EMPTY] = running.enter_context(peer(EMPTY))
    return {name: Side(server, lambda: in_turn(requests)) for name, server in servers.items()}


def figures(found: Mapping[str, Rounds], bare_ms: float, command: str) -> list[Figure]:
    """Return a figure for each path."""
    empty_ms = found[EMPTY].p50_ms
    return [
        TARGETS[f"idle-{mode}"].figure(
            found[mode].p50_ms / (bare_ms + empty_ms),
            f"{found[mode].p50_ms:.2f} ms over {bare_ms:.2f} + {empty_ms:.2f} ms",
            command,
        )
        for mode in MODES
    ]


def bare_autograd_ms() -> float:
    """Return the median milliseconds of the steps alone, in this process with one thread."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = 10 * torch.rand(NUM_ROWS, 1, generator=generator) - 5
    params, targets = initialisation(), torch.sin(inputs)
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        stepped(params, inputs, targets, NUM_STEPS)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def initialisation() -> list[Tensor]:
    """Return weight and bias of each layer of the shipped sinusoid model."""
    leaves = load_file(ROOT / "models" / "sinusoid.safetensors")
    return [leaves[f"trained.{layer}.{kind}"] for layer in ("body.0", "body.1", "head") for kind in ("weight", "bias")]


def stepped(params: list[Tensor], inputs: Tensor, targets: Tensor, num_steps: int) -> list[Tensor]:
    """Return the parameters after gradient steps on the squared error."""
    for _ in range(num_steps):
        params = [param.detach().requires_grad_() for param in params]
        loss = functional.mse_loss(forward(params, inputs), targets)
        gradients = torch.autograd.grad(loss, params)
        with torch.no_grad():
            params = [param - LEARNING_RATE * gradient for param, gradient in zip(params, gradients, strict=True)]
    return params


def forward(params: list[Tensor], x: Tensor) -> Tensor:
    """Return the perceptron's outputs."""
    hidden = functional.linear(x, params[0], params[1]).relu()
    hidden = functional.linear(hidden, params[2], params[3]).relu()
    return functional.linear(hidden, params[4], params[5])
