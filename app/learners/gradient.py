"""The common form of gradient learners: what moves, at which rates, from which head, with which derivatives."""

from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.head_start import initial_log_scale, initial_shared
from app.learners.inner_loop import inner_loop
from app.learners.learner import Adapt, Learner, Predict, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss
from app.learners.moving import (
    ANY_WAYS_HEADS,
    HEAD_BIAS,
    HEAD_LEAVES,
    HeadStart,
    Moves,
    descent,
    masked,
    moving_leaves,
)
from app.learners.rates import Rates, initial_rates, rates_by_step
from app.learners.row_weights import RowWeights, initial_weight_net
from app.networks.network import Network, head
from app.trees import merge

CLASS_MASK = "class_mask"


class GradientOptions(BaseModel):
    """What gradient learners have in common.

    `rates`: "fixed" is one number for all; starting from `learning_rate`, "per_tensor" learns one for each tensor,
    "per_parameter" one for each number (Li et al. 2017), "per_step" one for each tensor and step (Antoniou et al.
    2019). `head`: "learned" is a leaf of the initialisation, "class_means" starts each task's head from the means of
    its classes' features (Triantafillou et al. 2020, section 3), with a learned scale, "shared" starts all classes from
    one learned vector (Ye and Chao 2022, section 5); "fitted_intercept" solves for the bias that squared errors are
    least at, and steps on the rest. `normalised` divides each step on a head by the mean squared norm of the support's
    features, so that one rate fits tasks of any scale.

    `row_weights`: what support rows count in a step, "equal"ly, "balanced" so that each class counts the same whatever
    its number of rows, or by weights "learned" from their losses (Shu et al. 2019), against wrong labels: then train
    on tasks that have some. A head of class means is made of rows by learned weights too. The trace holds plain means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.01
    first_order: bool = False
    rates: Rates = "fixed"
    head: HeadStart = "learned"
    row_weights: RowWeights = "equal"
    normalised: bool = False


class Stop(NamedTuple):
    """A place on the way of one task's inner loop."""

    task_params: TaskParams
    support_loss: Tensor | None
    """[]; None at the end of the way where the settings leave it out."""


Way = Callable[[MetaParams, Support, Settings], Iterator[Stop]]
"""(meta_params, support, settings) -> the places before each step and after the last."""


def gradient_learner(options: GradientOptions, network: Network, loss: Loss, moves: Moves) -> Learner:
    """Return the learner whose inner loop moves these leaves, and whose meta-loss is that of the query after it.

    Raises ValueError where head, targets and what moves do not go together.
    """
    traits = _traits(options, loss, moves)
    adapt, predict = end_of(way_of(options, network, loss, moves)), predictor(network)

    def init(generator: torch.Generator) -> MetaParams:
        leaves = network.init(generator)
        trained = start_leaves(options, network, leaves, generator)
        solved = (HEAD_BIAS,) if options.head == "fitted_intercept" else ()
        moving = {name: leaf for name, leaf in moving_leaves(moves, leaves).items() if name not in solved}
        if options.head in ANY_WAYS_HEADS:  # the rates of a head's numbers are those of every class
            moving = {name: leaf[:1] if name in HEAD_LEAVES else leaf for name, leaf in moving.items()}
        return with_rates(options, MetaParams(trained, {}), moving)

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss), judge_by(loss))


def start_leaves(options: GradientOptions, network: Network, leaves: Tree, generator: torch.Generator) -> Tree:
    """Return what an inner loop starts from: a network's first leaves, and those that weigh rows.

    Of the head only what is learned of it, else the scale or the vector that it is made from.
    """
    learns = options.row_weights == "learned"
    weighing = initial_weight_net(generator, of_means=options.head == "class_means") if learns else {}
    if options.head == "learned":
        return merge(leaves, weighing)
    if options.head == "fitted_intercept":
        return {name: leaf for name, leaf in leaves.items() if name != HEAD_BIAS}
    size = network.num_features
    start = initial_shared(generator, size) if options.head == "shared" else initial_log_scale(size)
    return merge(moving_leaves("body", leaves), merge(start, weighing))


