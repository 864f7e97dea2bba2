"""A compiled library in this process, called with tensors.

It is called by its C interface and not by torch's own loaders: those hold the interpreter while a program runs (and
the one for packages unpickles what it finds in some of them). Here nothing is read but machine code and the numbers
in it.
"""

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

_Pointer, _size_t = ctypes.c_void_p, ctypes.c_size_t
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], _Pointer
_capsule_of = ctypes.pythonapi.PyCapsule_New
_capsule_of.argtypes, _capsule_of.restype = [_Pointer, ctypes.c_char_p, _Pointer], ctypes.py_object


class ProgramFailed(Exception):
    """A library that cannot be loaded or run."""


class Library:
    """A library's one program, for so many calls at the same time.

    Within a call everything is computed by as many threads as it was compiled for. Tensors are contiguous, and of the
    shapes and dtypes that were compiled: machine code looks at neither.
    """

    def __init__(self, path: Path, num_inputs: int, *, calls_at_once: int = 1) -> None:
        """Load a library; ProgramFailed when it is none, or one that takes another number of inputs."""
        alone = "SingleThreaded" if calls_at_once == 1 else ""  # which takes no lock
        try:
            library, held = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
            self._handle = _Pointer()
            create = library.AOTInductorModelContainerCreateWithDevice
            create.argtypes = [_Pointer, _size_t, ctypes.c_char_p, ctypes.c_char_p]
            failed = create(ctypes.byref(self._handle), calls_at_once, b"cpu", None)
            delete = library.AOTInductorModelContainerDelete
            runs = [getattr(each, f"AOTInductorModelContainerRun{alone}") for each in (library, held)]
            sizes = [_size_t(), _size_t()]
            for count, size in zip(("Inputs", "Outputs"), sizes, strict=True):
                failed |= getattr(library, f"AOTInductorModelContainerGetNum{count}")(self._handle, ctypes.byref(size))
        except (OSError, AttributeError) as error:
            raise ProgramFailed(f"it cannot be loaded: {error}") from error
        if failed or sizes[0].value != num_inputs:
            raise ProgramFailed("it cannot be loaded: it is another program")
        for run in runs:
            run.argtypes = [_Pointer, _Pointer, _size_t, _Pointer, _size_t, _Pointer, _Pointer]
        self._run, self._run_held = runs
        delete.argtypes = [_Pointer]
        weakref.finalize(self, delete, self._handle)  # the library itself stays mapped
        self._inputs, self._outputs = _Pointer * sizes[0].value, _Pointer * sizes[1].value

    def __call__(self, tensors: Sequence[Tensor], *, holding: bool = False) -> list[Tensor]:
        """Run the program, `holding` the interpreter or not; ProgramFailed when it cannot."""
        # The handles are the program's from here on, and those of the outputs ours.
        capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))
        inputs = self._inputs(*[_pointer_of(capsule, None) for capsule in capsules])
        outputs = self._outputs()
        run = self._run_held if holding else self._run
        if run(self._handle, inputs, len(inputs), outputs, len(outputs), None, None):
            raise ProgramFailed("a run of it failed")
        handles = [_capsule_of(handle, None, None) for handle in outputs]
        results: list[Tensor] = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(handles)
        return results
