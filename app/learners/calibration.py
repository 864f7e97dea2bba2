"""Calibration as a part of the model: a temperature, so that probabilities are as sure as they are right.

Temperature scaling (Guo et al. 2017, section 4.2), on the query rows of tasks in place of the rows of one data set,
fitted after meta-training on validation tasks. Differs twice:

- One temperature for all tasks is too warm for those of many rows and too cold for those of few (fitted to 1 and
  5 shots of 20 intents together it gave an error of 8.5% at 5 shots, where two left 3.0%), so it is fitted at the
  fewest and at the most rows a class; a task takes what lies between them at its own.
- One temperature for all rows cannot mend a learner that is too sure of some and not sure enough of others (20 intents
  at 1 shot, learner `kernel`: 5.2% after the best one). So that of a row is exp(a + b log(lead)), with lead how far its
  largest logit is above the mean of its logits, and (a, b) fitted in place of a alone.

The second is in the line of adaptive temperature scaling (Balanya et al. 2022), whose HTS is softplus(w log(entropy)
+ b). Differs: the lead in place of the entropy of the softmax, which vanishes where a row is sure and is not the same
once logits are multiplied; the lead's power law is. And b is bounded, so that more lead always makes surer.

Labels do not change, only how sure they are.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.learner import Learner
from app.trees import merge

TEMPERATURE = "calibration.temperature"
"""[2], of a task: (a, b)."""
TEMPERATURES, LOG_SHOTS = "calibration.temperatures", "calibration.log_shots"
"""[2, 2] and [2], of the initialisation: an (a, b) a point, and the log rows a class that each is for, ascending."""

Sureness = tuple[float, float]
"""(a, b): rows are divided by exp(a + b log(lead))."""
SAME: Sureness = (0.0, 0.0)
COLD = ((0.0, SAME), (0.0, SAME))
LEAST_LEAD = 1e-4
"""Rows of a smaller lead have its temperature: of equal logits the logarithm would be infinite."""


def with_temperature(learner: Learner) -> Learner:
    """Return the learner whose logits are divided by their row's temperature, 1 until some are fitted.

    The temperatures are fixed leaves. What adaptation moves and the meta-loss are as they were; so is every label.
    ValueError for targets that are numbers.
    """
    if learner.traits.output_kind != "classification":
        raise ValueError("a temperature belongs to probabilities of classes; these outputs are numbers")

    def init(generator: torch.Generator) -> MetaParams:
        return at(learner.init(generator), COLD)

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        task_params, trace = learner.adapt(meta, support, settings, noise)
        return merge(task_params, {TEMPERATURE: _temperature(meta.fixed, support)}), trace

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        own = {name: leaf for name, leaf in task_params.items() if name != TEMPERATURE}
        return tempered(learner.predict(meta, own, inputs_Q), task_params[TEMPERATURE])

    return learner._replace(init=init, adapt=adapt, predict=predict)


def at(meta: MetaParams, points: Sequence[tuple[float, Sureness]]) -> MetaParams:
    """Return the initialisation with two points (log rows a class, (a, b)), the first of fewer rows."""
    log_shots, temperatures = zip(*points, strict=True)
    leaves = {LOG_SHOTS: torch.tensor(log_shots), TEMPERATURES: torch.tensor(temperatures)}
    return meta._replace(fixed=merge(meta.fixed, leaves))


def log_rows_a_class(support: Support) -> Float[Tensor, ""]:
    """Return the logarithm of a task's rows over its classes, padding aside."""
    return (support.row_mask.sum().clamp(min=1) / support.class_mask.sum().clamp(min=1)).log()


def tempered(logits_RN: Float[Tensor, "R N"], temperature_2: Float[Tensor, "2"]) -> Float[Tensor, "R N"]:
    """Return each row divided by exp(a + b log(lead)); logits of masked classes stay the least number.

    A row that holds what is not finite is not made finite by it.
    """
    # Divided by less than 1 the least number would be minus infinity, also in a branch that is not taken: its
    # derivative would be 0 times infinity.
    masked_RN = _masked(logits_RN)
    log_R1 = temperature_2[0] + temperature_2[1] * log_lead(logits_RN)[:, None]
    return torch.where(masked_RN, logits_RN, torch.where(masked_RN, 0.0, logits_RN) / log_R1.exp())


def log_lead(logits_RN: Float[Tensor, "R N"]) -> Float[Tensor, "R"]:
    """Return the logarithm of how far each row's largest logit is above the mean of those that are not masked."""
    masked_RN = _masked(logits_RN)
    mean_R = torch.where(masked_RN, 0.0, logits_RN).sum(dim=1) / (~masked_RN).sum(dim=1).clamp(min=1)
    return (logits_RN.amax(dim=1) - mean_R).clamp(min=LEAST_LEAD).log()


def _masked(logits_RN: Tensor) -> Bool[Tensor, "R N"]:
    return logits_RN == torch.finfo(logits_RN.dtype).min


def _temperature(fixed: Tree, support: Support) -> Float[Tensor, "2"]:
    """Return what is linear in the log of rows a class between the two points, and that of the nearer one outside."""
    temperatures_22, log_shots = fixed[TEMPERATURES], fixed[LOG_SHOTS]
    width = (log_shots[1] - log_shots[0]).clamp(min=1e-6)  # of equal points both are of one temperature
    share = ((log_rows_a_class(support).to(log_shots) - log_shots[0]) / width).clamp(0.0, 1.0)
    return torch.lerp(temperatures_22[0], temperatures_22[1], share)
