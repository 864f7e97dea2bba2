"""The door to the device: whoever wants a task adapted or predicted asks here."""

import itertools
from collections.abc import Callable, Collection, Hashable, Sequence
from operator import itemgetter
from time import perf_counter
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from app.engine import executor
from app.engine.batch_sizes import BatchSizes
from app.engine.batcher import Batcher, Counters, follow
from app.engine.buckets import AdaptBucket, Alone, Shapes, adapt_bucket, made_up_support, predict_bucket, shapes_of
from app.engine.cache import ByteCache, CacheUse
from app.engine.compiled import CompiledPaths
from app.engine.compiled_maker import CompileCounters
from app.engine.device_faults import DeviceGuard, is_of_accelerator, is_out_of_memory
from app.engine.estimate import Estimate, estimate, estimate_many
from app.engine.executor import Adapted, AdaptWork, Judged
from app.engine.load import Load
from app.engine.packed import Packed, packed_from_bytes
from app.engine.text_encoder import TextEncoder
from app.engine.ticket import Onward, Then, Timed
from app.engine.worker import Worker
from app.episode import Query
from app.learners.model import Model
from app.trees import num_bytes
from innerloop.errors import DeviceOutOfMemory

ENTRY_BYTES = 1024
"""What a cached task costs beside its numbers: a task of 0 steps has none, and must not stay for ever."""

LoadModel = Callable[[str, int], Model]
"""(name, version) -> the model, on any device."""
Result = TypeVar("Result")


class AdaptedTask(NamedTuple):
    """What adapting gave, and what else was asked for."""

    adapted: Adapted
    judged: Judged | None
    """None without validation rows."""
    estimate: Estimate | None
    """None where it was not asked for or cannot be had."""


class TaskKey(NamedTuple):
    """What task parameters are cached under; a number is never given twice, so no entry ever goes stale."""

    tenant: str
    task_id: str
    revision: int


class _Adapt(NamedTuple):
    """Work of an AdaptBucket."""

    work: AdaptWork
    validation: Query | None


class _Predict(NamedTuple):
    """Work of a PredictBucket."""

    model: Model
    params: Packed
    inputs: Tensor


