"""The compiling child and its parent: what it is surrounded by, what it says, and that nothing of it is left."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.programs.child import MOST_REASON, NICENESS, CompileTo
from app.programs.process import ROOT, CannotCompile, compile_in_child, has_compiler
from tests.programs import compilers

MOST_SECONDS = 60.0


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "program.so"


@pytest.fixture(autouse=True)
def _these_tests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the child, whose folder is the workspace."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def compiled(compile_to: CompileTo, library: Path, gives_up: Callable[[], bool] = lambda: False) -> None:
    compile_in_child(compile_to, b'{"of": 1}', library, gives_up, most_seconds=MOST_SECONDS)


def lives(process: int) -> bool:
    about = Path(f"/proc/{process}/stat")
    try:
        return about.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_dead_soon(processes: list[int]) -> bool:
    until = time.monotonic() + MOST_SECONDS
    while any(map(lives, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(lives, processes))


def test_the_child_gives_way_and_keeps_to_one_thread_and_its_workspace(library: Path) -> None:
    compiled(compilers.write, library)
    assert json.loads(library.read_text()) == {
        "spec": '{"of": 1}',
        "niceness": NICENESS,
        "TORCHINDUCTOR_CACHE_DIR": str(library.parent.parent / "processor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(library.parent),
    }


@pytest.mark.parametrize(
    ("compile_to", "reason"),
    [
        (compilers.write_nothing, "the compiling process wrote nothing"),
        (compilers.fail, f"^{'ValueError: '.ljust(MOST_REASON, 'x')}$"),
        (compilers.crash, "ended with status -6"),
    ],
)
def test_the_parent_is_told_why_there_is_no_library(compile_to: CompileTo, reason: str, library: Path) -> None:
    with pytest.raises(CannotCompile, match=reason):
        compiled(compile_to, library)


def test_a_child_that_is_given_up_is_killed_with_its_compiler(library: Path) -> None:
    with pytest.raises(CannotCompile, match="nobody waits"):
        compiled(compilers.never_end, library, library.exists)
    assert all_dead_soon(json.loads(library.read_text()))


def test_nothing_is_left_of_a_child_that_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Remembered(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Remembered)
    with pytest.raises(CannotCompile, match="nobody waits"):
        compiled(compilers.never_end, library, lambda: True)
    (child,) = children
    assert child.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_a_child_that_takes_too_long_is_killed(library: Path) -> None:
    with pytest.raises(CannotCompile, match=r"longer than 0\.2 s"):
        compile_in_child(compilers.never_end, b"{}", library, lambda: False, most_seconds=0.2)


def test_a_child_dies_with_its_parent_and_so_does_its_compiler(library: Path) -> None:
    parent = f"from tests.programs.compilers import compile_without_end; compile_without_end({str(library)!r})"
    with subprocess.Popen([sys.executable, "-c", parent]) as running:
        until = time.monotonic() + MOST_SECONDS
        while not library.exists() and time.monotonic() < until:
            time.sleep(0.02)
        processes = json.loads(library.read_text())
        assert all(map(lives, processes))
        running.kill()
    assert all_dead_soon(processes)


@pytest.mark.parametrize(("compiler", "found"), [(sys.executable, True), ("", False), ("no-such-compiler", False)])
def test_the_compiler_is_the_one_that_is_named(compiler: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler)
    assert has_compiler() == found


def test_without_a_path_no_compiler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert not has_compiler()
