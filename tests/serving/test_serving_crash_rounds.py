"""Kill -9 under mixed load: a few rounds of the long run, and that its checker finds what it is there for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.checker import check_stored
from tests.soak.checker_database import Stored, StoredJob, StoredRevision, StoredTask
from tests.soak.crash_rounds import run
from tests.soak.recorder import Json, Record, ToldJob, ToldRevision, ToldTask

ROUNDS, CLIENTS, KEEP = 2, 3, 3
ROWS: Json = {"inputs": [[1.0], [2.0]], "targets": [0.5, 1.0]}


def test_nothing_that_was_told_is_lost_or_doubled_by_kill_9(tmp_path: Path, database_settings: dict[str, str]) -> None:
    found = run(ROUNDS, tmp_path, database_settings.get("database_url"), seed=4, num_clients=CLIENTS, jobs_seconds=0.0)
    assert found.record.findings == []
    assert sum(found.kills.values()) == ROUNDS
    assert found.kills["service"] + found.kills["everything"] > 0
    assert min(found.record.counts[what] for what in ("adapts acknowledged", "jobs acknowledged")) > 0
    assert found.revisions > 0


def told(record: Record, task_id: str, numbers: list[int], key: str | None = None) -> ToldTask:
    """Note acknowledged revisions of a task."""
    task = record.task(task_id)
    for number in numbers:
        body, answer = {"task_id": task_id}, {"revision": number}
        record.adapted(task, ToldRevision(number, "sinusoid@1", ROWS, support_stored=True), key, body, answer)
    return task


def agreeing() -> tuple[Record, Stored]:
    """Return a record, and a store that holds what was told."""
    record, stored = Record(), Stored()
    told(record, "kept", [1, 2])
    told(record, "pruned", [1, 2, 3, 4])
    told(record, "keyed", [1], key="once")
    record.deleted(told(record, "deleted", [1, 2]))
    record.jobs["waves"] = ToldJob("job-key", {}, "job-1")
    record.active["turning"] = {2}
    for task_id, numbers in {"kept": [1, 2], "pruned": [2, 3, 4], "keyed": [1]}.items():
        stored.tasks[task_id] = StoredTask(numbers[-1], numbers[-1])
        stored.revisions[task_id] = {
            number: StoredRevision("sinusoid@1", 2, 100, f"{task_id} {number}") for number in numbers
        }
    stored.tasks["deleted"] = StoredTask(0, 2)
    stored.answers["once"] = 1
    stored.jobs["job-1"] = StoredJob("waves", "succeeded", 4, (1, 2, 3, 4), 1)
    stored.versions["waves"] = 1
    stored.active["turning"] = 2
    return record, stored


def findings(record: Record, stored: Stored) -> list[str]:
    """Return what the checker finds."""
    return check_stored(record, stored, keep=KEEP)


def lose_the_latest(stored: Stored) -> None:
    del stored.revisions["kept"][2]
    stored.tasks["kept"] = StoredTask(1, 2)


def lose_the_latest_and_its_number(stored: Stored) -> None:
    del stored.revisions["kept"][2]
    stored.tasks["kept"] = StoredTask(1, 1)


def lose_an_earlier_one(stored: Stored) -> None:
    del stored.revisions["kept"][1]


def lose_one_in_the_middle(stored: Stored) -> None:
    del stored.revisions["pruned"][3]


def lose_a_task(stored: Stored) -> None:
    del stored.revisions["kept"], stored.tasks["kept"]


def make_one_twice(stored: Stored) -> None:
    stored.revisions["keyed"][2] = stored.revisions["keyed"][1]
    stored.tasks["keyed"] = StoredTask(2, 2)


def keep_too_many(stored: Stored) -> None:
    stored.revisions["pruned"][1] = stored.revisions["pruned"][2]


def bring_a_deleted_one_back(stored: Stored) -> None:
    stored.revisions["deleted"] = {2: stored.revisions["kept"][2]}
    stored.tasks["deleted"] = StoredTask(2, 2)


def store_what_nobody_asked_for(stored: Stored) -> None:
    stored.revisions["stray"] = {1: stored.revisions["kept"][1]}
    stored.tasks["stray"] = StoredTask(1, 1)


def append_rows_twice(stored: Stored) -> None:
    stored.revisions["kept"][2] = stored.revisions["kept"][2]._replace(support_size=4)


def adapt_from_another_version(stored: Stored) -> None:
    stored.revisions["kept"][2] = stored.revisions["kept"][2]._replace(model="sinusoid@2")


def leave_rows_out(stored: Stored) -> None:
    stored.revisions["kept"][2] = stored.revisions["kept"][2]._replace(support_bytes=0)


def forget_an_answer(stored: Stored) -> None:
    stored.answers.clear()


def answer_twice(stored: Stored) -> None:
    stored.answers["once"] += 1


def lose_a_job(stored: Stored) -> None:
    del stored.jobs["job-1"]


def queue_a_job_twice(stored: Stored) -> None:
    stored.jobs["job-2"] = stored.jobs["job-1"]


def leave_an_event_out(stored: Stored) -> None:
    stored.jobs["job-1"] = stored.jobs["job-1"]._replace(events=(1, 2, 4))


def end_a_job_twice(stored: Stored) -> None:
    stored.jobs["job-1"] = stored.jobs["job-1"]._replace(ends=2)


def make_two_versions(stored: Stored) -> None:
    stored.versions["waves"] = 2


def undo_a_promotion(stored: Stored) -> None:
    stored.active["turning"] = 1


def damage_the_file(stored: Stored) -> None:
    stored.damage.append("row 3 missing from index")


FAULTS: list[Callable[[Stored], None]] = [
    lose_the_latest,
    lose_the_latest_and_its_number,
    lose_an_earlier_one,
    lose_one_in_the_middle,
    lose_a_task,
    make_one_twice,
    keep_too_many,
    bring_a_deleted_one_back,
    store_what_nobody_asked_for,
    append_rows_twice,
    adapt_from_another_version,
    leave_rows_out,
    forget_an_answer,
    answer_twice,
    lose_a_job,
    queue_a_job_twice,
    leave_an_event_out,
    end_a_job_twice,
    make_two_versions,
    undo_a_promotion,
    damage_the_file,
]


def test_checker_finds_nothing_where_the_store_holds_what_was_told() -> None:
    record, stored = agreeing()
    assert findings(record, stored) == []
    assert findings(record, stored) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_checker_finds(fault: Callable[[Stored], None]) -> None:
    record, stored = agreeing()
    fault(stored)
    assert findings(record, stored)


def test_checker_finds_weights_that_changed_since_it_looked_last() -> None:
    record, stored = agreeing()
    assert findings(record, stored) == []
    stored.revisions["kept"][1] = stored.revisions["kept"][1]._replace(weights_sha256="other")
    assert findings(record, stored) == ["kept@1: other weights than before"]


@pytest.mark.parametrize("will_repeat", [True, False])
def test_a_call_without_an_answer_may_have_been_done_once_or_not_at_all_and_never_twice(will_repeat: bool) -> None:
    for made, is_right in ((2, True), (3, True), (4, False)):
        record, stored = agreeing()
        record.adapt_unanswered(record.tasks["kept"], will_repeat=will_repeat)
        stored.revisions["kept"] = dict.fromkeys(range(1, made + 1), stored.revisions["kept"][2])
        stored.tasks["kept"] = StoredTask(made, made)
        assert (findings(record, stored) == []) == is_right


def test_a_call_that_was_found_done_is_not_done_again_later() -> None:
    record, stored = agreeing()
    record.adapt_unanswered(record.tasks["kept"], will_repeat=False)
    stored.revisions["kept"][3] = stored.revisions["kept"][2]
    stored.tasks["kept"] = StoredTask(3, 3)
    assert findings(record, stored) == []
    stored.revisions["kept"][4] = stored.revisions["kept"][2]
    del stored.revisions["kept"][1]
    stored.tasks["kept"] = StoredTask(4, 4)
    assert findings(record, stored)


def test_a_deletion_without_an_answer_leaves_all_of_a_task_or_nothing() -> None:
    record, stored = agreeing()
    record.delete_unanswered(record.tasks["kept"])
    assert findings(record, stored) == []  # not done
    record.delete_unanswered(record.tasks["kept"])
    stored.tasks["kept"] = StoredTask(0, 2)
    stored.revisions["kept"] = {}
    assert findings(record, stored) == []  # done
    stored.tasks["kept"] = StoredTask(2, 2)
    stored.revisions["kept"] = {2: StoredRevision("sinusoid@1", 2, 100, "kept 2")}
    assert findings(record, stored)  # and half undone again


def test_a_revision_that_is_told_twice_is_found() -> None:
    record, _ = agreeing()
    told(record, "kept", [2])
    assert record.findings == ["kept: revision 2 was told twice"]
