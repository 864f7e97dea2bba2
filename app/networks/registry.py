"""Networks by kind: a new one is a file beside this and a line here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from app.networks.conv4 import Conv4Options, conv4
from app.networks.embedding import EmbeddingOptions, embedding
from app.networks.mlp import MlpOptions, mlp
from app.networks.network import Network
from app.networks.resnet12 import Resnet12Options, resnet12


class NetworkKind(NamedTuple):
    """What a kind takes and how it is built."""

    options: type[BaseModel]
    build: Callable[[Any, tuple[int, ...], int], Network]


NETWORKS: Mapping[str, NetworkKind] = {
    "mlp": NetworkKind(MlpOptions, mlp),
    "conv4": NetworkKind(Conv4Options, conv4),
    "embedding": NetworkKind(EmbeddingOptions, embedding),
    "resnet12": NetworkKind(Resnet12Options, resnet12),
}


def build_network(options: Mapping[str, Any], input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return the network that `options` (with its `kind`) names.

    Raises ValueError for an unknown kind or one that does not take such inputs, and pydantic's ValidationError
    (a ValueError) for options that the kind does not have.
    """
    kind = options.get("kind", "")
    if kind not in NETWORKS:
        raise ValueError(f"network kind {kind!r} is not one of {sorted(NETWORKS)}")
    entry = NETWORKS[kind]
    return entry.build(entry.options.model_validate(options), input_shape, num_outputs)
