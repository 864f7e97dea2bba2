"""The shapes written in signatures are checked while tests run; tests/conftest.py sees to it."""

import pytest
import torch
from jaxtyping import TypeCheckError

from app.learners.losses import masked_mean, squared_rows
from app.networks.network import head


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(TypeCheckError):
        squared_rows(torch.ones(4, 1), torch.ones(4, 2))


def test_dtypes_that_disagree_are_refused() -> None:
    with pytest.raises(TypeCheckError):
        masked_mean(torch.ones(4), torch.ones(4))


def test_numbers_of_axes_that_disagree_are_refused() -> None:
    with pytest.raises(TypeCheckError):
        head({"head.weight": torch.ones(1, 3), "head.bias": torch.ones(1)}, torch.ones(3))
