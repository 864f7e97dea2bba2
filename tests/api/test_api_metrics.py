"""`GET /metrics`: what docs/observing.md names is there, series stay few, and it answers when nothing else does."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.api.context import DEFAULT_TENANT, now
from app.api.problems import STATUS_OF
from app.settings import REPOSITORY
from app.store import NewJob
from innerloop.errors import StoreUnavailable
from tests.api.asking import problem_of, sine
from tests.api.tenants import bearer, make_key
from tests.api.test_api_batched import QUERY, adapted, device_busy, in_line, served

DOCUMENTED = re.compile(r"^\| `(innerloop_[a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)
GROWING = re.compile(r"python_gc|process_")


async def scraped(http: httpx.AsyncClient, headers: dict[str, str] | None = None) -> dict[str, Metric]:
    answer = await http.get("/metrics", headers=headers)
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


async def test_alarms_ask_for_metrics_labels_and_codes_that_are_there(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        assert (await adapted(http, sine(5), task_id="one")).status_code == 201
        metrics = await scraped(http)
    there = {sample.name: sample.labels.keys() for family in metrics.values() for sample in family.samples}
    pages = {
        name: (REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("observing.md", "deploying.md")
    }
    (rules,) = re.findall(r"^```yaml\n(groups:.*?)^```", pages["deploying.md"], re.MULTILINE | re.DOTALL)
    (group,) = yaml.safe_load(rules)["groups"]
    asked = [rule["expr"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in group["rules"]}) == len(asked) > 5
    asked += re.findall(r"^```promql\n(.*?)^```", pages["observing.md"], re.MULTILINE | re.DOTALL)
    for name, labels in re.findall(r"\b((?:innerloop|process)_\w+)(?:\{(.*?)\})?", "\n".join(asked)):
        assert name in there, name
        assert set(re.findall(r"(\w+)=", labels)) <= {*there[name], "job"}, (name, labels)
    codes = {kind.code for kind in STATUS_OF}
    for patterns in re.findall(r'code=~"(.*?)"', "\n".join(asked)):
        for pattern in patterns.split("|"):
            assert any(re.fullmatch(pattern, code) for code in codes), pattern


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
    assert not any(
        "task" in text for _, labels in before for name, text in labels if name not in ("route", "cache", "code")
    )


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
        assert value(metrics, "innerloop_backlog_limit_seconds") == 1.0


async def test_without_the_store_a_key_cannot_be_looked_up_and_there_are_no_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, "default", "admin")
    async with served(tmp_path) as (http, context):
        assert (await http.get("/metrics", headers=bearer(key))).status_code == 200

        def away(hashes: object) -> None:
            raise StoreUnavailable("the database does not answer")

        monkeypatch.setattr(context.store, "identities", away)
        problem_of(await http.get("/metrics", headers=bearer(key)), 503, "store-unavailable")


async def test_every_problem_that_is_answered_is_counted_by_its_code(tmp_path: Path) -> None:
    one, two = (make_key(tmp_path, tenant) for tenant in ("default", "team"))
    async with served(tmp_path, tenant_burst_requests=10, tenant_requests_per_second=0.001, tenant_tasks=1) as (
        http,
        _,
    ):
        before = await scraped(http, headers=bearer(one))
        counted = {sample.labels["code"] for sample in before["innerloop_problems"].samples}
        assert counted == {kind.code for kind in STATUS_OF}  # from the start, so that the first one is an increase
        assert not any(sample.value for sample in before["innerloop_problems"].samples)
        bodies = [{"task_id": name, "support": sine(3)} for name in ("a", "b", "c")]
        batch = await http.post("/adapt/batch", json=bodies, headers=bearer(two))
        assert [answer.get("code", "stored") for answer in batch.json()].count("storage-used-up") == 2
        statuses = [
            (await http.post("/predict", json={"task_id": "none", "inputs": QUERY}, headers=bearer(two))).status_code
            for _ in range(12)
        ]
        assert (statuses.count(404), statuses.count(429)) == (9, 3)
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.get("/tasks")).status_code == 401
        after = await scraped(http, headers=bearer(one))
    told = {sample.labels["code"]: sample.value for sample in after["innerloop_problems"].samples if sample.value}
    assert told == {
        "storage-used-up": 2, "task-not-found": 9, "rate-limited": 3, "route-not-found": 1, "unauthorized": 1
    }  # fmt: skip
    assert value(after, "innerloop_load_refused_total") == 0  # none of them for work that waits
    assert series(after) >= series(before)


async def test_a_problem_nobody_foresaw_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (http, context):

        def failing(*arguments: object, **options: object) -> None:
            raise RuntimeError

        for name in ("tasks", "latest_revisions"):
            monkeypatch.setattr(context.store, name, failing)
        assert (await http.get("/tasks")).status_code == 500
        assert (await adapted(http, sine(3), task_id="one")).status_code == 500
        metrics = await scraped(http)
    assert value(metrics, "innerloop_problems_total", code="internal-error") == 2


async def test_each_help_text_stands_alone(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        told = {name: family.documentation for name, family in (await scraped(http)).items() if not GROWING.match(name)}
    assert len(set(told.values())) == len(told)
    for name, text in told.items():
        assert text.endswith("."), name
        assert len(text.split()) >= 6, (name, text)


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
