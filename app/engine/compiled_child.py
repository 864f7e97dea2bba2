"""The compiling child: one specification from standard input, one shared library in a file. It has nothing else.

Compiling takes seconds of Python and of a C++ compiler, and changes much that is global in a process; the service
has neither to wait for it nor to be changed by it. The child and the compiler that it starts die with the service.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

NICENESS = 19
"""Compiling gives way to whatever else the machine does."""


MOST_REASON = 1_000
"""Characters: no more than the pipe holds while nobody reads."""


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
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        compile_to(asked["spec"], Path(asked["library"]))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the parent is told
        answer.write(f"{type(error).__name__}: {error}"[:MOST_REASON])
    answer.flush()


def compile_to(spec_json: str, library: Path) -> None:
    """Write a program as a shared library; raises whatever tracing or compiling raises."""
    import torch
    from torch._inductor import aot_compile, config

    from app.engine.compiled_check import check, loaded
    from app.engine.compiled_graph import free_graph, numbers_to_try
    from app.engine.compiled_spec import Spec, function_of, inputs_of, leaves_of, model_of_architecture

    spec = Spec.model_validate_json(spec_json)
    torch.set_num_threads(spec.threads)
    model = model_of_architecture(spec.architecture)
    kinds = inputs_of(spec)
    graph, fakes, shapes = free_graph(
        function_of(spec, model),
        leaves_of(spec.architecture, model.meta),
        lambda num_tasks: [kind.empty(num_tasks) for kind in kinds],
    )
    # The caches of the compiler hold pickles: none is written and none is read.
    settings = {"fx_graph_cache": False, "fx_graph_remote_cache": False, "cpp.threads": spec.threads}
    with torch.no_grad(), config.patch(settings):
        aot_compile(graph, tuple(fakes), options={"aot_inductor.output_path": str(library)})
    # Here, where a program that crashes takes no service with it.
    initial = model._replace(meta=model.learner.init(torch.Generator().manual_seed(0)))
    check(loaded(library, spec), spec, initial, numbers_to_try(fakes, shapes))


def _die_with_parent() -> None:
    with contextlib.suppress(OSError):
        # Not by sys.stdin: a thread in a buffered read fails the interpreter's own end.
        while os.read(0, 1):
            pass
    os.killpg(0, signal.SIGKILL)  # and with it the C++ compiler
