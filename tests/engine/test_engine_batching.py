"""Tasks of many callers in one call of the device: each gets what it would have got alone."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.card import Card, InputCard, OutputCard
from app.engine import executor
from app.engine.engine import AdaptedTask, Engine, TaskKey
from app.engine.executor import Adapted, AdaptWork
from app.engine.packed import Packed, packed
from app.episode import Support
from app.learners.model import Model, learner_of
from innerloop.errors import Diverged
from tests.engine.one_task import CPU, adapt, predict

LEARNERS: dict[str, dict[str, Any]] = {
    "all weights": {"kind": "maml", "steps": 2, "learning_rate": 0.05},
    "a head of its own ways": {"kind": "protomaml", "steps": 2, "learning_rate": 0.05},
    "prototypes": {"kind": "prototypical"},
    "rows": {"kind": "matching"},
    "closed form": {"kind": "ridge"},
    "memory": {"kind": "mann", "slots": 8, "reads": 1},
}


def model_of(name: str) -> Model:
    card = Card(
        name="toy",
        learner=LEARNERS[name],
        network={"kind": "mlp", "hidden": [8]},
        loss="cross_entropy",
        input=InputCard(kind="vector", shape=(3,)),
        output=OutputCard(kind="classification", shape=(4,) if LEARNERS[name]["kind"] in ("maml", "mann") else (-1,)),
        num_train_classes=9,
        default_steps=2 if "steps" in LEARNERS[name] else None,
        max_steps=50 if "steps" in LEARNERS[name] else None,
    )
    made = learner_of(card)
    return Model(card, made, made.init(torch.Generator().manual_seed(0)))


def support_of(model: Model, num_rows: int, ways: int, seed: int) -> Support:
    inputs = torch.randn(num_rows, 3, generator=torch.Generator().manual_seed(seed))
    class_mask = torch.arange(model.card.num_classes(ways)) < ways
    return Support(inputs, torch.arange(num_rows) % ways, torch.ones(num_rows, dtype=torch.bool), class_mask)


def engine_of(model: Model) -> Engine:
    return Engine(CPU, lambda name, version: model, cache_bytes=2**20, model_cache_bytes=2**20, max_depth=1000)


async def together(engine: Engine, works: list[AdaptWork]) -> list[AdaptedTask | BaseException]:
    """Adapt while the device is busy, so that what can go together does."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    blocking = asyncio.create_task(engine._alone(block, None))
    await asyncio.sleep(0.01)
    asked = [asyncio.create_task(engine.adapt(work, None, None)) for work in works]
    await asyncio.sleep(0)
    release.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    await blocking
    return [outcome if isinstance(outcome, BaseException) else outcome.result for outcome in outcomes]


sizes = st.lists(st.tuples(st.integers(2, 9), st.integers(2, 4), st.floats(0.5, 2.0)), min_size=1, max_size=12)


@pytest.mark.parametrize("name", LEARNERS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=sizes)
def test_each_caller_gets_what_it_would_get_alone(name: str, tasks: list[tuple[int, int, float]]) -> None:
    model = model_of(name)
    steps = model.learner.traits.steps
    works = [
        AdaptWork(model, support_of(model, max(rows, ways), ways, seed), steps, rate)
        for seed, (rows, ways, rate) in enumerate(tasks)
    ]
    engine = engine_of(model)
    try:
        for _ in range(4):  # sizes of batches are learned: the first are small
            outcomes = asyncio.run(together(engine, works))
        for work, outcome in zip(works, outcomes, strict=True):
            assert isinstance(outcome, AdaptedTask)
            assert_same(outcome.adapted, adapt(model, work.support, steps, work.rate_scale), model)
        assert_same_predictions(engine, model, [o.adapted.params for o in outcomes if isinstance(o, AdaptedTask)])
    finally:
        engine.close()


def assert_same(found: Adapted, alone: Adapted, model: Model) -> None:
    assert found.params.layout == alone.params.layout
    expected = alone.params.tree()
    for leaf, value in found.params.tree().items():
        torch.testing.assert_close(value, expected[leaf], rtol=1e-4, atol=1e-5)
    assert found.support_loss == pytest.approx(alone.support_loss, rel=1e-4, abs=1e-5)
    assert found.kept_step == alone.kept_step


