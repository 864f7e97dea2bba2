"""The estimate: each support row judged by a task that was adapted without it."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from app.card import Card, InputCard, OutputCard
from app.engine.engine import Engine
from app.engine.estimate import Estimate, estimate
from app.engine.executor import AdaptWork
from app.engine.folds import folds_of
from app.episode import Query, Support
from app.learners.model import Model, learner_of
from tests.engine.one_task import CPU, adapt
from tests.learners.answers import STEPS
from tests.learners.cases import Case, every_case

WAYS = 4
MLP: dict[str, Any] = {"kind": "mlp", "hidden": [16]}
CONV: dict[str, Any] = {"kind": "conv4", "filters": 4, "groups": 2}
NUMBERS: dict[str, Any] = {"num_train_classes": 0, "output": OutputCard(kind="regression", shape=(1,))}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "all weights move": ({"kind": "maml", "steps": 3, "learning_rate": 0.05}, MLP, {}),
    "the head moves": ({"kind": "anil", "steps": 3, "learning_rate": 0.05, "head": "class_means"}, MLP, {}),
    "convolutions that move": ({"kind": "maml", "steps": 2, "learning_rate": 0.05}, CONV, {}),
    "convolutions that stay": ({"kind": "anil", "steps": 2, "learning_rate": 0.05}, CONV, {}),
    "numbers": ({"kind": "maml", "steps": 3, "learning_rate": 0.05}, MLP, NUMBERS),
    "scaled numbers": (
        {"kind": "maml", "steps": 3, "learning_rate": 0.05}, MLP,
        {**NUMBERS, "scales_inputs": True, "scales_targets": True},
    ),
    "huber": ({"kind": "maml", "steps": 3, "learning_rate": 0.05}, MLP, {**NUMBERS, "loss": "huber"}),
}  # fmt: skip


def model_of(name: str) -> Model:
    learner, network, fields = MODELS[name]
    picture = network["kind"] == "conv4"
    card = Card(
        name="toy",
        learner=learner,
        network=network,
        loss="squared" if "output" in fields else "cross_entropy",
        input=InputCard(kind="image" if picture else "vector", shape=(1, 16, 16) if picture else (2,)),
        output=OutputCard(kind="classification", shape=(WAYS + 1,)),
        num_train_classes=9,
        default_steps=3,
        max_steps=100,
    ).model_copy(update=fields)
    made = learner_of(card)
    return Model(card, made, made.init(torch.Generator().manual_seed(0)))


def support_of(model: Model, num_rows: int) -> Support:
    """Return rows of classes that lie apart, but for noise, or of a sum."""
    generator = torch.Generator().manual_seed(num_rows)
    inputs = torch.rand(num_rows, *model.card.input.shape, generator=generator)
    if model.card.output.kind == "regression":
        targets, class_mask = inputs.sum(1, keepdim=True), torch.zeros(0, dtype=torch.bool)
    else:
        targets, class_mask = torch.arange(num_rows) % WAYS, torch.arange(WAYS + 1) < WAYS
        inputs = inputs * 0.5 + (targets / 8).reshape(-1, *[1] * (inputs.dim() - 1))
    return Support(inputs, targets, torch.ones(num_rows, dtype=torch.bool), class_mask)


def estimated(model: Model, support: Support, steps: int = 3) -> Estimate | None:
    adapted = adapt(model, support, steps)
    return estimate(AdaptWork(model, support, steps), adapted.params, CPU)


def by_hand(model: Model, support: Support, steps: int) -> dict[str, Any]:
    """Return the metrics of rows that were each predicted after adapting to the rows of the other folds alone."""
    folds = folds_of(support.targets, len(support.class_mask), 10)
    assert folds is not None
    outputs: dict[int, Tensor] = {}
    for rows, counts in zip(folds.rows, folds.counts, strict=True):
        left = rows[counts]
        rest = torch.tensor([row for row in range(len(support.inputs)) if row not in left.tolist()])
        others = support._replace(
            inputs=support.inputs[rest], targets=support.targets[rest], row_mask=support.row_mask[rest]
        )
        adapted = adapt(model, others, steps)
        found = model.learner.predict(model.meta, adapted.params.tree(), support.inputs[left])
        outputs |= dict(zip(left.tolist(), found, strict=True))
    judged = torch.tensor(sorted(outputs))
    outputs_RO = torch.stack([outputs[row] for row in sorted(outputs)])
    query = Query(support.inputs[judged], support.targets[judged], torch.ones(len(judged), dtype=torch.bool))
    metrics = {name: float(value) for name, value in model.learner.metrics(model.meta, outputs_RO, query).items()}
    if model.card.output.kind == "regression":
        metrics["error"] = float((outputs_RO - query.targets).square().mean())
    return metrics


def assert_as_by_hand(model: Model, support: Support, steps: int) -> None:
    found = estimated(model, support, steps)
    assert found is not None
    assert found.rows == len(support.inputs)
    expected = by_hand(model, support, steps)
    for metric, value in (("loss", found.loss), ("accuracy", found.accuracy), ("error", found.error)):
        assert value == (pytest.approx(expected[metric], rel=1e-4) if metric in expected else None)


@pytest.mark.parametrize("num_rows", [8, 13])
@pytest.mark.parametrize("name", MODELS)
def test_estimate_equals_adapting_to_the_rest_and_predicting_what_was_left_out(name: str, num_rows: int) -> None:
    model = model_of(name)
    assert_as_by_hand(model, support_of(model, num_rows), 3)


@every_case
def test_every_learner_can_be_estimated(case: Case) -> None:
    kind: Literal["image", "vector"] = "image" if len(case.toy.input_shape) == 3 else "vector"
    card = Card(
        name=case.toy.name,
        learner=dict(case.variant.options),
        network=dict(case.toy.network),
        loss=case.toy.loss,
        input=InputCard(kind=kind, shape=case.toy.input_shape),
        output=OutputCard(kind=case.learner().traits.output_kind, shape=(case.toy.num_outputs,)),
        num_train_classes=0,
        default_steps=STEPS,
        max_steps=STEPS,
    )
    assert_as_by_hand(Model(card, case.learner(), case.meta()), case.episode().support, STEPS)


def test_scaled_targets_are_judged_in_the_callers_units() -> None:
    model = model_of("scaled numbers")
    fixed = {
        **model.meta.fixed,
        "scaling.targets.mean": torch.tensor([300.0]),
        "scaling.targets.std": torch.tensor([50.0]),
    }
    model = model._replace(meta=model.meta._replace(fixed=fixed))
    support = support_of(model, 8)
    support = support._replace(targets=support.targets * 50.0 + 300.0)
    found = estimated(model, support)
    assert found is not None
    assert found.error == pytest.approx(found.loss, rel=1e-4)
    assert found.error is not None
    assert 0.0 < found.error < 50.0**2


@pytest.mark.parametrize("name", ["the head moves", "convolutions that stay", "numbers"])
def test_how_many_folds_are_adapted_at_once_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(name)
    support = support_of(model, 13)
    together = estimated(model, support)
    monkeypatch.setattr("app.engine.estimate.BYTES_TOGETHER", 1)
    apart = estimated(model, support)
    assert together is not None
    assert apart is not None
    assert together[:4] == apart[:4]
    assert apart.loss == pytest.approx(together.loss, rel=1e-4)


@pytest.mark.parametrize(("name", "folds"), [("numbers", 5), ("convolutions that move", 2)])
def test_many_rows_take_few_folds(name: str, folds: int) -> None:
    model = model_of(name)
    found = estimated(model, support_of(model, 1000), steps=1)
    assert found is not None
    assert (found.folds, found.rows) == (folds, 1000)


def test_estimate_tells_a_rule_from_noise() -> None:
    model = model_of("the head moves")
    support = support_of(model, 40)
    support = support._replace(
        inputs=torch.eye(WAYS)[support.targets] @ torch.tensor([[0.0, 3], [3, 0], [3, 3], [0, 0]])
    )
    shuffled = support.targets[torch.randperm(40, generator=torch.Generator().manual_seed(3))]
    rule, noise = estimated(model, support), estimated(model, support._replace(targets=shuffled))
    assert rule is not None
    assert noise is not None
    assert rule.accuracy == 1.0
    assert noise.accuracy is not None
    assert noise.accuracy < 0.6


def test_there_is_no_estimate_where_no_row_can_be_left_out() -> None:
    classes, numbers = model_of("the head moves"), model_of("numbers")
    assert estimated(classes, support_of(classes, WAYS)) is None
    assert estimated(numbers, support_of(numbers, 1)) is None


def test_there_is_no_estimate_where_a_fold_diverges() -> None:
    model, steps = model_of("numbers"), 40
    support = support_of(model, 6)
    adapted = adapt(model, support, 1)
    assert estimate(AdaptWork(model, support, steps), adapted.params, CPU) is not None
    assert estimate(AdaptWork(model, support, steps, 500.0), adapted.params, CPU) is None


async def test_the_engine_estimates_what_was_kept_only_when_asked() -> None:
    model = model_of("numbers")
    support = support_of(model, 6)
    engine = Engine(CPU, lambda name, version: model, cache_bytes=0, model_cache_bytes=0, max_depth=8)
    try:
        work = AdaptWork(model, support, 60, 40.0, keep_best=True)
        asked = (await engine.adapt(work, None, None, wants_estimate=True)).result
        assert (await engine.adapt(work, None, None)).result.estimate is None
        kept = asked.adapted.kept_step
        assert kept is not None
        assert kept < 60
        expected = estimate(AdaptWork(model, support, kept, 40.0), asked.adapted.params, CPU)
        assert asked.estimate == expected
        assert expected is not None
        again = await engine.estimate(work._replace(steps=kept), asked.adapted.params, None)
        assert again.result == expected
    finally:
        engine.close()
