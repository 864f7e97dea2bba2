"""How sure a model may be: the temperature that fits, and how far confidence and accuracy are apart."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from app.episode import Episode, MetaParams, Query, Settings
from app.learners.calibration import COLD, SAME, Sureness, at, log_lead, tempered
from app.learners.learner import NO_NOISE, Learner, Metrics
from app.learners.losses import Loss
from app.training.evaluate import NORMAL_95, Estimate
from app.training.portions import portions

CALIBRATION_ERROR = "calibration_error"
BINS = "bins"
NUM_BINS = 15  # as Guo et al. 2017, section 5
LOG_BOUNDS = (-3.0, 3.0)
"""Between which log temperatures the best one is looked for: a factor of 20 either way."""
GOLDEN = (5.0**0.5 - 1.0) / 2.0
POWER_BOUNDS = (-0.5, 0.9)
"""Of b. A row's lead becomes lead^(1 - b), over exp(a): up to 1, more lead makes surer."""
EVALUATIONS = 30
"""Of the cross entropy in that search: 0.618 to this power leaves 1e-5 of the bounds."""
LBFGS_STEPS = 50
"""At most; it ends by itself after about ten."""


class Judgeable(NamedTuple):
    """Query rows of many tasks, pooled."""

    logits: Tensor
    """[R, N] float64."""
    targets: Tensor
    """[R]."""


