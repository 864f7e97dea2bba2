"""The parts that gradient learners are put together from: options, initial leaves, start, loss, outputs."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.head_start import LOG_SCALE, class_means_head, initial_log_scale
from app.learners.inner_loop import initial_rates, inner_loop, scaled_rates
from app.learners.learner import Adapt, Traits
from app.learners.losses import Loss, mask_classes, row_weights
from app.networks.network import Network, head
from app.trees import merge

CLASS_MASK = "class_mask"
HEAD_LEAVES = ("head.weight", "head.bias")


class GradientOptions(BaseModel):
    """What gradient learners have in common.

    `rates`: "fixed" is one number for all, "per_tensor" learns one for each tensor, starting from
    `learning_rate`. `head`: "learned" is a leaf of the initialisation, "class_means" starts each task's head from
    the means of its classes' features (Triantafillou et al. 2020, section 3), with a learned scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.01
    first_order: bool = False
    rates: Literal["fixed", "per_tensor"] = "fixed"
    head: Literal["learned", "class_means"] = "learned"


def gradient_traits(options: GradientOptions, loss: Loss) -> Traits:
    """Return what callers may set; ValueError where head and targets do not go together."""
    if options.head == "class_means" and loss.output_kind != "classification":
        raise ValueError("head 'class_means' needs classes; these targets are numbers: use head 'learned'")
    fixed = options.rates == "fixed"
    return Traits(
        output_kind=loss.output_kind,
        takes_steps=True,
        steps=options.steps,
        learning_rate=options.learning_rate if fixed else None,
        learned_rates=not fixed,
    )


def start_leaves(options: GradientOptions, network: Network, generator: torch.Generator) -> Tree:
    """Return the network's first leaves; the head's only where it is learned, else the scale of its start."""
    leaves = network.init(generator)
    if options.head == "learned":
        return leaves
    body = {name: leaf for name, leaf in leaves.items() if name not in HEAD_LEAVES}
    return merge(body, initial_log_scale(network.num_features))


def with_rates(options: GradientOptions, trained: Tree, fixed: Tree, adapted: list[str]) -> MetaParams:
    """Return the initialisation with the inner rates of the leaves `adapted` beside its leaves."""
    trained_rates, fixed_rates = initial_rates(options.learning_rate, adapted, learned=options.rates != "fixed")
    return MetaParams(merge(trained, trained_rates), merge(fixed, fixed_rates))


def start_head(
    options: GradientOptions, leaves: Tree, support: Support, features: Callable[[], Float[Tensor, "S F"]]
) -> Tree:
    """Return the head that a task's inner loop starts from; `features` is called only if it is needed."""
    if options.head == "learned":
        return {name: leaves[name] for name in HEAD_LEAVES}
    _, targets, row_mask, class_mask = support
    return class_means_head(features(), targets, row_mask, class_mask, leaves[LOG_SCALE])


def support_loss(loss: Loss, support: Support) -> Callable[[Tree, Tensor], Tensor]:
    """Return (params, features_SF) -> the mean loss of the support rows that count."""
    weights_S = row_weights(support.row_mask)

    def mean_loss(params: Tree, features_SF: Float[Tensor, "S F"]) -> Float[Tensor, ""]:
        losses_S = loss.rows(_masked(head(params, features_SF), support.class_mask), support.targets)
        return torch.dot(losses_S, weights_S.to(losses_S.dtype))

    return mean_loss


def adapt_from(
    start: Tree,
    loss_of: Callable[[Tree], Tensor],
    options: GradientOptions,
    meta: MetaParams,
    support: Support,
    settings: Settings,
) -> tuple[TaskParams, Trace]:
    """Return where the inner loop leads from `start`: the leaves it changed, and the class mask where there is one."""
    rates = scaled_rates(meta, start, settings.rate_scale)
    params, trace = inner_loop(loss_of, start, rates, settings, first_order=options.first_order)
    leaves = merge(meta.fixed, meta.trained)
    changed = {name: leaf for name, leaf in params.items() if leaf is not leaves.get(name)}
    classes = {CLASS_MASK: support.class_mask} if support.class_mask.shape[0] else {}
    return merge(changed, classes), trace


def adapt_all_leaves(options: GradientOptions, network: Network, loss: Loss) -> Adapt:
    """Return the `adapt` that moves body and head."""

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        new_head = start_head(options, leaves, support, lambda: network.features(leaves, support.inputs))
        start = merge({name: leaf for name, leaf in leaves.items() if name.startswith("body.")}, new_head)

        mean_loss = support_loss(loss, support)

        def loss_of(params: Tree) -> Tensor:
            return mean_loss(params, network.features(params, support.inputs))

        return adapt_from(start, loss_of, options, meta, support, settings)

    return adapt


def predictor(network: Network) -> Callable[[MetaParams, TaskParams, Tensor], Tensor]:
    """Return the `predict` of learners whose task parameters are leaves of the network."""

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        params = merge(merge(meta.fixed, meta.trained), task_params)
        outputs_QO = head(params, network.features(params, inputs_Q))
        return _masked(outputs_QO, task_params[CLASS_MASK]) if CLASS_MASK in task_params else outputs_QO

    return predict


def _masked(outputs_RO: Tensor, class_mask_N: Tensor) -> Tensor:
    return mask_classes(outputs_RO, class_mask_N) if class_mask_N.shape[0] else outputs_RO
