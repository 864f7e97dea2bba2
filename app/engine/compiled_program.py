"""A compiled program in this process: a shared library that is called with tensors.

The library is called by its C interface and not by torch's own loaders: those hold the interpreter while a program
runs (and the one for packages unpickles what it finds in some of them). Here nothing is read but machine code and the
numbers in it.
"""

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

HOLD_SECONDS = 0.0002
"""A run that is expected to be shorter keeps the interpreter: to get it back from a busy thread may take 5 ms."""

_Pointer = ctypes.c_void_p
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], _Pointer
_capsule_of = ctypes.pythonapi.PyCapsule_New
_capsule_of.argtypes, _capsule_of.restype = [_Pointer, ctypes.c_char_p, _Pointer], ctypes.py_object


class ProgramFailed(Exception):
    """A library that cannot be loaded or run."""


class Program:
    """A library's one program; one thread may run it at a time."""

    def __init__(self, path: Path, signature: Sequence[tuple[torch.dtype, tuple[int, ...]]], num_shared: int) -> None:
        """Load a library. The first `num_shared` inputs have their shapes; the others get a task axis before it."""
        self._signature, self._num_shared = tuple(signature), num_shared
        try:
            library, held = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
            self._handle = _Pointer()
            create = library.AOTInductorModelContainerCreateWithDevice
            create.argtypes = [_Pointer, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
            failed = create(ctypes.byref(self._handle), 1, b"cpu", None)
            delete = library.AOTInductorModelContainerDelete
            self._run, self._run_held = (each.AOTInductorModelContainerRunSingleThreaded for each in (library, held))
            sizes = [ctypes.c_size_t(), ctypes.c_size_t()]
            for count, size in zip(("Inputs", "Outputs"), sizes, strict=True):
                failed |= getattr(library, f"AOTInductorModelContainerGetNum{count}")(self._handle, ctypes.byref(size))
        except (OSError, AttributeError) as error:
            raise ProgramFailed(f"it cannot be loaded: {error}") from error
        if failed or sizes[0].value != len(signature):
            raise ProgramFailed("it cannot be loaded: it is another program")
        size_t = ctypes.c_size_t
        for run in (self._run, self._run_held):
            run.argtypes = [_Pointer, _Pointer, size_t, _Pointer, size_t, _Pointer, _Pointer]
        delete.argtypes = [_Pointer]
        weakref.finalize(self, delete, self._handle)  # the library itself stays mapped
        self._inputs, self._outputs = _Pointer * sizes[0].value, _Pointer * sizes[1].value
        self.seconds_a_task = 0.0
        """As it was measured; decides whether the interpreter is kept."""

    def __call__(self, shared: Sequence[Tensor], inputs_T: Sequence[Tensor]) -> list[Tensor]:
        """Run the program; ProgramFailed when it cannot, ValueError for tensors that are not those it is for."""
        num_tasks = len(inputs_T[-1])
        tensors = [tensor.contiguous() for tensor in (*shared, *inputs_T)]
        self._check(tensors, num_tasks)
        # The handles are the program's from here on, and those of the outputs ours.
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(tensors)
        inputs = self._inputs(*[_pointer_of(capsule, None) for capsule in capsules])
        outputs = self._outputs()
        run = self._run if num_tasks * self.seconds_a_task > HOLD_SECONDS else self._run_held
        if run(self._handle, inputs, len(inputs), outputs, len(outputs), None, None):
            raise ProgramFailed("a run of it failed")
        handles = [_capsule_of(handle, None, None) for handle in outputs]
        results: list[Tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(handles)
        return results

    def _check(self, tensors: Sequence[Tensor], num_tasks: int) -> None:
        """Refuse other tensors: machine code would read past their ends."""
        for place, (tensor, (dtype, shape)) in enumerate(zip(tensors, self._signature, strict=True)):
            wanted = shape if place < self._num_shared else (num_tasks, *shape)
            if tensor.shape != wanted or tensor.dtype != dtype or not tensor.is_cpu:
                raise ValueError(f"input {place} is {tensor.dtype} {tuple(tensor.shape)}; it takes {dtype} {wanted}")
