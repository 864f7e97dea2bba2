"""How many support rows a task has: a number, or a range of which one is drawn for each meta-batch."""

from typing import Annotated

import torch
from pydantic import Field

Shots = Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]


def shots_range(shots: int | list[int]) -> tuple[int, int]:
    """Return the least and the largest number of shots; ValueError when the range is empty."""
    low, high = (shots, shots) if isinstance(shots, int) else shots
    if low > high:
        raise ValueError(f"shots: the range {[low, high]} is empty")
    return low, high


def draw_shots(bounds: tuple[int, int], generator: torch.Generator) -> int:
    """Return one number from the least to the largest."""
    low, high = bounds
    return int(torch.randint(low, high + 1, (), generator=generator))
