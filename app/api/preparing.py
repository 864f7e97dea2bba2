"""`POST /adapt` up to the device: requests held against the store, the models' cards and the limits. Blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.api.choices import (
    ActiveVersions,
    ChosenModel,
    ChosenSettings,
    adapt_work,
    chosen_model,
    chosen_settings,
    holds_strings,
)
from app.api.codec import LabelledRows, as_support, stored_rows, support_rows, validation_query
from app.api.context import Context, now
from app.api.model_names import Wanted, public_name, wanted
from app.api.new_ids import new_task_id
from app.api.outcome import Caller
from app.api.stages import TooSlow, attempted
from app.api.storage_limits import Room, documents_ahead
from app.engine.executor import AdaptWork
from app.episode import Query
from app.store import Authority, Revision
from app.trees import sha256
from innerloop.errors import ModelMismatch, RevisionConflict, SupportNeeded, SupportNotStored, TaskNotFound
from innerloop.wire import AdaptRequest

ReadAdapt = Callable[[], AdaptRequest]
"""Parses a body."""


class AdaptCall(NamedTuple):
    """One call of /adapt."""

    context: Context
    caller: Caller
    read: ReadAdapt


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request held against the store: what to compute, if anything."""

    request: AdaptRequest
    task_id: str
    chosen: ChosenModel
    settings: ChosenSettings
    rows: LabelledRows
    support: bytes
    work: AdaptWork
    validation: Query | None
    latest: Revision | None
    authority: Authority
    """What is stored: weights and rows, or the rows alone."""
    cached: bool
    """The latest revision is what adapting would give."""
    replaces_all: bool = False
    """The new revision takes the place of all that the task has."""
    room: Room | None = None
    """In the store, for as long as this is held; None where nobody's is limited."""


def prepare_many(calls: Sequence[AdaptCall], quick: bool) -> list[Prepared | Exception]:
    """Return what to compute for each call, or its error: the store is read once for all of them.

    Errors are TaskNotFound, RevisionConflict, ModelMismatch, and what reading, choosing and decoding raise; with
    `quick` TooSlow for pictures and sentences.
    """
    context = calls[0].context
    requests = [attempted(call.read) for call in calls]
    named = [
        i for i, request in enumerate(requests) if isinstance(request, AdaptRequest) and request.task_id is not None
    ]
    latest: dict[int, Revision | Exception | None] = {}
    if named:
        keys = [(calls[i].caller.tenant, _task_id(requests[i]), None) for i in named]
        latest = dict(zip(named, context.store.latest_revisions(keys, now=now()), strict=True))
    active = ActiveVersions(context)
    for i, request in enumerate(requests):
        if isinstance(request, AdaptRequest):
            active.will_be_asked(_wanted(calls[i], request, _known(latest.get(i))))
    return [
        request if isinstance(request, Exception) else attempted(_prepared, call, request, latest.get(i), active, quick)
        for i, (call, request) in enumerate(zip(calls, requests, strict=True))
    ]


def _task_id(request: AdaptRequest | Exception) -> str:
    assert isinstance(request, AdaptRequest)
    assert request.task_id is not None
    return request.task_id


def _known(latest: Revision | Exception | None) -> Revision | None:
    return latest if isinstance(latest, Revision) else None


def _wanted(call: AdaptCall, request: AdaptRequest, latest: Revision | None) -> Wanted:
    """Return which model a request wants: that of the task where it names none, or appends to its rows."""
    named = wanted(call.caller.tenant, request.model or call.context.settings.default_model)
    if latest and (request.model is None or (request.append and latest.model in named.names)):
        return Wanted((latest.model,), named.version if request.model else None)
    return named


def _prepared(
    call: AdaptCall, request: AdaptRequest, found: Revision | Exception | None, active: ActiveVersions, quick: bool
) -> Prepared:
    context, caller, _ = call
    task_id = request.task_id or new_task_id()
    latest = _latest(request, task_id, found)
    asked = _wanted(call, request, latest)
    if request.append and latest and latest.model not in asked.names:
        raise ModelMismatch(f"the task {task_id!r} belongs to {public_name(latest.model)!r}, not to {request.model!r}")
    if request.append and latest and not latest.support_stored:
        raise SupportNotStored(
            f"the rows of {task_id!r} are not stored, so none can be appended to them; send all of them without append"
        )
    chosen = chosen_model(context, asked, caller.deadline, active)
    authority = active.of(chosen.name).authority
    if authority == "rows" and not request.store_support:
        raise SupportNeeded(
            f"of {public_name(chosen.name)!r} the rows alone are stored, so store_support cannot be false"
        )
    if quick and _takes_long(request, chosen):
        raise TooSlow
    settings = chosen_settings(request, chosen)
    before = _rows_of(context, latest) if request.append and latest else None
    rows = support_rows(request.support, chosen.schema, before)
    validation = None
    if request.validation is not None:
        validation = validation_query(request.validation, chosen.schema, rows.classes)
    stored = rows.as_bytes()
    work = adapt_work(chosen, as_support(rows, chosen.schema.card), settings, request)
    cached = latest is not None and request.store_support and _is_same(latest, chosen, settings, rows, stored, request)
    room, is_remembered = None, caller.idempotency_key is not None
    if is_remembered or not cached:
        size = documents_ahead(rows.classes, settings.steps + 1, revision=not cached, answer=is_remembered)
        size += len(stored) if request.store_support and not cached else 0
        room = context.take_room(caller.tenant, num_tasks=latest is None, num_bytes=size)
    return Prepared(
        request, task_id, chosen, settings, rows, stored, work, validation, latest, authority, cached, room=room
    )


def _takes_long(request: AdaptRequest, chosen: ChosenModel) -> bool:
    if chosen.schema.card.input.kind == "vector":
        return False
    return holds_strings(request.support.inputs) or (
        request.validation is not None and holds_strings(request.validation.inputs)
    )


def _latest(request: AdaptRequest, task_id: str, found: Revision | Exception | None) -> Revision | None:
    """Return the task's latest revision, held against what the request expects."""
    if isinstance(found, Exception) and not isinstance(found, TaskNotFound):
        raise found
    latest = _known(found)
    number = latest.revision if latest else 0
    if request.if_revision is not None and request.if_revision != number:
        at = f"at revision {number}" if number else "not there"
        raise RevisionConflict(f"if_revision is {request.if_revision}; the task {task_id!r} is {at}")
    if request.append and latest is None:
        raise TaskNotFound(f"there is no task {task_id!r} to append to; adapt without append to make it")
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
