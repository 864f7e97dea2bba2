"""Multilayer perceptron, with ReLU as in the sinusoid experiment of Finn et al. 2017, section 5.1."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.initial import kaiming_uniform
from app.networks.network import Network

Activation = Literal["relu", "tanh", "silu"]
ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": functional.silu,
}


class MlpOptions(BaseModel):
    """`{"kind": "mlp", "hidden": [40, 40], "norm": "none", "columns": [0, 2]}`.

    `columns` are the numbers of an input that the network reads, all if absent: one that tells tasks apart in training
    but says nothing of new ones is better left unread, and callers need not know.
    `norm`: "layer" normalises each row's features before each activation (Ba et al. 2016), with learned scale and
    shift. `activation`: smooth ones ("tanh", "silu") suit smooth functions under a head that is solved for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=16)] = [
        40,
        40,
    ]
    norm: Literal["none", "layer"] = "none"
    columns: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    activation: Activation = "relu"


def mlp(options: MlpOptions, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return a perceptron over flattened inputs; ValueError for a column that they do not have, or have twice.

    And for a norm over one number, which is always 0.
    """
    columns = options.columns
    _check_columns(columns, math.prod(input_shape))
    sizes = [math.prod(input_shape) if columns is None else len(columns), *options.hidden]
    layers = list(enumerate(itertools.pairwise(sizes)))
    if options.norm == "layer" and min(options.hidden) < 2:
        raise ValueError(f"hidden {options.hidden}: norm 'layer' of a layer of one number is always 0; take more")
    activation = ACTIVATIONS[options.activation]

    def init(generator: torch.Generator) -> Tree:
        params: Tree = {}
        for i, (fan_in, fan_out) in layers:
            params[f"body.{i}.weight"] = kaiming_uniform(generator, (fan_out, fan_in))
            params[f"body.{i}.bias"] = torch.zeros(fan_out)
            if options.norm == "layer":
                params[f"body.{i}.norm.weight"] = torch.ones(fan_out)
                params[f"body.{i}.norm.bias"] = torch.zeros(fan_out)
        params["head.weight"] = kaiming_uniform(generator, (num_outputs, sizes[-1]), gain=1.0)
        params["head.bias"] = torch.zeros(num_outputs)
        return params

    def features(params: Tree, inputs_R: Float[Tensor, "R ..."]) -> Float[Tensor, "R F"]:
        hidden_RF = inputs_R.flatten(1)
        if columns is not None:
            hidden_RF = torch.stack([hidden_RF[:, column] for column in columns], dim=1)
        for i, _ in layers:
            hidden_RF = functional.linear(hidden_RF, params[f"body.{i}.weight"], params[f"body.{i}.bias"])
            if options.norm == "layer":
                weight, bias = params[f"body.{i}.norm.weight"], params[f"body.{i}.norm.bias"]
                # One group is the layer; layer_norm's second derivative under vmap is wrong in torch 2.13.
                hidden_RF = functional.group_norm(hidden_RF, 1, weight, bias)
            hidden_RF = activation(hidden_RF)
        return hidden_RF

    return Network(init, features, input_shape, sizes[-1], num_outputs)


def _check_columns(columns: list[int] | None, num_inputs: int) -> None:
    if columns is not None and (max(columns) >= num_inputs or len(set(columns)) < len(columns)):
        raise ValueError(f"columns {columns} must be different ones of the {num_inputs} numbers of an input, from 0 on")
