"""The checker: what clients were told, held against what the store and the service have after a fault."""

from collections.abc import Iterator

import httpx

from innerloop.wire import Page, RevisionInfo
from tests.api.asking import close
from tests.soak.checker_database import Stored, StoredRevision
from tests.soak.load import QUERY
from tests.soak.recorder import Record, ToldRevision, ToldTask

REPLAYS = 5
"""Answers under a key that are asked for again in a check."""
WITHIN = 1e-5
"""Of what was predicted before: the weights are the very same, and rounding depends on the batch's shape."""
WITHIN_ADAPTED_AGAIN = 2e-2
"""Of what its rows give anew: every step of adapting carries the rounding of the one before on."""


def check_stored(record: Record, stored: Stored, *, keep: int) -> list[str]:
    """Return what contradicts the record; what was open and is settled by the store is noted in the record.

    `keep` is MAX_REVISIONS of the service. No client may be asking.
    """
    findings = [f"damage: {text}" for text in stored.damage]
    for task in record.tasks.values():
        findings += _of_task(task, stored, keep)
        settle(record, task, stored)
    for task_id in stored.revisions.keys() - record.tasks.keys():
        findings.append(f"{task_id} is stored and nobody asked for it")
    findings += _of_answers(record, stored)
    findings += _of_jobs(record, stored)
    findings += _of_models(record, stored)
    findings += _of_weights(record, stored)
    return findings


def _of_task(task: ToldTask, stored: Stored, keep: int) -> Iterator[str]:
    """Yield what is wrong with a task: its numbers, whether it is there, and each revision that was told."""
    found = stored.revisions.get(task.task_id, {})
    row = stored.tasks.get(task.task_id)
    last = row.last_ever if row else 0
    surplus = last - task.num_told - task.num_landed
    if surplus < 0:
        yield f"{task.task_id}: {task.num_told + task.num_landed} revisions were told or found before, {last} were made"
    if surplus > task.num_open + task.num_repeated:
        yield f"{task.task_id}: {last} revisions were made, {surplus} more than anybody was told or can have asked for"
    if not found and not task.may_be_gone:
        yield f"{task.task_id} was acknowledged and is gone"
    if found and not task.may_be_there:
        yield f"{task.task_id} was deleted and is there"
    if not found:
        if row and row.latest:
            yield f"{task.task_id} has no revisions, and its latest is {row.latest}"
        return
    yield from _of_numbers(task, found, row.latest if row else 0, last, keep)
    for told in task.revisions.values():
        if told.number in found:
            yield from _of_revision(task, told, found[told.number])
        elif told.number > last - keep:
            yield f"{task.task_id}@{told.number} was acknowledged and is lost"


def _of_numbers(task: ToldTask, found: dict[int, StoredRevision], latest: int, last: int, keep: int) -> Iterator[str]:
    if latest != max(found) or latest != last:
        yield f"{task.task_id}: the latest is {latest}, the newest stored {max(found)}, the last ever {last}"
    if sorted(found) != list(range(min(found), max(found) + 1)):
        yield f"{task.task_id}: a gap in {sorted(found)}"
    if len(found) > keep:
        yield f"{task.task_id}: {len(found)} revisions are kept, at most {keep} are to be"
    if min(found) <= task.deleted_through:
        yield f"{task.task_id}@{min(found)} was deleted and is there"


def _of_revision(task: ToldTask, told: ToldRevision, found: StoredRevision) -> Iterator[str]:
    name = f"{task.task_id}@{told.number}"
    if found.model != told.model or found.support_size != len(told.support["inputs"]):
        rows = len(told.support["inputs"])
        yield f"{name}: {found.support_size} rows for {found.model}; {rows} for {told.model} were told"
    if bool(found.support_bytes) != told.support_stored:
        yield f"{name}: {found.support_bytes} bytes of rows; to be stored: {told.support_stored}"


def settle(record: Record, task: ToldTask, stored: Stored) -> None:
    """Note what the store tells of calls that had no answer and will not be sent again."""
    if task.num_repeated:
        return
    found = stored.revisions.get(task.task_id, {})
    row = stored.tasks.get(task.task_id)
    last = row.last_ever if row else 0
    landed = last - task.num_told - task.num_landed
    record.counts["calls without an answer that were done"] += max(0, landed)
    task.num_landed += landed
    task.num_open = 0
    if not found:
        record.forget(task, through=last)
    else:
        task.may_be_there, task.may_be_gone = True, False
        task.is_latest_known = max(found) in task.revisions


