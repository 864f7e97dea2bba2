"""What clients were told: the one record that a checker holds against the store."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Rows = list[list[float]]


@dataclass
class ToldRevision:
    """A revision that a client knows of."""

    number: int
    model: str
    """`name@version`."""
    support: Json
    """All of its rows, those that were appended to included."""
    support_stored: bool
    outputs: Rows | None = None
    """What was predicted with it, where that was asked before the crash."""


@dataclass
class ToldTask:
    """A task as its clients know it; `may_be_*` say what is possible while an answer is missing."""

    task_id: str
    revisions: dict[int, ToldRevision] = field(default_factory=dict)
    """Those that were told since the task was deleted last."""
    num_told: int = 0
    """Revision numbers that were told, ever."""
    num_landed: int = 0
    """Numbers that nobody was told and a check found in the store."""
    num_open: int = 0
    """Calls without an answer since the last check: each may have made a revision, or not."""
    num_repeated: int = 0
    """Calls without an answer that will be sent again under the same key: each makes one revision in the end."""
    deleted_through: int = 0
    may_be_there: bool = False
    may_be_gone: bool = True
    is_latest_known: bool = True
    """Whether the latest revision is one that was told: what is appended to is known then."""

    @property
    def latest(self) -> ToldRevision | None:
        """The latest revision that was told."""
        return self.revisions[max(self.revisions)] if self.revisions else None


@dataclass(frozen=True)
class ToldAnswer:
    """An answer under an idempotency key."""

    body: Json
    answer: Json


@dataclass
class ToldJob:
    """A meta-training job that was asked for under a key; without an id while no answer came."""

    key: str
    body: Json
    job_id: str | None = None


@dataclass
class Record:
    """Everything that clients were told, and what they found wrong by themselves."""

    tasks: dict[str, ToldTask] = field(default_factory=dict)
    answers: dict[str, ToldAnswer] = field(default_factory=dict)
    """By idempotency key; those of a deleted task are gone with it."""
    jobs: dict[str, ToldJob] = field(default_factory=dict)
    """By the name of the model that each makes: every job has its own."""
    active: dict[str, set[int]] = field(default_factory=dict)
    """Of models that are promoted: the versions of which one has to be active."""
    touched: set[str] = field(default_factory=set)
    """Tasks that something happened to since the last check."""
    seen_weights: dict[tuple[str, int], str | None] = field(default_factory=dict)
    """The hash of each revision's weights, as a check first found it."""
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def task(self, task_id: str) -> ToldTask:
        """Return what is known of a task; of a new one nothing."""
        return self.tasks.setdefault(task_id, ToldTask(task_id))

    def adapted(self, task: ToldTask, told: ToldRevision, key: str | None, body: Json, answer: Json) -> None:
        """Note an acknowledged revision."""
        with self.lock:
            self.counts["adapts acknowledged"] += 1
            self.touched.add(task.task_id)
            if told.number in task.revisions or told.number <= task.deleted_through:
                self.findings.append(f"{task.task_id}: revision {told.number} was told twice")
                return
            task.is_latest_known = not task.revisions or told.number > max(task.revisions)
            task.revisions[told.number] = told
            task.num_told += 1
            task.may_be_there, task.may_be_gone = True, False
            if key is not None:
                self.answers[key] = ToldAnswer(body, answer)

    def adapt_unanswered(self, task: ToldTask, *, will_repeat: bool) -> None:
        """Note a call to adapt of which nobody knows whether it was done."""
        with self.lock:
            self.counts["adapts without an answer"] += 1
            self.touched.add(task.task_id)
            task.may_be_there, task.is_latest_known = True, False
            if will_repeat:
                task.num_repeated += 1
            else:
                task.num_open += 1

    def repeated(self, task: ToldTask) -> None:
        """Note that a call without an answer is being sent again, and has its answer now."""
        with self.lock:
            task.num_repeated -= 1

    def deleted(self, task: ToldTask) -> None:
        """Note an acknowledged deletion."""
        with self.lock:
            self.counts["deletes acknowledged"] += 1
            self.touched.add(task.task_id)
            self.forget(task, through=task.num_told + task.num_landed)

    def delete_unanswered(self, task: ToldTask) -> None:
        """Note a deletion of which nobody knows whether it was done."""
        with self.lock:
            self.counts["deletes without an answer"] += 1
            self.touched.add(task.task_id)
            task.may_be_gone = True

    def forget(self, task: ToldTask, *, through: int) -> None:
        """Take a task for deleted, with its answers under keys; the lock is held, or nobody else is at it."""
        task.deleted_through = through
        task.revisions.clear()
        task.may_be_there, task.may_be_gone, task.is_latest_known = False, True, True
        for key in [key for key, told in self.answers.items() if told.body.get("task_id") == task.task_id]:
            del self.answers[key]
