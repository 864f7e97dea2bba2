from pathlib import Path
from typing import Any

import pytest
import torch

from app.jobs.plan import PlannedRun, planned_run
from app.task_distributions.labelled import LabelledData
from app.task_distributions.omniglot import read_omniglot
from app.training.evaluate import task_metrics
from app.training.meta_step import meta_gradient
from innerloop.errors import InvalidRequest
from innerloop.wire import Limits, MetaTrainRequest

EXCERPT = Path(__file__).parent.parent / "data" / "omniglot_excerpt.zip"
LIMITS = Limits()
MAML, ANIL = {"kind": "maml"}, {"kind": "anil"}
MLP, CONV4 = {"kind": "mlp", "hidden": [8]}, {"kind": "conv4", "filters": 8, "groups": 2}
SINUSOID = {"kind": "sinusoid"}
DRAWINGS = {"kind": "labelled", "dataset": "omniglot", "ways": 5, "shots": 1, "queries": 5}
CLASS_MEANS = {"kind": "anil", "head": "class_means"}
PICTURES = {"learner": MAML, "network": CONV4, "tasks": DRAWINGS}


@pytest.fixture(scope="module")
def datasets() -> dict[str, LabelledData]:
    omniglot = read_omniglot(EXCERPT)
    vectors = omniglot._replace(inputs=omniglot.inputs.flatten(1).float())
    few = omniglot._replace(super_classes=("one alphabet",) * len(omniglot.super_classes))
    return {"omniglot": omniglot, "vectors": vectors, "unsplit": few}


def wanted(**fields: Any) -> MetaTrainRequest:
    return MetaTrainRequest.model_validate(
        {"name": "mine", "learner": MAML, "network": MLP, "tasks": SINUSOID, **fields}
    )


WRONG = [
    # over a cap
    ({"iterations": LIMITS.max_iterations + 1}, "iterations", "at most 1000000"),
    ({"meta_batch_size": LIMITS.max_meta_batch_size + 1}, "meta_batch_size", "at most 1000"),
    ({"tasks": {**SINUSOID, "shots": 101}}, "tasks.shots", "at most 100"),
    ({"tasks": {**SINUSOID, "queries": 101}}, "tasks.queries", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "shots": [1, 101]}}, "tasks.shots", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "ways": 101}}, "tasks.ways", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": 101}}, "tasks.training_ways", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_queries": 101}}, "tasks.training_queries", "at most 100"),
    ({"network": {"kind": "mlp", "hidden": [4096] * 16}}, "network", "at most 50000000"),
    ({"learner": {**MAML, "steps": 101}}, "learner.steps", "100"),
    ({"learner": {**MAML, "learning_rate": 10.5}}, "learner.learning_rate", "10"),
    # unknown kinds
    ({"learner": {"kind": "mamml"}}, "learner", "learner kind 'mamml' is not one of"),
    ({"network": {"kind": "resnet"}}, "network", "network kind 'resnet' is not one of"),
    ({"tasks": {"kind": "cosinusoid"}}, "tasks", "tasks kind 'cosinusoid' is not one of"),
    # unknown or wrong options
    ({"learner": {**MAML, "unheard_of": 1}}, "learner.unheard_of", "not permitted"),
    ({"learner": {**MAML, "steps": 0}}, "learner.steps", "greater than or equal to 1"),
    ({"learner": {**MAML, "steps": "1"}}, "learner.steps", "integer"),
    ({"learner": {**MAML, "rates": "per_leaf"}}, "learner.rates", "'fixed' or 'per_tensor'"),
    ({"learner": {"kind": "pretrained", "rates": "per_tensor"}}, "learner.rates", "'fixed'"),
    ({"network": {**MLP, "unheard_of": 1}}, "network.unheard_of", "not permitted"),
    ({"network": {"kind": "mlp", "hidden": []}}, "network.hidden", "at least 1"),
    ({"network": {"kind": "mlp", "hidden": [40, 0]}}, "network.hidden.1", "greater than or equal to 1"),
    ({"tasks": {**SINUSOID, "ways": 5}}, "tasks.ways", "not permitted"),
    ({**PICTURES, "network": {"kind": "conv4", "filters": 10, "groups": 4}}, "network", "multiple of groups"),
    # what does not go together
    ({"loss": "cross_entropy"}, "loss", r"does not fit regression targets; use one of \['squared'\]"),
    ({"loss": "hinge"}, "loss", r"does not fit regression targets; use one of \['squared'\]"),
    ({**PICTURES, "loss": "squared"}, "loss", r"does not fit classification targets; use one of \['cross_entropy'\]"),
    ({"learner": CLASS_MEANS}, "learner", "head 'class_means' needs classes"),
    ({"learner": {"kind": "maml", "head": "class_means"}}, "learner", "head 'class_means' needs classes"),
    ({"network": CONV4}, "network", "conv4 takes pictures"),
    ({**PICTURES, "tasks": {**DRAWINGS, "dataset": "vectors"}}, "network", "conv4 takes pictures"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": 10}}, "tasks.training_ways", "training_ways must be 5"),
    (
        {**PICTURES, "learner": ANIL, "tasks": {**DRAWINGS, "training_ways": 10}},
        "tasks.training_ways",
        "class means",
    ),
    # what the data cannot give
    ({**PICTURES, "tasks": {**DRAWINGS, "dataset": "mnist"}}, "tasks", "data set 'mnist' is not at hand"),
    ({**PICTURES, "tasks": {**DRAWINGS, "dataset": "unsplit"}}, "tasks", "at least 3 super-classes"),
    ({**PICTURES, "tasks": {**DRAWINGS, "ways": 7}}, "tasks", "this split has 6"),
    ({**PICTURES, "tasks": {**DRAWINGS, "ways": 100}}, "tasks", "this split has 18"),
    ({**PICTURES, "tasks": {**DRAWINGS, "shots": 16}}, "tasks", "has 20 rows; 16 shots and 5 queries need 21"),
    (
        {
            "learner": CLASS_MEANS,
            "tasks": {**DRAWINGS, "dataset": "vectors", "rotations": True},
        },
        "tasks",
        "need square pictures",
    ),
]


