"""The executor: adaptation watched by step, predictions that are finite, judging before and after."""

import math
from typing import Any

import pytest
import torch

from app.card import Card, InputCard, OutputCard
from app.engine.engine import Engine, TaskKey
from app.engine.executor import AdaptWork
from app.engine.packed import packed
from app.episode import Query, Support
from app.learners.model import Model, learner_of
from app.trees import all_finite
from innerloop.errors import Diverged, NonFiniteOutputs
from tests.engine.one_task import CPU, adapt, judge, predict


def model_of_kind(output: str, learner: dict[str, object] | None = None, **fields: Any) -> Model:
    classes = output == "classification"
    card = Card(
        name="toy",
        learner=learner or {"kind": "maml", "steps": 2, "learning_rate": 0.05},
        network={"kind": "mlp", "hidden": [16]},
        loss="cross_entropy" if classes else "squared",
        input=InputCard(kind="vector", shape=(2,)),
        output=OutputCard(kind="classification" if classes else "regression", shape=(3 if classes else 1,)),
        num_train_classes=9 if classes else 0,
        default_steps=2,
        max_steps=100,
    ).model_copy(update=fields)
    made = learner_of(card)
    return Model(card, made, made.init(torch.Generator().manual_seed(0)))


def regression_support(scale: float = 1.0) -> Support:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 2, generator=generator)
    return Support(inputs, scale * inputs.sum(1, keepdim=True), torch.ones(6, dtype=torch.bool), torch.zeros(0).bool())


def test_losses_are_one_more_than_steps_and_fall() -> None:
    adapted = adapt(model_of_kind("regression"), regression_support(), 5, 1.0)
    assert adapted.kept_step == 5
    losses = [loss for loss in adapted.support_loss if loss is not None]
    assert len(losses) == 6
    assert losses[-1] < losses[0]


def test_divergence_is_an_error_that_names_the_step() -> None:
    with pytest.raises(Diverged, match=r"not finite after step \d+ of 60"):
        adapt(model_of_kind("regression"), regression_support(1e4), 60, 100.0)


def test_the_best_finite_step_is_kept_on_request() -> None:
    model, support = model_of_kind("regression"), regression_support(1e4)
    adapted = adapt(model, support, 60, 100.0, keep_best=True)
    kept = adapted.kept_step
    assert kept is not None
    assert 1 <= kept < 60
    assert len(adapted.support_loss) == 61
    assert all(loss is not None and math.isfinite(loss) for loss in adapted.support_loss[: kept + 1])
    assert adapted.support_loss[kept + 1 :] == [None] * (60 - kept)
    assert all_finite(adapted.params.tree())
    alone = adapt(model, support, kept, 100.0)
    assert all(torch.equal(leaf, adapted.params.tree()[name]) for name, leaf in alone.params.tree().items())


def test_no_finite_step_is_an_error_even_so() -> None:
    with pytest.raises(Diverged, match="no step of 1 or more is finite"):
        adapt(model_of_kind("regression"), regression_support(1e20), 3, 1.0, keep_best=True)


def test_probabilities_of_absent_classes_are_zero() -> None:
    model = model_of_kind("classification")
    support = Support(
        torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), torch.ones(4).bool(), torch.tensor([True, True, False])
    )
    adapted = adapt(model, support, 1, 1.0)
    probabilities = predict(model, adapted.params, torch.randn(5, 2))
    assert torch.equal(probabilities[:, 2], torch.zeros(5))
    assert torch.allclose(probabilities.sum(1), torch.ones(5))


def test_probabilities_are_those_of_the_models_loss() -> None:
    model = model_of_kind("classification", loss="binary_cross_entropy")
    support = Support(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), torch.ones(4).bool(), torch.ones(3).bool())
    adapted = adapt(model, support, 1, 1.0)
    inputs = torch.randn(5, 2)
    sigmoids = model.learner.predict(model.meta, adapted.params.tree(), inputs).sigmoid()
    expected = sigmoids / sigmoids.sum(1, keepdim=True)
    assert torch.allclose(predict(model, adapted.params, inputs), expected)


