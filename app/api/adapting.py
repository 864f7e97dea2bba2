"""`POST /adapt`, from a body to a stored revision."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from app.api.adapt_answers import answer_json, worth_of
from app.api.context import Context, now
from app.api.model_names import public_name
from app.api.outcome import Caller, Outcome
from app.api.preparing import AdaptCall, Prepared, ReadAdapt, prepare_many
from app.api.task_params import params_again
from app.api.threads import in_thread
from app.api.turns import Turn
from app.engine.batcher import follow
from app.engine.engine import AdaptedTask, TaskKey
from app.engine.estimate import Estimate
from app.engine.packed import Packed
from app.engine.ticket import Onward, Timed
from app.store import KEEP, Addition, AuditAction, IdempotentAnswer, Keep, NewAnswer, NewRevision, Revision
from innerloop.errors import InnerloopError, RevisionConflict, RevisionNotFound, TaskNotFound, VersionNotFound
from innerloop.wire import AdaptRequest, SupportRows

AnswerOf = Callable[[Revision], dict[str, Any]]

MAX_TRIES = 10
"""Another replica may add a revision to the same task between our reading and our writing; then we start over."""
ESTIMATE = "estimate"
"""Where a revision keeps what cross-validation found; not there where nobody asked."""


async def adapt_task(context: Context, caller: Caller, read: ReadAdapt, *, is_large: bool) -> Outcome:
    """Adapt, store and answer; calls for one task run one after the other. `read` parses the body."""
    with context.load.work(caller.tenant, ("adapt", is_large)), context.turns.caller() as turn:
        once = _Once(read, keeps_rows=not is_large)
        call, num_tries = AdaptCall(context, caller, once), 0
        while True:
            journey = _Journey(context, caller, turn, keeps_rows=not is_large)
            try:
                await context.reading.run(prepare_many, call, journey.read, caller.deadline, is_large=is_large)
                prepared = journey.prepared
                if journey.outcome is not None:
                    return journey.outcome
                if not journey.has_turn:  # an earlier call for this task runs; it leaves another task behind
                    await turn.wait(journey.key, caller.deadline)
                    continue
                return await _answer_again(context, caller, prepared)
            except (RevisionConflict, RevisionNotFound, TaskNotFound) as error:  # changed, pruned or deleted meanwhile
                if not turn.has_key:  # an earlier call for this task may run, and what it leaves is what counts
                    task_id = once.task_id  # parsed before; awaiting here would lose the order of asking
                    if task_id is None:
                        raise
                    await turn.wait((caller.tenant, task_id), caller.deadline)
                    continue
                num_tries += 1
                if num_tries == MAX_TRIES or journey.is_final(error):
                    raise


class _Once:
    """Parses a body at the first call, and returns the same request again; a large one is parsed again instead."""

    __slots__ = ("_keeps_rows", "_read", "_request", "task_id")

    def __init__(self, read: ReadAdapt, *, keeps_rows: bool) -> None:
        self._read, self._keeps_rows = read, keeps_rows
        self._request: AdaptRequest | None = None
        self.task_id: str | None = None

    def __call__(self) -> AdaptRequest:
        if self._request is not None:
            return self._request
        request = self._read()
        self.task_id = request.task_id
        if self._keeps_rows:
            self._request = request
        return request


def _without_rows(prepared: Prepared) -> Prepared:
    """Return what was prepared without the rows as they came, which as lists take ten times what they hold."""
    no_rows = SupportRows.model_construct(inputs=[], targets=[])
    request = prepared.request.model_copy(update={"support": no_rows, "validation": None})
    return replace(prepared, request=request)


async def adapt_prepared(context: Context, caller: Caller, turn: Turn, prepared: Prepared) -> Outcome:
    """Adapt what was prepared by a caller who has the task's turn, store it and answer; RevisionConflict."""
    journey = _Journey(context, caller, turn)
    way = journey.read(Timed(prepared, 0.0, 0.0))
    assert way is not None
    await follow(way)
    assert journey.outcome is not None
    return journey.outcome


