"""The support rows of a task that is stored: shown, and one of them taken out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import torch
from torch import Tensor

from app.api.adapting import ESTIMATE, adapt_prepared
from app.api.binary import RESPONSE
from app.api.choices import ChosenSettings, loaded_model
from app.api.codec import LabelledRows, as_support, stored_rows
from app.api.context import Context, now
from app.api.model_names import public_name
from app.api.numbers import Array
from app.api.outcome import Caller, Outcome
from app.api.preparing import Prepared
from app.api.threads import in_thread
from app.engine.executor import AdaptWork
from app.safetensors_header import header_bytes
from app.store import Revision
from innerloop.errors import LastRow, RevisionConflict, RowNotFound, SupportNotStored
from innerloop.wire import AdaptRequest, SupportRows

INPUTS, TARGETS = "support.inputs", "support.targets"


class StoredSupport(NamedTuple):
    """A revision and its rows."""

    revision: Revision
    rows: LabelledRows


class Removal(NamedTuple):
    """A row that is to be taken out of the latest revision, which has to be `if_revision` where that is named."""

    task_id: str
    row: int
    if_revision: int | None


def stored_support(context: Context, tenant: str, task_id: str, revision: int | None) -> StoredSupport:
    """Return the rows of a revision, the latest for None; TaskNotFound, RevisionNotFound, SupportNotStored. Blocks."""
    found = context.store.revision(tenant, task_id, revision, now=now())
    if not found.support_stored:
        raise SupportNotStored(f"revision {found.revision} of {task_id!r} was adapted with store_support false")
    data = context.store.revision_support(tenant, task_id, found.revision, now=now())
    return StoredSupport(found, stored_rows(data, found.classes))


def support_json(support: StoredSupport) -> bytes:
    """Return rows as /adapt takes them, under `support`, as JSON."""
    rows = support.rows
    fields = {**_fields(support), "support": {"inputs": _array(rows.inputs), "targets": _targets(rows)}}
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)


def support_tensors(support: StoredSupport) -> bytes:
    """Return rows as tensors, classes as indexes, and the other fields as JSON under the metadata key `response`."""
    arrays = {INPUTS: _array(support.rows.inputs), TARGETS: _array(support.rows.targets)}
    dtypes = {INPUTS: "F32", TARGETS: "F32" if support.rows.classes is None else "I64"}
    header, names = header_bytes(
        [(name, dtypes[name], array.shape) for name, array in arrays.items()],
        {RESPONSE: orjson.dumps(_fields(support)).decode()},
    )
    return b"".join((header, *(arrays[name].data for name in names)))


async def remove_row(context: Context, caller: Caller, removal: Removal) -> Outcome:
    """Adapt the latest revision's task again without a row; the new revision takes the place of all that there are.

    Settings, model version and authority are those of the latest revision; where it diverges now, its best step stays.
    Raises TaskNotFound, RowNotFound, RevisionConflict, LastRow, SupportNotStored, and Diverged.
    """
    with context.load.work(caller.tenant, "row"), context.turns.caller() as turn:
        await turn.wait((caller.tenant, removal.task_id), caller.deadline)
        prepared = await in_thread(_prepared, context, caller, removal)
        outcome = await adapt_prepared(context, caller, turn, prepared)
        kept = outcome.answer["revision"]
        of_task = [key for key in context.engine.cached_tasks() if key[:2] == (caller.tenant, removal.task_id)]
        context.engine.forget_revisions([key for key in of_task if key.revision != kept])
        return Outcome(200, outcome.answer)


def without_row(rows: LabelledRows, row: int) -> LabelledRows:
    """Return rows without one of them, their classes in the order of first appearance; LastRow."""
    stays = torch.arange(len(rows.inputs)) != row
    inputs, targets = rows.inputs[stays], rows.targets[stays]
    if not len(inputs):
        raise LastRow(f"row {row} is the only one of its task")
    if rows.classes is None:
        return LabelledRows(inputs, targets, None)
    before = rows.targets.tolist()
    order = list(dict.fromkeys(targets.tolist()))
    if before[row] not in order:
        raise LastRow(f"row {row} is the only one of the class {rows.classes[before[row]]!r}")
    place = {index: new for new, index in enumerate(order)}
    anew = torch.tensor([place[index] for index in targets.tolist()], dtype=torch.int64)
    return LabelledRows(inputs, anew, _names(rows.classes, order))


def _names(classes: Any, indexes: Sequence[int]) -> Any:
    return [classes[index] for index in indexes]


def _targets(rows: LabelledRows) -> Any:
    """Return targets as they are sent: class names, or numbers, bare ones where there is one a row."""
    if rows.classes is not None:
        return _names(rows.classes, rows.targets.tolist())
    return _array(rows.targets[:, 0] if rows.targets.shape[1:] == (1,) else rows.targets)


def _array(tensor: Tensor) -> Array:
    return tensor.contiguous().numpy()


def _prepared(context: Context, caller: Caller, removal: Removal) -> Prepared:
    task_id, row, if_revision = removal
    latest = context.store.revision(caller.tenant, task_id, now=now())
    if if_revision is not None and if_revision != latest.revision:
        raise RevisionConflict(f"if_revision is {if_revision}; the task {task_id!r} is at revision {latest.revision}")
    if row >= latest.support_size:
        raise RowNotFound(f"row {row} of {task_id!r} is not there; it has {latest.support_size}, counted from 0")
    rows = without_row(stored_support(context, caller.tenant, task_id, latest.revision).rows, row)
    chosen = loaded_model(context, latest.model, latest.model_version, caller.deadline)
    settings = ChosenSettings(int(latest.settings["steps"]), latest.settings["rate_scale"])
    support = as_support(rows, chosen.schema.card)
    work = AdaptWork(chosen.model, support, settings.steps, settings.rate_scale, keep_best=True)
    request = AdaptRequest(
        task_id=task_id, support=SupportRows(inputs=[], targets=[]), estimate=ESTIMATE in latest.answer
    )
    return Prepared(
        request,
        task_id,
        chosen,
        settings,
        rows,
        rows.as_bytes(),
        work,
        validation=None,
        latest=latest,
        authority=latest.authority,
        cached=False,
        replaces_all=True,
    )


def _fields(support: StoredSupport) -> dict[str, Any]:
    revision = support.revision
    return {
        "task_id": revision.task_id,
        "revision": revision.revision,
        "model": public_name(revision.model),
        "model_version": revision.model_version,
        "classes": revision.classes,
    }
