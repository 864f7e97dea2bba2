import math

import pytest
import torch
from pydantic import ValidationError

from app.episode import Episode
from app.task_distributions.registry import build_distribution

TASKS, SHOTS, QUERIES = 4000, 12, 8


def episodes(seed: int = 0, tasks: int = TASKS) -> Episode:
    sinusoids = build_distribution({"kind": "sinusoid", "shots": SHOTS, "queries": QUERIES}, "train", {})
    return sinusoids.sample(torch.Generator().manual_seed(seed), tasks)


def test_rows_are_as_many_as_asked_for_and_all_count() -> None:
    support, query, class_ids = episodes(tasks=3)
    assert support.inputs.shape == support.targets.shape == (3, SHOTS, 1)
    assert query.inputs.shape == query.targets.shape == (3, QUERIES, 1)
    assert support.row_mask.all()
    assert query.row_mask.all()
    assert support.class_mask.shape == class_ids.shape == (3, 0)


def test_all_rows_of_a_task_are_on_one_sinusoid_of_the_paper() -> None:
    """The formula, y = A sin(x - phase), is a sin x + b cos x: least squares finds a and b, and leaves nothing over."""
    support, query, _ = episodes()
    x, y = (
        torch.cat([support.inputs, query.inputs], 1).double(),
        torch.cat([support.targets, query.targets], 1).double(),
    )
    waves = torch.cat([x.sin(), x.cos()], dim=2)
    found = torch.linalg.lstsq(waves, y).solution
    torch.testing.assert_close(waves @ found, y, rtol=0, atol=1e-5)
    amplitude = found.norm(dim=1).flatten()
    phase = torch.atan2(-found[:, 1], found[:, 0]).flatten()
    for values, low, high in ((amplitude, 0.1, 5.0), (phase, 0.0, math.pi)):
        assert low - 1e-3 <= float(values.min())
        assert float(values.max()) <= high + 1e-3
        spread = torch.histc(values, bins=10, min=low, max=high) / TASKS
        torch.testing.assert_close(spread, torch.full_like(spread, 0.1), rtol=0, atol=0.03)


def test_inputs_are_spread_evenly_over_their_range() -> None:
    support, query, _ = episodes()
    for x in (support.inputs, query.inputs):
        assert float(x.min()) >= -5.0
        assert float(x.max()) <= 5.0
        spread = torch.histc(x, bins=10, min=-5.0, max=5.0) / x.numel()
        torch.testing.assert_close(spread, torch.full_like(spread, 0.1), rtol=0, atol=0.01)


def test_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    one, again, other = episodes(0, 5), episodes(0, 5), episodes(1, 5)
    assert torch.equal(one.support.inputs, again.support.inputs)
    assert torch.equal(one.query.targets, again.query.targets)
    assert not torch.equal(one.support.inputs, other.support.inputs)


def test_distribution_tells_what_its_rows_look_like() -> None:
    found = build_distribution({"kind": "sinusoid"}, "test", {})
    assert found[1:] == ("vector", (1,), "regression", 1, 0, None)


@pytest.mark.parametrize(
    "wrong", [{"shots": 0}, {"queries": 0}, {"shots": 1.5}, {"shots": [1, 5]}, {"ways": 5}], ids=str
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        build_distribution({"kind": "sinusoid", **wrong}, "train", {})
