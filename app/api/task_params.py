"""The parameters of stored tasks: from the cache, from the store, or adapted again from the rows."""

from collections.abc import Sequence

from app.api.choices import loaded_model
from app.api.codec import as_support, stored_rows
from app.api.context import Context, now
from app.api.stages import TooSlow, attempted
from app.engine.engine import TaskKey
from app.engine.executor import AdaptWork
from app.engine.packed import Packed


def params_of(context: Context, keys: Sequence[TaskKey], quick: bool = False) -> list[Packed | AdaptWork | Exception]:
    """Return the parameters of revisions, each loaded once, or the error of each: RevisionNotFound. Blocks.

    Of a revision that is stored as its rows, and not cached, what is to be adapted again; with `quick` TooSlow.
    """
    found: dict[TaskKey, Packed | AdaptWork | Exception] = {}
    missing: list[TaskKey] = []
    for key in dict.fromkeys(keys):
        held = context.engine.cached_params(key)
        if held is None:
            missing.append(key)
        else:
            found[key] = held
    if missing:
        for key, weights in zip(missing, context.store.weights_of(missing, now=now()), strict=True):
            found[key] = weights if isinstance(weights, Exception) else attempted(_made, context, key, weights, quick)
    return [found[key] for key in keys]


def params_again(context: Context, key: TaskKey) -> Packed:
    """Return the parameters of a revision, adapted again if need be; RevisionNotFound. Blocks meanwhile."""
    (params,) = params_of(context, [key])
    if isinstance(params, Exception):
        raise params
    if isinstance(params, AdaptWork):
        return context.engine.task_params_again(key, lambda: params)
    return params


def _made(context: Context, key: TaskKey, weights: bytes | None, quick: bool) -> Packed | AdaptWork:
    if weights is not None:
        return context.engine.task_params(key, lambda: weights)
    if quick:
        raise TooSlow
    return _work_of(context, key)


def _work_of(context: Context, key: TaskKey) -> AdaptWork:
    """Return how a revision came about; `kept_step` tells where it ended."""
    revision = context.store.revision(*key, now=now())
    rows = stored_rows(context.store.revision_support(*key, now=now()), revision.classes)
    chosen = loaded_model(context, revision.model, revision.model_version, None)
    kept_step = revision.answer["kept_step"]
    steps = int(revision.settings["steps"] if kept_step is None else kept_step)
    return AdaptWork(chosen.model, as_support(rows, chosen.schema.card), steps, revision.settings["rate_scale"])
