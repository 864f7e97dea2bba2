"""What is no compiled program is not called. What one gives is shown where there are some: by serving and training."""

from pathlib import Path

import pytest
import torch

from app.programs.shared_library import Library, ProgramFailed


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF and nothing else"])
def test_a_file_that_is_no_library_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "program.so").write_bytes(content)
    with pytest.raises(ProgramFailed, match="cannot be loaded"):
        Library(tmp_path / "program.so", 1)


def test_a_library_that_is_no_program_is_told() -> None:
    with pytest.raises(ProgramFailed, match="AOTInductorModelContainerCreateWithDevice"):
        Library(Path(torch._C.__file__), 1)