class _Journey:
    """One try of a request, from the stage where it is read to that where it is stored, in their threads."""

    def __init__(self, context: Context, caller: Caller, turn: Turn, *, keeps_rows: bool = True) -> None:
        self._context, self._caller, self._turn = context, caller, turn
        self._keeps_rows = keeps_rows
        self._prepared: Prepared | None = None
        self.has_turn = False
        self.outcome: Outcome | None = None

    @property
    def prepared(self) -> Prepared:
        """The request held against the store."""
        assert self._prepared is not None
        return self._prepared

    @property
    def key(self) -> tuple[str, str]:
        """What calls for the same task have in common."""
        return self._caller.tenant, self.prepared.task_id

    def is_final(self, error: InnerloopError) -> bool:
        """Tell whether trying again would be of no use, or not what was asked for."""
        if self._prepared is None:
            return True
        request = self._prepared.request
        return request.if_revision is not None or (request.append and isinstance(error, TaskNotFound))

    def read(self, timed: Timed[Prepared]) -> Onward | None:
        """Send the request to the device, unless there is nothing to compute or it is another call's turn."""
        self._prepared = prepared = timed.result if self._keeps_rows else _without_rows(timed.result)
        # Nobody else knows an id that was made here.
        self.has_turn = prepared.request.task_id is None or self._turn.take(self.key)
        if prepared.cached or not self.has_turn:
            return None
        return self._context.engine.adapting(
            prepared.work,
            prepared.validation,
            self._caller.deadline,
            self._computed,
            wants_estimate=prepared.request.estimate,
        )

    def _computed(self, done: Timed[AdaptedTask]) -> Onward:
        """Send what was adapted to be stored."""
        context, caller, prepared = self._context, self._caller, self.prepared
        adapted, judged, estimated = done.result
        worth = worth_of(prepared, adapted.support_loss, judged, estimated)
        made: dict[int, dict[str, Any]] = {}

        def answer_of(revision: Revision) -> dict[str, Any]:
            """Return the answer, the very same one to the store (for the idempotency key) and to the caller."""
            known = made.get(revision.revision)
            if known is None:
                known = made[revision.revision] = answer_json(
                    revision, worth, caller, cached=False, queue_ms=done.queue_ms, compute_ms=done.compute_ms
                )
            return known

        def stored(timed: Timed[Revision]) -> None:
            revision = timed.result
            context.engine.keep_task_params(TaskKey(*self.key, revision.revision), adapted.params)
            self.outcome = Outcome(201, answer_of(revision))

        new = _New(context, _addition(caller, prepared, done.result, answer_of))
        return context.writing.onward(_store_many, new, stored)


class _New(NamedTuple):
    context: Context
    addition: Callable[[], Addition]
    """Made in the stage: it copies weights off the device."""


def _store_many(news: Sequence[_New], quick: bool) -> Sequence[Revision | Exception]:
    """Store revisions together: their writes are one transaction, durable when this returns."""
    context = news[0].context
    additions = [new.addition() for new in news]
    results = context.store.add_revisions(additions, keep_revisions=context.limits.max_revisions, now=now())
    return [_told(addition.new.model, result) for addition, result in zip(additions, results, strict=True)]


def _told(stored: str, result: Revision | Exception) -> Revision | Exception:
    """Return a result of the store that names a model as its caller does."""
    if not isinstance(result, VersionNotFound):
        return result
    return VersionNotFound(result.detail.replace(stored, public_name(stored)))


def _addition(caller: Caller, prepared: Prepared, done: AdaptedTask, answer_of: AnswerOf) -> Callable[[], Addition]:
    def made() -> Addition:
        new = _new_revision(caller, prepared, done)
        if prepared.room:
            prepared.room.note(len(new.weights or b""))
        return Addition(
            new,
            prepared.latest.revision if prepared.latest else 0,
            _ttl(prepared.request),
            _new_answer(caller, answer_of),
            prepared.replaces_all,
            caller.asker.note(_action(prepared)) if caller.asker else None,
        )

    return made


def _action(prepared: Prepared) -> AuditAction:
    if prepared.replaces_all:
        return "remove-row"
    return "append" if prepared.request.append else "adapt"


