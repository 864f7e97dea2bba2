"""Four convolutions of stride 2, the embedding of Vinyals et al. 2016 with strides as in Finn et al. 2017, section 5.2.

Differs from both in the norm: groups of channels of one row (Wu and He 2018) in place of statistics of the batch,
so that no row of an answer depends on its neighbours.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.initial import kaiming_uniform
from app.networks.network import Network

NUM_BLOCKS = 4
EITHER_POLARITY = "either: the rarer tone of a picture is taken as ink"


class Conv4Options(BaseModel):
    """`{"kind": "conv4", "filters": 64, "groups": 8, "rare_tone_is_ink": true}`.

    With `rare_tone_is_ink` each picture is turned so that its rarer tone is 1: dark on light and light on dark
    are then the same picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["conv4"] = "conv4"
    filters: Annotated[int, Field(ge=1, le=512)] = 64
    groups: Annotated[int, Field(ge=1, le=64)] = 8
    rare_tone_is_ink: bool = False


def conv4(options: Conv4Options, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return a four-block convolution over pictures [C, H, W]; ValueError for any other input shape."""
    if len(input_shape) != 3:
        raise ValueError(f"conv4 takes pictures [channels, height, width]; these inputs have shape {list(input_shape)}")
    if options.filters % options.groups:
        raise ValueError(f"filters ({options.filters}) must be a multiple of groups ({options.groups})")
    channels, height, width = input_shape
    num_features = options.filters * _after_strides(height) * _after_strides(width)

    def init(generator: torch.Generator) -> Tree:
        params: Tree = {}
        for i in range(NUM_BLOCKS):
            fan_in = options.filters if i else channels
            params[f"body.{i}.conv.weight"] = kaiming_uniform(generator, (options.filters, fan_in, 3, 3))
            params[f"body.{i}.norm.weight"] = torch.ones(options.filters)
            params[f"body.{i}.norm.bias"] = torch.zeros(options.filters)
        params["head.weight"] = kaiming_uniform(generator, (num_outputs, num_features), gain=1.0)
        params["head.bias"] = torch.zeros(num_outputs)
        return params

    def features(params: Tree, inputs_R: Float[Tensor, "R C H W"]) -> Float[Tensor, "R F"]:
        maps_R = _ink_first(inputs_R) if options.rare_tone_is_ink else inputs_R
        for i in range(NUM_BLOCKS):
            maps_R = functional.conv2d(maps_R, params[f"body.{i}.conv.weight"], stride=2, padding=1)
            weight, bias = params[f"body.{i}.norm.weight"], params[f"body.{i}.norm.bias"]
            maps_R = functional.group_norm(maps_R, options.groups, weight, bias).relu()
        return maps_R.flatten(1)

    polarity = EITHER_POLARITY if options.rare_tone_is_ink else None
    return Network(init, features, input_shape, num_features, num_outputs, polarity)


def _after_strides(size: int) -> int:
    for _ in range(NUM_BLOCKS):
        size = (size + 1) // 2
    return size


def _ink_first(inputs_R: Tensor) -> Tensor:
    mostly_light_R = inputs_R.mean(dim=(1, 2, 3), keepdim=True) > 0.5
    return torch.where(mostly_light_R, 1.0 - inputs_R, inputs_R)
