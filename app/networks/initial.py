"""How weights start."""

import math

import torch
from torch import Tensor


def kaiming_uniform(generator: torch.Generator, shape: tuple[int, ...], gain: float = 2.0) -> Tensor:
    """Return weights uniform within sqrt(3 gain / fan in), He et al. 2015; `gain` 2 is for ReLU, 1 for linear."""
    bound = math.sqrt(3.0 * gain / math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