def _of_answers(record: Record, stored: Stored) -> Iterator[str]:
    for key, told in record.answers.items():
        if stored.answers[key] != 1:
            yield f"{told.body['task_id']}: {stored.answers[key]} answers are stored under a key that was answered once"


def _of_jobs(record: Record, stored: Stored) -> Iterator[str]:
    names = [job.name for job in stored.jobs.values()]
    for name, job in record.jobs.items():
        if names.count(name) > 1 or (job.job_id is not None and job.job_id not in stored.jobs):
            yield f"job {name}: {names.count(name)} are stored; it was asked for under one key, answered {job.job_id}"
    for job_id, found in stored.jobs.items():
        if found.name not in record.jobs:
            yield f"job {job_id} of {found.name} is stored and nobody asked for it"
        if found.events != tuple(range(1, len(found.events) + 1)) or found.last_event != len(found.events):
            yield f"job {found.name}: events {found.events}, of which the last is {found.last_event}"
        if found.ends != (found.status in ("succeeded", "failed", "cancelled")):
            yield f"job {found.name} is {found.status} and has {found.ends} ends"
        if stored.versions[found.name] != (found.status == "succeeded"):
            yield f"job {found.name} is {found.status} and made {stored.versions[found.name]} versions"
        if found.status in ("failed", "cancelled"):
            yield f"job {found.name} is {found.status}, which nobody asked for"


def _of_models(record: Record, stored: Stored) -> Iterator[str]:
    for name, possible in record.active.items():
        if stored.active.get(name) not in possible:
            yield f"{name}: version {stored.active.get(name)} is active, not one of {sorted(possible)}"
        active = stored.active.get(name)
        if active is not None:
            record.active[name] = {active}


def _of_weights(record: Record, stored: Stored) -> Iterator[str]:
    for task_id, revisions in stored.revisions.items():
        for number, found in revisions.items():
            before = record.seen_weights.setdefault((task_id, number), found.weights_sha256)
            if before != found.weights_sha256:
                yield f"{task_id}@{number}: other weights than before"


def check_served(record: Record, http: httpx.Client, task_ids: set[str], *, keep: int) -> list[str]:
    """Return what the service answers otherwise than it was told: lists, predictions, and answers under a key."""
    findings: list[str] = []
    for task_id in sorted(task_ids):
        task = record.tasks[task_id]
        if task.num_repeated:
            continue
        findings += _served_task(task, http, keep)
    keys = [key for key, told in record.answers.items() if told.body["task_id"] in task_ids][-REPLAYS:]
    for key in keys:
        told = record.answers[key]
        answer = http.post("/adapt", json=told.body, headers={"Idempotency-Key": key})
        record.counts["answers under a key asked for again"] += 1
        if answer.status_code != 201 or answer.json() != told.answer:
            findings.append(f"{told.body['task_id']}: another answer under the same key: {answer.text[:200]}")
    return findings


def _served_task(task: ToldTask, http: httpx.Client, keep: int) -> Iterator[str]:
    listed = http.get(f"/tasks/{task.task_id}/revisions")
    if not task.may_be_there or listed.status_code != 200:
        if listed.status_code != 404 or task.may_be_there:
            yield f"{task.task_id}: its list is answered {listed.status_code}; is it there: {task.may_be_there}"
        return
    numbers = {revision.revision for revision in Page[RevisionInfo].model_validate_json(listed.content).data}
    kept = [task.revisions[number] for number in sorted(task.revisions) if number > max(numbers) - keep]
    for told in kept:
        if told.number not in numbers:
            yield f"{task.task_id}@{told.number} is not listed"
        expected, within = told.outputs, WITHIN
        if expected is None:
            expected, within = _from_rows(told, http), WITHIN_ADAPTED_AGAIN
        body = {"task_id": task.task_id, "revision": told.number, "inputs": QUERY}
        answer = http.post("/predict", json=body)
        found = answer.json().get("outputs")
        if answer.status_code != 200 or not close(found, expected, within=within):
            yield f"{task.task_id}@{told.number} predicts {answer.text[:200]}, not {expected}"
        else:
            told.outputs = found


def _from_rows(told: ToldRevision, http: httpx.Client) -> list[list[float]] | None:
    """Return what a revision has to predict, from its rows alone."""
    answer = http.post("/predict", json={"model": told.model, "support": told.support, "inputs": QUERY})
    outputs: list[list[float]] | None = answer.json().get("outputs")
    return outputs
