"""The folder of programs: whole files alone, its owner's alone, bounded, and filled by one process at a time."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.programs.folder import ProgramFolder
from app.programs.process import CannotCompile, GivesUp

SPEC = b'{"spec": 1}'


@pytest.fixture
def folder(tmp_path: Path) -> ProgramFolder:
    return ProgramFolder(tmp_path / "compiled")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(folder: ProgramFolder, key: str, content: bytes = b"machine code") -> Path:
    with folder.workspace(lambda: False) as work:
        assert work is not None
        (work / "program.so").write_bytes(content)
        return folder.put(key, work / "program.so", SPEC)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    ProgramFolder(tmp_path / "data" / "compiled")
    assert stat.S_IMODE((tmp_path / "data" / "compiled").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others"):
        ProgramFolder(tmp_path / "open")


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
    assert folder.specs() == {"a": SPEC}


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


def test_a_program_is_compiled_once_whoever_asks(folder: ProgramFolder, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def compile_with(spec: bytes, library: Path, gives_up: GivesUp) -> None:
        asked.append(spec)
        library.write_bytes(b"machine code")

    other = ProgramFolder(tmp_path / "compiled")
    assert [each.fill("a", SPEC, compile_with, lambda: False) for each in (folder, other)] == [True, False]
    assert asked == [SPEC]
    assert folder.find("a") == other.find("a") == tmp_path / "compiled" / "a.so"
    with other.workspace(lambda: False):
        assert not folder.fill("b", SPEC, compile_with, lambda: True)


def test_nothing_is_left_of_a_program_that_cannot_be_compiled(folder: ProgramFolder, tmp_path: Path) -> None:
    def compile_with(spec: bytes, library: Path, gives_up: GivesUp) -> None:
        library.write_bytes(b"half of it")
        raise CannotCompile("no")

    with pytest.raises(CannotCompile):
        folder.fill("a", SPEC, compile_with, lambda: False)
    assert files(tmp_path / "compiled") == ["lock"]
