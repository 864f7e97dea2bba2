import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.episode import Episode, MetaParams
from app.task_distributions.distribution import Distribution
from app.training.evaluate import evaluate
from app.training.run import Progress, TrainingDiverged, score, train, validation_batches
from tests.training.small_runs import CPU, PLAN, SINUSOIDS, STANDING_STILL, run, sinusoid_learner


def best_of(progress: Progress) -> MetaParams:
    assert progress.best is not None
    return progress.best


def loss_of(progress: Progress) -> float:
    assert progress.validation is not None
    return progress.validation["loss"].mean


def equal(one: MetaParams, other: MetaParams) -> bool:
    return all(torch.equal(tree[name], rest[name]) for tree, rest in zip(one, other, strict=True) for name in tree)


def with_targets(factor: float) -> Distribution:
    """Return sinusoids whose targets are `factor` times what they were."""

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        support, query, class_ids = SINUSOIDS.sample(generator, num_tasks)
        return Episode(
            support._replace(targets=support.targets * factor),
            query._replace(targets=query.targets * factor),
            class_ids,
        )

    return SINUSOIDS._replace(sample=sample)


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.01), ("adamw", 0.01), ("sgd", 0.001)])
def test_short_run_improves_on_the_initialisation(optimizer: Any, rate: float) -> None:
    learner = sinusoid_learner()
    initial = learner.init(torch.Generator().manual_seed(0))
    before = evaluate(learner, initial, validation_batches(PLAN, SINUSOIDS, CPU), PLAN.steps)
    assert loss_of(run(replace(PLAN, optimizer=optimizer, meta_learning_rate=rate))[-1]) < 0.8 * before["loss"].mean


def test_same_seed_gives_the_very_same_weights() -> None:
    assert equal(best_of(run()[-1]), best_of(run()[-1]))


def test_another_seed_gives_other_weights() -> None:
    assert not equal(best_of(run()[-1]), best_of(run(replace(PLAN, seed=1))[-1]))


def test_run_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    run()
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_at_each_report_and_each_validation() -> None:
    told = run(replace(PLAN, iterations=25, validate_every=10), report_every=4)
    assert [(progress.iteration, progress.validation is not None) for progress in told] == [
        (4, False),
        (8, False),
        (10, True),
        (12, False),
        (16, False),
        (20, True),
        (24, False),
        (25, True),
    ]


@pytest.mark.parametrize("validate_every", [1, 4, 5, 1000])
def test_last_value_validates(validate_every: int) -> None:
    last = run(replace(PLAN, iterations=5, validate_every=validate_every))[-1]
    assert last.iteration == 5
    assert last.validation is not None
    assert last.best is not None


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_run_stops_after_as_many_validations_without_gain_as_patience_says(patience: int) -> None:
    told = run(replace(STANDING_STILL, validate_every=2, patience=patience))
    assert [progress.iteration for progress in told] == [2 * (i + 1) for i in range(1 + patience)]
    assert told[-1].best_iteration == 2


def test_run_goes_to_its_end_without_patience() -> None:
    assert run(replace(STANDING_STILL, iterations=16, validate_every=2))[-1].iteration == 16


def test_gain_makes_patience_begin_anew() -> None:
    """Each validation but the first could have been the last."""
    told = run(replace(PLAN, meta_learning_rate=0.003, validate_every=10, patience=1))
    assert [progress.best_iteration for progress in told] == [10, 20, 30, 40]


def test_best_is_kept_and_not_the_last() -> None:
    """What is trained for is here the opposite of what is validated, so that it can only get worse."""
    plan = replace(PLAN, meta_learning_rate=0.05)
    told = run(plan, training=with_targets(-5.0), validation=with_targets(1.0))
    short = run(replace(plan, iterations=20), training=with_targets(-5.0), validation=with_targets(1.0))
    assert loss_of(told[-1]) > loss_of(told[0])
    assert [progress.best_iteration for progress in told] == [20, 20]
    assert equal(best_of(told[-1]), best_of(short[-1]))


def test_later_steps_do_not_change_a_best_that_was_told() -> None:
    bests, copies = [], []
    for progress in train(PLAN, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU):
        bests.append(best_of(progress))
        copies.append(MetaParams(*({name: leaf.clone() for name, leaf in tree.items()} for tree in bests[-1])))
    assert all(equal(one, other) for one, other in zip(bests, copies, strict=True))


def test_later_steps_do_not_change_a_best_that_never_had_a_finite_score() -> None:
    plan = replace(PLAN, iterations=2, validate_every=1)
    steps = train(plan, sinusoid_learner(), SINUSOIDS, with_targets(math.nan), CPU)
    first = best_of(next(steps))
    copy = MetaParams(*({name: leaf.clone() for name, leaf in tree.items()} for tree in first))
    next(steps)
    assert equal(first, copy)


def test_best_has_no_gradients() -> None:
    assert not any(leaf.requires_grad or leaf.grad is not None for leaf in best_of(run()[-1]).trained.values())


def test_each_validation_is_on_the_same_tasks() -> None:
    told = run(replace(STANDING_STILL, validate_every=10))
    assert len({loss_of(progress) for progress in told}) == 1


def test_validation_tasks_are_not_those_of_training() -> None:
    held_out = validation_batches(PLAN, SINUSOIDS, CPU)[0]
    generator = torch.Generator().manual_seed(PLAN.seed)
    sinusoid_learner().init(generator)
    assert not torch.isin(held_out.support.inputs, SINUSOIDS.sample(generator, 500).support.inputs).all()


@pytest.mark.parametrize(("wanted", "drawn"), [(512, 512), (64, 64), (1, 8)])
def test_validation_has_about_as_many_tasks_as_planned(wanted: int, drawn: int) -> None:
    batches = validation_batches(replace(PLAN, num_validation_tasks=wanted), SINUSOIDS, CPU)
    assert sum(len(batch.support.inputs) for batch in batches) == drawn


def test_diverging_run_is_refused_with_the_iteration() -> None:
    plan = replace(PLAN, optimizer="sgd", meta_learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingDiverged, match=re.escape("the meta-loss is ")) as caught:
        run(plan, report_every=1)
    assert str(caught.value).endswith("at iteration 2")


def test_diverging_run_is_noticed_at_the_latest_when_it_validates() -> None:
    plan = replace(PLAN, optimizer="sgd", meta_learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingDiverged, match="at iteration 20"):
        run(plan)


def test_score_is_accuracy_where_there_is_one_and_else_minus_the_loss() -> None:
    estimates = run(replace(PLAN, iterations=1))[-1].validation
    assert estimates is not None
    assert score(estimates) == -estimates["loss"].mean
    accuracy = estimates["loss"]._replace(mean=0.9)
    assert score({**estimates, "accuracy": accuracy}) == 0.9
