"""Compiled paths: what a program gives, what it is compared with, and that it is warm after a restart.

Three programs are really compiled, where there is a C++ compiler; where there is none, everything stays eager.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.engine import executor
from app.engine.compiled import CompiledPaths
from app.engine.compiled_check import loaded
from app.engine.compiled_child import compile_in_child
from app.engine.engine import Engine
from app.engine.estimate import estimate_many
from app.engine.executor import Adapted
from app.episode import Support
from app.learners.model import Model
from app.programs.folder import ProgramFolder
from app.programs.process import has_compiler
from app.programs.shared_library import Library, ProgramFailed
from innerloop.errors import Diverged
from tests.engine.compiled_models import ROWS, STEPS, load, model_of, paths_over, spec_of, works_of
from tests.engine.one_task import CPU

COMPILES = has_compiler()
REAL = (("maml of numbers", "adapt"), ("anil", "estimate"), ("prototypical", "predict"))
MOST_SECONDS = 900
"""For three programs, on a machine with much else to do: they take some 20 seconds each of a free core."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ProgramFolder:
    """A folder with the three programs."""
    folder = ProgramFolder(tmp_path_factory.mktemp("data") / "compiled")
    paths = paths_over(folder, hot_batches=1, compile_with=compile_in_child if COMPILES else None)
    try:
        for name, work in REAL:
            serve(paths, model_of(name), work)
        until = time.monotonic() + MOST_SECONDS
        while not paths.idle and time.monotonic() < until:
            time.sleep(0.1)
        assert paths.counters.compiled == len(REAL) * COMPILES
    finally:
        paths.close()
    return folder


@pytest.fixture
def paths(folder: ProgramFolder) -> Iterator[CompiledPaths]:
    """The paths of a service that was started again."""
    paths = paths_over(folder)
    yield paths
    paths.close()


def serve(paths: CompiledPaths | None, model: Model, work: str, num_tasks: int = 3) -> list[object]:
    """Run a batch as the engine does."""
    works = works_of(model, num_tasks)
    adapt = paths.adapt if paths and work == "adapt" else None
    adapted = executor.adapt_many(works, executor.stacked(works, CPU), CPU, adapt)
    if work == "estimate":
        return list(estimate_many(works, adapted, CPU, paths.estimate if paths else None))
    if work == "predict":
        params = [done.params for done in adapted if isinstance(done, Adapted)]
        inputs = [one.support.inputs[:2] for one in works]
        return list(executor.predict_many(model, params, inputs, CPU, paths.predict if paths else None))
    return list(adapted)


def numbers_of(outcome: object) -> list[torch.Tensor]:
    if isinstance(outcome, Adapted):
        return [torch.tensor(outcome.support_loss), *outcome.params.tree().values()]
    if isinstance(outcome, torch.Tensor):
        return [outcome]
    assert isinstance(outcome, tuple)  # an Estimate
    return [torch.tensor([float(number) for number in outcome[1:] if number is not None])]


@pytest.mark.parametrize(("name", "work"), REAL)
def test_a_program_gives_what_the_eager_path_gives(name: str, work: str, paths: CompiledPaths) -> None:
    model = model_of(name, seed=5)  # another version than the one that was there when it was compiled
    assert load(paths, model) == COMPILES
    for num_tasks in (1, 2, 30):
        eager = serve(None, model, work, num_tasks)
        for got, want in zip(serve(paths, model, work, num_tasks), eager, strict=True):
            for number, wanted in zip(numbers_of(got), numbers_of(want), strict=True):
                torch.testing.assert_close(number, wanted, rtol=1e-4, atol=1e-6)
    assert paths.counters.runs == 3 * COMPILES


def test_a_restart_compiles_nothing(folder: ProgramFolder) -> None:
    def compile_again(*_: object) -> None:
        raise AssertionError

    paths = paths_over(folder, hot_batches=1, compile_with=compile_again if COMPILES else None)
    try:
        for name, work in REAL:
            serve(paths, model_of(name), work)
            while not paths.idle:
                time.sleep(0.01)
            serve(paths, model_of(name), work)
        assert (paths.counters.compiled, paths.counters.refused) == (0, 0)
        assert paths.counters.runs == len(REAL) * COMPILES
    finally:
        paths.close()


