"""The compiling child: one specification from standard input, one shared library in a file. It has nothing else.

Compiling takes seconds of Python and of a C++ compiler, and changes much that is global in a process. The child and
the compiler that it starts die with whoever holds the other end of its input.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

NICENESS = 19
"""Compiling gives way to whatever else the machine does."""


def main() -> None:
    """Compile what the first line of standard input says, and tell on standard output why that cannot be, if so."""
    answer = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries and the compiler print
        os.dup2(silence, stream)
    os.nice(NICENESS)
    for sent_to_all in (signal.SIGINT, signal.SIGTERM):  # by a terminal, by systemd: the parent says when to stop
        signal.signal(sent_to_all, signal.SIG_IGN)
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        compile_step(asked["spec"], Path(asked["library"]))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the parent is told
        answer.write(f"{type(error).__name__}: {error}")
    answer.flush()
    os._exit(0)  # the thread still reads


def compile_step(spec_json: str, library: Path) -> None:
    """Write a step as a shared library; raises whatever tracing or compiling raises."""
    import torch

    from app.learners.model import learner_of
    from app.training.step_graph import compile_graph, graph_of
    from app.training.step_spec import StepSpec, examples_of, function_of

    torch.set_num_threads(1)
    spec = StepSpec.model_validate_json(spec_json)
    examples = examples_of(spec)
    compile_graph(graph_of(function_of(spec, learner_of(spec.card)), examples), examples, library)


def _die_with_parent(source: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        source.read()
    os.killpg(0, signal.SIGKILL)  # and with it the C++ compiler
