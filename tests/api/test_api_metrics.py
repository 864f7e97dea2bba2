"""`GET /metrics`: what docs/observing.md names is there, series stay few, and it answers when nothing else does."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.api.context import DEFAULT_TENANT, now
from app.settings import REPOSITORY
from app.store import NewJob
from innerloop.errors import StoreUnavailable
from tests.api.asking import problem_of, sine
from tests.api.tenants import bearer, make_key
from tests.api.test_api_batched import QUERY, adapted, device_busy, in_line, served

DOCUMENTED = re.compile(r"^\| `(innerloop_[a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)
GROWING = re.compile(r"python_gc|process_")


async def scraped(http: httpx.AsyncClient) -> dict[str, Metric]:
    answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(metrics: dict[str, Metric], sample: str, **labels: str) -> float:
    """Return the value of a sample, 0 where there is none with these labels."""
    samples = (found for family in metrics.values() for found in family.samples if found.name == sample)
    return sum(found.value for found in samples if labels.items() <= found.labels.items())


def series(metrics: dict[str, Metric]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))) for family in metrics.values() for sample in family.samples
    }


def documented() -> Iterator[tuple[str, str, set[str]]]:
    page = (REPOSITORY / "docs" / "observing.md").read_text(encoding="utf-8")
    for name, kind, labels in DOCUMENTED.findall(page):
        yield name, kind, set(re.findall(r"`([a-z_]+)`", labels))


async def test_what_the_page_names_is_there_and_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        assert (await adapted(http, sine(5), task_id="one")).status_code == 201
        assert (await http.post("/predict", json={"task_id": "one", "inputs": QUERY})).status_code == 200
        metrics = await scraped(http)
    found = {
        (name + "_total" * (family.type == "counter"), family.type, labels)
        for name, family in metrics.items()
        if not GROWING.match(name)
        for labels in {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples}
    }
    assert found == {(name, kind, frozenset(labels)) for name, kind, labels in documented()}


async def test_an_adaptation_and_a_prediction_are_counted_in_every_part(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        before = await scraped(http)
        assert (await adapted(http, sine(5), task_id="one")).status_code == 201
        for _ in range(2):
            assert (await http.post("/predict", json={"task_id": "one", "inputs": QUERY})).status_code == 200
        assert (await http.post("/predict", json={"task_id": "none", "inputs": QUERY})).status_code == 404
        context.engine.forget_task("default", "one")
        assert (await http.post("/predict", json={"task_id": "one", "inputs": QUERY})).status_code == 200
        after = await scraped(http)

    def grown(sample: str, **labels: str) -> float:
        return value(after, sample, **labels) - value(before, sample, **labels)

    assert grown("innerloop_requests_total", method="POST", route="/adapt", status="201") == 1
    assert grown("innerloop_requests_total", method="POST", route="/predict", status="200") == 3
    assert grown("innerloop_requests_total", method="POST", route="/predict", status="404") == 1
    assert grown("innerloop_request_seconds_count", route="/predict") == 4
    assert grown("innerloop_request_seconds_bucket", route="/predict", le="+Inf") == 4
    assert grown("innerloop_request_seconds_sum", route="/adapt") > 0
    assert value(after, "innerloop_requests_under_way") == 1  # this one
    for stage, calls in {"reading": 5, "device": 4, "writing": 1}.items():
        assert grown("innerloop_batch_size_sum", stage=stage) == calls
        assert grown("innerloop_batch_size_count", stage=stage) == calls
        assert grown("innerloop_batch_seconds_count", stage=stage) == calls
        assert grown("innerloop_batch_seconds_sum", stage=stage) > 0
        assert grown("innerloop_queue_wait_seconds_count", stage=stage) == calls
        assert value(after, "innerloop_queue_depth", stage=stage) == 0
    assert grown("innerloop_cache_hits_total", cache="tasks") == 2
    assert grown("innerloop_cache_misses_total", cache="tasks") == 1
    assert value(after, "innerloop_cache_entries", cache="tasks") == 1
    assert (
        0
        < value(after, "innerloop_cache_bytes", cache="tasks")
        < value(after, "innerloop_cache_limit_bytes", cache="tasks")
    )
    assert grown("innerloop_store_commits_total") == 1
    assert value(after, "innerloop_store_up") == 1
    assert value(after, "innerloop_device_memory_bytes", kind="reserved") > 0
    assert value(after, "innerloop_device_memory_bytes", kind="reserved") < value(
        after, "innerloop_device_memory_bytes", kind="total"
    )
    assert value(after, "innerloop_info", device="cpu") == 1


async def test_series_are_as_many_after_many_tasks_and_wrong_paths_as_after_one(tmp_path: Path) -> None:
    async with served(tmp_path, task_cache_bytes=8_192) as (http, _):

        async def ask(name: str) -> None:
            assert (await adapted(http, sine(3), task_id=name, estimate=False)).status_code == 201
            assert (await http.post("/predict", json={"task_id": name, "inputs": QUERY})).status_code == 200
            assert (await http.get(f"/tasks/{name}")).status_code == 200
            assert (await http.get(f"/tasks/{name}-none")).status_code == 404
            assert (await http.get(f"/no-such-path/{name}")).status_code == 404
            assert (await http.get(f"/v2/models/{name}/versions/1/ready")).status_code == 200
            await http.request(f"ODD{name.upper()}", "/adapt")

        await ask("first")
        await scraped(http)  # which is a request itself
        before = series(await scraped(http))
        for number in range(30):
            await ask(f"task{number}")
        after = await scraped(http)
        assert value(after, "innerloop_cache_evictions_total", cache="tasks") > 0
    assert series(after) == before
    assert not any("task" in text for _, labels in before for name, text in labels if name not in ("route", "cache"))


async def test_it_answers_while_the_device_is_busy_and_tells_who_waits(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context), device_busy(context):
        asked = asyncio.create_task(adapted(http, sine(5), task_id="waits"))
        await in_line(context, 2)
        metrics = await asyncio.wait_for(scraped(http), timeout=5.0)
        assert value(metrics, "innerloop_queue_depth") == 2  # reading shares the device's thread
        assert value(metrics, "innerloop_requests_under_way") == 2
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_jobs_are_told_by_status(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        for job_id in ("a", "b"):
            new = NewJob(job_id=job_id, tenant=DEFAULT_TENANT, name="m", request={}, plan={}, progress={})
            context.store.add_job(new, now=now(), max_queued=10)
        context.store.request_cancel(DEFAULT_TENANT, "a", now=now())
        metrics = await scraped(http)
        told = {sample.labels["status"]: sample.value for sample in metrics["innerloop_jobs"].samples}
        assert told == {"queued": 1, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 1}
        assert value(metrics, "innerloop_job_worker_alive") == 0


async def test_without_the_store_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (http, context):

        def away() -> None:
            raise StoreUnavailable("the database does not answer")

        monkeypatch.setattr(context.store, "job_counts", away)
        metrics = await scraped(http)
        assert value(metrics, "innerloop_store_up") == 0
        assert metrics["innerloop_jobs"].samples == []
        assert value(metrics, "innerloop_queue_limit") == 1_000


async def test_where_keys_are_configured_it_needs_one_of_who_runs_the_service(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        context.keys.are_configured = True
        assert (await http.get("/metrics")).status_code == 401
        using, administering = make_key(tmp_path, "default", "use", "train"), make_key(tmp_path, "default", "admin")
        problem_of(await http.get("/metrics", headers=bearer(using)), 403, "forbidden-scope")
        others, least = make_key(tmp_path, "team"), make_key(tmp_path, "team", "use")  # the first has all scopes
        problem_of(await http.get("/metrics", headers=bearer(others)), 403, "forbidden-tenant")
        problem_of(await http.get("/metrics", headers=bearer(least)), 403, "forbidden-scope")
        answer = await http.get("/metrics", headers=bearer(administering))
        assert answer.status_code == 200
        assert using.text not in answer.text


async def test_open_metrics_is_had_by_asking_for_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert "# TYPE innerloop_store_commits counter" in answer.text
        assert answer.text.endswith("# EOF\n")
