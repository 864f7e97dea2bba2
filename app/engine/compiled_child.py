"""Serving's programs, compiled in a child: what its parent calls, and what the child does."""

from pathlib import Path

from app.programs.process import GivesUp
from app.programs.process import compile_in_child as compile_there

MOST_SECONDS = 600.0
"""After which a program is given up: a hundred steps of a deep network would take longer than it will ever save."""


def compile_in_child(spec: bytes, library: Path, gives_up: GivesUp) -> None:
    """Compile a program in a process of its own, and check it there; see `process.Compile`."""
    compile_there(compile_to, spec, library, gives_up, most_seconds=MOST_SECONDS)


def compile_to(spec_json: str, library: Path) -> None:
    """Write a program as a shared library; raises whatever tracing or compiling raises."""
    import torch

    from app.engine.compiled_check import check, loaded
    from app.engine.compiled_graph import free_graph, numbers_to_try
    from app.engine.compiled_spec import Spec, function_of, inputs_of, leaves_of, model_of_architecture
    from app.programs.graph_compiler import compile_graph

    spec = Spec.model_validate_json(spec_json)
    torch.set_num_threads(spec.threads)
    model = model_of_architecture(spec.architecture)
    kinds = inputs_of(spec)
    graph, fakes, shapes = free_graph(
        function_of(spec, model),
        leaves_of(spec.architecture, model.meta),
        lambda num_tasks: [kind.empty(num_tasks) for kind in kinds],
    )
    compile_graph(graph, fakes, library, threads=spec.threads)
    # Here, where a program that crashes takes no service with it.
    initial = model._replace(meta=model.learner.init(torch.Generator().manual_seed(0)))
    check(loaded(library, spec), spec, initial, numbers_to_try(fakes, shapes))
