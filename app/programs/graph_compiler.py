"""A graph as a shared library."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

SETTINGS = {
    "fx_graph_cache": False,  # the caches of the compiler hold pickles: none is written and none is read
    "fx_graph_remote_cache": False,
    # Two files of headers, made anew in each workspace, took 12 of a small program's 25 s and saved it 3.
    "aot_inductor.precompile_headers": False,
}


class NotCompilable(Exception):
    """A graph that needs more than the library itself can hold, with the reason."""


def compile_graph(
    graph: GraphModule, inputs: Sequence[Tensor], library: Path, *, threads: int, more: Mapping[str, Any] | None = None
) -> None:
    """Write a graph as a shared library, in a folder of its own, with `more` settings of the compiler.

    Raises whatever the compiler raises, NotCompilable for foreign kernels.
    """
    from torch._inductor import aot_compile, config

    with torch.no_grad(), config.patch({**SETTINGS, "cpp.threads": threads, **(more or {})}):
        aot_compile(graph, tuple(inputs), options={"aot_inductor.output_path": str(library)})
    foreign = [path for path in library.parent.glob("*.json") if b'"nodes":' in path.read_bytes()]
    if foreign:
        raise NotCompilable("some of its operators have no form that a library can call")
