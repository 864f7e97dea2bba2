"""The common form of gradient learners: what moves, at which rates, from which head, with which derivatives."""

from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.head_start import initial_log_scale
from app.learners.inner_loop import inner_loop
from app.learners.learner import Adapt, Learner, Predict, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss
from app.learners.moving import HEAD_BIAS, HeadStart, Moves, descent, masked, moving_leaves
from app.learners.rates import Rates, initial_rates, rates_by_step
from app.networks.network import Network, head
from app.trees import merge

CLASS_MASK = "class_mask"


class GradientOptions(BaseModel):
    """What gradient learners have in common.

    `rates`: "fixed" is one number for all; starting from `learning_rate`, "per_tensor" learns one for each tensor,
    "per_parameter" one for each number (Li et al. 2017), "per_step" one for each tensor and step (Antoniou et al.
    2019). `head`: "learned" is a leaf of the initialisation, "class_means" starts each task's head from the means of
    its classes' features (Triantafillou et al. 2020, section 3), with a learned scale; "fitted_intercept" solves for
    the bias that squared errors are least at, and steps on the rest. `normalised` divides each step on a head by the
    mean squared norm of the support's features, so that one rate fits tasks of any scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.01
    first_order: bool = False
    rates: Rates = "fixed"
    head: HeadStart = "learned"
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
        trained = start_leaves(options, network, leaves)
        solved = (HEAD_BIAS,) if options.head == "fitted_intercept" else ()
        moving = {name: leaf for name, leaf in moving_leaves(moves, leaves).items() if name not in solved}
        return with_rates(options, MetaParams(trained, {}), moving)

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss), judge_by(loss))


def start_leaves(options: GradientOptions, network: Network, leaves: Tree) -> Tree:
    """Return a network's first leaves; the head's only where it is learned, else the scale of its start."""
    if options.head == "learned":
        return leaves
    if options.head == "fitted_intercept":
        return {name: leaf for name, leaf in leaves.items() if name != HEAD_BIAS}
    return merge(moving_leaves("body", leaves), initial_log_scale(network.num_features))


def with_rates(options: GradientOptions, meta: MetaParams, moving: Tree) -> MetaParams:
    """Return the initialisation with the inner rates of the leaves `moving` beside its leaves."""
    trained_rates, fixed_rates = initial_rates(options.rates, options.learning_rate, options.steps, moving)
    return MetaParams(merge(meta.trained, trained_rates), merge(meta.fixed, fixed_rates))


def way_of(options: GradientOptions, network: Network, loss: Loss, moves: Moves) -> Way:
    """Return the inner loop of one task, place by place."""

    def way(meta: MetaParams, support: Support, settings: Settings) -> Iterator[Stop]:
        leaves = merge(meta.fixed, meta.trained)
        first_order = options.first_order or settings.first_order
        start, loss_of, completed, step_length = descent(
            moves,
            network,
            loss,
            leaves,
            support,
            head_start=options.head,
            normalised=options.normalised,
            first_order=first_order,
        )
        rates = rates_by_step(options.rates, meta, start, settings)
        if step_length is not None:
            rates = [{name: rate * step_length for name, rate in of_step.items()} for of_step in rates]
        classes = {CLASS_MASK: support.class_mask} if support.class_mask.shape[0] else {}
        places = inner_loop(loss_of, start, rates, traces_end=settings.traces_end, first_order=first_order)
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
    if options.head == "class_means" and loss.output_kind != "classification":
        raise ValueError("head 'class_means' needs classes; these targets are numbers: use head 'learned'")
    if options.head == "fitted_intercept" and loss.kind != "squared":
        raise ValueError(f"head 'fitted_intercept' is solved for squared errors; this loss is {loss.kind!r}")
    if options.normalised and moves != "head":
        raise ValueError(
            "normalised steps are steps on a head over features that stay: use a learner that moves it alone"
        )
    if options.head == "class_means" and moves == "body":
        raise ValueError(
            "head 'class_means' makes each task a head of its own, but this learner's inner loop leaves the head as "
            "the initialisation has it: use head 'learned'"
        )
    fixed = options.rates == "fixed"
    return Traits(
        output_kind=loss.output_kind,
        takes_steps=True,
        steps=options.steps,
        learning_rate=options.learning_rate if fixed else None,
        learned_rates=not fixed,
    )