@pytest.mark.parametrize(("fields", "field", "message"), WRONG, ids=[f"{field}: {text}" for _, field, text in WRONG])
def test_wrong_field_is_refused_by_its_name(
    fields: dict[str, Any], field: str, message: str, datasets: dict[str, LabelledData]
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        planned_run(wanted(**fields), datasets, LIMITS)
    assert ".".join(map(str, caught.value.errors[0]["loc"])) == field
    assert caught.value.errors[0]["msg"]
    assert field.rpartition(".")[2] in caught.value.detail


def test_every_wrong_option_of_a_part_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned_run(wanted(learner={**MAML, "steps": 0, "rates": "none"}), {}, LIMITS)
    assert [error["loc"] for error in caught.value.errors] == [["learner", "steps"], ["learner", "rates"]]


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({"iterations": 10}, {"max_iterations": 10}),
        ({"meta_batch_size": 10}, {"max_meta_batch_size": 10}),
        ({"tasks": {**SINUSOID, "shots": 10}}, {"max_shots": 10}),
        ({"tasks": {**SINUSOID, "queries": 10}}, {"max_queries": 10}),
        ({**PICTURES, "tasks": {**DRAWINGS, "shots": [1, 4]}}, {"max_shots": 4}),
        ({**PICTURES, "tasks": {**DRAWINGS, "ways": 5}}, {"max_ways": 5}),
        ({"network": MLP}, {"max_network_parameters": 8 + 8 + 8 + 1}),
        ({"learner": {**MAML, "steps": 7}}, {"max_steps": 7}),
    ],
    ids=lambda value: str(list(value)),
)
def test_cap_itself_is_within_and_one_less_is_not(
    fields: dict[str, Any], cap: dict[str, int], datasets: dict[str, LabelledData]
) -> None:
    planned_run(wanted(**fields), datasets, Limits(**cap))
    with pytest.raises(InvalidRequest, match="at most"):
        planned_run(wanted(**fields), datasets, Limits(**{name: value - 1 for name, value in cap.items()}))


