"""What every peer is given: weights, episodes and the inner rate, as one file of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Gradient = list[Array]
"""Of each leaf, in the order of `Given.leaves`."""
MetaGradient = Callable[[], Gradient]
LEAF = "leaf/"
FIELDS = ("support_inputs", "support_targets", "query_inputs", "query_targets")


@dataclass(frozen=True)
class Given:
    """One case; arrays of episodes have a leading axis over tasks."""

    leaves: dict[str, Array]
    """The initialisation, in the order of the network's layers."""
    support_inputs: Array
    support_targets: Array
    query_inputs: Array
    query_targets: Array
    rate: float

    @property
    def num_tasks(self) -> int:
        """How many tasks a meta-batch has."""
        return len(self.support_inputs)

    @property
    def classifies(self) -> bool:
        """Whether targets are classes: then pictures go through convolutions."""
        return self.support_targets.dtype == np.int64


def write_given(given: Given, path: Path) -> None:
    """Write a case."""
    arrays: dict[str, Any] = {name: getattr(given, name) for name in FIELDS}
    leaves: dict[str, Any] = {LEAF + name: leaf for name, leaf in given.leaves.items()}
    np.savez(path, allow_pickle=False, rate=np.float64(given.rate), **arrays, **leaves)


def read_given(path: Path) -> Given:
    """Return the case that `write_given` wrote."""
    with np.load(path) as file:
        leaves = {name.removeprefix(LEAF): file[name] for name in file.files if name.startswith(LEAF)}
        inputs, targets, query_inputs, query_targets = (file[name] for name in FIELDS)
        return Given(leaves, inputs, targets, query_inputs, query_targets, float(file["rate"]))
