"""A case in torch: the network as a module, its loss, and the episodes as tensors."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.given import Given, Gradient

GROUPS = 8


class Task(NamedTuple):
    """One task's rows."""

    support_inputs: Tensor
    support_targets: Tensor
    query_inputs: Tensor
    query_targets: Tensor


class TorchCase:
    """What the loops over tasks need."""

    def __init__(self, given: Given) -> None:
        self.rate, self.num_tasks, self.classifies = given.rate, given.num_tasks, given.classifies
        self.leaves = {name: torch.from_numpy(leaf).requires_grad_() for name, leaf in given.leaves.items()}
        self.model = _conv4(given) if given.classifies else _mlp(given)
        with torch.no_grad():
            for parameter, leaf in zip(self.model.parameters(), self.leaves.values(), strict=True):
                parameter.copy_(leaf)
        self._episodes = [
            torch.from_numpy(array)
            for array in (given.support_inputs, given.support_targets, given.query_inputs, given.query_targets)
        ]

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks, one by one."""
        for i in range(self.num_tasks):
            yield Task(*(leaf[i] for leaf in self._episodes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over rows."""
        return functional.cross_entropy(outputs, targets) if self.classifies else functional.mse_loss(outputs, targets)

    def gradient_of(self, total: Tensor) -> Gradient:
        """Return the gradient of the mean over tasks over the module's parameters."""
        return as_arrays(torch.autograd.grad(total / self.num_tasks, list(self.model.parameters())))


def as_arrays(gradients: tuple[Tensor, ...]) -> Gradient:
    """Return tensors as arrays, without a copy."""
    return [gradient.detach().numpy() for gradient in gradients]


def _mlp(given: Given) -> nn.Module:
    weights = [leaf for name, leaf in given.leaves.items() if name.endswith("weight")]
    layers: list[nn.Module] = []
    for i, weight in enumerate(weights):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
    return nn.Sequential(*layers)


def _conv4(given: Given) -> nn.Module:
    layers: list[nn.Module] = []
    for name, leaf in given.leaves.items():
        if name.endswith("conv.weight"):
            layers += [nn.Conv2d(leaf.shape[1], leaf.shape[0], 3, stride=2, padding=1, bias=False)]
            layers += [nn.GroupNorm(GROUPS, leaf.shape[0]), nn.ReLU()]
    head = given.leaves["head.weight"]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(head.shape[1], head.shape[0]))
