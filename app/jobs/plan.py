"""A request turned into a frozen training plan: everything checked before anything runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from app.card import ANY_WAYS, Card, InputCard, OutputCard
from app.learners.calibration import with_temperature
from app.learners.learner import Learner
from app.learners.losses import DEFAULT_LOSS, LOSSES
from app.learners.model import as_tree
from app.learners.registry import build_learner
from app.learners.scaling import with_scaling
from app.networks.network import Network, leaf_kinds
from app.networks.registry import build_network
from app.task_distributions.distribution import Distribution
from app.task_distributions.registry import Datasets, build_distribution
from app.training.plan import TrainingPlan
from innerloop.errors import FieldError, InvalidRequest
from innerloop.wire import Limits, MetaTrainRequest

Built = TypeVar("Built")

AUTO_ITERATIONS, AUTO_ITERATIONS_OF_PICTURES = 10_000, 2_000
"""From which on compiling pays: on two cores it takes 20 s for a perceptron and saves 3 ms a step, and a minute for
conv4 and saves 45 ms and more."""
SWITCH_SHARE, LATEST_SWITCH = 0.05, 1_000
"""The share of iterations that are eager while the step is compiled, and the most that are."""
OPTIMIZER_COPIES = {"adam": 2, "adamw": 2, "sgd": 1}
"""Numbers that an optimiser keeps of each trained one: two moments of Adam, the momentum of SGD."""
CHECKPOINT_BYTES_BESIDE = 16_384
"""The generator, 5 KB, and the names of the leaves."""
DRAWN = ("shots", "training_ways")
"""What of a task's shape a request may leave to each meta-batch."""


@dataclass(frozen=True)
class PlannedRun:
    """What a run needs: its plan, what is trained, on what, and the card to be completed at its end."""

    plan: TrainingPlan
    learner: Learner
    training: Distribution
    validation: Distribution
    card: Card


def planned_run(request: MetaTrainRequest, datasets: Datasets, limits: Limits) -> PlannedRun:
    """Return the run that a request asks for.

    Raises InvalidRequest, naming the field, for what is over `limits`, not known or does not fit together.
    """
    check_caps(request, limits)
    tasks = request.tasks.model_dump(exclude_none=True)
    training = _checked("tasks", lambda: build_distribution(tasks, "train", datasets))
    validation = _checked("tasks", lambda: build_distribution(tasks, "validation", datasets))
    loss = _fitting_loss(request.loss, training)
    network = _network(request, validation, limits)
    learner = _learner(request, network, loss, training)
    if training.num_outputs != validation.num_outputs and not learner.traits.any_ways:
        other = _learner(request, _network(request, training, limits), loss, training)
        _check_same_leaves(learner, other, validation.num_outputs)
    if isinstance(tasks.get("training_ways"), list) and not learner.traits.any_ways:
        detail = "training_ways is a range: it needs a learner whose head is made from each task's own classes"
        raise _invalid(detail, ["tasks", "training_ways"])
    _check_cap("learner.steps", learner.traits.steps, limits.max_steps, ["learner", "steps"])
    card = Card(
        name=request.name,
        learner=request.learner.model_dump(),
        network=request.network.model_dump(),
        loss=loss,
        input=InputCard(
            kind="text" if network.encoder else training.input_kind,
            shape=training.input_shape,
            polarity=network.polarity,
            encoder=network.encoder,
        ),
        output=OutputCard(
            kind=validation.output_kind, shape=(ANY_WAYS if learner.traits.any_ways else validation.num_outputs,)
        ),
        num_train_classes=training.num_classes,
        scales_inputs=training.scaling is not None,
        scales_targets=training.scaling is not None and training.output_kind == "regression",
        calibrated=validation.output_kind == "classification",
        default_steps=learner.traits.steps if learner.traits.takes_steps else None,
        max_steps=_max_steps(learner, limits),
    )
    return PlannedRun(_plan_of(request, learner, training), learner, training, validation, card)


def checkpoint_bytes(run: PlannedRun) -> int:
    """Return about how many bytes a checkpoint of a run takes: its `RunState`.

    That is the initialisation twice, as it is and as it was best, what the optimiser keeps of each trained number, and
    the generator.
    """
    leaves = leaf_kinds(lambda generator: as_tree(run.learner.init(generator)))
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in leaves.values())
    return (2 + OPTIMIZER_COPIES[run.plan.optimizer]) * size + CHECKPOINT_BYTES_BESIDE


def _network(request: MetaTrainRequest, distribution: Distribution, limits: Limits) -> Network:
    options, shape, num_outputs = request.network.model_dump(), distribution.input_shape, distribution.num_outputs
    network = _checked("network", lambda: build_network(options, shape, num_outputs))
    size = sum(math.prod(shape) for shape, _ in leaf_kinds(network.init).values())
    _check_cap("the number of network parameters", size, limits.max_network_parameters, ["network"])
    return network