def _new_revision(caller: Caller, prepared: Prepared, done: AdaptedTask) -> NewRevision:
    adapted, _, estimated = done
    chosen = prepared.chosen
    steps = prepared.settings.steps if chosen.model.learner.traits.takes_steps else None
    answer: dict[str, Any] = {"steps": steps, "kept_step": adapted.kept_step, "support_loss": adapted.support_loss}
    if prepared.request.estimate:
        answer[ESTIMATE] = estimated._asdict() if estimated else None
    return NewRevision(
        tenant=caller.tenant,
        task_id=prepared.task_id,
        model=chosen.name,
        model_version=chosen.version,
        settings=prepared.settings.as_json(),
        support=prepared.support if prepared.request.store_support else None,
        support_size=len(prepared.rows.inputs),
        classes=prepared.rows.classes,
        answer=answer,
        weights=adapted.params.as_bytes() if prepared.authority == "weights" else None,
        authority=prepared.authority,
    )


async def _answer_again(context: Context, caller: Caller, prepared: Prepared) -> Outcome:
    latest, request = prepared.latest, prepared.request
    assert latest is not None
    judged, estimated, queue_ms, compute_ms = None, None, 0.0, 0.0
    if prepared.validation is not None:
        params = await in_thread(_params_of, context, latest)
        judged, queue_ms, compute_ms = await context.engine.judge(
            prepared.work, params, prepared.validation, caller.deadline
        )
    if request.estimate:
        estimated, more_queue_ms, more_compute_ms = await _estimate_again(context, caller, prepared, latest)
        queue_ms, compute_ms = queue_ms + more_queue_ms, compute_ms + more_compute_ms
    worth = worth_of(prepared, latest.answer["support_loss"], judged, estimated)

    def answer_of(revision: Revision) -> dict[str, Any]:
        return answer_json(revision, worth, caller, cached=True, queue_ms=queue_ms, compute_ms=compute_ms)

    return Outcome(200, await in_thread(_keep, context, caller, request, latest, answer_of))


async def _estimate_again(
    context: Context, caller: Caller, prepared: Prepared, latest: Revision
) -> Timed[Estimate | None]:
    """Return the estimate that is stored with a revision, made now where nobody asked for it then."""
    if ESTIMATE in latest.answer:
        stored = latest.answer[ESTIMATE]
        return Timed(Estimate(**stored) if stored else None, 0.0, 0.0)
    kept_step = latest.answer["kept_step"]
    work = prepared.work if kept_step is None else prepared.work._replace(steps=kept_step)
    params = await in_thread(_params_of, context, latest)
    return await context.engine.estimate(work, params, caller.deadline)


def _keep(
    context: Context, caller: Caller, request: AdaptRequest, latest: Revision, answer_of: AnswerOf
) -> dict[str, Any]:
    """Set the task's new time to live, where one is named, and remember the answer, where a key is."""
    ttl, moment = _ttl(request), now()
    if ttl is not KEEP:
        expires_at = None if ttl is None else moment + timedelta(seconds=ttl)
        note = caller.asker.note("set-ttl") if caller.asker else None
        context.store.set_expiry(caller.tenant, latest.task_id, expires_at, now=moment, note=note)
    answer: dict[str, Any] = answer_of(
        context.store.revision(caller.tenant, latest.task_id, latest.revision, now=moment)
    )
    if caller.idempotency_key is not None:
        remembered = IdempotentAnswer(
            tenant=caller.tenant,
            route=caller.route,
            key=caller.idempotency_key,
            body_sha256=caller.body_sha256,
            status=200,
            answer=answer,
            task_id=latest.task_id,
            created_at=moment,
        )
        context.store.add_idempotent_answer(remembered, latest=latest.revision)
    return answer


def _params_of(context: Context, revision: Revision) -> Packed:
    return params_again(context, TaskKey(revision.tenant, revision.task_id, revision.revision))


def _new_answer(caller: Caller, answer_of: AnswerOf) -> NewAnswer[Revision] | None:
    if caller.idempotency_key is None:
        return None
    return NewAnswer(caller.route, caller.idempotency_key, caller.body_sha256, 201, answer_of)


def _ttl(request: AdaptRequest) -> float | Keep | None:
    return request.ttl_seconds if "ttl_seconds" in request.model_fields_set else KEEP