def fitted_temperature(learner: Learner, meta: MetaParams, batches: Iterable[Episode], steps: int) -> Sureness:
    """Return the (a, b) at which the query rows of these tasks have the least cross entropy.

    Rows that are not finite are left out; (0, 0) when none is left. All tasks have the same number of classes.
    """
    cold = at(meta, COLD)
    parts = [_outputs(learner, cold, portion, steps) for batch in batches for portion in portions(batch)]
    rows = Judgeable(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
    return best_temperature(learner.loss, rows) if len(rows.targets) else SAME


def best_temperature(loss: Loss, rows: Judgeable) -> Sureness:
    """Return the (a, b) of least cross entropy: first the best a at b = 0, from there both by L-BFGS.

    The cross entropy of a softmax is convex in the inverse temperature, so for a alone there is one minimum. (Of
    normalised sigmoids, and of both numbers, that is not sure; then it is a local one.) a alone stays where b makes
    nothing better.
    """

    def of(sureness: Sureness) -> float:
        return float(cross_entropy(loss, rows, torch.tensor(sureness, dtype=torch.float64)))

    alone = (least(lambda log: of((log, 0.0)), *LOG_BOUNDS), 0.0)
    both = _improved(loss, rows, alone)
    return both if of(both) < of(alone) else alone  # not so of what is not a number


def cross_entropy(loss: Loss, rows: Judgeable, temperature_2: Float[Tensor, "2"]) -> Float[Tensor, ""]:
    """Return the mean of minus the log of what the rows' own classes are given as probability."""
    of_class_R = loss.probabilities(tempered(rows.logits, temperature_2)).gather(1, rows.targets[:, None])
    return -of_class_R.clamp(min=torch.finfo(torch.float64).tiny).log().mean()


def _improved(loss: Loss, rows: Judgeable, start: Sureness) -> Sureness:
    """Return where L-BFGS (Nocedal 1980) ends.

    It moves the log temperature at the mean log lead, and b: nearly independent of each other, as a and b are not.
    Both go through a sigmoid, which keeps them in their bounds.
    """
    low, high = torch.tensor([LOG_BOUNDS, POWER_BOUNDS], dtype=torch.float64).unbind(dim=1)
    middle = log_lead(rows.logits).mean()
    free = ((torch.tensor(start, dtype=torch.float64) - low) / (high - low)).logit().requires_grad_()
    optimizer: torch.optim.Optimizer = torch.optim.LBFGS([free], max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

    def sureness() -> Tensor:
        at_middle, power = (low + (high - low) * free.sigmoid()).unbind()
        return torch.stack([at_middle - power * middle, power])

    def closure() -> float:
        value = cross_entropy(loss, rows, sureness())
        free.grad = torch.autograd.grad(value, free)[0]
        return float(value.detach())

    optimizer.step(closure)
    a, b = sureness().tolist()
    return a, b


def least(value: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one minimum between `low` and `high` has it (Kiefer 1953)."""
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [value(point) for point in inner]
    for _ in range(EVALUATIONS):
        if values[0] <= values[1]:
            high = inner[1]
            inner = [high - GOLDEN * (high - low), inner[0]]
            values = [value(inner[0]), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + GOLDEN * (high - low)]
            values = [values[1], value(inner[1])]
    return (low + high) / 2.0


def binning(learner: Learner) -> Learner:
    """Return the learner with one metric more: `bins` [B, 3], of which `calibration_error` is made."""

    def metrics(meta: MetaParams, outputs_QO: Tensor, query: Query) -> Metrics:
        bins = confidence_bins(learner.loss.probabilities(outputs_QO), query)
        return {**learner.metrics(meta, outputs_QO, query), BINS: bins}

    return learner._replace(metrics=metrics) if learner.traits.output_kind == "classification" else learner


def confidence_bins(probabilities_QN: Float[Tensor, "Q N"], query: Query) -> Float[Tensor, "B 3"]:
    """Return, for each of 15 bins of equal width, its rows, the sum of their confidences, and how many are right.

    A row lies in the bin of its largest probability, upper edge included (Guo et al. 2017, section 2).
    """
    confidence_Q, label_Q = probabilities_QN.max(dim=1)
    place_Q = (confidence_Q * NUM_BINS).ceil() - 1.0
    in_bin_QB = place_Q.clamp(0, NUM_BINS - 1)[:, None] == torch.arange(NUM_BINS, device=place_Q.device)
    counts_QB = (in_bin_QB & query.row_mask[:, None]).to(probabilities_QN.dtype)
    ones_Q = torch.ones_like(confidence_Q)
    told_Q3 = torch.stack([ones_Q, confidence_Q, (label_Q == query.targets).to(ones_Q.dtype)], dim=1)
    return counts_QB.T @ torch.where(query.row_mask[:, None], told_Q3, 0.0)


def calibration_error(bins_TB3: Float[Tensor, "T B 3"]) -> Estimate:
    """Return the expected calibration error (Guo et al. 2017, equation 3) of the rows of all tasks together.

    A mean of the tasks' own errors would be the noise of their few rows. The interval leaves out one task after the
    other (the jackknife, Quenouille 1949, over tasks).
    """
    bins_TB3 = bins_TB3.double()
    total_B3 = bins_TB3.sum(dim=0)
    without_T, num_tasks = _gap(total_B3 - bins_TB3), len(bins_TB3)
    deviation = ((without_T - without_T.mean()).square().sum() * (num_tasks - 1) / num_tasks).sqrt()
    return Estimate(float(_gap(total_B3)), NORMAL_95 * float(deviation) if num_tasks > 1 else float("nan"))


def _gap(bins_B3: Tensor) -> Tensor:
    """Return the distance of confidence and accuracy over the bins, weighted by their rows."""
    rows_B, confidence_B, right_B = bins_B3.unbind(dim=-1)
    return (confidence_B - right_B).abs().sum(dim=-1) / rows_B.sum(dim=-1).clamp(min=1.0)


@torch.no_grad()
def _outputs(learner: Learner, meta: MetaParams, episodes: Episode, steps: int) -> tuple[Tensor, Tensor]:
    """Return the logits [R, N] and targets [R] of the query rows that count and are finite."""
    settings = Settings(steps, torch.ones((), device=episodes.query.inputs.device), traces_end=False)

    def of_task(episode: Episode) -> Tensor:
        task_params, _ = learner.adapt(meta, episode.support, settings, NO_NOISE)
        return learner.predict(meta, task_params, episode.query.inputs)

    logits_RN = torch.vmap(of_task)(episodes).flatten(0, 1)
    masked_RN = logits_RN == torch.finfo(logits_RN.dtype).min
    logits_RN = torch.where(masked_RN, torch.finfo(torch.float64).min, logits_RN.double())  # the least of float64 too
    kept_R = episodes.query.row_mask.flatten() & torch.isfinite(logits_RN).all(dim=1)
    return logits_RN[kept_R], episodes.query.targets.flatten()[kept_R]
