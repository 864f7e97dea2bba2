"""A compiled meta-step: a shared library, called by as many threads as share the parts of a meta-batch.

Within a thread everything is computed by that thread alone, so that results depend on neither the number of threads
nor on what else runs.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Tree
from app.learners.learner import Metrics
from app.programs.shared_library import Library
from app.training.meta_step import mean_of
from app.training.portions import parts
from app.training.step_spec import META_LOSS, StepSpec, inputs_of, outputs_of, tensors_of


class CompiledStep:
    """The meta-gradient by a program, for meta-batches that its parts divide."""

    def __init__(self, spec: StepSpec, program: Library, threads: int) -> None:
        """Take a program that was loaded for so many calls at once."""
        self._spec, self._program, self._threads = spec, program, threads
        self._size = spec.episode[-1].shape[0]
        self._shapes = [kind.shape[1:] for kind in spec.episode]
        self._pool = ThreadPoolExecutor(threads, "meta-step", _one_thread) if threads > 1 else None

    def takes(self, episodes: Episode) -> bool:
        """Tell whether a meta-batch is of the shapes that were compiled."""
        tensors = tensors_of(episodes)
        return len(tensors[-1]) % self._size == 0 and [tensor.shape[1:] for tensor in tensors] == self._shapes

    def gradient(self, meta: MetaParams, episodes: Episode, progress: Tensor) -> tuple[Tree, Metrics]:
        """Return the gradient over the trained leaves, and the meta-loss."""
        calls = [inputs_of(self._spec, meta, part, progress) for part in parts(episodes, self._size)]
        if self._pool is None or len(calls) == 1:
            made = [self._alone(call) for call in calls]
        else:
            made = list(self._pool.map(self._program, calls))
        found = mean_of([outputs_of(self._spec, outputs) for outputs in made])
        meta_loss = found.pop(META_LOSS)
        return found, {META_LOSS: meta_loss}

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _alone(self, call: list[Tensor]) -> list[Tensor]:
        """Return the outputs of a call that this thread computes alone."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._program(call)
        finally:
            torch.set_num_threads(threads)


def _one_thread() -> None:
    torch.set_num_threads(1)
