"""Programs made in the background: who asks, who waits, who is refused, and what is left at the end."""

import threading
import time
from pathlib import Path

import pytest

from app.engine import executor
from app.engine.compiled import CompiledPaths
from app.engine.compiled_child import compile_in_child, compile_to
from app.engine.executor import Adapted
from app.programs.folder import ProgramFolder
from app.programs.process import CannotCompile, Compile, GivesUp, has_compiler
from tests.engine.compiled_models import model_of, paths_over, spec_of, works_of
from tests.engine.one_task import CPU


@pytest.fixture
def folder(tmp_path: Path) -> ProgramFolder:
    return ProgramFolder(tmp_path / "compiled")


def run(paths: CompiledPaths, num_tasks: int = 1) -> None:
    works = works_of(model_of("maml of numbers"), num_tasks)
    adapted = executor.adapt_many(works, executor.stacked(works, CPU), CPU, paths.adapt)
    assert all(isinstance(done, Adapted) for done in adapted)


def settle(paths: CompiledPaths) -> None:
    while not paths.idle:
        time.sleep(0.005)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("batches", "tasks_each"), [(3, 1), (1, 20)])
def test_only_hot_sizes_are_compiled_and_once(folder: ProgramFolder, batches: int, tasks_each: int) -> None:
    asked: list[bytes] = []

    def refuse(spec: bytes, library: Path, gives_up: GivesUp) -> None:
        asked.append(spec)
        raise CannotCompile("no")

    paths = paths_over(folder, hot_batches=3, hot_tasks=20, compile_with=refuse)
    try:
        for _ in range(batches - 1):
            run(paths, tasks_each)
        settle(paths)
        assert not asked
        for _ in range(4):
            run(paths, tasks_each)
            settle(paths)
        assert len(asked) == 1
        assert (paths.counters.compiled, paths.counters.refused) == (0, 1)
    finally:
        paths.close()


def test_the_eager_path_serves_while_something_compiles(folder: ProgramFolder, tmp_path: Path) -> None:
    begun = threading.Event()

    def compile_for_ever(spec: bytes, library: Path, gives_up: GivesUp) -> None:
        library.write_bytes(b"half of it")
        begun.set()
        while not gives_up():
            time.sleep(0.005)
        raise CannotCompile("the service is shutting down")

    paths = paths_over(folder, hot_batches=1, compile_with=compile_for_ever)
    try:
        run(paths)
        assert begun.wait(10)
        run(paths, 3)
        assert not paths.idle
    finally:
        paths.close()
    assert (paths.counters.compiled, paths.counters.refused) == (0, 0)
    assert files(tmp_path / "compiled") == ["lock"]


def broken(spec: bytes, library: Path, gives_up: GivesUp) -> None:
    library.write_bytes(b"\x7fELF and nothing else")


def silent(spec: bytes, library: Path, gives_up: GivesUp) -> None:
    """Write nothing, and say nothing."""


def failing(spec: bytes, library: Path, gives_up: GivesUp) -> None:
    raise RuntimeError("of a kind that nobody thought of")


@pytest.mark.parametrize("compile_with", [broken, silent, failing])
def test_whatever_goes_wrong_the_eager_path_serves(
    folder: ProgramFolder, tmp_path: Path, compile_with: Compile
) -> None:
    paths = paths_over(folder, hot_batches=1, compile_with=compile_with)
    try:
        for _ in range(3):
            run(paths)
            settle(paths)
        assert paths.counters.runs == 0
    finally:
        paths.close()
    assert files(tmp_path / "compiled") == ["lock"]


def test_without_a_compiler_nothing_is_asked_for(
    folder: ProgramFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert not has_compiler()
    paths = paths_over(folder, hot_batches=1, compile_with=compile_in_child if has_compiler() else None)
    try:
        for _ in range(3):
            run(paths)
        settle(paths)
        assert (paths.counters.compiled, paths.counters.refused) == (0, 0)
    finally:
        paths.close()
    assert files(tmp_path / "compiled") == []


def test_a_child_tells_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(CannotCompile, match="ValidationError"):
        compile_in_child(b'{"of": "another release"}', tmp_path / "program.so", lambda: False)


def test_a_child_without_a_compiler_tells_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    spec = spec_of(model_of("prototypical"), "predict").model_dump_json().encode()
    with pytest.raises(CannotCompile, match="ompiler"):
        compile_in_child(spec, tmp_path / "program.so", lambda: False)


def test_a_specification_is_checked_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="architecture"):
        compile_to("{}", tmp_path / "program.so")
