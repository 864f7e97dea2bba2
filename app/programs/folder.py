"""Programs in a folder of the service's own, warm after a restart, shared by its processes.

A file is a shared library, then its specification, then the length of that and a sha256 of everything. It is written
beside its place and renamed into it: whoever finds it, finds all of it.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.programs.process import Compile, GivesUp

LENGTH_BYTES, DIGEST_BYTES = 8, 32
SUFFIX = ".so"
WORKSPACE = "work-"
LOCK_POLL_SECONDS = 0.2


class ProgramFolder:
    """Programs by key, at most so many and so many bytes: those that were used last.

    What lies here is run as machine code, so it must be nobody else's: PermissionError for a folder that is.
    """

    def __init__(self, path: Path, *, most_programs: int = 128, most_bytes: int = 512 * 1024 * 1024) -> None:
        self._path = path.resolve()
        self._most_programs, self._most_bytes = most_programs, most_bytes
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self._path.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o022:
            raise PermissionError(f"{self._path} can be written by others; what is compiled there is run")

    def find(self, key: str) -> Path | None:
        """Return a program's library, complete and as it was written; one that is neither is deleted."""
        path = self._path / f"{key}{SUFFIX}"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content[:-DIGEST_BYTES]).digest() != content[-DIGEST_BYTES:]:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return path

    def put(self, key: str, library: Path, spec: bytes) -> Path:
        """Store a library, and return its place; the programs that were used longest ago make room."""
        content = library.read_bytes() + spec + len(spec).to_bytes(LENGTH_BYTES, "little")
        path = self._path / f"{key}{SUFFIX}"
        whole = library.with_name(f"{key}{SUFFIX}.whole")  # in a workspace, which leaves nothing behind
        whole.write_bytes(content + hashlib.sha256(content).digest())
        whole.rename(path)
        self._make_room(path)
        return path

    def fill(self, key: str, spec: bytes, compile_with: Compile, gives_up: GivesUp) -> bool:
        """Compile a program that is not here, and tell whether there was need to; CannotCompile.

        There was none where another process was faster while this one waited for its turn; or nobody waits any more.
        """
        with self.workspace(gives_up) as work:
            if work is None or self.find(key) is not None:
                return False
            compile_with(spec, work / "program.so", gives_up)
            self.put(key, work / "program.so", spec)
            return True

    def drop(self, key: str) -> None:
        """Delete a program that proved to be of no use."""
        (self._path / f"{key}{SUFFIX}").unlink(missing_ok=True)

    def specs(self) -> dict[str, bytes]:
        """Return by key what programs say they are; whether they are complete is for `find`."""
        found = ((path, _spec_of(path)) for path in self._path.glob(f"*{SUFFIX}"))
        return {path.name.removesuffix(SUFFIX): spec for path, spec in found if spec is not None}

    @contextmanager
    def workspace(self, gives_up: GivesUp) -> Iterator[Path | None]:
        """Give an empty folder to compile in, to one process at a time; None once `gives_up` says so."""
        with (self._path / "lock").open("w") as lock:
            while not _locked(lock.fileno()):
                if gives_up():
                    yield None
                    return
                time.sleep(LOCK_POLL_SECONDS)
            for left in self._path.glob(f"{WORKSPACE}*"):  # by a process that was killed: it would hold the lock
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=WORKSPACE, dir=self._path, ignore_cleanup_errors=True) as work:
                yield Path(work)

    def _make_room(self, newest: Path) -> None:
        files = sorted((_seen(path) for path in self._path.glob(f"*{SUFFIX}")), reverse=True)
        total = 0
        for number, (_, size, path) in enumerate(files, 1):
            total += size
            if path != newest and (number > self._most_programs or total > self._most_bytes):
                path.unlink(missing_ok=True)


def _seen(path: Path) -> tuple[float, int, Path]:
    try:
        about = path.stat()
    except FileNotFoundError:  # another process made room
        return 0.0, 0, path
    return about.st_mtime, about.st_size, path


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _spec_of(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            end = size - LENGTH_BYTES - DIGEST_BYTES
            file.seek(max(0, end))
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 0 < length <= end:
                return None
            file.seek(end - length)
            return file.read(length)
    except FileNotFoundError:
        return None
