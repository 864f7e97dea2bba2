"""Programs made in the background: who asks, who waits, who is refused, and what is left at the end."""

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engine import executor
from app.engine.compiled import CompiledPaths
from app.engine.compiled_child import compile_to
from app.engine.compiled_folder import ProgramFolder
from app.engine.compiled_process import CannotCompile, Compile, compile_in_child, has_compiler
from app.engine.executor import Adapted
from tests.engine.compiled_models import model_of, paths_over, spec_of, works_of
from tests.engine.one_task import CPU

GivesUp = Callable[[], bool]


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


def test_nothing_of_a_child_that_is_given_up_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Remembered(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    spec = spec_of(model_of("maml of numbers"), "adapt").model_dump_json().encode()
    with pytest.raises(CannotCompile, match="shutting down"):
        compile_in_child(spec, tmp_path / "program.so", lambda: True)
    (child,) = children
    assert child.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


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


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    ProgramFolder(tmp_path / "data" / "compiled")
    assert stat.S_IMODE((tmp_path / "data" / "compiled").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others"):
        ProgramFolder(tmp_path / "open")


def put(folder: ProgramFolder, key: str, content: bytes = b"machine code") -> Path:
    with folder.workspace(lambda: False) as work:
        assert work is not None
        (work / "program.so").write_bytes(content)
        return folder.put(key, work / "program.so", b'{"spec": 1}')


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"", lambda b: b[:3] + b"?" + b[4:]])
def test_a_file_that_is_not_whole_is_none(folder: ProgramFolder, damage: Callable[[bytes], bytes]) -> None:
    path = put(folder, "a")
    assert folder.find("a") == path
    path.write_bytes(damage(path.read_bytes()))
    assert folder.find("a") is None
    assert not path.exists()
    assert folder.find("b") is None


def test_specifications_are_read_off_the_files(folder: ProgramFolder, tmp_path: Path) -> None:
    put(folder, "a")
    (tmp_path / "compiled" / "b.so").write_bytes(b"short")
    assert folder.specs() == {"a": b'{"spec": 1}'}


@pytest.mark.parametrize("bounds", [{"most_programs": 3}, {"most_bytes": 3_500}])
def test_the_programs_used_longest_ago_make_room(tmp_path: Path, bounds: dict[str, int]) -> None:
    folder = ProgramFolder(tmp_path / "compiled", **bounds)
    for age, key in enumerate("abc"):
        os.utime(put(folder, key, b"x" * 1_000), (1_000 + age, 1_000 + age))
    assert folder.find("a") is not None  # used now
    put(folder, "d", b"x" * 1_000)
    assert sorted(folder.specs()) == ["a", "c", "d"]


def test_one_process_at_a_time_compiles_and_clears_what_dead_ones_left(folder: ProgramFolder, tmp_path: Path) -> None:
    (tmp_path / "compiled" / "work-dead").mkdir()
    (tmp_path / "compiled" / "work-dead" / "program.so").write_bytes(b"half")
    other = ProgramFolder(tmp_path / "compiled")
    with folder.workspace(lambda: False) as work, other.workspace(lambda: True) as none:
        assert work is not None
        assert none is None
        assert files(tmp_path / "compiled") == ["lock", work.name]
    assert files(tmp_path / "compiled") == ["lock"]
