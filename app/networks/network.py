"""A network: pure functions over a tree of parameters, in two parts, a body and a linear head."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from app.episode import Tree


class Statistics(NamedTuple):
    """What a network normalises by, where that is of a task's support: leaves `norm.*` beside those of `init`."""

    init: Callable[[], Tree]
    """() -> the learned leaves `prior.*` that they need beside those of the network."""
    of_support: Callable[[Tree, Tensor, Tensor], Tree]
    """(params, inputs_S, row_mask_S) -> leaves `norm.*`, of the rows that count."""


class Network(NamedTuple):
    """Parameters are named `body.*`, `head.weight` [O, F] and `head.bias` [O]."""

    init: Callable[[torch.Generator], Tree]
    features: Callable[[Tree, Tensor], Tensor]
    """(params, inputs_R) -> [R, F]; row by row, so no row depends on its neighbours."""
    input_shape: tuple[int, ...]
    num_features: int
    num_outputs: int
    polarity: str | None = None
    """Of networks over pictures: which tone they take as ink."""
    encoder: str | None = None
    """Of networks over embeddings: the encoder that turns sentences into them."""
    statistics: Statistics | None = None
    """Of networks that normalise by a task's support."""
    parts: tuple[int, ...] = ()
    """Of networks whose features are several side by side: the length of each. Empty: they are one."""


def head(params: Tree, features_RF: Float[Tensor, "R F"]) -> Float[Tensor, "R O"]:
    """Return the linear head's outputs."""
    return functional.linear(features_RF, params["head.weight"], params["head.bias"])


def outputs(network: Network, params: Tree, inputs_R: Float[Tensor, "R ..."]) -> Float[Tensor, "R O"]:
    """Return what the whole network gives for rows of inputs."""
    return head(params, network.features(params, inputs_R))


def leaf_kinds(init: Callable[[torch.Generator], Tree]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return shape and type of the leaves that `init` makes, without taking memory for them."""
    with torch.device("meta"):
        return {name: (tuple(leaf.shape), leaf.dtype) for name, leaf in init(torch.Generator()).items()}
