"""What `POST /adapt` answers: a revision, and how much it is worth."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.api.model_names import public_name
from app.api.outcome import Caller
from app.api.preparing import Prepared
from app.engine.estimate import Estimate
from app.engine.executor import Judged
from app.engine.familiarity import familiarity
from app.store import Revision
from innerloop.wire.parts import utc_text

Json = dict[str, Any]


class Worth(NamedTuple):
    """What of an answer tells how much the task is worth, as JSON."""

    validation: Json | None
    estimate: Json | None
    familiarity: Json | None


def worth_of(
    prepared: Prepared, support_loss: Sequence[float | None], judged: Judged | None, estimated: Estimate | None
) -> Worth:
    """Return what is told of a support's losses, validation rows that were judged, and an estimate."""
    classes, card = prepared.rows.classes, prepared.chosen.schema.card
    return Worth(
        validation=_validation(judged) if judged else None,
        estimate=_estimate(estimated) if estimated else None,
        familiarity=familiarity(card, support_loss, len(classes) if classes else None, len(prepared.rows.inputs)),
    )


def answer_json(
    revision: Revision, worth: Worth, caller: Caller, *, cached: bool, queue_ms: float, compute_ms: float
) -> Json:
    """Return the AdaptAnswer that tells of a revision, as JSON; written by hand, since every caller waits for it."""
    return {
        "task_id": revision.task_id,
        "revision": revision.revision,
        "model": public_name(revision.model),
        "model_version": revision.model_version,
        "steps": revision.answer["steps"],
        "kept_step": revision.answer["kept_step"],
        "support_size": revision.support_size,
        "classes": revision.classes,
        "support_loss": revision.answer["support_loss"],
        "validation": worth.validation,
        "estimate": worth.estimate,
        "familiarity": worth.familiarity,
        "support_stored": revision.support_stored,
        "cached": cached,
        "expires_at": utc_text(revision.expires_at) if revision.expires_at else None,
        "timing_ms": {
            "queue": round(queue_ms, 3),
            "compute": round(compute_ms, 3),
            "total": round((time.monotonic() - caller.started) * 1e3, 3),
        },
    }


def _validation(judged: Judged) -> Json:
    return {"before": _score(judged.before) if judged.before else None, "after": _score(judged.after)}


def _score(metrics: dict[str, float]) -> Json:
    loss = metrics["loss"] if math.isfinite(metrics["loss"]) else None
    return {"loss": loss} | ({"accuracy": metrics["accuracy"]} if "accuracy" in metrics else {})


def _estimate(found: Estimate) -> Json:
    """Return an estimate without what its kind of output has not."""
    return {name: value for name, value in found._asdict().items() if value is not None}