def _learner(request: MetaTrainRequest, network: Network, loss: str, training: Distribution) -> Learner:
    options = request.learner.model_dump()
    learner = _checked("learner", lambda: build_learner(options, network, loss, training.num_classes))
    learner = learner if training.scaling is None else with_scaling(learner, training.scaling)
    return with_temperature(learner) if training.output_kind == "classification" else learner


def _check_same_leaves(learner: Learner, other: Learner, ways: int) -> None:
    """Refuse training ways that the initialisation would be made for and serving could then not use."""
    if leaf_kinds(lambda g: as_tree(learner.init(g))) != leaf_kinds(lambda g: as_tree(other.init(g))):
        detail = (
            f"tasks.training_ways: this learner's head is a leaf with a row for each class, so that training_ways "
            f"must be {ways} as well; a head that starts from class means (learner.head) has no such leaf"
        )
        raise _invalid(detail, ["tasks", "training_ways"])


def _plan_of(request: MetaTrainRequest, learner: Learner, training: Distribution) -> TrainingPlan:
    return TrainingPlan(
        iterations=request.iterations,
        meta_batch_size=request.meta_batch_size,
        steps=learner.traits.steps,
        optimizer=request.optimizer,
        meta_learning_rate=request.meta_learning_rate,
        learning_rate_schedule=request.learning_rate_schedule,
        clip_norm=request.clip_norm,
        validate_every=request.validate_every,
        patience=request.patience,
        seed=request.seed,
        compiled_from=_compiled_from(request, training.input_kind),
    )


def _compiled_from(request: MetaTrainRequest, kind: str) -> int | None:
    """Return the iteration at which steps become compiled ones; None where they are not to.

    A compiled step is for tasks of one shape: where each meta-batch draws its shots or ways, all steps are eager.
    """
    tasks = request.tasks.model_dump(exclude_none=True)
    drawn = any(isinstance(value, list) and value[0] != value[-1] for value in map(tasks.get, DRAWN))
    many = AUTO_ITERATIONS_OF_PICTURES if kind == "image" else AUTO_ITERATIONS
    wanted = request.compile == "always" or (request.compile == "auto" and request.iterations >= many)
    return 1 + min(LATEST_SWITCH, int(SWITCH_SHARE * request.iterations)) if wanted and not drawn else None


def _max_steps(learner: Learner, limits: Limits) -> int | None:
    """Learned rates diverge past the steps they were trained for (Li et al. 2017 and our own runs)."""
    if not learner.traits.takes_steps:
        return None
    return learner.traits.steps if learner.traits.learned_rates else limits.max_steps


def _fitting_loss(wanted: str | None, training: Distribution) -> str:
    loss = DEFAULT_LOSS[training.output_kind] if wanted is None else wanted
    if loss not in LOSSES or LOSSES[loss].output_kind != training.output_kind:
        fitting = sorted(kind for kind, known in LOSSES.items() if known.output_kind == training.output_kind)
        raise _invalid(f"loss {loss!r} does not fit {training.output_kind} targets; use one of {fitting}", ["loss"])
    return loss


def check_caps(request: MetaTrainRequest, limits: Limits) -> None:
    """Raise InvalidRequest for what is over `limits` whatever the data set; `planned_run` does it too."""
    _check_cap("iterations", request.iterations, limits.max_iterations, ["iterations"])
    _check_cap("meta_batch_size", request.meta_batch_size, limits.max_meta_batch_size, ["meta_batch_size"])
    tasks: Mapping[str, Any] = request.tasks.model_dump(exclude_none=True)
    for field, cap in (("shots", limits.max_shots), ("queries", limits.max_queries), ("ways", limits.max_ways)):
        for name in (field, f"training_{field}"):
            value = tasks.get(name, 0)
            _check_cap(name, max(value) if isinstance(value, list) else value, cap, ["tasks", name])


def _check_cap(what: str, value: int, cap: int, loc: list[str | int]) -> None:
    if value > cap:
        raise _invalid(f"{what} is {value}; at most {cap}, see GET /limits", loc)


def _checked(field: str, build: Callable[[], Built]) -> Built:
    try:
        return build()
    except ValidationError as error:
        errors: list[FieldError] = [{"loc": [field, *item["loc"]], "msg": item["msg"]} for item in error.errors()]
        first = errors[0]
        detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InvalidRequest(detail, errors=errors) from error
    except ValueError as error:
        raise _invalid(f"{field}: {error}", [field]) from error


def _invalid(detail: str, loc: list[str | int]) -> InvalidRequest:
    return InvalidRequest(detail, errors=[{"loc": loc, "msg": detail}])
