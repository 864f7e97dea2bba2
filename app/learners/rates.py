"""The rates of the inner loop: one fixed number, or learned for each tensor, each number, or each tensor and step."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from app.episode import MetaParams, Settings, Tree

Rates = Literal["fixed", "per_tensor", "per_parameter", "per_step"]
RATE = "rate"
"""The one fixed rate; a leaf's own is `rate.<leaf>`: [], of the leaf's shape, or [steps]."""


def initial_rates(rates: Rates, learning_rate: float, steps: int, moving: Tree) -> tuple[Tree, Tree]:
    """Return the (trained, fixed) leaves that hold the rates of the leaves `moving`, all `learning_rate` at first."""
    if rates == "fixed":
        return {}, {RATE: torch.tensor(learning_rate)}

    def rate_of(leaf: Tensor) -> Tensor:
        shape = {"per_tensor": (), "per_parameter": leaf.shape, "per_step": (steps,)}[rates]
        return torch.full(shape, learning_rate)

    return {f"{RATE}.{name}": rate_of(leaf) for name, leaf in moving.items()}, {}


def rates_by_step(rates: Rates, meta: MetaParams, names: Iterable[str], settings: Settings) -> list[Tree]:
    """Return for each of `settings.steps` steps the rates of the leaves `names`, times the task's scale.

    Rates of a step hold for that step: a shorter inner loop takes the first ones, a longer one is a ValueError.
    """
    if rates == "fixed":
        return [dict.fromkeys(names, settings.rate_scale * meta.fixed[RATE])] * settings.steps
    scaled = {name: settings.rate_scale * meta.trained[f"{RATE}.{name}"] for name in names}
    if rates != "per_step":
        return [scaled] * settings.steps
    for rate in scaled.values():
        if settings.steps > rate.shape[0]:
            raise ValueError(
                f"{settings.steps} steps were asked for; the rates were learned for {rate.shape[0]}: take fewer"
            )
    return [{name: rate[step] for name, rate in scaled.items()} for step in range(settings.steps)]
