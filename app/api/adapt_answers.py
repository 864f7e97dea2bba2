"""What `POST /adapt` answers: a revision, and how much it is worth."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.api.outcome import Caller
from app.api.preparing import Prepared
from app.engine.estimate import Estimate
from app.engine.executor import Judged
from app.engine.familiarity import familiarity
from app.store import Revision
from innerloop import wire
from innerloop.wire import AdaptAnswer, Familiarity, Score, TimingMs, Validation


class Worth(NamedTuple):
    """What of an answer tells how much the task is worth."""

    validation: Validation | None
    estimate: wire.Estimate | None
    familiarity: Familiarity | None


def worth_of(
    prepared: Prepared, support_loss: Sequence[float | None], judged: Judged | None, estimated: Estimate | None
) -> Worth:
    """Return what is told of a support's losses, validation rows that were judged, and an estimate."""
    classes, card = prepared.rows.classes, prepared.chosen.schema.card
    found = familiarity(card, support_loss, len(classes) if classes else None, len(prepared.rows.inputs))
    return Worth(
        validation=_validation(judged),
        estimate=wire.Estimate(**estimated._asdict()) if estimated else None,
        familiarity=Familiarity(**found) if found else None,
    )


def answer_json(
    revision: Revision, worth: Worth, caller: Caller, *, cached: bool, queue_ms: float, compute_ms: float
) -> dict[str, Any]:
    """Return the AdaptAnswer that tells of a revision, as JSON."""
    total_ms = (time.monotonic() - caller.started) * 1e3
    answer = AdaptAnswer(
        task_id=revision.task_id,
        revision=revision.revision,
        model=revision.model,
        model_version=revision.model_version,
        support_size=revision.support_size,
        classes=revision.classes,
        validation=worth.validation,
        estimate=worth.estimate,
        familiarity=worth.familiarity,
        cached=cached,
        expires_at=revision.expires_at,
        timing_ms=TimingMs(queue=_rounded(queue_ms), compute=_rounded(compute_ms), total=_rounded(total_ms)),
        steps=revision.answer["steps"],
        kept_step=revision.answer["kept_step"],
        support_loss=revision.answer["support_loss"],
    )
    return answer.model_dump(mode="json")


def _validation(judged: Judged | None) -> Validation | None:
    if judged is None:
        return None
    return Validation(before=_score(judged.before) if judged.before else None, after=_score(judged.after))


def _score(metrics: dict[str, float]) -> Score:
    loss = metrics["loss"]
    return Score(loss=loss if math.isfinite(loss) else None, accuracy=metrics.get("accuracy"))


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 3)
