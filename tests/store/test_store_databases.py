from collections.abc import Callable
from datetime import datetime, timedelta

from app.store import NewAnswer, NewRevision, open_store

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
        answer = NewAnswer("/adapt", task_id, "hash", 201, lambda revision: {"number": revision.revision})
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
    found += [store.revisions("default", "b2", now=later, limit=1), store.revision_data("default", "b2", now=later)]
    store.delete_task("default", "b2", now=later)
    found += [store.purge_expired(now=later), store.tasks("default", now=later)]
    found += [store.idempotent_answer("default", "/adapt", key) for key in ("a", "b", "b2")]
    found.append(store.purge_answers(before=later))
    store.close()
    return found
