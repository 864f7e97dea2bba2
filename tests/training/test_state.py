from dataclasses import replace
from typing import Any

import pytest
import torch

from app.training.run import train
from app.training.state import RunState, state_bytes, state_of
from app.trees import to_bytes
from tests.training.small_runs import CPU, PLAN, SINUSOIDS, STANDING_STILL, run, sinusoid_learner


def end_of(plan: Any, start: RunState | None = None) -> bytes:
    *_, last = train(plan, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU, start)
    return state_bytes(last.state())


def state_after(plan: Any, iteration: int) -> bytes:
    told = train(plan, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU)
    return next(state_bytes(progress.state()) for progress in told if progress.iteration == iteration)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("iteration", [1, 20, 33])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_run_that_goes_on_from_its_bytes_ends_with_the_very_state_of_one_that_never_stopped(
    optimizer: Any, iteration: int, schedule: Any
) -> None:
    plan = replace(PLAN, optimizer=optimizer, meta_learning_rate=0.001, learning_rate_schedule=schedule)
    assert end_of(plan, state_of(state_after(plan, iteration))) == end_of(plan)


def test_run_may_be_interrupted_after_every_single_iteration() -> None:
    plan = replace(PLAN, iterations=12, validate_every=5)
    data = state_after(plan, 1)
    for _ in range(11):
        data = state_bytes(next(train(plan, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU, state_of(data))).state())
    assert data == end_of(plan)


def test_nothing_is_left_to_do_from_the_end_of_a_run() -> None:
    assert run(start=state_of(end_of(PLAN))) == []


def test_patience_goes_on_counting() -> None:
    plan = replace(STANDING_STILL, validate_every=2, patience=3)
    half_way = state_of(state_after(plan, 6))
    told = run(plan, start=half_way)
    assert [progress.iteration for progress, _ in told] == [8]
    assert run(plan, start=told[-1][1]) == []


def test_state_survives_its_bytes() -> None:
    state = state_of(state_after(PLAN, 21))
    again = state_of(state_bytes(state))
    assert (again.iteration, again.best_iteration, again.stale) == (21, 20, 0)
    assert again.best_score == state.best_score
    assert torch.equal(again.generator, state.generator)
    assert set(again.optimizer) == {
        f"{name}/{key}" for name in state.meta.trained for key in ("step", "exp_avg", "exp_avg_sq")
    }


def test_state_of_a_run_without_a_finite_validation_survives_its_bytes() -> None:
    assert state_of(state_after(PLAN, 1)).best_score == -float("inf")


@pytest.mark.parametrize("data", [b"", b"no safetensors", to_bytes({"weight": torch.ones(1)})])
def test_other_bytes_are_no_state(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a safetensors file|no state of a run"):
        state_of(data)
