from typing import Any

import pytest
import torch

from app.card import ANY_WAYS
from app.jobs.plan import PlannedRun, checkpoint_bytes, planned_run
from app.learners.model import as_tree, learner_of
from app.task_distributions.dataset import Dataset
from app.task_distributions.scaling import training_scaling
from app.training.evaluate import task_metrics
from app.training.meta_step import meta_gradient
from app.training.run import train
from app.training.state import state_bytes
from innerloop.errors import InvalidRequest
from innerloop.wire import Limits, MetaTrainRequest
from tests.jobs.data_at_hand import drawings, patients

LIMITS = Limits()
MAML, ANIL = {"kind": "maml"}, {"kind": "anil"}
MLP, CONV4 = {"kind": "mlp", "hidden": [8]}, {"kind": "conv4", "filters": 8, "groups": 2}
SINUSOID = {"kind": "sinusoid"}
DRAWINGS = {"kind": "labelled", "dataset": "omniglot", "ways": 5, "shots": 1, "queries": 5}
PATIENTS = {"kind": "grouped", "dataset": "patients", "shots": 5, "queries": 5}
CLASS_MEANS = {"kind": "anil", "head": "class_means"}
PICTURES = {"learner": MAML, "network": CONV4, "tasks": DRAWINGS}


@pytest.fixture(scope="module")
def datasets() -> dict[str, Dataset]:
    return {
        "omniglot": drawings(),
        "vectors": drawings()._replace(inputs=drawings().inputs.flatten(1).float()),
        "patients": patients(),
        "users": patients(classes=("yes", "no", "maybe")),
    }


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
    ({"tasks": {**PATIENTS, "shots": 101}}, "tasks.shots", "at most 100"),
    ({"tasks": {**PATIENTS, "shots": [1, 101]}}, "tasks.shots", "at most 100"),
    ({"tasks": {**PATIENTS, "queries": 101}}, "tasks.queries", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "shots": [1, 101]}}, "tasks.shots", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "ways": 101}}, "tasks.ways", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": 101}}, "tasks.training_ways", "at most 100"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": [5, 101]}}, "tasks.training_ways", "at most 100"),
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
    ({"learner": {**MAML, "rates": "per_leaf"}}, "learner.rates", "'fixed', 'per_tensor'"),
    ({"learner": {"kind": "pretrained", "rates": "per_tensor"}}, "learner.rates", "'fixed'"),
    ({"network": {**MLP, "unheard_of": 1}}, "network.unheard_of", "not permitted"),
    ({"network": {"kind": "mlp", "hidden": []}}, "network.hidden", "at least 1"),
    ({"network": {"kind": "mlp", "hidden": [40, 0]}}, "network.hidden.1", "greater than or equal to 1"),
    ({"tasks": {**SINUSOID, "ways": 5}}, "tasks.ways", "not permitted"),
    ({**PICTURES, "network": {"kind": "conv4", "filters": 10, "groups": 4}}, "network", "multiple of groups"),
    # what does not go together
    ({"loss": "cross_entropy"}, "loss", "does not fit regression targets; use one of .'huber', 'squared'"),
    ({"loss": ""}, "loss", "does not fit regression targets"),
    ({"loss": "hinge"}, "loss", "does not fit regression targets; use one of .'huber', 'squared'"),
    (
        {**PICTURES, "loss": "squared"},
        "loss",
        "use one of .'binary_cross_entropy', 'cross_entropy'",
    ),
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
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": [2, 5]}}, "tasks.training_ways", "range: it needs a learner"),
    ({**PICTURES, "tasks": {**DRAWINGS, "training_ways": [4, 9]}}, "tasks.training_ways", "training_ways must be 5"),
    # what the data cannot give
    ({**PICTURES, "tasks": {**DRAWINGS, "dataset": "mnist"}}, "tasks", "data set 'mnist' is not at hand"),
    ({**PICTURES, "tasks": {**DRAWINGS, "dataset": "patients"}}, "tasks", "is grouped; tasks of kind 'labelled'"),
    ({"tasks": {**PATIENTS, "dataset": "omniglot"}}, "tasks", "is labelled; tasks of kind 'grouped'"),
    ({"tasks": {**PATIENTS, "dataset": "nobody"}}, "tasks", "data set 'nobody' is not at hand"),
    ({"tasks": {**PATIENTS, "shots": 16}}, "tasks", "has 20 rows; 16 shots and 5 queries need 21"),
    ({"tasks": {**PATIENTS, "shots": [1, 16]}}, "tasks", "has 20 rows; 16 shots and 5 queries need 21"),
    ({"tasks": PATIENTS, "loss": "cross_entropy"}, "loss", "does not fit regression targets"),
    ({"tasks": {**PATIENTS, "dataset": "users"}, "loss": "squared"}, "loss", "does not fit classification targets"),
    ({"tasks": PATIENTS, "network": CONV4}, "network", "conv4 takes pictures"),
    ({"tasks": PATIENTS, "learner": CLASS_MEANS}, "learner", "head 'class_means' needs classes"),
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
    fields: dict[str, Any], field: str, message: str, datasets: dict[str, Dataset]
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
    fields: dict[str, Any], cap: dict[str, int], datasets: dict[str, Dataset]
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
    "vectors as they are": {"tasks": {**DRAWINGS, "dataset": "vectors", "scaling": False}},
    "groups": {"tasks": PATIENTS},
    "groups as they are": {"tasks": {**PATIENTS, "scaling": False}},
    "groups with a range of shots": {"tasks": {**PATIENTS, "shots": [2, 8], "order": "first"}},
    "groups of classes": {"tasks": {**PATIENTS, "dataset": "users"}},
    "groups of classes that each group has": {
        "tasks": {**PATIENTS, "dataset": "users"},
        "learner": {"kind": "pretrained"},
    },
    "range of shots": {**PICTURES, "tasks": {**DRAWINGS, "shots": [1, 3]}},
    "pre-trained on pictures": {**PICTURES, "learner": {"kind": "pretrained"}},
    "more ways in training": {
        **PICTURES,
        "learner": CLASS_MEANS,
        "tasks": {**DRAWINGS, "rotations": True, "training_ways": 60, "training_queries": 2},
    },
    "a range of ways in training": {
        **PICTURES,
        "learner": CLASS_MEANS,
        "tasks": {**DRAWINGS, "rotations": True, "training_ways": [5, 20]},
    },
    "wrong labels": {**PICTURES, "tasks": {**DRAWINGS, "label_noise": 0.3, "evaluation_label_noise": 0.2}},
    "pictures normed by the support": {**PICTURES, "network": {**CONV4, "norm": "support"}},
    "as many ways in training": {**PICTURES, "tasks": {**DRAWINGS, "training_ways": 5}},
}


