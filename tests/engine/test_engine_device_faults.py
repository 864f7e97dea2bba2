"""Errors of the device: no memory is tried again, by parts and at last told; a device that is gone stays gone."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from app.card import Card, InputCard, OutputCard
from app.engine import device_faults, executor
from app.engine.batch_sizes import _Bucket
from app.engine.device_faults import is_of_accelerator, is_out_of_memory
from app.engine.engine import AdaptedTask, Engine, TaskKey
from app.engine.executor import AdaptWork
from app.engine.packed import Packed, packed
from app.episode import Query, Support
from app.learners.model import Model, learner_of
from innerloop.errors import DeviceGone, DeviceOutOfMemory
from tests.engine.one_task import CPU, adapt

NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB"
ASSERTED = "CUDA error: device-side assert triggered"


def model() -> Model:
    card = Card(
        name="toy",
        learner={"kind": "maml", "steps": 1, "learning_rate": 0.05},
        network={"kind": "mlp", "hidden": [4]},
        loss="squared",
        input=InputCard(kind="vector", shape=(1,)),
        output=OutputCard(kind="regression", shape=(1,)),
        num_train_classes=0,
        default_steps=1,
        max_steps=10,
    )
    made = learner_of(card)
    return Model(card, made, made.init(torch.Generator().manual_seed(0)))


TOY = model()


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine(CPU, lambda name, version: TOY, cache_bytes=2**20, model_cache_bytes=2**20, max_depth=100)
    yield running
    running.close()


def support(seed: int, rows: int = 3) -> Support:
    inputs = torch.randn(rows, 1, generator=torch.Generator().manual_seed(seed))
    return Support(inputs, inputs.sin(), torch.ones(rows, dtype=torch.bool), torch.ones(0, dtype=torch.bool))


class Faults:
    """Stands before a function of the executor and raises what it is told, as often as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error_of: Callable[[int], Exception | None]) -> None:
        self.sizes: list[int] = []
        self._work: Callable[..., Any] = getattr(executor, name)
        self._error_of = error_of
        monkeypatch.setattr(executor, name, self)

    def __call__(self, first: Any, second: Any, *others: Any) -> Any:
        num_tasks = len(first if isinstance(first, list) else second)
        self.sizes.append(num_tasks)
        error = self._error_of(num_tasks)
        if error is not None:
            raise error
        return self._work(first, second, *others)


def times(num: int, error: Exception) -> Callable[[int], Exception | None]:
    """Return a source of so many errors."""
    errors = [error] * num
    return lambda num_tasks: errors.pop() if errors else None


async def together(engine: Engine, calls: list[Awaitable[Any]]) -> list[Any]:
    """Await calls that wait in line together."""
    loop, released = asyncio.get_running_loop(), asyncio.Event()

    def hold() -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(30)

    holding = asyncio.create_task(engine._alone(hold, None))
    asked = [asyncio.ensure_future(call) for call in calls]
    for _ in range(4000):
        if engine.queue_depth == 1 + len(calls):
            break
        await asyncio.sleep(0.001)
    released.set()
    done = await asyncio.gather(*asked, return_exceptions=True)
    await holding
    return done


def adapts(engine: Engine, num: int) -> list[Awaitable[Any]]:
    return [engine.adapt(AdaptWork(TOY, support(seed), 1), None, None) for seed in range(num)]


def is_right(found: Any, seed: int) -> bool:
    done: AdaptedTask = found.result
    return bool(torch.allclose(done.adapted.params.row, adapt(TOY, support(seed), 1).params.row, atol=1e-6))


