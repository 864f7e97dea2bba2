"""A plain loop over tasks: parameters in a dictionary, `torch.autograd.grad`, as research scripts do."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.given import Given, Gradient, MetaGradient
from benchmarks.peers.torch_case import GROUPS, TorchCase, as_arrays

Tree = dict[str, Tensor]


def meta_gradient(given: Given) -> MetaGradient:
    """Return the computation of the meta-gradient."""
    case = TorchCase(given)
    forward = _conv4 if case.classifies else _mlp

    def work() -> Gradient:
        params, total = case.leaves, torch.zeros(())
        for task in case.tasks():
            loss = case.loss(forward(params, task.support_inputs), task.support_targets)
            gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            adapted = {n: leaf - case.rate * g for (n, leaf), g in zip(params.items(), gradients, strict=True)}
            total = total + case.loss(forward(adapted, task.query_inputs), task.query_targets)
        return as_arrays(torch.autograd.grad(total / case.num_tasks, list(params.values())))

    return work


def _mlp(params: Tree, x: Tensor) -> Tensor:
    hidden = functional.linear(x, params["body.0.weight"], params["body.0.bias"]).relu()
    hidden = functional.linear(hidden, params["body.1.weight"], params["body.1.bias"]).relu()
    return functional.linear(hidden, params["head.weight"], params["head.bias"])


def _conv4(params: Tree, x: Tensor) -> Tensor:
    for i in range(4):
        x = functional.conv2d(x, params[f"body.{i}.conv.weight"], stride=2, padding=1)
        x = functional.group_norm(x, GROUPS, params[f"body.{i}.norm.weight"], params[f"body.{i}.norm.bias"]).relu()
    return functional.linear(x.flatten(1), params["head.weight"], params["head.bias"])
