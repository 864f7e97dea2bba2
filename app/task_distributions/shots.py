"""Numbers of a task that may be ranges, of which one number is drawn for each meta-batch: shots, and ways."""

from typing import Annotated

import torch
from pydantic import Field

Shots = Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
Ways = Annotated[int, Field(ge=2)] | Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=2, max_length=2)]


def shots_range(shots: int | list[int]) -> tuple[int, int]:
    """Return the least and the largest number of shots; ValueError when the range is empty."""
    return _bounds("shots", shots)


def ways_range(ways: int | list[int]) -> tuple[int, int]:
    """Return the least and the largest number of training ways; ValueError when the range is empty."""
    return _bounds("training_ways", ways)


def draw_shots(bounds: tuple[int, int], generator: torch.Generator) -> int:
    """Return one number from the least to the largest."""
    low, high = bounds
    return int(torch.randint(low, high + 1, (), generator=generator))


def draw_ways(bounds: tuple[int, int], generator: torch.Generator) -> int:
    """Return one number from the least to the largest; draws nothing where there is no choice."""
    low, high = bounds
    return low if low == high else int(torch.randint(low, high + 1, (), generator=generator))


def _bounds(name: str, value: int | list[int]) -> tuple[int, int]:
    low, high = (value, value) if isinstance(value, int) else value
    if low > high:
        raise ValueError(f"{name}: the range {[low, high]} is empty")
    return low, high
