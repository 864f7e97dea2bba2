import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.episode import Episode
from app.task_distributions.distribution import Distribution
from app.training.evaluate import evaluate
from app.training.run import Progress, score, train, validation_batches
from app.training.state import state_bytes
from innerloop.errors import TrainingDiverged
from tests.training.small_runs import CPU, PLAN, SINUSOIDS, STANDING_STILL, equal, run, sinusoid_learner


def loss_of(progress: Progress) -> float:
    assert progress.validation is not None
    return progress.validation["loss"].mean


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
    last, _ = run(replace(PLAN, optimizer=optimizer, meta_learning_rate=rate))[-1]
    assert loss_of(last) < 0.8 * before["loss"].mean


def test_same_seed_gives_the_very_same_weights() -> None:
    assert equal(run()[-1][1].best, run()[-1][1].best)


def test_another_seed_gives_other_weights() -> None:
    assert not equal(run()[-1][1].best, run(replace(PLAN, seed=1))[-1][1].best)


def test_run_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    run()
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_at_each_iteration_and_validates_when_due_and_at_the_end() -> None:
    plan = replace(PLAN, iterations=25, validate_every=10)
    told = [
        (progress.iteration, progress.validation is not None)
        for progress in train(plan, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU)
    ]
    assert told == [(i, i in (10, 20, 25)) for i in range(1, 26)]


@pytest.mark.parametrize("validate_every", [1, 4, 5, 1000])
def test_last_value_validates(validate_every: int) -> None:
    plan = replace(PLAN, iterations=5, validate_every=validate_every)
    *_, last = train(plan, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU)
    assert last.iteration == 5
    assert last.validation is not None


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_run_stops_after_as_many_validations_without_gain_as_patience_says(patience: int) -> None:
    told = run(replace(STANDING_STILL, validate_every=2, patience=patience))
    assert [progress.iteration for progress, _ in told] == [2 * (i + 1) for i in range(1 + patience)]
    assert told[-1][1].best_iteration == 2


def test_run_goes_to_its_end_without_patience() -> None:
    assert run(replace(STANDING_STILL, iterations=16, validate_every=2))[-1][0].iteration == 16


def test_gain_makes_patience_begin_anew() -> None:
    """Each validation but the first could have been the last."""
    told = run(replace(PLAN, meta_learning_rate=0.003, validate_every=10, patience=1))
    assert [state.best_iteration for _, state in told] == [10, 20, 30, 40]


def test_best_is_kept_and_not_the_last() -> None:
    """What is trained for is here the opposite of what is validated, so that it can only get worse."""
    plan = replace(PLAN, meta_learning_rate=0.05)
    told = run(plan, training=with_targets(-5.0), validation=with_targets(1.0))
    short = run(replace(plan, iterations=20), training=with_targets(-5.0), validation=with_targets(1.0))
    assert loss_of(told[-1][0]) > loss_of(told[0][0])
    assert [state.best_iteration for _, state in told] == [20, 20]
    assert equal(told[-1][1].best, short[-1][1].best)


def test_later_steps_do_not_change_a_state_that_was_told() -> None:
    states, copies = [], []
    for progress in train(PLAN, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU):
        states.append(progress.state())
        copies.append(state_bytes(states[-1]))
    assert [state_bytes(state) for state in states] == copies


def test_nothing_is_best_while_no_validation_is_finite() -> None:
    plan = replace(PLAN, iterations=2, validate_every=1)
    told = run(plan, validation=with_targets(math.nan))
    assert [state.best_iteration for _, state in told] == [0, 0]


def test_best_has_no_gradients() -> None:
    best = run()[-1][1].best
    assert not any(leaf.requires_grad or leaf.grad is not None for leaf in best.trained.values())


def test_each_validation_is_on_the_same_tasks() -> None:
    told = run(replace(STANDING_STILL, validate_every=10))
    assert len({loss_of(progress) for progress, _ in told}) == 1


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
    with pytest.raises(TrainingDiverged, match=r"from iteration 2 on .*the loss is (nan|inf)"):
        run(plan)


def with_an_explosion_every(period: int) -> Distribution:
    """Return sinusoids of which one task of every `period`-th meta-batch has targets that no loss holds."""
    drawn = 0

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        nonlocal drawn
        drawn += 1
        support, query, class_ids = SINUSOIDS.sample(generator, num_tasks)
        targets = query.targets.clone()
        if drawn % period == 0:
            targets[0] = 1e30
        return Episode(support, query._replace(targets=targets), class_ids)

    return SINUSOIDS._replace(sample=sample)


def test_meta_batch_that_is_not_finite_moves_nothing_and_the_run_goes_on() -> None:
    told = list(train(PLAN, sinusoid_learner(), with_an_explosion_every(5), SINUSOIDS, CPU))
    assert [progress.iteration for progress in told if not torch.isfinite(progress.meta_loss)] == list(range(5, 41, 5))
    assert loss_of(told[-1]) < 0.8 * _initial_loss()


def test_run_that_only_meets_such_meta_batches_diverges() -> None:
    with pytest.raises(TrainingDiverged, match="from iteration 1 on"):
        run(training=with_an_explosion_every(1))


def _initial_loss() -> float:
    learner = sinusoid_learner()
    initial = learner.init(torch.Generator().manual_seed(0))
    return evaluate(learner, initial, validation_batches(PLAN, SINUSOIDS, CPU), PLAN.steps)["loss"].mean


def test_score_is_accuracy_where_there_is_one_and_else_minus_the_loss() -> None:
    estimates = run(replace(PLAN, iterations=1))[-1][0].validation
    assert estimates is not None
    assert score(estimates) == -estimates["loss"].mean
    accuracy = estimates["loss"]._replace(mean=0.9)
    assert score({**estimates, "accuracy": accuracy}) == 0.9
