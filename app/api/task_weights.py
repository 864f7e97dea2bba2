"""An adapted task as a file to leave with: its weights, and a card that says all that predicting needs."""

import json
from typing import Literal

from app.api.context import Context, now
from app.api.model_names import public_name
from app.api.task_params import params_again
from app.engine.engine import TaskKey
from app.jobs.model_files import CARD
from app.trees import merge, to_bytes

Form = Literal["full", "delta"]


def task_weights(context: Context, tenant: str, task_id: str, revision: int | None, form: Form) -> tuple[int, bytes]:
    """Return the revision and the file: all weights, adaptation's in place (`full`), or what it changed (`delta`).

    Blocks. Raises TaskNotFound, RevisionNotFound.
    """
    found = context.store.revision(tenant, task_id, revision, now=now())
    key = TaskKey(tenant, task_id, found.revision)
    changed = params_again(context, key).tree()
    model = context.engine.model(found.model, found.model_version)
    tree = changed if form == "delta" else merge(merge(model.meta.fixed, model.meta.trained), changed)
    task = {
        "task_id": task_id,
        "revision": found.revision,
        "model": public_name(found.model),
        "model_version": found.model_version,
        "steps": found.answer["kept_step"],
        "support_size": found.support_size,
        "classes": found.classes,
        "form": form,
    }
    metadata = {CARD: model.card.model_dump_json(), "task": json.dumps(task)}
    return found.revision, to_bytes(tree, metadata)
