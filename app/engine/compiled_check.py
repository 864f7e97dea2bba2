"""Whether a program does what the eager path does, and faster, on made-up tasks: asked before it serves anybody."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from app.engine.compiled_program import Program
from app.engine.compiled_spec import Spec, alone, function_of, inputs_of, leaves_of
from app.learners.model import Model
from app.programs.shared_library import ProgramFailed
from app.programs.tensor_kind import TensorKind

TOLERANCE = 1e-4
"""Of the largest number of an output: another order of adding moves the last digits, and steps carry them on."""
NUMBERS_OF_TASKS = (1, 3, 8)
POISONED = 1
"""The place of a task of NaN among three: its neighbours must not notice, to the bit."""
TIMED_RUNS = 3


def loaded(path: Path, spec: Spec) -> Program:
    """Return the program of a library; ProgramFailed when it is none of this specification."""
    architecture = spec.architecture
    shared = [*architecture.trained, *architecture.fixed]
    signature = [(kind.torch_dtype, kind.shape) for kind in (*shared, *inputs_of(spec))]
    return Program(path, signature, len(shared))


@torch.no_grad()
def check(program: Program, spec: Spec, model: Model, more_numbers: Sequence[int] = ()) -> None:
    """Run a program beside the eager path; ProgramFailed where it differs, or where it is the slower one.

    `more_numbers` of tasks are tried beside the usual ones. Tells the program how long a task takes it.
    """
    leaves = leaves_of(spec.architecture, model.meta)
    many = function_of(spec, model)
    for num_tasks in {*NUMBERS_OF_TASKS, *more_numbers}:
        inputs_T = made_up(spec, num_tasks)
        _compare(program(leaves, inputs_T), many(*leaves, *inputs_T))
    _check_poison(program, spec, leaves)
    one, one_T, many_T = function_of(spec, model, alone), made_up(spec, 1), made_up(spec, NUMBERS_OF_TASKS[-1])
    seconds = _shortest(lambda: program(leaves, many_T))
    program.seconds_a_task = seconds / NUMBERS_OF_TASKS[-1]
    seconds += _shortest(lambda: program(leaves, one_T))
    if seconds > _shortest(lambda: one(*leaves, *one_T)) + _shortest(lambda: many(*leaves, *many_T)):
        raise ProgramFailed("it is not faster than the eager path")


def made_up(spec: Spec, num_tasks: int) -> list[Tensor]:
    """Return inputs of made-up tasks, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return [_made_up(kind, spec, num_tasks, generator) for kind in inputs_of(spec)]


def _made_up(kind: TensorKind, spec: Spec, num_tasks: int, generator: torch.Generator) -> Tensor:
    shape, sizes = (num_tasks, *kind.shape), spec.sizes
    if kind.name == "rate":
        return torch.ones(shape)
    if kind.name == "params" and kind.dtype in ("float32", "float64"):  # positive: there may be variances among them
        return (0.1 + torch.rand(shape, generator=generator)).to(kind.torch_dtype)
    if kind.dtype == "float32":
        return torch.randn(shape, generator=generator)
    if kind.name == "targets":
        return torch.randint(max(1, sizes.classes), shape, generator=generator)
    if kind.name == "rows":
        every = torch.arange(sizes.folds * sizes.fold_rows).reshape(sizes.fold_rows, sizes.folds).T
        return (every % sizes.rows).expand(shape).contiguous()
    whole = kind.empty(num_tasks)
    if kind.dtype == "bool":
        whole.fill_(value=True)
    if kind.name == "row_mask" and sizes.rows > 2:
        whole[:, -1] = False
    return whole


def _compare(results: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    if len(results) != len(wanted):
        raise ProgramFailed("it has other outputs than the eager path")
    for got, want in zip(results, wanted, strict=True):
        if got.shape != want.shape or got.dtype != want.dtype:
            raise ProgramFailed("it has outputs of another shape than the eager path")
        got, want = got.double(), want.double()
        finite = want.isfinite()
        scale = float(want[finite].abs().max()) if bool(finite.any()) else 0.0
        if not torch.equal(got.isfinite(), finite) or not bool(((got - want)[finite].abs() <= TOLERANCE * scale).all()):
            raise ProgramFailed("it gives other numbers than the eager path")


def _check_poison(program: Program, spec: Spec, leaves: Sequence[Tensor]) -> None:
    clean_T = made_up(spec, 3)
    poisoned_T = [leaf.clone() for leaf in clean_T]
    for leaf in poisoned_T:
        if leaf.is_floating_point():
            leaf[POISONED] = torch.nan
    for clean, beside in zip(program(leaves, clean_T), program(leaves, poisoned_T), strict=True):
        for place in (POISONED - 1, POISONED + 1):
            if not torch.equal(clean[place].double().nan_to_num(), beside[place].double().nan_to_num()):
                raise ProgramFailed("a task that is not finite changes its neighbours")


def _shortest(run: Callable[[], object]) -> float:
    took = []
    for _ in range(TIMED_RUNS):
        began = perf_counter()
        run()
        took.append(perf_counter() - began)
    return min(took)
