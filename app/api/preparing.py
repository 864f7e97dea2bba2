"""`POST /adapt` up to the device: a request held against the store, the model's card and the limits. Blocks."""

from dataclasses import dataclass

from app.api.choices import ChosenModel, ChosenSettings, adapt_work, chosen_model, chosen_settings
from app.api.codec import LabelledRows, as_support, stored_rows, support_rows, validation_query
from app.api.context import Context, now
from app.api.outcome import Caller
from app.engine.engine import AdaptWork
from app.episode import Query
from app.store import Revision
from app.trees import sha256
from innerloop.errors import ModelMismatch, RevisionConflict, TaskNotFound
from innerloop.wire import AdaptRequest


@dataclass(frozen=True)
class Prepared:
    """A request held against the store: what to compute, if anything."""

    task_id: str
    chosen: ChosenModel
    settings: ChosenSettings
    rows: LabelledRows
    support: bytes
    work: AdaptWork
    validation: Query | None
    latest: Revision | None
    cached: bool
    """The latest revision is what adapting would give."""


def prepare(context: Context, caller: Caller, request: AdaptRequest, task_id: str) -> Prepared:
    """Return what to compute for a request.

    Raises TaskNotFound, RevisionConflict, ModelMismatch, and what choosing and decoding raise.
    """
    latest = _latest(context, caller.tenant, request, task_id)
    if request.append and latest is None:
        raise TaskNotFound(f"there is no task {task_id!r} to append to; adapt without append to make it")
    reference = request.model or (latest.model if latest else context.settings.default_model)
    if request.append and latest and reference.partition("@")[0] != latest.model:
        raise ModelMismatch(f"the task {task_id!r} belongs to {latest.model!r}, not to {reference!r}")
    chosen = chosen_model(context, reference, caller.deadline)
    settings = chosen_settings(request, chosen)
    before = _rows_of(context, latest) if request.append and latest else None
    rows = support_rows(request.support, chosen.schema, before)
    validation = None
    if request.validation is not None:
        validation = validation_query(request.validation, chosen.schema, rows.classes)
    stored = rows.as_bytes()
    work = adapt_work(chosen, as_support(rows, chosen.schema.card), settings, request)
    cached = latest is not None and _is_same(latest, chosen, settings, rows, stored, request)
    return Prepared(task_id, chosen, settings, rows, stored, work, validation, latest, cached)


def _latest(context: Context, tenant: str, request: AdaptRequest, task_id: str) -> Revision | None:
    latest = None
    if request.task_id is not None:
        try:
            latest = context.store.revision(tenant, task_id, now=now())
        except TaskNotFound:
            latest = None
    number = latest.revision if latest else 0
    if request.if_revision is not None and request.if_revision != number:
        at = f"at revision {number}" if number else "not there"
        raise RevisionConflict(f"if_revision is {request.if_revision}; the task {task_id!r} is {at}")
    return latest


def _rows_of(context: Context, latest: Revision) -> LabelledRows:
    data = context.store.revision_support(latest.tenant, latest.task_id, latest.revision, now=now())
    return stored_rows(data, latest.classes)


def _is_same(
    latest: Revision,
    chosen: ChosenModel,
    settings: ChosenSettings,
    rows: LabelledRows,
    support: bytes,
    request: AdaptRequest,
) -> bool:
    """Tell whether adapting would give the latest revision again; one whose steps were cut short fits "best" alone."""
    whole = latest.answer["kept_step"] == latest.answer["steps"]
    return (
        (latest.model, latest.model_version) == (chosen.name, chosen.version)
        and latest.settings == settings.as_json()
        and latest.support_sha256 == sha256(support)
        and latest.classes == rows.classes
        and (whole or request.on_divergence == "best")
    )
