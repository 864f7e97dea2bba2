"""`torchopt`: a differentiable optimiser that changes a module's tensors, and is taken back after each task."""

import torch
import torchopt

from benchmarks.peers.given import Given, Gradient, MetaGradient
from benchmarks.peers.torch_case import TorchCase


def meta_gradient(given: Given) -> MetaGradient:
    """Return the computation of the meta-gradient."""
    case = TorchCase(given)
    inner = torchopt.MetaSGD(case.model, lr=case.rate)

    def work() -> Gradient:
        total = torch.zeros(())
        weights = torchopt.extract_state_dict(case.model, by="reference")
        state = torchopt.extract_state_dict(inner, by="reference")
        for task in case.tasks():
            inner.step(case.loss(case.model(task.support_inputs), task.support_targets))
            total = total + case.loss(case.model(task.query_inputs), task.query_targets)
            torchopt.recover_state_dict(case.model, weights)
            torchopt.recover_state_dict(inner, state)
        return case.gradient_of(total)

    return work
