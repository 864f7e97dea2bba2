"""Meta-steps, compiled in a child: what its parent calls, and what the child does."""

from pathlib import Path

from app.programs.process import GivesUp
from app.programs.process import compile_in_child as compile_there

MOST_SECONDS = 900.0
"""Longer than this no compiling takes: 20 s for a perceptron, a minute for conv4, on a busy core ten times that."""


def compile_in_child(spec: bytes, library: Path, gives_up: GivesUp) -> None:
    """Compile a step in a process of its own; see `process.Compile`."""
    compile_there(compile_to, spec, library, gives_up, most_seconds=MOST_SECONDS)


def compile_to(spec_json: str, library: Path) -> None:
    """Write a step as a shared library; raises whatever tracing or compiling raises."""
    import torch

    from app.learners.model import learner_of
    from app.programs.graph_compiler import compile_graph
    from app.training.step_graph import SETTINGS, graph_of
    from app.training.step_spec import StepSpec, examples_of, function_of

    torch.set_num_threads(1)
    spec = StepSpec.model_validate_json(spec_json)
    examples = examples_of(spec)
    graph = graph_of(function_of(spec, learner_of(spec.card)), examples)
    compile_graph(graph, examples, library, threads=1, more=SETTINGS)  # threads share the tasks, see `step_program`
