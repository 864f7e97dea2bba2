"""The compiling child: one specification from standard input, one shared library in a file. It has nothing else.

Compiling takes seconds of Python and of a C++ compiler, and changes much that is global in a process; whoever needs a
program has neither to wait for it nor to be changed by it. The child and the compiler that it starts die with its
parent.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

CompileTo = Callable[[str, Path], None]
"""(specification, library) -> writes the library; raises whatever tracing or compiling raises."""

NICENESS = 19
"""Compiling gives way to whatever else the machine does."""
MOST_REASON = 1_000
"""Characters: no more than the pipe holds while nobody reads."""


def main(compile_to: CompileTo) -> None:
    """Compile what the first line of standard input says, and tell on standard output why that cannot be, if so."""
    answer = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries and the compiler print
        os.dup2(silence, stream)
    os.nice(NICENESS)
    for sent_to_all in (signal.SIGINT, signal.SIGTERM):  # by a terminal, by systemd: the parent says when to stop
        signal.signal(sent_to_all, signal.SIG_IGN)
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        compile_to(asked["spec"], Path(asked["library"]))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the parent is told
        answer.write(f"{type(error).__name__}: {error}"[:MOST_REASON])
    answer.flush()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError):
        # Not by sys.stdin: a thread in a buffered read fails the interpreter's own end.
        while os.read(0, 1):
            pass
    os.killpg(0, signal.SIGKILL)  # and with it the C++ compiler
