"""`python -m app`, its threads known to the system by name: `python -m benchmarks.speed_parts.named_threads serve`.

So /proc tells what each stage of the service computes; the service itself does not change.
"""

import sys
import threading
from pathlib import Path
from types import FrameType

from app.__main__ import cli

MOST_CHARS = 15
"""What the system keeps of a name."""


def main() -> None:
    """Serve with named threads."""
    threading.setprofile(_name_thread)
    cli()


def _name_thread(frame: FrameType, event: str, arg: object) -> None:
    """Write a thread's name where the system looks, when it begins, and profile nothing."""
    sys.setprofile(None)
    here = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    here.write_text(threading.current_thread().name[:MOST_CHARS], encoding="utf-8")


if __name__ == "__main__":
    main()
