"""ResNet-12 (Lee et al. 2019, section 4.1, after Oreshkin et al. 2018): four residual blocks of three convolutions.

Differs in the norm: groups of channels of one row (Wu and He 2018) in place of statistics of the batch, so that no row
of an answer depends on its neighbours; and there is no DropBlock. Widths, convolutions a block and the way down are
options, since pictures of 28 x 28 need far less than the 84 x 84 that it was made for.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.groups import check_groups
from app.networks.initial import kaiming_uniform
from app.networks.network import Network
from app.networks.polarity import EITHER_POLARITY, ink_first

NUM_BLOCKS = 4
LEAK = 0.1
"""Of the leaky ReLU, as published."""


class Resnet12Options(BaseModel):
    """`{"kind": "resnet12", "filters": [64, 160, 320, 640], "convolutions": 3, "groups": 8, "downsampling": "pool"}`.

    `filters` are the channels of each block. `downsampling`: "pool" halves height and width by the maximum at the end
    of a block, as published; "stride" does so by its first convolution, at a third of the cost. `average` gives the
    mean over the last block's places as features, as published; without it they are all features. With
    `rare_tone_is_ink` each picture is turned so that its rarer tone is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["resnet12"] = "resnet12"
    filters: Annotated[
        list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=NUM_BLOCKS, max_length=NUM_BLOCKS)
    ] = [64, 160, 320, 640]
    convolutions: Annotated[int, Field(ge=1, le=4)] = 3
    groups: Annotated[int, Field(ge=1, le=64)] = 8
    downsampling: Literal["pool", "stride"] = "pool"
    average: bool = True
    rare_tone_is_ink: bool = False


def resnet12(options: Resnet12Options, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return the network over pictures [C, H, W]; ValueError for other inputs, or pictures too small to be halved."""
    _check(options, input_shape)
    channels, height, width = input_shape
    sides = [_after_blocks(side, options.downsampling, NUM_BLOCKS) for side in (height, width)]
    num_features = options.filters[-1] * (1 if options.average else sides[0] * sides[1])

    def init(generator: torch.Generator) -> Tree:
        params: Tree = {}
        fan_in = channels
        for i, filters in enumerate(options.filters):
            for j in range(options.convolutions):
                name = f"body.{i}.{j}"
                params |= _convolution(generator, name, (filters, filters if j else fan_in, 3, 3))
            params |= _convolution(generator, f"body.{i}.shortcut", (filters, fan_in, 1, 1))
            fan_in = filters
        params["head.weight"] = kaiming_uniform(generator, (num_outputs, num_features), gain=1.0)
        params["head.bias"] = torch.zeros(num_outputs)
        return params

    def normed(params: Tree, name: str, maps_R: Tensor, stride: int) -> Tensor:
        weight = params[f"{name}.conv.weight"]
        maps_R = functional.conv2d(maps_R, weight, stride=stride, padding=weight.shape[-1] // 2)
        return functional.group_norm(maps_R, options.groups, params[f"{name}.norm.weight"], params[f"{name}.norm.bias"])

    def block(params: Tree, name: str, maps_R: Tensor) -> Tensor:
        stride = 2 if options.downsampling == "stride" else 1
        inner_R = maps_R
        for j in range(options.convolutions):
            inner_R = normed(params, f"{name}.{j}", inner_R, 1 if j else stride)
            if j < options.convolutions - 1:
                inner_R = functional.leaky_relu(inner_R, LEAK)
        maps_R = functional.leaky_relu(inner_R + normed(params, f"{name}.shortcut", maps_R, stride), LEAK)
        return functional.max_pool2d(maps_R, 2) if options.downsampling == "pool" else maps_R

    def features(params: Tree, inputs_R: Float[Tensor, "R C H W"]) -> Float[Tensor, "R F"]:
        maps_R = ink_first(inputs_R) if options.rare_tone_is_ink else inputs_R
        for i in range(NUM_BLOCKS):
            maps_R = block(params, f"body.{i}", maps_R)
        return maps_R.mean(dim=(2, 3)) if options.average else maps_R.flatten(1)

    polarity = EITHER_POLARITY if options.rare_tone_is_ink else None
    return Network(init, features, input_shape, num_features, num_outputs, polarity)


def _check(options: Resnet12Options, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        raise ValueError(
            f"resnet12 takes pictures [channels, height, width]; these inputs have shape {list(input_shape)}"
        )
    if any(filters % options.groups for filters in options.filters):
        raise ValueError(f"filters {options.filters} must all be multiples of groups ({options.groups})")
    if min(_after_blocks(side, options.downsampling, NUM_BLOCKS) for side in input_shape[1:]) < 1:
        raise ValueError(
            f"pictures of {input_shape[1]} x {input_shape[2]} cannot be halved {NUM_BLOCKS} times; use downsampling "
            "'stride', which rounds up, or larger ones"
        )
    for i, filters in enumerate(options.filters):
        halvings = i + 1 if options.downsampling == "stride" else i
        check_groups(
            filters,
            options.groups,
            math.prod(_after_blocks(side, options.downsampling, halvings) for side in input_shape[1:]),
        )


def _after_blocks(side: int, downsampling: str, num_blocks: int) -> int:
    for _ in range(num_blocks):
        side = side // 2 if downsampling == "pool" else (side + 1) // 2
    return side


def _convolution(generator: torch.Generator, name: str, shape: tuple[int, int, int, int]) -> Tree:
    return {
        f"{name}.conv.weight": kaiming_uniform(generator, shape),
        f"{name}.norm.weight": torch.ones(shape[0]),
        f"{name}.norm.bias": torch.zeros(shape[0]),
    }
