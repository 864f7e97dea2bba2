"""The door to the device: whoever wants a task adapted or predicted asks here."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine import executor
from app.engine.cache import ByteCache
from app.engine.estimate import Estimate, estimate
from app.engine.executor import Adapted, Judged
from app.engine.text_encoder import TextEncoder
from app.engine.worker import DeviceWorker, Timed
from app.episode import Query, Support, TaskParams
from app.learners.model import Model
from app.trees import num_bytes, to_device

ENTRY_BYTES = 1024

LoadModel = Callable[[str, int], Model]
"""(name, version) -> the model, on any device."""


class AdaptWork(NamedTuple):
    """One task to be adapted."""

    model: Model
    support: Support
    steps: int
    """0 for learners that take none."""
    rate_scale: float = 1.0
    keep_best: bool = False
    """On divergence keep the best finite step."""


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
    ) -> None:
        self.device = device
        self._load_model = load_model
        self._worker = DeviceWorker(str(device), max_depth, lambda: torch.set_num_threads(compute_threads))
        self._models: ByteCache[Model] = ByteCache(model_cache_bytes, _model_bytes)
        self._tasks: ByteCache[TaskParams] = ByteCache(cache_bytes, _task_bytes)
        self._texts = TextEncoder(device, text_cache_bytes)

    @property
    def queue_depth(self) -> int:
        """Requests that wait for the device or run on it."""
        return self._worker.depth

    def model(self, name: str, version: int) -> Model:
        """Return a model on the device, loaded at first; blocks, and raises what loading raises."""
        return self._models.get(
            (name, version), lambda: executor.on_device(self._load_model(name, version), self.device)
        )

    def task_params(self, key: TaskKey, load: Callable[[], TaskParams]) -> TaskParams:
        """Return a task's parameters on the device, from `load` when they are not cached; blocks."""
        return self._tasks.get(key, lambda: to_device(load(), self.device))

    def text_embeddings(
        self, encoder: str, texts: Sequence[str], places: Sequence[str], deadline: float | None
    ) -> Tensor:
        """Return [R, D] on the CPU, the embeddings of `texts`, from the cache or the device; blocks.

        Raises TextNotAvailable, InvalidText, naming one of `places`, and what the worker raises.
        """
        return self._texts.embeddings(encoder, texts, places, lambda work: self._worker.run_blocking(work, deadline))

    def keep_task_params(self, key: TaskKey, task_params: TaskParams) -> None:
        """Cache parameters that were just made."""
        self._tasks.put(key, task_params)

    def cached_tasks(self) -> list[TaskKey]:
        """Return what is cached of tasks."""
        return [key for key in self._tasks.held_keys() if isinstance(key, TaskKey)]

    def forget_revisions(self, keys: Collection[TaskKey]) -> None:
        """Drop revisions that are no longer stored."""
        self._tasks.discard(lambda key: key in keys)

    def forget_task(self, tenant: str, task_id: str) -> None:
        """Drop what is cached of a task that was deleted."""
        self._tasks.discard(lambda key: isinstance(key, TaskKey) and key[:2] == (tenant, task_id))

    def warm_up(self, model: Model) -> None:
        """Adapt and predict once on made-up rows, so that the first caller does not wait for lazy imports; blocks."""
        card, traits = model.card, model.learner.traits
        inputs, mask = torch.zeros(2, *card.input.shape), torch.ones(2, dtype=torch.bool)
        targets, class_mask = torch.zeros(2, card.num_outputs), torch.zeros(0, dtype=torch.bool)
        if traits.output_kind == "classification":
            targets, class_mask = torch.arange(2), torch.arange(card.num_classes(2)) < 2
        work = AdaptWork(model, Support(inputs, targets, mask, class_mask), min(traits.steps, 1))

        def run() -> None:
            executor.predict(model, self._adapt(work).task_params, inputs, device=self.device)

        self._worker.run_blocking(run)

    async def adapt(
        self, work: AdaptWork, validation: Query | None, deadline: float | None, *, wants_estimate: bool = False
    ) -> Timed[AdaptedTask]:
        """Adapt one task and judge it on the validation rows, if any, and by cross-validation, if that is wanted.

        Errors as in the executor and the worker.
        """

        def run() -> AdaptedTask:
            adapted = self._adapt(work)
            judged = self._judge(work, adapted.task_params, validation)
            steps = work.steps if adapted.kept_step is None else adapted.kept_step
            estimated = self._estimate(work._replace(steps=steps), adapted.task_params) if wants_estimate else None
            return AdaptedTask(adapted, judged, estimated)

        return await self._worker.run(run, deadline)

    async def judge(
        self, work: AdaptWork, task_params: TaskParams, validation: Query, deadline: float | None
    ) -> Timed[Judged | None]:
        """Judge validation rows with parameters that were made before."""
        return await self._worker.run(lambda: self._judge(work, task_params, validation), deadline)

    async def estimate(
        self, work: AdaptWork, task_params: TaskParams, deadline: float | None
    ) -> Timed[Estimate | None]:
        """Cross-validate a task whose parameters were made before; `work.steps` are those that were kept."""
        return await self._worker.run(lambda: self._estimate(work, task_params), deadline)

    async def predict(
        self, model: Model, task_params: TaskParams, inputs_Q: Tensor, deadline: float | None
    ) -> Timed[Tensor]:
        """Return outputs, or probabilities, on the CPU."""
        return await self._worker.run(
            lambda: executor.predict(model, task_params, inputs_Q, device=self.device), deadline
        )

    async def adapt_and_predict(self, work: AdaptWork, inputs_Q: Tensor, deadline: float | None) -> Timed[Tensor]:
        """Return outputs, or probabilities, of a task that is not kept."""

        def run() -> Tensor:
            task_params = self._adapt(work).task_params
            return executor.predict(work.model, task_params, inputs_Q, device=self.device)

        return await self._worker.run(run, deadline)

    def close(self) -> None:
        """Take no more work and wait for what was taken; blocks."""
        self._worker.close()

    def _adapt(self, work: AdaptWork) -> Adapted:
        model, support, steps, rate_scale, keep_best = work
        return executor.adapt(model, support, steps, rate_scale, keep_best=keep_best, device=self.device)

    def _estimate(self, work: AdaptWork, task_params: TaskParams) -> Estimate | None:
        return estimate(work.model, work.support, task_params, work.steps, work.rate_scale, device=self.device)

    def _judge(self, work: AdaptWork, task_params: TaskParams, validation: Query | None) -> Judged | None:
        if validation is None:
            return None
        return executor.judge(work.model, work.support, task_params, validation, device=self.device)


def _task_bytes(task_params: TaskParams) -> int:
    """Count what an entry costs beside its numbers, too: a task of 0 steps has none, and must not stay for ever."""
    return num_bytes(task_params) + ENTRY_BYTES


def _model_bytes(model: Model) -> int:
    return num_bytes(model.meta.trained) + num_bytes(model.meta.fixed)
