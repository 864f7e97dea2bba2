"""MAML++: MAML with learned rates for each tensor and step, a loss on every step, and first order at first.

Antoniou, Edwards, Storkey 2019, "How to train your MAML", section 4: multi-step loss (equation 4), derivative-order
annealing, per-layer per-step rates; the cosine schedule of the outer rate is the trainer's. Differs:

- Norms are those of the network, row by row. Their per-step batch statistics, weights and biases would make a query
  row depend on its neighbours; they are left out.
- A rate belongs to a tensor, theirs to a layer (its weight and bias together).
- The weights of the steps fall linearly from 1/steps to 0 over `multi_step_share` of meta-training, the last one's
  rises to 1; their code stops at 0.03/steps and then drops to 0.
- Shares of meta-training take the place of numbers of epochs. Theirs are 0.1 (15 of 150) for the multi-step loss, as
  here, and 1/3 (50 of 150) for first order, which has to be asked for here: on the sinusoid, whose inner steps are
  long, rates learned from first-order gradients made a run diverge before iteration 9000 that without them ended at
  an error of 0.009.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.gradient import GradientOptions, Way, gradient_learner, way_of
from app.learners.learner import Learner, MetaLoss, Metrics, Predict, query_metrics
from app.learners.losses import Loss
from app.learners.rates import Rates
from app.networks.network import Network

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class MamlppOptions(GradientOptions):
    """`{"kind": "mamlpp", "steps": 5, "learning_rate": 0.01}` and what gradient learners have in common.

    `multi_step_share`: the share of meta-training in which earlier steps weigh in the loss; 0 is the last step alone.
    `first_order_share`: the share, from the start, that leaves out second derivatives.
    """

    kind: Literal["mamlpp"] = "mamlpp"
    steps: Annotated[int, Field(ge=1, le=100)] = 5
    rates: Rates = "per_step"
    multi_step_share: Share = 0.1
    first_order_share: Share = 0.0


def mamlpp(options: MamlppOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose meta-loss weighs the query's loss after each step of an inner loop on every leaf."""
    learner = gradient_learner(options, network, loss, "all")
    way = way_of(options, network, loss, "all")
    return learner._replace(
        traits=learner.traits._replace(first_order_share=options.first_order_share),
        meta_loss=loss_of_all_steps(way, learner.predict, loss, options.multi_step_share),
    )


def loss_of_all_steps(way: Way, predict: Predict, loss: Loss, multi_step_share: float) -> MetaLoss:
    """Return the `meta_loss` that weighs every step; its metrics are those after the last."""

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        stops = list(way(meta, episode.support, settings))
        judged = [
            query_metrics(loss, predict(meta, stop.task_params, episode.query.inputs), episode.query)
            for stop in stops[1:] or stops
        ]
        losses_K = torch.stack([metrics["loss"] for metrics in judged])
        weights_K = step_weights(len(judged), progress.to(losses_K.dtype), multi_step_share)
        return torch.dot(weights_K, losses_K), judged[-1]

    return meta_loss


def step_weights(num_steps: int, progress: Float[Tensor, ""], share: float) -> Float[Tensor, "K"]:
    """Return the weight of each step's loss: equal at progress 0, the last step's alone from `share` on."""
    left = (1.0 - progress / share).clamp(min=0.0) if share else torch.zeros_like(progress)
    last_K = (torch.arange(num_steps, device=progress.device) == num_steps - 1).to(progress.dtype)
    return left / num_steps + (1.0 - left) * last_K
