"""Tensors without their numbers: what specifications of programs are made of."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class TensorKind(NamedTuple):
    """A named tensor without its numbers."""

    name: str
    dtype: str
    """As torch calls it: `float32`."""
    shape: tuple[int, ...]

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def empty(self, *leading: int) -> Tensor:
        """Return a tensor of zeros of this kind, with leading axes."""
        return torch.zeros((*leading, *self.shape), dtype=self.torch_dtype)


def name_of(dtype: torch.dtype) -> str:
    """Return what torch calls a dtype."""
    return str(dtype).removeprefix("torch.")


def kinds_of(tree: Mapping[str, Tensor]) -> tuple[TensorKind, ...]:
    """Return the kinds of leaves, in the tree's order."""
    return tuple(TensorKind(name, name_of(leaf.dtype), tuple(leaf.shape)) for name, leaf in tree.items())
