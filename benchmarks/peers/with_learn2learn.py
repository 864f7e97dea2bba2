"""`learn2learn`: a wrapper that clones a module and adapts the clone.

Only `learn2learn.algorithms.maml` is imported: what the package imports besides needs libraries that no longer install.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.peers.given import Given, Gradient, MetaGradient
from benchmarks.peers.torch_case import TorchCase


def meta_gradient(given: Given) -> MetaGradient:
    """Return the computation of the meta-gradient."""
    case = TorchCase(given)
    wrapped = _maml_module().MAML(case.model, lr=case.rate, first_order=False)

    def work() -> Gradient:
        total = torch.zeros(())
        for task in case.tasks():
            learner = wrapped.clone()
            learner.adapt(case.loss(learner(task.support_inputs), task.support_targets))
            total = total + case.loss(learner(task.query_inputs), task.query_targets)
        return case.gradient_of(total)

    return work


def _maml_module() -> Any:
    """Return the module, under packages whose own `__init__` does not run."""
    found = importlib.util.find_spec("learn2learn")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    for name, path in (("learn2learn", folder), ("learn2learn.algorithms", folder / "algorithms")):
        package = ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    return importlib.import_module("learn2learn.algorithms.maml")
