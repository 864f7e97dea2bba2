"""A closed-form head: ridge regression on features that meta-training makes fit for it.

R2-D2, Bertinetto et al. 2019, equations 5 to 7, with a learned strength and, for classification, a learned scale of
the outputs. Differs: there is an intercept, penalised as the weights are; and for numbers the weights are drawn
towards a learned head in place of zero, which is the posterior mean of Bayesian linear regression under a learned
prior (ALPaCA, Harrison et al. 2018, equation 7, with a covariance that is a multiple of the identity).
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import CLASS_MASK, predictor
from app.learners.learner import Learner, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss, masked_mean
from app.learners.moving import HEAD_BIAS, HEAD_WEIGHT, masked, moving_leaves
from app.networks.network import Network, head
from app.trees import merge

LOG_STRENGTH, LOG_SCALE = "head.log_strength", "head.log_scale"
START_SCALE = 4.0
"""Of classification: outputs of rows that are fitted well are about 0 and 1, too flat for a softmax as they are."""


class RidgeOptions(BaseModel):
    """`{"kind": "ridge", "strength": 1.0}`: the penalty on squared weights before meta-training, which learns it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0


def ridge(options: RidgeOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose task parameters are a head that is solved for; it takes no steps."""
    classifies = loss.output_kind == "classification"
    traits = Traits(
        loss.output_kind, takes_steps=False, steps=0, learning_rate=None, learned_rates=False, any_ways=classifies
    )

    def init(generator: torch.Generator) -> MetaParams:
        leaves = network.init(generator)
        trained = merge(
            moving_leaves("body", leaves) if classifies else leaves,
            {LOG_STRENGTH: torch.tensor(math.log(options.strength))},
        )
        return MetaParams(merge(trained, {LOG_SCALE: torch.tensor(math.log(START_SCALE))} if classifies else {}), {})

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        features_SF = network.features(leaves, support.inputs)
        strength = leaves[LOG_STRENGTH].exp()
        if classifies:
            # Of the classes that a task has; a padded row counts in none.
            classes_N = torch.arange(len(support.class_mask), device=support.targets.device)
            wanted_SO = (support.targets[:, None] == classes_N).to(features_SF.dtype)
            weight_OF, bias_O = ridge_head(features_SF, wanted_SO, support.row_mask, strength)
            scale = leaves[LOG_SCALE].exp()
            solved = {HEAD_WEIGHT: scale * weight_OF, HEAD_BIAS: scale * bias_O, CLASS_MASK: support.class_mask}
        else:
            missing_SO = support.targets - head(leaves, features_SF)
            weight_OF, bias_O = ridge_head(features_SF, missing_SO, support.row_mask, strength)
            solved = {HEAD_WEIGHT: leaves[HEAD_WEIGHT] + weight_OF, HEAD_BIAS: leaves[HEAD_BIAS] + bias_O}
        outputs_SO = masked(head(solved, features_SF), support.class_mask)
        value = masked_mean(loss.rows(outputs_SO, support.targets), support.row_mask)
        return solved, Trace(value[None])

    predict = predictor(network)
    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss), judge_by(loss))


def ridge_head(
    features_SF: Float[Tensor, "S F"], wanted_SO: Float[Tensor, "S O"], row_mask_S: Tensor, strength: Float[Tensor, ""]
) -> tuple[Float[Tensor, "O F"], Float[Tensor, "O"]]:
    """Return weights and intercepts of least squared error plus `strength` times their squares, over rows that count.

    Solved in the rows or in the features, whichever are fewer (equation 6, Woodbury), in float64: a weak penalty leaves
    a matrix that float32 cannot invert.
    """
    ones_S1 = torch.ones_like(features_SF[:, :1])
    # Padding is put to zero before anything is multiplied: what it holds may not be finite.
    x_SF = torch.where(row_mask_S[:, None], torch.cat([features_SF, ones_S1], dim=1), 0.0).double()
    y_SO = torch.where(row_mask_S[:, None], wanted_SO, 0.0).double()
    num_rows, num_features = x_SF.shape
    if num_rows <= num_features:
        solved_FO = x_SF.T @ _solved(x_SF @ x_SF.T, y_SO, strength)
    else:
        solved_FO = _solved(x_SF.T @ x_SF, x_SF.T @ y_SO, strength)
    # Contiguous, as it is once stored and loaded: another layout is another last digit.
    solved_OF = solved_FO.T.to(features_SF.dtype)
    return solved_OF[:, :-1].contiguous(), solved_OF[:, -1].contiguous()


def _solved(matrix_KK: Tensor, right_KO: Tensor, strength: Tensor) -> Tensor:
    """Return the solution of (matrix + strength identity) x = right.

    The factorisation does not look at what it finds: one that raised on a task that is not finite would take its
    neighbours in a batch with it.
    """
    identity = torch.eye(matrix_KK.shape[-1], dtype=matrix_KK.dtype, device=matrix_KK.device)
    lower, _ = torch.linalg.cholesky_ex(matrix_KK + strength.double() * identity)
    return torch.cholesky_solve(right_KO, lower)
