"""Second-order meta-steps on the sinusoid (25 tasks, 10 shots, MLP 40-40, 1 inner step): vmapped against a loop.

The loop keeps the parameters in a dictionary and takes `torch.autograd.grad` task by task, as research scripts do.
Both in one run, in turn; medians.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from app.episode import Episode, MetaParams, Tree
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid
from app.training.meta_step import meta_gradient
from benchmarks.results import Figure, show

COMMAND = "python -m benchmarks.meta_step"
NUM_TASKS, RATE, ROUNDS, WARM_UP, CALLS = 25, 0.01, 40, 4, 10


def main() -> list[Figure]:
    """Check that both give one gradient, time them and print the ratio."""
    network = build_network({"kind": "mlp", "hidden": [40, 40]}, (1,), 1)
    learner = build_learner({"kind": "maml", "steps": 1, "learning_rate": RATE}, network, "squared", 0)
    generator = torch.Generator().manual_seed(0)
    meta = learner.init(generator)
    episodes = sinusoid(SinusoidOptions()).sample(generator, NUM_TASKS)
    progress = torch.zeros(())

    def vmapped() -> Tree:
        return meta_gradient(learner, meta, episodes, 1, progress)[0]

    def looped() -> Tree:
        return loop_gradient(meta, episodes)

    ours, theirs = vmapped(), looped()
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    assert worst < 1e-4, f"the gradients differ by {worst}"
    vmapped_ms, looped_ms = in_turn([vmapped, looped])
    ratio = looped_ms / vmapped_ms
    reached = f"{ratio:.1f} times ({vmapped_ms:.2f} ms against {looped_ms:.2f} ms)"
    what = "vmapped second-order meta-step on the sinusoid against a loop over tasks"
    return show([Figure(what, reached, "≥ 5 times", ratio >= 5, COMMAND)])


def loop_gradient(meta: MetaParams, episodes: Episode) -> Tree:
    """Return the meta-gradient as a plain script computes it."""
    params = {name: leaf.detach().requires_grad_() for name, leaf in meta.trained.items()}
    total = torch.zeros(())
    support, query = episodes.support, episodes.query
    for task in range(NUM_TASKS):
        loss = functional.mse_loss(forward(params, support.inputs[task]), support.targets[task])
        gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        adapted = {n: leaf - RATE * g for (n, leaf), g in zip(params.items(), gradients, strict=True)}
        total = total + functional.mse_loss(forward(adapted, query.inputs[task]), query.targets[task])
    meta_gradients = torch.autograd.grad(total / NUM_TASKS, list(params.values()))
    return dict(zip(params, meta_gradients, strict=True))


def forward(params: Tree, x: torch.Tensor) -> torch.Tensor:
    """Return the perceptron's outputs."""
    hidden = functional.linear(x, params["body.0.weight"], params["body.0.bias"]).relu()
    hidden = functional.linear(hidden, params["body.1.weight"], params["body.1.bias"]).relu()
    return functional.linear(hidden, params["head.weight"], params["head.bias"])


def in_turn(works: list[Callable[[], object]]) -> list[float]:
    """Return the median milliseconds of each; each round gives each a turn of several calls, as training makes."""
    times: list[list[float]] = [[] for _ in works]
    for round_ in range(WARM_UP + ROUNDS):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            for _ in range(CALLS):
                work()
            if round_ >= WARM_UP:
                taken.append((time.perf_counter() - start) * 1e3 / CALLS)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