@pytest.fixture(params=RIGHT)
def right_run(request: pytest.FixtureRequest, datasets: dict[str, Dataset]) -> PlannedRun:
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
    num_outputs = ANY_WAYS if right_run.learner.traits.any_ways else validation.num_outputs
    assert (card.output.kind, card.output.shape) == (validation.output_kind, (num_outputs,))
    assert card.num_train_classes == right_run.training.num_classes
    assert card.default_steps is not None
    assert card.max_steps is not None
    assert 1 <= card.default_steps <= card.max_steps


def test_learned_rates_hold_for_the_steps_of_training(datasets: dict[str, Dataset]) -> None:
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


@pytest.mark.parametrize(
    ("fields", "compiled_from"),
    [
        ({"iterations": 9_999}, None),
        ({"iterations": 10_000}, 501),
        ({**PICTURES, "iterations": 1_999}, None),
        ({**PICTURES, "iterations": 2_000}, 101),
        ({"iterations": 70_000}, 1_001),
        ({"iterations": 70_000, "compile": "never"}, None),
        ({"iterations": 100, "compile": "always"}, 6),
        ({"iterations": 10, "compile": "always"}, 1),
        ({**PICTURES, "compile": "always", "tasks": {**DRAWINGS, "shots": [1, 5]}}, None),
        ({**PICTURES, "compile": "always", "tasks": {**DRAWINGS, "shots": [5, 5]}}, 1_001),
        ({**PICTURES, "learner": CLASS_MEANS, "tasks": {**DRAWINGS, "training_ways": [3, 5]}}, None),
    ],
)
def test_steps_are_compiled_where_there_are_many_of_one_shape(
    fields: dict[str, Any], compiled_from: int | None, datasets: dict[str, Dataset]
) -> None:
    assert planned_run(wanted(**fields), datasets, LIMITS).plan.compiled_from == compiled_from