def test_the_engine_loads_what_there_is_for_its_first_model(folder: ProgramFolder) -> None:
    paths, model = paths_over(folder), model_of("maml of numbers", seed=3)
    engine = Engine(CPU, lambda name, version: model, cache_bytes=0, model_cache_bytes=0, max_depth=8, compiled=paths)
    try:
        engine.warm_up(engine.model("any", 1))
        assert paths.counters.loaded == COMPILES
        (work,) = works_of(model, 1)
        done = asyncio.run(engine.adapt(work, None, None))
        assert isinstance(done.result.adapted, Adapted)
        assert paths.counters.runs == COMPILES
    finally:
        engine.close()


def test_rows_are_padded_to_a_program(paths: CompiledPaths) -> None:
    model = model_of("maml of numbers")
    load(paths, model)
    works = works_of(model, 2, num_rows=ROWS - 1)
    support_T = executor.stacked(works, CPU)
    compiled, eager = (executor.adapt_many(works, support_T, CPU, faster) for faster in (paths.adapt, None))
    for got, want in zip(compiled, eager, strict=True):
        for number, wanted in zip(numbers_of(got), numbers_of(want), strict=True):
            torch.testing.assert_close(number, wanted, rtol=1e-4, atol=1e-6)
    assert paths.counters.runs == COMPILES


def test_a_task_of_nan_leaves_its_neighbours_equal_to_the_bit(paths: CompiledPaths) -> None:
    model = model_of("maml of numbers")
    load(paths, model)
    works = works_of(model, 4)
    clean = executor.adapt_many(works, executor.stacked(works, CPU), CPU, paths.adapt)
    poison = works[2].support._replace(targets=torch.full((ROWS, 1), torch.nan))
    works[2] = works[2]._replace(support=poison)
    beside = executor.adapt_many(works, executor.stacked(works, CPU), CPU, paths.adapt)
    assert isinstance(beside[2], Diverged)
    for place in (0, 1, 3):
        assert all(map(torch.equal, numbers_of(beside[place]), numbers_of(clean[place])))
    assert paths.counters.runs == 2 * COMPILES


def test_a_program_refuses_tensors_of_other_shapes(folder: ProgramFolder) -> None:
    model = model_of("maml of numbers")
    path = folder.find(spec_of(model, "adapt").key())
    assert (path is not None) == COMPILES
    if path is not None:
        program = loaded(path, spec_of(model, "adapt"))
        with pytest.raises(ValueError, match="input 0 is"):
            program([torch.zeros(1)] * 4, [torch.zeros(1)] * 5)
        with pytest.raises(ProgramFailed, match="another program"):
            Library(path, 3)


def test_sizes_without_a_program_are_served_eagerly(paths: CompiledPaths) -> None:
    model = model_of("maml of numbers")
    load(paths, model)
    works = works_of(model, 2, num_rows=ROWS + 3)
    adapted = executor.adapt_many(works, executor.stacked(works, CPU), CPU, paths.adapt)
    assert all(isinstance(done, Adapted) for done in adapted)
    assert paths.counters.runs == 0


def test_a_damaged_program_is_deleted_and_compiled_anew(folder: ProgramFolder, tmp_path: Path) -> None:
    model = model_of("maml of numbers")
    key = spec_of(model, "adapt").key()
    whole = folder.find(key)
    again = ProgramFolder(tmp_path / "compiled")
    damaged = tmp_path / "compiled" / f"{key}.so"
    content = whole.read_bytes() if whole else b"no compiler ever made this"
    damaged.write_bytes(content[: len(content) // 2])
    made: list[bytes] = []

    def compile_anew(spec: bytes, library: Path, gives_up: object) -> None:
        made.append(spec)
        library.write_bytes(b"")
        if whole:
            shutil.copy(whole, library)  # what follows the library in a file does not hurt

    paths = paths_over(again, hot_batches=2, compile_with=compile_anew)
    try:
        assert load(paths, model) == 0
        for _ in range(2):
            assert all(isinstance(done, Adapted) for done in serve(paths, model, "adapt"))
        while not paths.idle:
            time.sleep(0.01)
        serve(paths, model, "adapt")
        assert len(made) == 1
        assert paths.counters.runs == COMPILES
        assert paths.counters.refused == (not COMPILES)
    finally:
        paths.close()


def test_support_of_another_dtype_goes_the_eager_way(paths: CompiledPaths) -> None:
    model = model_of("maml of numbers")
    load(paths, model)
    support_T = executor.stacked(works_of(model, 2), CPU)
    doubled = Support(support_T.inputs.double(), *support_T[1:])
    assert paths.adapt(model, doubled, torch.ones(2), STEPS) is None
    assert paths.counters.refused == 0
