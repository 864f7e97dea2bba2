"""The calls of both clients: what is called, what is sent, what comes back and what it is read as."""

from collections.abc import Callable
from typing import Any

import numpy as np

from innerloop import wire
from tests.innerloop.answers import DATASET, JOB, REQUEST, page

TIMING = {"queue": 0.4, "compute": 2.1, "total": 3.0}
ADAPTED = {
    "task_id": "a",
    "revision": 1,
    "model": "sinusoid",
    "model_version": 1,
    "steps": 1,
    "kept_step": 1,
    "support_size": 2,
    "classes": None,
    "support_loss": [1.92, 0.61],
    "validation": {"before": {"loss": 2.1}, "after": {"loss": 0.2}},
    "cached": False,
    "expires_at": "2026-11-21T10:00:00Z",
    "timing_ms": TIMING,
}
WORTH = {
    **ADAPTED,
    "estimate": {"method": "leave_one_out", "folds": 2, "rows": 2, "error": 0.4, "loss": 0.3},
    "familiarity": {"before": 0.42, "after": None},
}
PREDICTED = {
    "task_id": "a",
    "revision": 1,
    "model": "sinusoid",
    "model_version": 1,
    "outputs": [[0.12], [0.95]],
    "timing_ms": TIMING,
}
LABELLED = {field: PREDICTED[field] for field in ("task_id", "revision", "model", "model_version", "timing_ms")}
ABSTAINED = {**LABELLED, "labels": [None, "b"], "probabilities": [[0.6, 0.4], [0.1, 0.9]], "classes": ["a", "b"]}
MODEL = {"name": "sinusoid", "active_version": 1, "authority": "weights", "versions": []}
TASK = {
    "task_id": "a",
    "model": "sinusoid",
    "model_version": 1,
    "revision": 2,
    "revisions": 2,
    "support_size": 2,
    "classes": None,
    "bytes": 100,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:00Z",
    "expires_at": None,
}
AUDITED = {
    "at": "2026-11-21T10:00:00Z",
    "action": "adapt",
    "task_id": "a",
    "revision": 1,
    "key_id": None,
    "request_id": "r-1",
}
STORED = {"task_id": "a", "revision": 1, "model": "m", "model_version": 1, "classes": ["x", "y"]}
STORED_SUPPORT = {**STORED, "support": {"inputs": [[1.0], [2.0]], "targets": ["x", "y"]}}
REVISION = {**TASK, "steps": 1, "kept_step": 1}
PROBLEM = {"code": "diverged", "title": "t", "status": 422, "remedy": "r"}
LIMITS = wire.Limits().model_dump()
X, Y = [[-1.2], [0.4]], [0.31, -0.8]
SUPPORT = {"inputs": X, "targets": Y}


