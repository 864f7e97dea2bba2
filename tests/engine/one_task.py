"""One task on the CPU, through the functions that run many."""

import torch
from torch import Tensor

from app.engine import executor
from app.engine.executor import Adapted, AdaptWork, Judged
from app.engine.packed import Packed, packed
from app.episode import Query, Support, TaskParams
from app.learners.model import Model

CPU = torch.device("cpu")


def adapt(model: Model, support: Support, steps: int, rate_scale: float = 1.0, *, keep_best: bool = False) -> Adapted:
    """Adapt one task, or raise what went wrong."""
    works = [AdaptWork(model, support, steps, rate_scale, keep_best)]
    (outcome,) = executor.adapt_many(works, executor.stacked(works, CPU), CPU)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def predict(model: Model, params: Packed | TaskParams, inputs: Tensor) -> Tensor:
    """Predict rows of one task, or raise what went wrong."""
    task = params if isinstance(params, Packed) else packed(params)
    (outcome,) = executor.predict_many(model, [task], [inputs], CPU)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def judge(model: Model, support: Support, params: Packed, query: Query) -> Judged:
    """Judge labelled rows."""
    return executor.judge(AdaptWork(model, support, 0), params, query, CPU)
