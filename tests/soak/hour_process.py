"""What a process takes: memory, its children's apart, open files, threads."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MIB = 1024 * 1024
KIB_A_MIB = 1024.0
PROC = Path("/proc")


class Taken(NamedTuple):
    """Figures of a process at one moment, memory in MiB."""

    rss_mib: float
    anonymous_mib: float
    """The part of it that no file is behind: heap and stacks."""
    children_mib: float
    num_children: int
    num_files: int
    num_threads: int


def taken(pid: int) -> Taken:
    """Return what a process takes now; FileNotFoundError where it is gone."""
    status = _status(pid)
    children = [_memory(child) for child in descendants(pid)]
    return Taken(
        rss_mib=_mib(status, "VmRSS"),
        anonymous_mib=_mib(status, "RssAnon"),
        children_mib=sum(children),
        num_children=len(children),
        num_files=len(list((PROC / str(pid) / "fd").iterdir())),
        num_threads=int(status["Threads"]),
    )


def descendants(pid: int) -> list[int]:
    """Return the children of a process and theirs."""
    parents: dict[int, int] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, left = [], [pid]
    while left:
        parent = left.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        found += children
        left += children
    return found


def database_mib(folder: Path) -> float:
    """Return the size of the database's files."""
    sizes = []
    for path in folder.glob("innerloop.db*"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes) / MIB


def _memory(pid: int) -> float:
    try:
        return _mib(_status(pid), "VmRSS")
    except OSError:
        return 0.0


def _status(pid: int) -> dict[str, str]:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def _mib(status: dict[str, str], name: str) -> float:
    return int(status.get(name, "0 kB").split()[0]) / KIB_A_MIB
