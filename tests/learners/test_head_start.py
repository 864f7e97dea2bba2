import math

import pytest
import torch
from torch import Tensor

from app.learners.head_start import LOG_SCALE, START_LOGITS, class_means_head, initial_log_scale
from app.networks.network import head
from tests.learners.answers import close

FEATURES = 5
TARGETS = torch.tensor([0, 1, 1, 2, 2, 2])
ALL_ROWS, ALL_CLASSES = torch.ones(6, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
LOG_OF_2 = torch.tensor(math.log(2.0))


def features(rows: int) -> Tensor:
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(rows))


def test_logits_are_minus_scaled_squared_distances_up_to_a_number_a_row() -> None:
    support, query = features(6), features(9)
    logits = head(class_means_head(support, TARGETS, ALL_ROWS, ALL_CLASSES, LOG_OF_2), query)
    means = torch.stack([support[n == TARGETS].mean(dim=0) for n in range(3)])
    distances = torch.cdist(query, means).square()
    difference = logits + 2.0 * distances
    close(difference, difference[:, :1].expand(-1, 3))
    close(difference[:, 0], 2.0 * query.square().sum(dim=1))


def test_masked_rows_do_not_move_the_means() -> None:
    support, row_mask = features(6), torch.tensor([True, True, True, True, True, False])
    expected = class_means_head(support[:5], TARGETS[:5], ALL_ROWS[:5], ALL_CLASSES, LOG_OF_2)
    close(class_means_head(support, TARGETS, row_mask, ALL_CLASSES, LOG_OF_2), expected)


def test_class_without_rows_has_its_mean_at_zero() -> None:
    found = class_means_head(features(6), TARGETS.clamp(max=1), ALL_ROWS, ALL_CLASSES, LOG_OF_2)
    assert not found["head.weight"][2].any()
    assert found["head.bias"][2] == 0


@pytest.mark.parametrize("num_features", [1, 64, 4096])
def test_squared_distance_of_one_a_feature_starts_as_the_same_logit(num_features: int) -> None:
    scale = initial_log_scale(num_features)[LOG_SCALE].exp()
    close(scale * num_features, torch.tensor(START_LOGITS))