def test_model_that_scales_is_judged_in_the_callers_units() -> None:
    model = model_of_kind("regression", scales_inputs=True, scales_targets=True)
    fixed = {
        **model.meta.fixed,
        "scaling.targets.mean": torch.tensor([300.0]),
        "scaling.targets.std": torch.tensor([50.0]),
    }
    model = model._replace(meta=model.meta._replace(fixed=fixed))
    support = regression_support(50.0)
    support = support._replace(targets=support.targets + 300.0)
    adapted = adapt(model, support, 20, 1.0)
    outputs = predict(model, adapted.params, support.inputs)
    judged = judge(model, support, adapted.params, Query(*support[:3]))
    assert judged.after["loss"] == pytest.approx(float((outputs - support.targets).square().mean()), rel=1e-4)
    assert judged.after["loss"] == pytest.approx(adapted.support_loss[-1], rel=1e-4)


def test_outputs_out_of_reach_name_their_row() -> None:
    model = model_of_kind("regression")
    inputs = torch.tensor([[0.0, 0.0], [3e38, 3e38]])
    with pytest.raises(NonFiniteOutputs, match=r"inputs\[1\]"):
        predict(model, {}, inputs)


def test_judging_compares_with_the_initialisation() -> None:
    model, support = model_of_kind("regression"), regression_support()
    adapted = adapt(model, support, 20, 1.0)
    judged = judge(model, support, adapted.params, Query(*support[:3]))
    assert judged.before is not None
    assert judged.before["loss"] == pytest.approx(adapted.support_loss[0])
    assert judged.after["loss"] == pytest.approx(adapted.support_loss[-1])


@pytest.mark.parametrize("output", ["regression", "classification"])
async def test_the_engine_keeps_models_and_task_parameters(output: str) -> None:
    model, loads = model_of_kind(output), []

    def load(name: str, version: int) -> Model:
        loads.append((name, version))
        return model

    engine = Engine(CPU, load, cache_bytes=2**20, model_cache_bytes=2**20, max_depth=8)
    try:
        engine.warm_up(engine.model("toy", 1))
        engine.model("toy", 1)
        assert loads == [("toy", 1)]
        stored, nothing = packed({"head.bias": torch.ones(1)}).as_bytes(), packed({}).as_bytes()
        key = TaskKey("default", "a", 1)
        kept = engine.task_params(key, lambda: stored)
        assert kept.tree() == {"head.bias": torch.ones(1)}
        assert engine.task_params(key, lambda: nothing) is kept
        assert engine.cached_params(key) is kept
        engine.forget_task("default", "a")
        assert engine.cached_params(key) is None
        assert engine.task_params(key, lambda: nothing).tree() == {}
    finally:
        engine.close()


async def test_adapting_and_predicting_in_one_equals_one_after_the_other() -> None:
    model, support = model_of_kind("regression"), regression_support()
    engine = Engine(CPU, lambda name, version: model, cache_bytes=0, model_cache_bytes=0, max_depth=8)
    try:
        work, inputs = AdaptWork(model, support, 3), torch.randn(4, 2)
        (adapted, judged, _), _, _ = await engine.adapt(work, None, None)
        apart = (await engine.predict(model, adapted.params, inputs, None)).result
        assert judged is None
        assert torch.equal((await engine.adapt_and_predict(work, inputs, None)).result, apart)
    finally:
        engine.close()


async def test_tasks_without_numbers_do_not_pile_up_in_the_cache() -> None:
    model = model_of_kind("regression")
    engine = Engine(CPU, lambda name, version: model, cache_bytes=8 * 1024, model_cache_bytes=0, max_depth=8)
    try:
        for number in range(100):
            engine.keep_task_params(TaskKey("default", f"task-{number}", 1), packed({}))
        kept = engine.cached_tasks()
        assert len(kept) == 8
        engine.forget_revisions(kept[:3])
        assert engine.cached_tasks() == kept[3:]
    finally:
        engine.close()
