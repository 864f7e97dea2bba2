"""A compiled meta-step: a shared library, called by as many threads as share the parts of a meta-batch.

The library is called by its C interface, which holds no lock of the interpreter meanwhile: torch's own wrapper of it
does, and two threads then take as long as one. Within a thread everything is computed by that thread alone, so that
results depend on neither the number of threads nor on what else runs.
"""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Tree
from app.learners.learner import Metrics
from app.training.meta_step import mean_of
from app.training.portions import parts
from app.training.step_spec import META_LOSS, StepSpec, inputs_of, outputs_of, tensors_of

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
_capsule_of = ctypes.pythonapi.PyCapsule_New
_capsule_of.restype, _capsule_of.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Program:
    """A library that `step_graph` made."""

    def __init__(self, library: Path, threads: int) -> None:
        """Load a library for so many calls at the same time; OSError when it is none."""
        self._library = ctypes.CDLL(str(library))
        self._container, number = ctypes.c_void_p(), ctypes.c_size_t()
        try:
            self._check(
                self._library.AOTInductorModelContainerCreateWithDevice(
                    ctypes.byref(self._container), ctypes.c_size_t(threads), b"cpu", None
                )
            )
            self._check(self._library.AOTInductorModelContainerGetNumOutputs(self._container, ctypes.byref(number)))
        except AttributeError as error:
            raise OSError(f"{library} is no compiled program: {error}") from error
        self._num_outputs = number.value

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs; inputs are contiguous, and of the shapes that were compiled."""
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(inputs))
        given = (ctypes.c_void_p * len(capsules))(*(_pointer_of(each, _name_of(each)) for each in capsules))
        made = (ctypes.c_void_p * self._num_outputs)()
        self._check(
            self._library.AOTInductorModelContainerRun(  # it takes the inputs' handles over
                self._container,
                given,
                ctypes.c_size_t(len(given)),
                made,
                ctypes.c_size_t(len(made)),
                None,
                None,
            )
        )
        return torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs([_capsule_of(each, None, None) for each in made])

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise OSError(f"a compiled program failed with status {status}")


class CompiledStep:
    """The meta-gradient by a program, for meta-batches that its parts divide."""

    def __init__(self, spec: StepSpec, program: Program, threads: int) -> None:
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
