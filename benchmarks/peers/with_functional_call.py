"""The same loop around a module: `torch.func.functional_call`."""

import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.peers.given import Given, Gradient, MetaGradient
from benchmarks.peers.torch_case import TorchCase


def meta_gradient(given: Given) -> MetaGradient:
    """Return the computation of the meta-gradient."""
    case = TorchCase(given)

    def work() -> Gradient:
        params: dict[str, Tensor] = dict(case.model.named_parameters())
        total = torch.zeros(())
        for task in case.tasks():
            loss = case.loss(functional_call(case.model, params, (task.support_inputs,)), task.support_targets)
            gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            adapted = {n: leaf - case.rate * g for (n, leaf), g in zip(params.items(), gradients, strict=True)}
            total = total + case.loss(functional_call(case.model, adapted, (task.query_inputs,)), task.query_targets)
        return case.gradient_of(total)

    return work
