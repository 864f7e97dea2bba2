"""A compiled program of serving: a library that is called with the initialisation and the tensors of tasks."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from app.programs.shared_library import Library

HOLD_SECONDS = 0.0002
"""A run that is expected to be shorter keeps the interpreter: to get it back from a busy thread may take 5 ms."""


class Program:
    """A library's one program; one thread may run it at a time."""

    def __init__(self, path: Path, signature: Sequence[tuple[torch.dtype, tuple[int, ...]]], num_shared: int) -> None:
        """Load a library. The first `num_shared` inputs have their shapes; the others get a task axis before it."""
        self._signature, self._num_shared = tuple(signature), num_shared
        self._library = Library(path, len(signature))
        self.seconds_a_task = 0.0
        """As it was measured; decides whether the interpreter is kept."""

    def __call__(self, shared: Sequence[Tensor], inputs_T: Sequence[Tensor]) -> list[Tensor]:
        """Run the program; ProgramFailed when it cannot, ValueError for tensors that are not those it is for."""
        num_tasks = len(inputs_T[-1])
        tensors = [tensor.contiguous() for tensor in (*shared, *inputs_T)]
        self._check(tensors, num_tasks)
        return self._library(tensors, holding=num_tasks * self.seconds_a_task <= HOLD_SECONDS)

    def _check(self, tensors: Sequence[Tensor], num_tasks: int) -> None:
        """Refuse other tensors: machine code would read past their ends."""
        for place, (tensor, (dtype, shape)) in enumerate(zip(tensors, self._signature, strict=True)):
            wanted = shape if place < self._num_shared else (num_tasks, *shape)
            if tensor.shape != wanted or tensor.dtype != dtype or not tensor.is_cpu:
                raise ValueError(f"input {place} is {tensor.dtype} {tuple(tensor.shape)}; it takes {dtype} {wanted}")