@pytest.mark.parametrize(
    ("error", "no_memory", "of_accelerator"),
    [
        (torch.OutOfMemoryError(NO_MEMORY), True, False),
        (RuntimeError("CUDA error: out of memory"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True, False),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True, False),
        (MemoryError(), True, False),
        (torch.AcceleratorError(ASSERTED), False, True),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x1 and 2x4)"), False, False),
        (ValueError("CUDA error: a word in a caller's text"), False, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_the_device_are_told_from_others(error: Exception, no_memory: bool, of_accelerator: bool) -> None:
    assert is_out_of_memory(error) == no_memory
    assert is_of_accelerator(error) == of_accelerator


async def test_a_batch_without_memory_is_tried_again_after_a_flush(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = TaskKey("default", "cached", 1)
    engine.keep_task_params(key, adapt(TOY, support(9), 1).params)
    engine.model("toy", 1)
    faults = Faults(monkeypatch, "adapt_many", times(1, torch.OutOfMemoryError(NO_MEMORY)))
    done = await together(engine, adapts(engine, 1))
    assert faults.sizes == [1, 1]
    assert is_right(done[0], 0)
    assert {name: use.entries for name, use in engine.cache_use.items()} == {"tasks": 0, "models": 0, "texts": 0}
    assert engine.failure is None


async def test_tasks_that_have_no_room_together_run_one_by_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._sizes, "most", lambda bucket: 64)
    faults = Faults(monkeypatch, "adapt_many", lambda num: torch.OutOfMemoryError(NO_MEMORY) if num > 1 else None)
    done = await together(engine, adapts(engine, 4))
    assert faults.sizes == [4, 4, 1, 1, 1, 1]
    assert all(is_right(found, seed) for seed, found in enumerate(done))


async def test_a_size_that_has_no_room_is_not_tried_with_every_batch(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Bucket, "_cheapest", lambda bucket: 64)
    faults = Faults(monkeypatch, "adapt_many", lambda num: torch.OutOfMemoryError(NO_MEMORY) if num > 3 else None)
    for _ in range(6):
        done = await together(engine, adapts(engine, 8))
        assert all(is_right(found, seed) for seed, found in enumerate(done))
    assert len([size for size in faults.sizes if size > 3]) <= 4  # each twice: before caches are emptied and after


async def test_only_the_task_that_has_no_room_alone_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._sizes, "most", lambda bucket: 64)
    tasks = [packed(adapt(TOY, support(seed), 1).params.tree()) for seed in range(3)]
    sizes = [2, 50, 2]
    predict_many = executor.predict_many

    def short_of_memory(model: Model, params: list[Packed], inputs: list[Tensor], *others: Any) -> Any:
        if max(map(len, inputs)) > 10:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return predict_many(model, params, inputs, *others)

    monkeypatch.setattr(executor, "predict_many", short_of_memory)
    calls: list[Awaitable[Any]] = [
        engine.predict(TOY, task, torch.zeros(size, 1), None) for task, size in zip(tasks, sizes, strict=True)
    ]
    first, refused, last = await together(engine, calls)
    assert isinstance(refused, DeviceOutOfMemory)
    assert refused.retry_after_seconds
    assert first.result.shape == last.result.shape == (2, 1)


async def test_work_that_never_has_room_is_refused_and_the_engine_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._sizes, "most", lambda bucket: 64)
    with monkeypatch.context() as patched:
        faults = Faults(patched, "adapt_many", lambda num: RuntimeError("CUDA error: out of memory"))
        done = await together(engine, adapts(engine, 2))
        assert [type(found) for found in done] == [DeviceOutOfMemory] * 2
        assert faults.sizes == [2, 2, 1, 1]
    assert is_right((await together(engine, adapts(engine, 1)))[0], 0)
    assert engine.failure is None


async def test_memory_that_the_system_refuses_is_no_fault_of_the_service(engine: Engine) -> None:
    with pytest.raises(DeviceOutOfMemory):
        await engine._alone(lambda: torch.empty(2**60), None)
    assert engine.failure is None


async def test_what_a_failed_try_held_is_let_go_before_the_next(engine: Engine) -> None:
    held: list[weakref.ref[Any]] = []

    def work() -> str:
        if held:
            return "gone" if held[0]() is None else "still held"
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError(NO_MEMORY)

    gc.disable()
    try:
        assert (await engine._alone(work, None)).result == "gone"
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError(ASSERTED), RuntimeError(ASSERTED)], ids=["accelerator", "runtime"]
)
async def test_after_a_device_is_gone_nothing_is_computed_any_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    task = adapt(TOY, support(0), 1).params
    faults = Faults(monkeypatch, "adapt_many", times(1, error))
    done = await together(engine, adapts(engine, 3))
    assert [type(found) for found in done] == [DeviceGone] * 3
    assert engine.failure == "the device cpu has failed"
    tried = len(faults.sizes)
    for found in await refused(engine, task):
        assert isinstance(found, DeviceGone)
        assert found.retry_after_seconds
        assert "assert" not in found.detail
    assert len(faults.sizes) == tried


async def refused(engine: Engine, task: Packed) -> list[Any]:
    """Return what each way to the device says when it has failed."""
    calls: list[Awaitable[Any]] = [
        *adapts(engine, 1),
        engine.predict(TOY, task, torch.zeros(1, 1), None),
        engine.estimate(AdaptWork(TOY, support(0), 1), task, None),
    ]
    found = await asyncio.gather(*calls, return_exceptions=True)
    ways: list[Callable[[], Any]] = [
        lambda: engine.model("toy", 1),
        lambda: engine.task_params(TaskKey("default", "a", 1), task.as_bytes),
    ]
    for way in ways:
        try:
            found.append(way())
        except DeviceGone as error:
            found.append(error)
    return found


async def test_a_device_that_computes_on_is_not_gone_for_a_launch_that_it_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Faults(monkeypatch, "adapt_many", times(1, torch.AcceleratorError("CUDA error: invalid configuration argument")))
    (found,) = await together(engine, adapts(engine, 1))
    assert isinstance(found, torch.AcceleratorError)
    assert engine.failure is None
    assert is_right((await together(engine, adapts(engine, 1)))[0], 0)


async def test_a_device_on_which_nothing_runs_any_more_is_gone_whatever_the_error_says(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_faults, "_answers", lambda device: False)
    Faults(monkeypatch, "adapt_many", times(1, RuntimeError("CUDA error: a code that is new")))
    (found,) = await together(engine, adapts(engine, 1))
    assert isinstance(found, DeviceGone)
    assert engine.failure is not None


async def test_a_device_that_fails_while_a_task_is_judged_is_not_taken_for_a_fault_of_its_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise torch.AcceleratorError(ASSERTED)

    monkeypatch.setattr(executor, "judge", gone)
    validation = Query(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, dtype=torch.bool))
    with pytest.raises(DeviceGone):
        await engine.adapt(AdaptWork(TOY, support(0), 1), validation, None)
    assert engine.failure is not None