def assert_same_predictions(engine: Engine, model: Model, params: list[Packed]) -> None:
    queries = [torch.randn(1 + i % 5, 3, generator=torch.Generator().manual_seed(i)) for i in range(len(params))]

    async def ask() -> list[Any]:
        asked = (engine.predict(model, task, query, None) for task, query in zip(params, queries, strict=True))
        return [timed.result for timed in await asyncio.gather(*asked)]

    for _ in range(3):
        for task, query, found in zip(params, queries, asyncio.run(ask()), strict=True):
            torch.testing.assert_close(found, predict(model, task, query), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_poisoned_task_leaves_its_neighbours_equal_to_the_bit(name: str, poison: float) -> None:
    model = model_of(name)
    steps = model.learner.traits.steps
    healthy = [AdaptWork(model, support_of(model, 6, 3, seed), steps) for seed in range(5)]
    sick = healthy[2].support._replace(inputs=healthy[2].support.inputs * poison)
    poisoned = [*healthy[:2], healthy[2]._replace(support=sick), *healthy[3:]]
    without = executor.adapt_many(healthy, executor.stacked(healthy, CPU), CPU)
    beside = executor.adapt_many(poisoned, executor.stacked(poisoned, CPU), CPU)
    for i in (0, 1, 3, 4):
        found, expected = beside[i], without[i]
        assert isinstance(found, Adapted)
        assert isinstance(expected, Adapted)
        assert torch.equal(found.params.row, expected.params.row)
        assert found.support_loss == expected.support_loss
    if poison != poison:
        assert isinstance(beside[2], Diverged)


def test_tasks_that_are_predicted_beside_a_poisoned_one_are_equal_to_the_bit() -> None:
    model = model_of("all weights")
    tasks = [adapt(model, support_of(model, 6, 3, seed), 2).params for seed in range(4)]
    broken = packed(
        {name: leaf * float("nan") for name, leaf in tasks[1].tree().items() if leaf.is_floating_point()}
        | {name: leaf for name, leaf in tasks[1].tree().items() if not leaf.is_floating_point()}
    )
    queries = [torch.randn(3, 3)] * 4
    without = executor.predict_many(model, tasks, queries, CPU)
    beside = executor.predict_many(model, [tasks[0], broken, *tasks[2:]], queries, CPU)
    assert isinstance(beside[1], Exception)
    for i in (0, 2, 3):
        found, expected = beside[i], without[i]
        assert isinstance(found, torch.Tensor)
        assert isinstance(expected, torch.Tensor)
        assert torch.equal(found, expected)


async def test_a_solver_that_refuses_a_whole_batch_harms_only_the_task_that_it_is_about() -> None:
    model = model_of("closed form")
    adapt_one = model.learner.adapt

    def refusing(meta: Any, support: Support, *rest: Any) -> Any:
        if not torch._C._functorch.is_batchedtensor(support.inputs) and bool((support.inputs == 7.0).any()):
            raise ArithmeticError("singular")
        if torch._C._functorch.is_batchedtensor(support.inputs):
            raise ArithmeticError("singular for one of them")
        return adapt_one(meta, support, *rest)

    guarded = model._replace(learner=model.learner._replace(adapt=refusing))
    engine = engine_of(guarded)
    try:
        works = [AdaptWork(guarded, support_of(model, 6, 3, seed), 0) for seed in range(4)]
        sick = works[1].support
        works[1] = works[1]._replace(support=sick._replace(inputs=torch.full_like(sick.inputs, 7.0)))
        for _ in range(3):
            outcomes = await together(engine, works)
        assert [type(outcome) for outcome in outcomes] == [AdaptedTask, ArithmeticError, AdaptedTask, AdaptedTask]
    finally:
        engine.close()


async def test_tasks_that_wait_leave_as_one_batch_and_are_counted() -> None:
    model = model_of("all weights")
    engine = engine_of(model)
    try:
        works = [AdaptWork(model, support_of(model, 6, 3, seed), 2) for seed in range(40)]
        for _ in range(8):
            before = engine.counters.batches
            await together(engine, works)
        assert engine.counters.batches - before < 1 + 40 / 2  # the one that kept the device busy, and few others
    finally:
        engine.close()


async def test_an_idle_caller_waits_for_no_timer() -> None:
    model = model_of("all weights")
    engine = engine_of(model)
    try:
        work = AdaptWork(model, support_of(model, 6, 3, 0), 2)
        queued = [(await engine.adapt(work, None, None)).queue_ms for _ in range(30)]
        assert sorted(queued)[5] < 5.0
    finally:
        engine.close()


def test_what_is_evicted_while_it_is_used_gives_the_same_numbers_and_is_loaded_once_at_a_time() -> None:
    model = model_of("all weights")
    tasks = {f"task-{i}": adapt(model, support_of(model, 6, 3, i), 2).params for i in range(50)}
    stored = {name: task.as_bytes() for name, task in tasks.items()}
    query = torch.randn(4, 3)
    expected = {name: predict(model, task, query) for name, task in tasks.items()}
    one = next(iter(tasks.values())).num_bytes + 1024
    engine = Engine(CPU, lambda n, v: model, cache_bytes=2 * one, model_cache_bytes=2**20, max_depth=10_000)

    def loading(name: str) -> Callable[[], bytes]:
        return lambda: stored[name]

    def ask(number: int) -> bool:
        for turn in range(40):
            name = f"task-{(number * 7 + turn * 13) % 50}"
            task = engine.task_params(TaskKey("default", name, 1), loading(name))
            found = asyncio.run(engine.predict(model, task, query, None)).result
            if task.as_bytes() != stored[name] or not torch.allclose(found, expected[name], atol=1e-5):
                return False
        return True

    try:
        with ThreadPoolExecutor(32) as threads:
            assert all(threads.map(ask, range(32)))
        assert len(engine.cached_tasks()) <= 2
    finally:
        engine.close()
