"""One method trained on one split of one data set, within a budget."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from app.card import OutputCard
from app.jobs.plan import PlannedRun, planned_run
from app.learners.model import Model, learner_of
from app.task_distributions.distribution import Distribution
from app.task_distributions.registry import Datasets, build_distribution
from app.training.run import train
from benchmarks.quality.budget import CPU, fitted_plan, measured_costs
from benchmarks.quality.comparisons import Comparison
from benchmarks.quality.methods import Method
from benchmarks.quality.tasks import fitting_ways, mixed, with_rows
from innerloop.wire import Limits, MetaTrainRequest


class Trained(NamedTuple):
    """What a training came to."""

    model: Model
    seconds: float
    """On the processor."""
    iterations: int
    best_iteration: int


def request_of(comparison: Comparison, name: str, method: Method) -> MetaTrainRequest:
    """Return a method's request, without what its budget decides."""
    return MetaTrainRequest.model_validate({"name": f"{comparison.name}-{name}", **method.request})


def trained(
    comparison: Comparison, name: str, method: Method, datasets: Datasets, budget_seconds: float, seed: int = 0
) -> Trained:
    """Train within the budget and return the best initialisation by validation.

    Raises InnerloopError: InvalidRequest for a request that does not hold, TrainingDiverged.
    """
    planned = planned_for(comparison, request_of(comparison, name, method), method, datasets)
    planned = replace(planned, plan=replace(planned.plan, seed=seed))
    costs = measured_costs(planned, budget_seconds)
    plan = fitted_plan(planned.plan, costs, comparison.num_validations, budget_seconds)
    if method.most_iterations is not None and method.most_iterations < plan.iterations:
        every = math.ceil(method.most_iterations / comparison.num_validations)
        plan = replace(plan, iterations=method.most_iterations, validate_every=every)
    return run_of(replace(planned, plan=plan))


def run_of(planned: PlannedRun) -> Trained:
    """Train to the end of the plan."""
    start = time.process_time()
    *_, last = train(planned.plan, planned.learner, planned.training, planned.validation, CPU)
    state = last.state()
    seconds = time.process_time() - start
    return Trained(Model(planned.card, planned.learner, state.best), seconds, state.iteration, state.best_iteration)


def planned_for(comparison: Comparison, request: MetaTrainRequest, method: Method, datasets: Datasets) -> PlannedRun:
    """Return the run of a method; a head with a row a class gets as many rows as the comparison's cells need."""
    planned = planned_run(request, datasets, Limits())
    plan = replace(planned.plan, num_validation_tasks=comparison.num_validation_tasks)
    tasks = request.tasks.model_dump(exclude_none=True)
    training = _training(tasks, method, datasets) or planned.training
    validation = build_distribution(fitting_ways(tasks, "validation", datasets), "validation", datasets)
    planned = replace(planned, plan=plan, training=training, validation=validation)
    return planned if not _needs_rows(planned, comparison) else _with_rows(planned, comparison.most_ways)


def _training(tasks: Mapping[str, Any], method: Method, datasets: Datasets) -> Distribution | None:
    parts = [build_distribution({**tasks, **more}, "train", datasets) for more in method.training]
    return mixed(parts) if parts else None


def _needs_rows(planned: PlannedRun, comparison: Comparison) -> bool:
    return comparison.metric == "accuracy" and not planned.learner.traits.any_ways


def _with_rows(planned: PlannedRun, num_rows: int) -> PlannedRun:
    """Return the run with a head of `num_rows` rows, which may be more than there are classes to train on."""
    if planned.card.scales_inputs:
        raise ValueError("a learner made from its card has no scaling; tasks.scaling is false here")
    card = planned.card.model_copy(update={"output": OutputCard(kind="classification", shape=(num_rows,))})
    return replace(
        planned,
        card=card,
        learner=learner_of(card),
        training=with_rows(planned.training, num_rows, shuffled=True),
        validation=with_rows(planned.validation, num_rows, shuffled=False),
    )
