"""Four convolutions of stride 2, the embedding of Vinyals et al. 2016 with strides as in Finn et al. 2017, section 5.2.

Differs from both in the norm: groups of channels of one row (Wu and He 2018), or statistics of the support set, in
place of statistics of the batch, so that no row of an answer depends on its neighbours.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.groups import check_groups
from app.networks.initial import kaiming_uniform
from app.networks.network import Network, Statistics
from app.networks.polarity import EITHER_POLARITY, ink_first
from app.networks.support_norm import initial_prior, support_moments, support_normed
from app.trees import merge

NUM_BLOCKS = 4


class Conv4Options(BaseModel):
    """`{"kind": "conv4", "filters": 64, "norm": "group", "groups": 8, "rare_tone_is_ink": true}`.

    `norm`: "group" normalises `groups` groups of channels of each row; "support" each channel by its mean and variance
    over a task's support, see `support_norm`.
    With `rare_tone_is_ink` each picture is turned so that its rarer tone is 1: dark on light and light on dark
    are then the same picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["conv4"] = "conv4"
    filters: Annotated[int, Field(ge=1, le=512)] = 64
    norm: Literal["group", "support"] = "group"
    groups: Annotated[int, Field(ge=1, le=64)] = 8
    rare_tone_is_ink: bool = False


def conv4(options: Conv4Options, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return a four-block convolution over pictures [C, H, W]; ValueError for any other input shape."""
    if len(input_shape) != 3:
        raise ValueError(f"conv4 takes pictures [channels, height, width]; these inputs have shape {list(input_shape)}")
    if options.norm == "group" and options.filters % options.groups:
        raise ValueError(f"filters ({options.filters}) must be a multiple of groups ({options.groups})")
    channels, height, width = input_shape
    num_places = _after_strides(height) * _after_strides(width)
    num_features = options.filters * num_places
    if options.norm == "group":
        check_groups(options.filters, options.groups, num_places)

    def init(generator: torch.Generator) -> Tree:
        params = _initial_blocks(generator, channels, options.filters)
        params["head.weight"] = kaiming_uniform(generator, (num_outputs, num_features), gain=1.0)
        params["head.bias"] = torch.zeros(num_outputs)
        return params

    def inked(inputs_R: Tensor) -> Tensor:
        return ink_first(inputs_R) if options.rare_tone_is_ink else inputs_R

    def features(params: Tree, inputs_R: Float[Tensor, "R C H W"]) -> Float[Tensor, "R F"]:
        maps_R = inked(inputs_R)
        for i in range(NUM_BLOCKS):
            maps_R = activated(params, i, convolved(params, i, maps_R))
        return maps_R.flatten(1)

    def convolved(params: Tree, i: int, maps_R: Tensor) -> Tensor:
        return functional.conv2d(maps_R, params[f"body.{i}.conv.weight"], stride=2, padding=1)

    def activated(params: Tree, i: int, maps_R: Tensor) -> Tensor:
        weight, bias = params[f"body.{i}.norm.weight"], params[f"body.{i}.norm.bias"]
        if options.norm == "group":
            return functional.group_norm(maps_R, options.groups, weight, bias).relu()
        return (support_normed(params, i, maps_R) * weight[:, None, None] + bias[:, None, None]).relu()

    def initial_priors() -> Tree:
        return {name: leaf for i in range(NUM_BLOCKS) for name, leaf in initial_prior(i, options.filters).items()}

    def of_support(params: Tree, inputs_S: Tensor, row_mask_S: Tensor) -> Tree:
        norms: Tree = {}
        maps_S = inked(inputs_S)
        for i in range(NUM_BLOCKS):
            maps_S = convolved(params, i, maps_S)
            norms = merge(norms, support_moments(params, i, maps_S, row_mask_S))
            maps_S = activated(merge(params, norms), i, maps_S)
        return norms

    polarity = EITHER_POLARITY if options.rare_tone_is_ink else None
    statistics = Statistics(initial_priors, of_support) if options.norm == "support" else None
    return Network(init, features, input_shape, num_features, num_outputs, polarity, statistics=statistics)


def _initial_blocks(generator: torch.Generator, channels: int, filters: int) -> Tree:
    params: Tree = {}
    for i in range(NUM_BLOCKS):
        params[f"body.{i}.conv.weight"] = kaiming_uniform(generator, (filters, filters if i else channels, 3, 3))
        params[f"body.{i}.norm.weight"] = torch.ones(filters)
        params[f"body.{i}.norm.bias"] = torch.zeros(filters)
    return params


def _after_strides(size: int) -> int:
    for _ in range(NUM_BLOCKS):
        size = (size + 1) // 2
    return size
