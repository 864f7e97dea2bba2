"""`python -m app`, its threads known to the system by name: `python -m benchmarks.speed_parts.named_threads serve`.

So /proc tells what each thread of the service computes; the service itself does not change. What stages that share a
thread compute is written to the file that the environment names as STAGE_SECONDS, by stage.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Hashable
from pathlib import Path
from types import FrameType
from typing import Any

from app.__main__ import cli
from app.engine.batcher import Batcher

MOST_CHARS = 15
"""What the system keeps of a name."""
WRITTEN_EVERY_SECONDS = 0.1

_spent: defaultdict[str, float] = defaultdict(float)
_run_one = Batcher.run_one


def main() -> None:
    """Serve with named threads."""
    threading.setprofile(_name_thread)
    Batcher.run_one = _timed  # type: ignore[method-assign,assignment]
    threading.Thread(target=_write_for_ever, args=[Path(os.environ["STAGE_SECONDS"])], daemon=True).start()
    cli()


def _name_thread(frame: FrameType, event: str, arg: object) -> None:
    """Write a thread's name where the system looks, when it begins, and profile nothing."""
    sys.setprofile(None)
    here = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    here.write_text(threading.current_thread().name[:MOST_CHARS], encoding="utf-8")


def _timed(batcher: Batcher[Any, Any], bucket: Hashable, line: deque[Any], most: int) -> float:
    began = time.thread_time()
    seconds = _run_one(batcher, bucket, line, most)
    _spent[batcher.name] += time.thread_time() - began
    return seconds


def _write_for_ever(path: Path) -> None:
    """Write what stages computed so far, in whole."""
    while True:
        time.sleep(WRITTEN_EVERY_SECONDS)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(_spent), encoding="utf-8")
        beside.replace(path)


if __name__ == "__main__":
    main()
