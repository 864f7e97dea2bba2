from collections.abc import Callable
from datetime import datetime, timedelta

from app.store import NewAnswer, NewDataset, NewJob, NewRevision, Revision, Store, open_store

MakeRevision = Callable[..., NewRevision]


def test_both_databases_yield_the_same(
    sqlite_store_url: str, postgresql_store_url: str, new_revision: MakeRevision, now: datetime
) -> None:
    on_sqlite = results(sqlite_store_url, new_revision, now)
    assert on_sqlite == results(postgresql_store_url, new_revision, now)


def results(url: str, new_revision: MakeRevision, now: datetime) -> list[object]:
    """Run one story with a bit of everything and return all that was answered."""
    store = open_store(url)
    store.add_model_version("sinusoid", {"rates": [0.1, 1e-300], "name": "ä\x00\ud800"}, b"weights")
    found: list[object] = [store.model_version("sinusoid").card]
    for i, task_id in enumerate(["b", "B", "_", "-", "a", "b2"]):
        new = new_revision(task_id, classes=["ü", "1"], answer={"loss": [0.1 + 0.2, None], "b": 1, "a": 2})
        answer: NewAnswer[Revision] = NewAnswer("/adapt", task_id, "hash", 201, lambda new: {"number": new.revision})
        found.append(
            store.add_revision(
                new, expected_latest=0, ttl_seconds=1.5 * i + 0.25, keep_revisions=2, now=now, idempotent=answer
            )
        )
    for latest in range(1, 5):
        new = new_revision("b2", settings={"steps": latest}, weights=b"%d" % latest)
        found.append(store.add_revision(new, expected_latest=latest, keep_revisions=2, now=now))
    later = now + timedelta(seconds=2)
    found += [store.tasks("default", now=at, limit=2) for at in (now, later)]
    found += [store.revisions("default", "b2", now=later, limit=1), store.revision_weights("default", "b2", now=later)]
    store.delete_task("default", "b2", now=later)
    found += [store.purge_expired(now=later), store.tasks("default", now=later)]
    found += [store.idempotent_answer("default", "/adapt", key) for key in ("a", "b", "b2")]
    found.append(store.purge_answers(before=later))
    found += training(store, later)
    store.close()
    return found


def training(store: Store, now: datetime) -> list[object]:
    """Run a job on a data set from its upload to its end."""
    new = NewDataset(
        "default", "voices", "grouped", "hash", {"fractions": [0.7, 0.3]}, {"names": ["ü", "\x00"]}, b"rows"
    )
    found: list[object] = [store.add_dataset(new, now=now), store.dataset_bytes("default", "voices")]
    for job_id in ("b", "B", "_"):
        job = NewJob(job_id, "default", "voices", {"rate": 0.1}, {"threads": 1}, {"iteration": 0}, dataset="voices")
        found.append(store.add_job(job, now=now, max_queued=3))
    claimed = store.claim_job("worker", now=now, lease_seconds=0.25, max_crashes=0, crash_error={"code": "crashed"})
    later = now + timedelta(seconds=0.25)
    again = store.claim_job("worker", now=later, lease_seconds=9, max_crashes=0, crash_error={"code": "crashed"})
    assert again is not None
    store.report_progress(again[1], {"iteration": 1, "loss": 0.1 + 0.2}, now=later, event=True)
    store.save_checkpoint(again[1], 1, b"state", now=later)
    found += [claimed, again, store.checkpoint_of(again[1]), store.renew_lease(again[1], now=later, lease_seconds=1)]
    found.append(store.complete_job(again[1], "voices", {"a": 1}, b"w", promote=True, expected_active=None, now=later))
    found += [store.request_cancel("default", "b", now=later), store.resume_job("default", "b", now=later)]
    found += [store.jobs("default", limit=2), *(store.job_events("default", job_id) for job_id in ("b", "B", "_"))]
    return found