def test_loss_is_what_the_targets_call_for(datasets: dict[str, Dataset]) -> None:
    assert planned_run(wanted(), datasets, LIMITS).card.loss == "squared"
    assert planned_run(wanted(**PICTURES), datasets, LIMITS).card.loss == "cross_entropy"


@pytest.mark.parametrize(
    ("tasks", "inputs", "targets"),
    [
        (SINUSOID, False, False),
        (DRAWINGS, False, False),
        ({**DRAWINGS, "dataset": "vectors"}, True, False),
        ({**DRAWINGS, "dataset": "vectors", "scaling": False}, False, False),
        (PATIENTS, True, True),
        ({**PATIENTS, "scaling": False}, False, False),
        ({**PATIENTS, "dataset": "users"}, True, False),
    ],
    ids=["sinusoid", "pictures", "vectors", "vectors as they are", "groups", "groups as they are", "groups of classes"],
)
def test_card_tells_what_is_scaled(
    tasks: dict[str, Any], inputs: bool, targets: bool, datasets: dict[str, Dataset]
) -> None:
    card = planned_run(wanted(tasks=tasks), datasets, LIMITS).card
    assert (card.scales_inputs, card.scales_targets) == (inputs, targets)


def test_scaling_is_that_of_the_training_split_and_part_of_the_initialisation(datasets: dict[str, Dataset]) -> None:
    run = planned_run(wanted(tasks=PATIENTS), datasets, LIMITS)
    meta, scaling = run.learner.init(torch.Generator().manual_seed(0)), training_scaling(datasets["patients"])
    assert scaling is not None
    assert torch.equal(meta.fixed["scaling.inputs.mean"], scaling.input_mean)
    assert torch.equal(meta.fixed["scaling.targets.std"], scaling.target_std)
    assert not any(name.startswith("scaling.") for name in meta.trained)


def test_learner_of_the_card_is_the_learner_of_the_run(datasets: dict[str, Dataset]) -> None:
    for tasks in (PATIENTS, {**PATIENTS, "scaling": False}, {**DRAWINGS, "dataset": "vectors"}, SINUSOID):
        run = planned_run(wanted(tasks=tasks), datasets, LIMITS)
        one, other = (learner.init(torch.Generator().manual_seed(0)) for learner in (run.learner, learner_of(run.card)))
        assert as_tree(one).keys() == as_tree(other).keys()
        assert {name: leaf.shape for name, leaf in as_tree(one).items()} == {
            name: leaf.shape for name, leaf in as_tree(other).items()
        }


def test_loss_of_scaled_groups_is_told_in_units_of_the_targets(datasets: dict[str, Dataset]) -> None:
    generator = torch.Generator().manual_seed(0)
    run = planned_run(wanted(tasks=PATIENTS), datasets, LIMITS)
    metrics = task_metrics(run.learner, run.learner.init(generator), run.validation.sample(generator, 20), 1)
    assert 10.0 < float(metrics["loss"].mean()) ** 0.5 < 1000.0, "targets deviate by about 100"


@pytest.mark.parametrize(
    "fields",
    [
        {"network": {"kind": "mlp", "hidden": [100, 100]}, "optimizer": "adam"},
        {"network": {"kind": "mlp", "hidden": [100, 100]}, "optimizer": "adamw", "learner": {"kind": "meta_sgd"}},
        {**PICTURES, "optimizer": "sgd"},
    ],
    ids=["adam", "learned rates", "pictures"],
)
def test_room_for_a_checkpoint_is_what_it_takes(datasets: dict[str, Dataset], fields: dict[str, Any]) -> None:
    run = planned_run(wanted(**fields, iterations=1, meta_batch_size=1), datasets, LIMITS)
    *_, last = train(run.plan, run.learner, run.training, run.validation, torch.device("cpu"))
    size = len(state_bytes(last.state()))
    assert size <= checkpoint_bytes(run) <= 1.1 * size + 16_384
