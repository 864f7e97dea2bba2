"""A budget of CPU seconds turned into a number of iterations, so that a full cosine schedule ends within it.

Seconds are the process's own on the processor, with one thread of torch: two processes may run side by side, and what
else the machine does matters little.
"""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import torch

from app.jobs.plan import PlannedRun
from app.training.evaluate import evaluate
from app.training.plan import TrainingPlan
from app.training.run import train, validation_batches

CPU = torch.device("cpu")
PROBE_SHARE = 0.1
"""Of the budget that is tried out to see what an iteration costs; it is not counted. Ways and shots that are drawn make
one cost ten times another: half as long was off by a third."""
VALIDATION_SHARE = 0.15
"""Of the budget at most; the rest is iterations."""
LEAST_ITERATIONS, MOST_ITERATIONS = 2, 1_000_000


class Costs(NamedTuple):
    """CPU seconds."""

    iteration: float
    validation: float


def measured_costs(planned: PlannedRun, budget_seconds: float) -> Costs:
    """Return what an iteration and a validation of this run cost, each with its first run left out."""
    probe = replace(planned.plan, iterations=MOST_ITERATIONS, validate_every=MOST_ITERATIONS)
    run = train(probe, planned.learner, planned.training, planned.validation, CPU)
    told = next(run)
    start, num_done = time.process_time(), 0
    while num_done < LEAST_ITERATIONS or time.process_time() - start < PROBE_SHARE * budget_seconds:
        told = next(run)
        num_done += 1
    iteration = (time.process_time() - start) / num_done
    batches = validation_batches(planned.plan, planned.validation, CPU)
    meta = told.state().meta
    evaluate(planned.learner, meta, batches[:1], planned.plan.steps)
    start = time.process_time()
    evaluate(planned.learner, meta, batches[:1], planned.plan.steps)
    return Costs(iteration, (time.process_time() - start) * len(batches))


def fitted_plan(plan: TrainingPlan, costs: Costs, num_validations: int, budget_seconds: float) -> TrainingPlan:
    """Return the plan with as many iterations as the budget has room for, validated evenly and at the end."""
    affordable = int(VALIDATION_SHARE * budget_seconds / max(costs.validation, 1e-9))
    num_validations = max(1, min(num_validations, affordable))
    left = budget_seconds - num_validations * costs.validation
    iterations = min(max(LEAST_ITERATIONS, int(left / costs.iteration)), MOST_ITERATIONS)
    return replace(plan, iterations=iterations, validate_every=math.ceil(iterations / num_validations))
