import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from app.datasets.archive import opened_archive
from app.datasets.caps import DatasetCaps
from innerloop.errors import DatasetTooLarge, InvalidArchive
from tests.datasets.uploads import CAPS, zip_of


def names_in(path: Path, caps: DatasetCaps = CAPS) -> list[str]:
    with opened_archive(path, path.name, caps) as members:
        return [member.name for member in members]


def read_all(path: Path) -> list[bytes]:
    with opened_archive(path, path.name, CAPS) as members:
        return [member.read() for member in members]


def test_files_come_by_name_without_folders_and_what_systems_leave(tmp_path: Path) -> None:
    wanted = ["a/2.png", "a/é.png", "b/1.png"]
    left = ["__MACOSX/a/._2.png", "a/.DS_Store", ".git/x", "a/Thumbs.db", "b/desktop.ini", "a/"]
    path = zip_of(tmp_path, {name: name.encode() for name in [*wanted[::-1], *left]})
    assert names_in(path) == wanted
    assert read_all(path) == [name.encode() for name in wanted]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "an absolute path"),
        ("C:\\windows\\a.png", "an absolute path"),
        ("\\server\\a.png", "an absolute path"),
        ("a/../../b.png", "climbs out"),
        ("..\\b.png", "climbs out"),
        ("..", "climbs out"),
    ],
)
def test_paths_that_leave_the_archive_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match=message):
        names_in(zip_of(tmp_path, {"a/1.png": b"1", name: b"2"}))


@pytest.mark.parametrize(
    ("kind", "message"), [(stat.S_IFLNK, "a link; only files are taken"), (stat.S_IFIFO, "a special file")]
)
def test_links_and_special_files_are_refused(kind: int, message: str, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a/1.png")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InvalidArchive, match=rf"a/1\.png: {message}"):
        names_in(tmp_path / "links.zip")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a/1.png": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidArchive, match=r"a/1\.png: encrypted"):
        names_in(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_without_a_bound_is_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a/1.png", b"1" * 100)
    with pytest.raises(InvalidArchive, match=r"a/1\.png: compressed in a way that is not taken"):
        names_in(tmp_path / "a.zip")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a/1.png": b"1", "a/2.png": b"2"})
    path.write_bytes(path.read_bytes().replace(b"a/2.png", b"a/1.png"))
    with pytest.raises(InvalidArchive, match=r"a/1\.png: twice in the archive"):
        names_in(path)


def test_bomb_is_refused_and_takes_no_memory(tmp_path: Path) -> None:
    """A megabyte that is a gigabyte."""
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/1.png", "w", force_zip64=True) as file,
    ):
        for _ in range(64):
            file.write(bytes(1 << 24))
    assert (tmp_path / "bomb.zip").stat().st_size < 1_100_000
    tracemalloc.start()
    with pytest.raises(DatasetTooLarge, match="1073741824 bytes once unpacked; at most 8388608"):
        names_in(tmp_path / "bomb.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_bomb_that_lies_about_its_size_is_read_no_further_than_it_says(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a/1.png": bytes(50_000_000)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<L", data, data.index(signature) + offset, 1000)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InvalidArchive, match=r"a/1\.png: damaged"):
        read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_too_many_entries_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {f"a/{i}.png": b"" for i in range(300)})
    assert len(names_in(path, DatasetCaps(10**6, 10**6, 300, 10))) == 300
    with pytest.raises(DatasetTooLarge, match="300 entries; at most 299"):
        names_in(path, DatasetCaps(10**6, 10**6, 299, 10))
    with pytest.raises(DatasetTooLarge, match="entries; at most 2"):
        names_in(path, DatasetCaps(10**6, 10**6, 2, 10))


def test_archives_of_more_entries_than_the_old_format_counts_are_taken(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {f"{i}": b"" for i in range(66_000)})
    assert len(names_in(path, DatasetCaps(10**6, 10**6, 66_000, 10))) == 66_000
    with pytest.raises(DatasetTooLarge, match="66000 entries"):
        names_in(path, DatasetCaps(10**6, 10**6, 65_999, 10))


@pytest.mark.parametrize("kept", [0, 4, 40, 100])
def test_archive_that_was_cut_off_is_refused_by_name(kept: int, tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a/1.png": b"1" * 50, "a/2.png": b"2" * 50})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidArchive, match=r"pictures\.zip is no zip archive, or a damaged one"):
        names_in(path)


def test_damaged_members_are_refused_by_name(tmp_path: Path) -> None:
    path = zip_of(tmp_path, {"a/1.png": b"drawing" * 100})
    data = bytearray(path.read_bytes())
    start = 30 + len("a/1.png")  # past the local header
    data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(InvalidArchive, match=r"a/1\.png: damaged in the archive"):
        read_all(path)


def test_names_in_utf_8_without_the_flag_are_read_as_such(tmp_path: Path) -> None:
    """As the archiver of macOS writes them."""
    path = zip_of(tmp_path, {"naiive/1.png": b"1"})
    path.write_bytes(path.read_bytes().replace(b"naiive", "naïve".encode()))  # as many bytes
    assert names_in(path) == ["naïve/1.png"]
    assert read_all(path) == [b"1"]
