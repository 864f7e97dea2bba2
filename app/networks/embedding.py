"""A head over frozen embeddings: a few learned numbers between what an encoder gave and the linear head."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.initial import kaiming_uniform
from app.networks.network import Network

Encoder = Literal["all-MiniLM-L6-v2"]
NUM_NUMBERS = {"all-MiniLM-L6-v2": 384}
"""Of an embedding, by encoder."""
LEAST_SQUARE = 1e-6
"""Beside the squared length of what is left of a row after centring, which is of the order of 1 for embeddings of
unit length: a row that lies on the centre has features near the shift, and derivatives that are finite."""


class EmbeddingOptions(BaseModel):
    """`{"kind": "embedding", "encoder": "all-MiniLM-L6-v2", "branch": 128, "branch_share": 0.2}`.

    `encoder` names the sentence encoder whose embeddings these are, so that a model over them may take sentences;
    null for embeddings of any other kind. `branch` adds as many features that are a learned linear map of an
    embedding; all features' squares are shared between embedding and map, `branch_share` of them the map's, so that
    what is learned on some domains has a say in others but never the last word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["embedding"] = "embedding"
    encoder: Encoder | None = None
    branch: Annotated[int, Field(ge=1, le=4096)] | None = None
    branch_share: Annotated[float, Field(gt=0, lt=1)] = 0.2


def embedding(options: EmbeddingOptions, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return scale * (x - centre) / |x - centre| + shift over embeddings x [D], taken as they come.

    Centre, scale and shift have a number for each of the D of an embedding and nothing mixes them: a layer that may,
    trained on some domains, forgets what tells the classes of others apart. A branch that may stands beside them, with
    a share of the squares that training cannot change. Lengths are those of rows whose numbers have a mean square of
    1, as behind the norms of other networks, so that heads start alike over any of them.

    ValueError for inputs that are no vectors, or of another length than the encoder's.
    """
    if len(input_shape) != 1:
        raise ValueError(f"embedding takes vectors [numbers]; these inputs have shape {list(input_shape)}")
    size = input_shape[0]
    if options.encoder is not None and size != NUM_NUMBERS[options.encoder]:
        wanted = NUM_NUMBERS[options.encoder]
        raise ValueError(f"embeddings of {options.encoder} have {wanted} numbers; these inputs have {size}")

    num_mapped = options.branch or 0
    num_features = size + num_mapped
    share = options.branch_share if num_mapped else 0.0

    def init(generator: torch.Generator) -> Tree:
        mapped = {"body.branch": kaiming_uniform(generator, (num_mapped, size), gain=1.0)} if num_mapped else {}
        return {
            **mapped,
            "body.centre": torch.zeros(size),
            "body.scale": torch.ones(size),
            "body.shift": torch.zeros(size),
            "head.weight": kaiming_uniform(generator, (num_outputs, num_features), gain=1.0),
            "head.bias": torch.zeros(num_outputs),
        }

    def features(params: Tree, inputs_R: Float[Tensor, "R D"]) -> Float[Tensor, "R F"]:
        offsets_RD = inputs_R - params["body.centre"]
        kept_RD = _of_length(offsets_RD, (1.0 - share) * num_features) * params["body.scale"] + params["body.shift"]
        if not num_mapped:
            return kept_RD
        mapped_RB = functional.linear(offsets_RD, params["body.branch"])
        return torch.cat([kept_RD, _of_length(mapped_RB, share * num_features)], dim=1)

    parts = (size, num_mapped) if num_mapped else ()
    return Network(init, features, input_shape, num_features, num_outputs, encoder=options.encoder, parts=parts)


def _of_length(rows_RF: Float[Tensor, "R F"], square: float) -> Float[Tensor, "R F"]:
    """Return rows whose squares sum to `square`."""
    return rows_RF * (square / (rows_RF.square().sum(dim=1, keepdim=True) + LEAST_SQUARE)).sqrt()
