import math

import numpy as np
import pytest
import torch

from app.episode import Settings
from app.learners.learner import NO_NOISE
from app.training.evaluate import estimate, evaluate, task_metrics
from tests.training.small_runs import SINUSOIDS, sinusoid_learner

LEARNER = sinusoid_learner()
META = LEARNER.init(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num", [2, 10, 1000])
def test_interval_is_that_of_numpy(num: int) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=num).astype(np.float32)
    found = estimate(torch.from_numpy(values))
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-12)
    expected = 1.96 * values.std(ddof=1, dtype=np.float64) / math.sqrt(num)
    assert found.interval == pytest.approx(expected, rel=1e-6)


def test_interval_holds_the_true_mean_in_about_95_of_100_draws() -> None:
    draws = torch.rand(2000, 200, generator=torch.Generator().manual_seed(0))
    inside = [abs(found.mean - 0.5) <= found.interval for found in map(estimate, draws)]
    assert 0.93 < np.mean(inside) < 0.97


def test_one_task_has_no_interval() -> None:
    found = estimate(torch.tensor([2.0]))
    assert found.mean == 2.0
    assert math.isnan(found.interval)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_metric_of_a_task_is_its_query_loss_after_adapting(steps: int) -> None:
    episodes = SINUSOIDS.sample(torch.Generator().manual_seed(1), 5)
    found = task_metrics(LEARNER, META, episodes, steps, rate_scale=0.5)
    for i in range(5):
        support = type(episodes.support)(*(leaf[i] for leaf in episodes.support))
        params, _ = LEARNER.adapt(META, support, Settings(steps, torch.tensor(0.5)), NO_NOISE)
        outputs = LEARNER.predict(META, params, episodes.query.inputs[i])
        loss = (outputs - episodes.query.targets[i]).square().mean()
        torch.testing.assert_close(found["loss"][i], loss, rtol=1e-4, atol=1e-5)


def test_mean_is_over_the_tasks_of_all_batches() -> None:
    generator = torch.Generator().manual_seed(1)
    batches = [SINUSOIDS.sample(generator, num_tasks) for num_tasks in (1, 2, 30)]
    values = torch.cat([task_metrics(LEARNER, META, batch, 1)["loss"] for batch in batches])
    assert evaluate(LEARNER, META, batches, 1) == {"loss": estimate(values)}


def test_evaluation_keeps_no_graph() -> None:
    trained = {name: leaf.clone().requires_grad_() for name, leaf in META.trained.items()}
    episodes = SINUSOIDS.sample(torch.Generator().manual_seed(1), 2)
    metrics = task_metrics(LEARNER, META._replace(trained=trained), episodes, 1)
    assert not any(values.requires_grad for values in metrics.values())


def test_metrics_are_the_learners_own() -> None:
    learner = LEARNER._replace(metrics=lambda meta, outputs, query: {"largest": outputs.amax()})
    episodes = SINUSOIDS.sample(torch.Generator().manual_seed(1), 3)
    found = task_metrics(learner, META, episodes, steps=0)
    assert found.keys() == {"largest"}
    assert found["largest"].shape == (3,)
