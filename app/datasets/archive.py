"""Zip archives from strangers: every member checked before one is read, and none read past a bound."""

import itertools
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.datasets.caps import DatasetCaps
from app.datasets.zip_directory import num_entries
from innerloop.errors import InvalidArchive

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python unpacks the others without a bound on how much comes out of a few bytes."""
LEFT_BY_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")
UTF8_NAME, ENCRYPTED = 0x800, 0x1


class Member:
    """One file of an archive."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
        self._archive, self._info = archive, info
        self.name = name
        self.num_bytes = info.file_size

    def read(self, limit: int | None = None) -> bytes:
        """Return the bytes, at most `limit` of them; InvalidArchive when they are damaged."""
        with self.open() as file:
            data = file.read(self.num_bytes if limit is None else limit)
            if limit is None:
                file.read(1)  # past the end, where the checksum is looked at
        return data

    @contextmanager
    def open(self) -> Iterator[zipfile.ZipExtFile]:
        """Give the member for reading; InvalidArchive, naming it, when its data are damaged."""
        try:
            with self._archive.open(self._info) as file:
                yield file  # type: ignore[misc]  # typeshed has IO[bytes]
        # zipfile's own word for a compression or a version of the format that it does not know is NotImplementedError.
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise InvalidArchive(f"{self.name}: damaged in the archive: {error}") from error


@contextmanager
def opened_archive(path: Path, filename: str, caps: DatasetCaps) -> Iterator[list[Member]]:
    """Give the files of a zip archive by name, without folders and what systems leave behind.

    Raises InvalidArchive for one that is damaged or holds absolute or climbing paths, links, encrypted or doubled
    members, and DatasetTooLarge for too many entries or bytes.
    """
    try:
        caps.check_entries(num_entries(path, caps.max_entries), filename)
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, UnicodeDecodeError, EOFError) as error:
        raise InvalidArchive(f"{filename} is no zip archive, or a damaged one") from error
    with archive:
        members = [Member(archive, info, _checked_name(info)) for info in archive.infolist()]
        files = sorted((m for m in members if not m.name.endswith("/") and not _is_left(m.name)), key=_name)
        for one, other in itertools.pairwise(files):
            if one.name == other.name:
                raise InvalidArchive(f"{one.name}: twice in the archive")
        caps.check_bytes(sum(file.num_bytes for file in files), filename)
        yield files


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = _name_of(info)
    if name.startswith("/") or name[1:2] == ":":  # the second is a drive
        raise InvalidArchive(f"{name}: an absolute path; an archive holds relative ones")
    if ".." in name.split("/"):
        raise InvalidArchive(f"{name}: a path that climbs out of the archive")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidArchive(f"{name}: a {'link' if kind == stat.S_IFLNK else 'special file'}; only files are taken")
    if info.flag_bits & ENCRYPTED:
        raise InvalidArchive(f"{name}: encrypted; pack it without a password")
    if info.compress_type not in METHODS:
        raise InvalidArchive(f"{name}: compressed in a way that is not taken; store or deflate")
    return name


def _name_of(info: zipfile.ZipInfo) -> str:
    """Return the name with / between folders, read as UTF-8 where its bytes are, whatever the flag says."""
    name = info.filename
    if not info.flag_bits & UTF8_NAME:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _is_left(name: str) -> bool:
    return any(part.startswith(".") or part in LEFT_BY_SYSTEMS for part in name.split("/"))


def _name(member: Member) -> str:
    return member.name
