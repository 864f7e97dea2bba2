"""Sinusoids of Finn et al. 2017, section 5.1: amplitude 0.1 to 5, phase 0 to pi, x in -5 to 5."""

import math
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import Episode, Query, Support
from app.task_distributions.distribution import Distribution


class SinusoidOptions(BaseModel):
    """`{"kind": "sinusoid", "shots": 10, "queries": 10}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["sinusoid"] = "sinusoid"
    shots: Annotated[int, Field(ge=1)] = 10
    queries: Annotated[int, Field(ge=1)] = 10


def sinusoid(options: SinusoidOptions) -> Distribution:
    """Return the distribution; every split is the same one, since no two draws are equal."""

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(num_tasks, *shape, generator=generator) * (high - low) + low

        amplitude, phase = uniform(0.1, 5.0, 1, 1), uniform(0.0, math.pi, 1, 1)
        x = uniform(-5.0, 5.0, options.shots + options.queries, 1)
        y = amplitude * torch.sin(x - phase)
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
        s = options.shots
        no_classes = torch.zeros(num_tasks, 0)
        support = Support(x[:, :s], y[:, :s], mask[:, :s], no_classes.bool())
        return Episode(support, Query(x[:, s:], y[:, s:], mask[:, s:]), no_classes.long())

    return Distribution(sample, "vector", (1,), "regression", 1, 0)
