"""`higher`: an inner-loop context around a module and its optimiser."""

import higher
import torch

from benchmarks.peers.given import Given, Gradient, MetaGradient
from benchmarks.peers.torch_case import TorchCase


def meta_gradient(given: Given) -> MetaGradient:
    """Return the computation of the meta-gradient."""
    case = TorchCase(given)
    optimizer = torch.optim.SGD(case.model.parameters(), lr=case.rate)

    def work() -> Gradient:
        total = torch.zeros(())
        for task in case.tasks():
            with higher.innerloop_ctx(case.model, optimizer, copy_initial_weights=False) as (model, inner):
                inner.step(case.loss(model(task.support_inputs), task.support_targets))
                total = total + case.loss(model(task.query_inputs), task.query_targets)
        return case.gradient_of(total)

    return work