def with_rates(options: GradientOptions, meta: MetaParams, moving: Tree) -> MetaParams:
    """Return the initialisation with the inner rates of the leaves `moving` beside its leaves."""
    trained_rates, fixed_rates = initial_rates(options.rates, options.learning_rate, options.steps, moving)
    return MetaParams(merge(meta.trained, trained_rates), merge(meta.fixed, fixed_rates))


def way_of(options: GradientOptions, network: Network, loss: Loss, moves: Moves) -> Way:
    """Return the inner loop of one task, place by place."""

    def way(meta: MetaParams, support: Support, settings: Settings) -> Iterator[Stop]:
        leaves = merge(meta.fixed, meta.trained)
        first_order = options.first_order or settings.first_order
        start, losses_of, weigh, completed, step_length = descent(
            moves,
            network,
            loss,
            leaves,
            support,
            head_start=options.head,
            rows=options.row_weights,
            per_gain=options.normalised,
            first_order=first_order,
        )
        rates = rates_by_step(options.rates, meta, start, settings)
        if step_length is not None:
            rates = [{name: rate * step_length for name, rate in of_step.items()} for of_step in rates]
        classes = {CLASS_MASK: support.class_mask} if support.class_mask.shape[0] else {}
        places = inner_loop(
            losses_of,
            weigh,
            support.row_mask,
            start,
            rates,
            traces_end=settings.traces_end,
            first_order=first_order,
        )
        for params, support_loss in places:
            changed = {name: leaf for name, leaf in completed(params).items() if leaf is not leaves.get(name)}
            yield Stop(merge(changed, classes), support_loss)

    return way


def end_of(way: Way) -> Adapt:
    """Return the `adapt` that goes all the way."""

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        task_params: TaskParams = {}
        losses: list[Tensor] = []
        for task_params, support_loss in way(meta, support, settings):  # noqa: B007 -- the last is what counts
            losses += [] if support_loss is None else [support_loss]
        return task_params, Trace(torch.stack(losses))

    return adapt


def predictor(network: Network) -> Predict:
    """Return the `predict` of learners whose task parameters are leaves of the network."""

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        params = merge(merge(meta.fixed, meta.trained), task_params)
        outputs_QO = head(params, network.features(params, inputs_Q))
        return masked(outputs_QO, task_params[CLASS_MASK]) if CLASS_MASK in task_params else outputs_QO

    return predict


def _traits(options: GradientOptions, loss: Loss, moves: Moves) -> Traits:
    _check_head(options, loss, moves)
    _check_row_weights(options, loss)
    fixed = options.rates == "fixed"
    return Traits(
        output_kind=loss.output_kind,
        takes_steps=True,
        steps=options.steps,
        learning_rate=options.learning_rate if fixed else None,
        learned_rates=not fixed,
        any_ways=options.head in ANY_WAYS_HEADS,
    )


def _check_head(options: GradientOptions, loss: Loss, moves: Moves) -> None:
    if options.head in ANY_WAYS_HEADS and loss.output_kind != "classification":
        raise ValueError(f"head {options.head!r} needs classes; these targets are numbers: use head 'learned'")
    if options.head == "fitted_intercept" and loss.kind != "squared":
        raise ValueError(f"head 'fitted_intercept' is solved for squared errors; this loss is {loss.kind!r}")
    if options.normalised and moves != "head":
        raise ValueError(
            "normalised steps are steps on a head over features that stay: use a learner that moves it alone"
        )
    if options.head in ANY_WAYS_HEADS and moves == "body":
        raise ValueError(
            f"head {options.head!r} makes each task a head of its own, but this learner's inner loop leaves the head "
            "as the initialisation has it: use head 'learned'"
        )


def _check_row_weights(options: GradientOptions, loss: Loss) -> None:
    if options.row_weights == "balanced" and loss.output_kind != "classification":
        raise ValueError("row_weights 'balanced' needs classes; these targets are numbers: use 'equal' or 'learned'")
    if options.row_weights != "learned":
        return
    if options.head == "fitted_intercept":
        raise ValueError(
            "head 'fitted_intercept' is solved for rows that count alike: use head 'learned' with row_weights 'learned'"
        )
    if options.first_order and options.head != "class_means":
        raise ValueError(
            "row_weights 'learned' are trained through the inner steps, which first_order holds constant: use second "
            "derivatives or head 'class_means'"
        )