class Engine:
    """Runs learners on one device, one worker thread for it, with caches of models and of task parameters."""

    def __init__(
        self,
        device: torch.device,
        load_model: LoadModel,
        *,
        cache_bytes: int,
        model_cache_bytes: int,
        text_cache_bytes: int = 0,
        max_depth: int,
        compute_threads: int = 1,
        compiled: CompiledPaths | None = None,
        load: Load | None = None,
    ) -> None:
        """`compiled`: faster ways on the CPU; closed with the engine. `load`: what lets work in, to be told of it."""
        self.device = device
        self._guard = DeviceGuard(device, self._flush)
        self._load_model = load_model
        self._compiled = compiled
        self._sizes = BatchSizes()
        self.worker = Worker(str(device), prepare=lambda: torch.set_num_threads(compute_threads), load=load)
        self._batcher: Batcher[Any, Any] = Batcher(
            str(device),
            self._run,
            max_depth=max_depth,
            most=self._most,
            seconds=self._sizes.seconds,
            worker=self.worker,
        )
        self._models: ByteCache[Model] = ByteCache(model_cache_bytes, _model_bytes)
        self._tasks: ByteCache[Packed] = ByteCache(
            cache_bytes, lambda task: task.num_bytes + ENTRY_BYTES, itemgetter(0, 1)
        )
        self._texts = TextEncoder(device, text_cache_bytes)
        self._numbers = itertools.count()
        self._shapes: WeakKeyDictionary[Callable[..., Any], Shapes] = WeakKeyDictionary()

    @property
    def queue_depth(self) -> int:
        """Requests that wait for the device or run on it."""
        return self._batcher.depth

    @property
    def failure(self) -> str | None:
        """Why the device takes no work any more; None as long as it does."""
        if not self.worker.is_alive:
            return "the thread of the device has ended"
        return self._guard.failure

    @property
    def counters(self) -> Counters:
        """What the device's thread has done."""
        return self._batcher.counters

    @property
    def cache_use(self) -> dict[str, CacheUse]:
        """What the caches hold, by their names."""
        return {"tasks": self._tasks.use, "models": self._models.use, "texts": self._texts.cache_use}

    @property
    def compile_counters(self) -> CompileCounters:
        """What has become of compiled programs; of none where nothing is compiled."""
        return self._compiled.counters if self._compiled else CompileCounters()

    def model(self, name: str, version: int) -> Model:
        """Return a model on the device, loaded at first; blocks, and raises what loading raises."""
        return self._guard.run(lambda: self._models.get((name, version), lambda: self._loaded(name, version)))

    def task_params(self, key: TaskKey, load: Callable[[], bytes]) -> Packed:
        """Return a task's parameters on the device, from stored bytes when they are not cached; blocks.

        Its caller has looked for them with `cached_params`.
        """
        return self._guard.run(
            lambda: self._tasks.get(key, lambda: packed_from_bytes(load(), self.device), counts=False)
        )

    def task_params_again(self, key: TaskKey, work_of: Callable[[], AdaptWork]) -> Packed:
        """Return a task's parameters, adapted again from its rows when they are not cached; blocks."""
        return self._tasks.get(key, lambda: self._adapted_again(work_of()), counts=False)

    def cached_params(self, key: TaskKey) -> Packed | None:
        """Return a task's parameters if they are cached."""
        return self._tasks.held(key)

    def text_embeddings(
        self, encoder: str, texts: Sequence[str], places: Sequence[str], deadline: float | None
    ) -> Tensor:
        """Return [R, D] on the CPU, the embeddings of `texts`, from the cache or the device; blocks.

        Raises TextNotAvailable, InvalidText, naming one of `places`, and what the batcher raises.
        """
        return self._texts.embeddings(encoder, texts, places, lambda work: self._blocking(work, deadline))

    def keep_task_params(self, key: TaskKey, params: Packed) -> None:
        """Cache parameters that were just made."""
        self._tasks.put(key, params)

    def cached_tasks(self) -> list[TaskKey]:
        """Return what is cached of tasks."""
        return [key for key in self._tasks.held_keys() if isinstance(key, TaskKey)]

    def forget_revisions(self, keys: Collection[TaskKey]) -> None:
        """Drop revisions that are no longer stored."""
        self._tasks.forget(keys)

    def forget_task(self, tenant: str, task_id: str) -> None:
        """Drop what is cached of a task that was deleted."""
        self._tasks.forget_group((tenant, task_id))

    def warm_up(self, model: Model) -> None:
        """Adapt and predict once on made-up rows, so that the first caller does not wait for lazy imports; blocks.

        Once for one task and once for two, which is vmapped. Then what is compiled for this model is loaded.
        """
        support = made_up_support(model, 2, 2)
        work = AdaptWork(model, support, min(model.learner.traits.steps, 1))

        def run() -> None:
            for works in ([work], [work, work]):
                adapted = executor.adapt_many(works, executor.stacked(works, self.device), self.device)
                params = [one.params for one in adapted if isinstance(one, Adapted)]
                executor.predict_many(model, params, [support.inputs] * len(params), self.device)

        self._blocking(run, None)
        if self._compiled:
            self._compiled.load(model, self._shapes_of(model))

    async def adapt(
        self, work: AdaptWork, validation: Query | None, deadline: float | None, *, wants_estimate: bool = False
    ) -> Timed[AdaptedTask]:
        """Adapt one task and judge it on the validation rows, if any, and by cross-validation, if that is wanted.

        Errors as in the executor and the batcher.
        """
        done: Timed[AdaptedTask] = await follow(
            self.adapting(work, validation, deadline, wants_estimate=wants_estimate)
        )
        return done

    def adapting(
        self,
        work: AdaptWork,
        validation: Query | None,
        deadline: float | None,
        then: Then | None = None,
        *,
        wants_estimate: bool = False,
    ) -> Onward:
        """Return the way to what `adapt` returns; `then` is told it, in the device's thread."""
        bucket = self._adapt_bucket(work, wants_estimate=wants_estimate)
        return Onward(self._batcher, bucket, _Adapt(work, validation), deadline, then)

    async def judge(
        self, work: AdaptWork, params: Packed, validation: Query, deadline: float | None
    ) -> Timed[Judged | None]:
        """Judge validation rows with parameters that were made before."""
        return await self._alone(lambda: executor.judge(work, params, validation, self.device), deadline)

    async def estimate(self, work: AdaptWork, params: Packed, deadline: float | None) -> Timed[Estimate | None]:
        """Cross-validate a task whose parameters were made before; `work.steps` are those that were kept."""
        return await self._alone(lambda: estimate(work, params, self.device), deadline)

    async def predict(self, model: Model, params: Packed, inputs_Q: Tensor, deadline: float | None) -> Timed[Tensor]:
        """Return outputs, or probabilities, on the CPU."""
        done: Timed[Tensor] = await follow(self.predicting(model, params, inputs_Q, deadline))
        return done

    def predicting(
        self, model: Model, params: Packed, inputs_Q: Tensor, deadline: float | None, then: Then | None = None
    ) -> Onward:
        """Return the way to what `predict` returns; `then` is told it, in the device's thread."""
        bucket = predict_bucket(model, params.layout, len(inputs_Q))
        return Onward(self._batcher, bucket, _Predict(model, params, inputs_Q), deadline, then)

    async def adapt_and_predict(self, work: AdaptWork, inputs_Q: Tensor, deadline: float | None) -> Timed[Tensor]:
        """Return outputs, or probabilities, of a task that is not kept."""
        done: Timed[Tensor] = await follow(self.adapting_to_predict(work, inputs_Q, deadline, lambda timed: timed))
        return done

    def adapting_to_predict(
        self, work: AdaptWork, inputs_Q: Tensor, deadline: float | None, then: Then, keep_as: TaskKey | None = None
    ) -> Onward:
        """Return the way to what `adapt_and_predict` returns; `then` is told it, in the device's thread.

        With `keep_as` the parameters are cached: those of a task that is stored as its rows.
        """

        def adapted(done: Timed[AdaptedTask]) -> Onward:
            params, before_ms = done.result.adapted.params, done.compute_ms
            if keep_as is not None:
                self.keep_task_params(keep_as, params)

            def predicted(timed: Timed[Tensor]) -> Any:
                return then(timed._replace(compute_ms=before_ms + timed.compute_ms))

            return self.predicting(work.model, params, inputs_Q, deadline, predicted)

        return self.adapting(work, None, deadline, adapted)

    def close(self) -> None:
        """Take no more work and wait for what was taken; blocks."""
        self._batcher.close()
        self.worker.close()
        if self._compiled:
            self._compiled.close()

    def _flush(self) -> None:
        """Drop what is cached on the device and can be had again; who uses it keeps it that long."""
        for cache in (self._tasks, self._models):
            cache.forget(cache.held_keys())

    def _loaded(self, name: str, version: int) -> Model:
        model = executor.on_device(self._load_model(name, version), self.device)
        self._shapes_of(model)  # here and not when the first request waits for the event loop
        return model

    def _shapes_of(self, model: Model) -> Shapes:
        found = self._shapes.get(model.learner.adapt)
        if found is None:
            found = self._shapes[model.learner.adapt] = shapes_of(model)
        return found

    def _adapt_bucket(self, work: AdaptWork, *, wants_estimate: bool) -> AdaptBucket:
        return adapt_bucket(
            work.model, self._shapes_of(work.model), work.support, work.steps, wants_estimate=wants_estimate
        )

    def _adapted_again(self, work: AdaptWork) -> Packed:
        bucket = self._adapt_bucket(work, wants_estimate=False)
        done: AdaptedTask = self._batcher.run_blocking(bucket, _Adapt(work, None)).result
        return done.adapted.params

    async def _alone(self, work: Callable[[], Result], deadline: float | None) -> Timed[Result]:
        done: Timed[Result] = await self._batcher.run(Alone(next(self._numbers)), work, deadline)
        return done

    def _blocking(self, work: Callable[[], Result], deadline: float | None) -> Result:
        done: Result = self._batcher.run_blocking(Alone(next(self._numbers)), work, deadline).result
        return done

    # ---- on the device's thread ----

    def _most(self, bucket: Hashable) -> int:
        return 1 if isinstance(bucket, Alone) else self._sizes.most(bucket)

    def _run(self, bucket: Hashable, items: list[Any]) -> Sequence[Any]:
        if isinstance(bucket, Alone):
            return [self._guard.run(work) for work in items]
        began = perf_counter()
        try:
            outcomes = self._guard.run(lambda: self._run_together(bucket, items))
        except Exception as error:
            if len(items) == 1 or self.failure is not None:
                raise
            if isinstance(error, DeviceOutOfMemory):
                self._sizes.note_no_room(bucket, len(items))
            # Some solvers refuse a whole batch for one of its tasks, and there may be no room for all of them: then
            # each is run alone, and those are told that cannot be.
            return [self._run_apart(bucket, item) for item in items]
        self._sizes.note(bucket, len(items), perf_counter() - began)
        return outcomes

    def _run_apart(self, bucket: Hashable, item: Any) -> Any:
        try:
            return self._guard.run(lambda: self._run_together(bucket, [item])[0], again=False)
        except Exception as error:  # noqa: BLE001 -- its caller is told
            return error

    def _run_together(self, bucket: Hashable, items: list[Any]) -> Sequence[Any]:
        if isinstance(bucket, AdaptBucket):
            return self._adapt_many(items, wants_estimate=bucket.wants_estimate)
        params, inputs = [item.params for item in items], [item.inputs for item in items]
        faster = self._compiled.predict if self._compiled else None
        return executor.predict_many(items[0].model, params, inputs, self.device, faster)

    def _adapt_many(self, items: Sequence[_Adapt], *, wants_estimate: bool) -> Sequence[AdaptedTask | Exception]:
        works = [item.work for item in items]
        compiled = self._compiled
        support_T = executor.stacked(works, self.device)
        adapted = executor.adapt_many(works, support_T, self.device, compiled.adapt if compiled else None)
        estimates: Sequence[Estimate | None] = [None] * len(items)
        if wants_estimate:
            estimates = estimate_many(works, adapted, self.device, compiled.estimate if compiled else None)
        return [
            self._judged(item, done, estimated) for item, done, estimated in zip(items, adapted, estimates, strict=True)
        ]

    def _judged(self, item: _Adapt, done: Adapted | Exception, estimated: Estimate | None) -> AdaptedTask | Exception:
        """Return an outcome with its validation rows judged; what is wrong with them is its own caller's alone."""
        if isinstance(done, Exception) or item.validation is None:
            return done if isinstance(done, Exception) else AdaptedTask(done, None, estimated)
        try:
            judged = executor.judge(item.work, done.params, item.validation, self.device)
        except Exception as error:
            if is_out_of_memory(error) or is_of_accelerator(error):
                raise  # of the device, and not of these rows
            return error
        return AdaptedTask(done, judged, estimated)


def _model_bytes(model: Model) -> int:
    return num_bytes(model.meta.trained) + num_bytes(model.meta.fixed)
