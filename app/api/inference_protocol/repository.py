"""The tasks as a repository of models: which there are, and which are at hand. Blocks."""

from typing import Any

from app.api.choices import loaded_model
from app.api.context import Context, now
from app.api.task_params import params_again
from app.card import Card
from app.engine.engine import TaskKey
from app.store import Head
from innerloop.errors import InvalidRequest

MAX_LISTED = 1_000
CACHE_ALONE = {"unload_dependents"}
"""What the public client sends with every unload, and means nothing here."""


def head(context: Context, tenant: str, task_id: str, revision: int | None) -> Head:
    """Return what is known of a revision, of the latest for None; TaskNotFound, RevisionNotFound."""
    (found,) = context.store.heads([(tenant, task_id, revision)], now=now())
    if isinstance(found, Exception):
        raise found
    return found


def card_of(context: Context, found: Head) -> Card:
    """Return the card of the model version that a revision was adapted from."""
    return loaded_model(context, found.model, found.model_version, None).schema.card


def listed(context: Context, tenant: str) -> list[dict[str, Any]]:
    """Return the tasks that changed last; whatever is stored is ready, since it is loaded when it is asked for."""
    tasks = context.store.newest_tasks(tenant, now=now(), limit=MAX_LISTED)
    return [{"name": task_id, "version": str(revision), "state": "READY", "reason": ""} for task_id, revision in tasks]


def load(context: Context, tenant: str, task_id: str) -> None:
    """Bring a task's latest revision and its model into the caches; TaskNotFound."""
    found = head(context, tenant, task_id, None)
    loaded_model(context, found.model, found.model_version, None)
    params_again(context, TaskKey(tenant, task_id, found.revision))


def unload(context: Context, tenant: str, task_id: str) -> None:
    """Drop a task from the cache, from where its next prediction brings it back; TaskNotFound."""
    head(context, tenant, task_id, None)
    context.engine.forget_task(tenant, task_id)


def check_no_files(document: dict[str, Any]) -> None:
    """Refuse a configuration, files and whatever else a model could be loaded from."""
    parameters = {} if document.get("parameters") is None else document["parameters"]
    if document.keys() - {"parameters"} or not isinstance(parameters, dict) or parameters.keys() - CACHE_ALONE:
        raise InvalidRequest("a task is loaded from the store alone: no config and no files are taken")