CALLS: dict[str, tuple[Callable[[Any], Any], str, Any, Any, Any]] = {
    "adapt": (
        lambda client: client.adapt(X, Y, task_id="a", model="sinusoid", steps=1, append=True),
        "POST /adapt",
        {"support": SUPPORT, "task_id": "a", "model": "sinusoid", "steps": 1, "append": True},
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "adapt with arrays": (
        lambda client: client.adapt(np.array([[1], [2]], dtype=np.float32), np.array(["cat", "dog"])),
        "POST /adapt",
        {"support": {"inputs": [[1.0], [2.0]], "targets": ["cat", "dog"]}},
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "adapt for ever, with validation": (
        lambda client: client.adapt(X, Y, ttl_seconds=None, steps=None, validation=(X, Y)),
        "POST /adapt",
        {"support": SUPPORT, "ttl_seconds": None, "validation": SUPPORT},
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "adapt without an estimate": (
        lambda client: client.adapt(X, Y, estimate=False),
        "POST /adapt",
        {"support": SUPPORT, "estimate": False},
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "adapt with an estimate and familiarity": (
        lambda client: client.adapt(X, Y),
        "POST /adapt",
        {"support": SUPPORT},
        WORTH,
        wire.AdaptAnswer.model_validate(WORTH),
    ),
    "predict and abstain": (
        lambda client: client.predict(X, task_id="a", abstain_below=0.5),
        "POST /predict",
        {"task_id": "a", "abstain_below": 0.5, "inputs": X},
        ABSTAINED,
        wire.PredictAnswer.model_validate(ABSTAINED),
    ),
    "predict with a task": (
        lambda client: client.predict(X, task_id="a", revision=1),
        "POST /predict",
        {"task_id": "a", "revision": 1, "inputs": X},
        PREDICTED,
        wire.PredictAnswer.model_validate(PREDICTED),
    ),
    "predict from a support": (
        lambda client: client.predict(X, support=(X, Y), model="sinusoid", learning_rate=0.1),
        "POST /predict",
        {"support": SUPPORT, "model": "sinusoid", "learning_rate": 0.1, "inputs": X},
        PREDICTED,
        wire.PredictAnswer.model_validate(PREDICTED),
    ),
    "models": (
        lambda client: client.models(),
        "GET /models",
        None,
        page(MODEL),
        [wire.ModelInfo.model_validate(MODEL)],
    ),
    "model": (
        lambda client: client.model("sinusoid"),
        "GET /models/sinusoid",
        None,
        MODEL,
        wire.ModelInfo.model_validate(MODEL),
    ),
    "set_authority": (
        lambda client: client.set_authority("sinusoid", "rows"),
        "POST /models/sinusoid/authority",
        {"authority": "rows"},
        {**MODEL, "authority": "rows"},
        wire.ModelInfo.model_validate({**MODEL, "authority": "rows"}),
    ),
    "adapt_batch": (
        lambda client: client.adapt_batch([{"inputs": X, "targets": Y, "task_id": "a", "steps": 1}]),
        "POST /adapt/batch",
        [{"support": SUPPORT, "task_id": "a", "steps": 1}],
        [ADAPTED],
        [wire.AdaptAnswer.model_validate(ADAPTED)],
    ),
    "predict_batch": (
        lambda client: client.predict_batch([{"inputs": X, "task_id": "a"}, {"inputs": X, "support": (X, Y)}]),
        "POST /predict/batch",
        [{"inputs": X, "task_id": "a"}, {"inputs": X, "support": SUPPORT}],
        [PREDICTED, PREDICTED],
        [wire.PredictAnswer.model_validate(PREDICTED)] * 2,
    ),
    "promote": (
        lambda client: client.promote("sinusoid", 1),
        "POST /models/sinusoid/promote",
        {"version": 1},
        MODEL,
        wire.ModelInfo.model_validate(MODEL),
    ),
    "tasks of a model": (
        lambda client: client.tasks(model="sinusoid"),
        "GET /tasks?model=sinusoid",
        None,
        page(TASK),
        [wire.TaskInfo.model_validate(TASK)],
    ),
    "task": (
        lambda client: client.task("a"),
        "GET /tasks/a",
        None,
        TASK,
        wire.TaskInfo.model_validate(TASK),
    ),
    "revisions": (
        lambda client: client.revisions("a"),
        "GET /tasks/a/revisions",
        None,
        page(REVISION),
        [wire.RevisionInfo.model_validate(REVISION)],
    ),
    "support": (
        lambda client: client.support("a"),
        "GET /tasks/a/support",
        None,
        STORED_SUPPORT,
        wire.SupportAnswer.model_validate(STORED_SUPPORT),
    ),
    "support of a revision": (
        lambda client: client.support("a", 1),
        "GET /tasks/a/support?revision=1",
        None,
        STORED_SUPPORT,
        wire.SupportAnswer.model_validate(STORED_SUPPORT),
    ),
    "remove_row": (
        lambda client: client.remove_row("a", 3),
        "DELETE /tasks/a/support/3",
        None,
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "remove_row of a revision": (
        lambda client: client.remove_row("a", 0, if_revision=2),
        "DELETE /tasks/a/support/0?if_revision=2",
        None,
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "adapt without keeping the rows": (
        lambda client: client.adapt(X, Y, store_support=False),
        "POST /adapt",
        {"support": SUPPORT, "store_support": False},
        ADAPTED,
        wire.AdaptAnswer.model_validate(ADAPTED),
    ),
    "audit": (
        lambda client: client.audit(),
        "GET /audit",
        None,
        page(AUDITED),
        [wire.AuditInfo.model_validate(AUDITED)],
    ),
    "audit of a task": (
        lambda client: client.audit("a"),
        "GET /audit?task_id=a",
        None,
        page(AUDITED),
        [wire.AuditInfo.model_validate(AUDITED)],
    ),
    "delete_task": (lambda client: client.delete_task("a"), "DELETE /tasks/a", None, None, None),
    "delete_model_version": (
        lambda client: client.delete_model_version("sinusoid", 2),
        "DELETE /models/sinusoid/versions/2",
        None,
        None,
        None,
    ),
    "meta_train": (
        lambda client: client.meta_train(**REQUEST),
        "POST /meta-train",
        REQUEST,
        JOB,
        wire.JobInfo.model_validate(JOB),
    ),
    "meta_train with a request object": (
        lambda client: client.meta_train(wire.MetaTrainRequest.model_validate(REQUEST)),
        "POST /meta-train",
        REQUEST,
        JOB,
        wire.JobInfo.model_validate(JOB),
    ),
    "meta_train with a mapping and other fields": (
        lambda client: client.meta_train(REQUEST, iterations=7, clip_norm=None),
        "POST /meta-train",
        {**REQUEST, "iterations": 7, "clip_norm": None},
        JOB,
        wire.JobInfo.model_validate(JOB),
    ),
    "jobs": (
        lambda client: client.jobs(),
        "GET /meta-train",
        None,
        page(JOB),
        [wire.JobInfo.model_validate(JOB)],
    ),
    "job": (lambda client: client.job("j-1"), "GET /meta-train/j-1", None, JOB, wire.JobInfo.model_validate(JOB)),
    "cancel_job": (
        lambda client: client.cancel_job("j-1"),
        "POST /meta-train/j-1/cancel",
        None,
        JOB,
        wire.JobInfo.model_validate(JOB),
    ),
    "resume_job": (
        lambda client: client.resume_job("j-1"),
        "POST /meta-train/j-1/resume",
        None,
        JOB,
        wire.JobInfo.model_validate(JOB),
    ),
    "datasets": (
        lambda client: client.datasets(),
        "GET /datasets",
        None,
        page(DATASET),
        [wire.DatasetInfo.model_validate(DATASET)],
    ),
    "dataset": (
        lambda client: client.dataset("assays"),
        "GET /datasets/assays",
        None,
        DATASET,
        wire.DatasetInfo.model_validate(DATASET),
    ),
    "delete_dataset": (
        lambda client: client.delete_dataset("assays"),
        "DELETE /datasets/assays",
        None,
        None,
        None,
    ),
    "limits": (lambda client: client.limits(), "GET /limits", None, LIMITS, wire.Limits()),
    "health": (lambda client: client.health(), "GET /healthz", None, {"status": "ok"}, wire.Health()),
    "ready": (
        lambda client: client.ready(),
        "GET /readyz",
        None,
        {"ready": True, "reasons": []},
        wire.Readiness(ready=True, reasons=[]),
    ),
    "problem": (
        lambda client: client.problem("diverged"),
        "GET /problems/diverged",
        None,
        PROBLEM,
        wire.ProblemInfo.model_validate(PROBLEM),
    ),
}