RIGHT: dict[str, dict[str, Any]] = {
    "sinusoid": {},
    "first order": {"learner": {**MAML, "first_order": True, "steps": 3}},
    "learned rates": {"learner": {**MAML, "rates": "per_tensor", "steps": 2}},
    "pre-trained on numbers": {"learner": {"kind": "pretrained"}},
    "pictures": PICTURES,
    "pictures through an mlp": {**PICTURES, "network": MLP},
    "vectors": {"tasks": {**DRAWINGS, "dataset": "vectors"}},
    "range of shots": {**PICTURES, "tasks": {**DRAWINGS, "shots": [1, 3]}},
    "pre-trained on pictures": {**PICTURES, "learner": {"kind": "pretrained"}},
    "more ways in training": {
        **PICTURES,
        "learner": CLASS_MEANS,
        "tasks": {**DRAWINGS, "rotations": True, "training_ways": 60, "training_queries": 2},
    },
    "as many ways in training": {**PICTURES, "tasks": {**DRAWINGS, "training_ways": 5}},
}


@pytest.fixture(params=RIGHT)
def right_run(request: pytest.FixtureRequest, datasets: dict[str, LabelledData]) -> PlannedRun:
    return planned_run(wanted(**RIGHT[request.param]), datasets, LIMITS)


def test_right_request_gives_a_run_that_trains_and_validates(right_run: PlannedRun) -> None:
    generator = torch.Generator().manual_seed(0)
    learner, steps = right_run.learner, right_run.plan.steps
    meta = learner.init(generator)
    gradient, _ = meta_gradient(learner, meta, right_run.training.sample(generator, 2), steps, torch.tensor(0.0))
    assert all(leaf.isfinite().all() for leaf in gradient.values())
    metrics = task_metrics(learner, meta, right_run.validation.sample(generator, 2), steps)
    assert metrics["loss"].isfinite().all()


def test_card_tells_what_goes_in_and_what_comes_out(right_run: PlannedRun) -> None:
    card, validation = right_run.card, right_run.validation
    assert (card.input.kind, card.input.shape) == (validation.input_kind, validation.input_shape)
    assert (card.output.kind, card.output.shape) == (validation.output_kind, (validation.num_outputs,))
    assert card.num_train_classes == right_run.training.num_classes
    assert card.default_steps is not None
    assert card.max_steps is not None
    assert 1 <= card.default_steps <= card.max_steps


def test_learned_rates_hold_for_the_steps_of_training(datasets: dict[str, LabelledData]) -> None:
    fixed = planned_run(wanted(learner={**MAML, "steps": 3}), datasets, LIMITS).card
    learned = planned_run(wanted(learner={**MAML, "steps": 3, "rates": "per_tensor"}), datasets, LIMITS).card
    assert (fixed.default_steps, fixed.max_steps) == (3, LIMITS.max_steps)
    assert (learned.default_steps, learned.max_steps) == (3, 3)


def test_plan_holds_every_number_of_the_request() -> None:
    numbers: dict[str, Any] = {
        "iterations": 12,
        "meta_batch_size": 3,
        "optimizer": "sgd",
        "meta_learning_rate": 0.5,
        "learning_rate_schedule": "constant",
        "clip_norm": None,
        "validate_every": 4,
        "patience": 2,
        "seed": 9,
    }
    plan = planned_run(wanted(learner={**MAML, "steps": 6}, **numbers), {}, LIMITS).plan
    assert {name: getattr(plan, name) for name in numbers} == numbers
    assert plan.steps == 6


def test_loss_is_what_the_targets_call_for(datasets: dict[str, LabelledData]) -> None:
    assert planned_run(wanted(), datasets, LIMITS).card.loss == "squared"
    assert planned_run(wanted(**PICTURES), datasets, LIMITS).card.loss == "cross_entropy"
