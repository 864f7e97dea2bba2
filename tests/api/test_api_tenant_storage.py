"""What a tenant leaves behind beside its tasks counts as its own: answers, classes, checkpoints; and old jobs go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from app.api.context import Context
from app.api.storage_limits import documents_ahead
from app.main import _purge
from app.store import NewJob, document_bytes
from innerloop.errors import CheckpointNotFound
from innerloop.wire import JobProgress
from tests.api.asking import Json, problem_of, sine
from tests.api.tenants import bearer, make_key
from tests.api.test_api_audit import wait_for_keys
from tests.api.test_api_batched import served
from tests.api.text_models import text_model
from tests.serving.jobs import REQUEST

MAX_BYTES = 150_000
FILE = {"Content-Type": "application/vnd.safetensors"}
NAMES = [f"\N{GRINNING FACE}{i}" * 60 for i in range(4)]
CLASSES: Json = {"inputs": np.eye(4, 384).tolist(), "targets": NAMES}
LARGE: Json = {**REQUEST, "network": {"kind": "mlp", "hidden": [200, 200]}}
"""A job whose checkpoint has more than MAX_BYTES."""


class Tenants:
    """A service with keys, and requests of its tenants."""

    def __init__(self, http: httpx.AsyncClient, context: Context, folder: Path) -> None:
        self.http, self.context, self._folder = http, context, folder
        self._keys: dict[str, dict[str, str]] = {}

    async def post(self, tenant: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        key = self._keys.get(tenant) or self._keys.setdefault(tenant, bearer(make_key(self._folder, tenant)))
        return await self.http.post(path, headers={**key, **(headers or {})}, **body)

    async def adapt(self, tenant: str, *, again: bool = True, **body: Any) -> httpx.Response:
        headers = {"Idempotency-Key": str(uuid4())} if again else {}
        return await self.post(tenant, "/adapt", headers, json={"support": sine(5), "estimate": False, **body})


@asynccontextmanager
async def tenants_of(folder: Path, **settings: Any) -> AsyncIterator[Tenants]:
    make_key(folder, "first")
    async with served(folder, **settings) as (http, context):
        await wait_for_keys(http)
        yield Tenants(http, context, folder)


async def test_answers_that_are_remembered_use_up_what_may_be_stored(tmp_path: Path) -> None:
    async with tenants_of(tmp_path, tenant_bytes=MAX_BYTES) as tenants:
        sent = await tenants.post("default", "/models/vectors/versions", FILE, content=text_model(None))
        assert sent.status_code == 201, sent.text
        body: Json = {"task_id": "t", "model": "vectors", "support": CLASSES}
        answers = [await tenants.adapt("hoarder", **body)]
        while answers[-1].status_code < 300 and len(answers) < 60:
            answers.append(await tenants.adapt("hoarder", **body))
        *answered, answer = answers
        assert [one.status_code for one in answered] == [201] + [200] * (len(answered) - 1)
        assert len(answered) > 5
        before = tenants.context.store.usage("hoarder").num_bytes
        problem_of(answer, 429, "storage-used-up")
        assert int(answer.headers["Retry-After"]) > 0
        assert MAX_BYTES / 2 < before <= MAX_BYTES
        assert (await tenants.adapt("hoarder", again=False, **body)).status_code == 200  # nothing is stored of it
        assert tenants.context.store.usage("hoarder").num_bytes == before
        assert (await tenants.adapt("other", **body)).status_code == 201


async def test_an_answer_that_has_no_room_leaves_the_time_to_live_as_it_is(tmp_path: Path) -> None:
    async with tenants_of(tmp_path, tenant_bytes=30_000) as tenants:
        answer, num_answers = await tenants.adapt("a", task_id="t", ttl_seconds=1000), 0
        while answer.status_code < 300 and num_answers < 60:
            num_answers += 1
            before = tenants.context.store.task("a", "t", now=datetime.now(UTC)).expires_at
            answer = await tenants.adapt("a", task_id="t", ttl_seconds=2000)
        problem_of(answer, 429, "storage-used-up")
        assert tenants.context.store.task("a", "t", now=datetime.now(UTC)).expires_at == before


@pytest.mark.parametrize("model", ["sinusoid", "vectors"])
async def test_room_is_asked_for_as_much_as_is_then_stored(tmp_path: Path, model: str) -> None:
    async with served(tmp_path) as (http, context):
        sent = await http.post("/models/vectors/versions", content=text_model(None), headers=FILE)
        assert sent.status_code == 201, sent.text
        support, more = (CLASSES, {}) if model == "vectors" else (sine(5), {"steps": 100})
        body = {"model": model, "support": support, "validation": support, **more}
        answer = (await http.post("/adapt", json=body, headers={"Idempotency-Key": "k"})).json()
        taken = document_bytes(answer)
        told = answer["classes"], len(answer["support_loss"])
        assert taken <= documents_ahead(*told, revision=False, answer=True) <= taken + 1_500
        revision = context.store.revision("default", answer["task_id"], now=datetime.now(UTC))
        taken = sum(map(document_bytes, (revision.settings, revision.answer, revision.classes)))
        assert taken <= documents_ahead(*told, revision=True, answer=False) <= taken + 1_500


async def test_a_job_whose_checkpoint_has_no_room_is_refused(tmp_path: Path) -> None:
    async with tenants_of(tmp_path, tenant_bytes=MAX_BYTES) as tenants:
        problem_of(await tenants.post("a", "/meta-train", json=LARGE), 429, "storage-used-up")
        assert (await tenants.post("a", "/meta-train", json=REQUEST)).status_code == 202
        assert len(tenants.context.store.jobs("a")[0]) == 1


async def test_a_tenant_that_fills_its_part_of_the_queue_leaves_room_for_others(tmp_path: Path) -> None:
    async with tenants_of(tmp_path, max_jobs_queued=4, tenant_jobs_queued=2) as tenants:
        limits = (await tenants.http.get("/limits")).json()
        assert limits["tenant_jobs_queued"] == 2
        jobs = [await tenants.post("greedy", "/meta-train", json=REQUEST) for _ in range(3)]
        assert [job.status_code for job in jobs] == [202, 202, 429]
        problem = problem_of(jobs[-1], 429, "too-many-jobs")
        assert "tenant_jobs_queued" in problem.detail
        assert int(jobs[-1].headers["Retry-After"]) > 0
        for _ in range(2):
            assert (await tenants.post("other", "/meta-train", json=REQUEST)).status_code == 202
        full = problem_of(await tenants.post("third", "/meta-train", json=REQUEST), 503, "overloaded")
        assert "max_jobs_queued" in full.detail
        job_id = jobs[0].json()["job_id"]
        assert (await tenants.post("greedy", f"/meta-train/{job_id}/cancel")).status_code == 202
        assert (await tenants.post("greedy", "/meta-train", json=REQUEST)).status_code == 202
        again = await tenants.post("greedy", f"/meta-train/{job_id}/resume")
        problem_of(again, 429, "too-many-jobs")


async def test_without_keys_the_queue_belongs_to_everybody(tmp_path: Path) -> None:
    async with served(tmp_path, tenant_jobs_queued=1) as (http, _):
        assert (await http.get("/limits")).json()["tenant_jobs_queued"] == 0
        assert [(await http.post("/meta-train", json=REQUEST)).status_code for _ in range(3)] == [202] * 3


async def test_what_is_kept_of_old_jobs_goes_and_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, job_days=30) as (http, context):
        for job_id, days in (("old", 31), ("new", 29)):
            _add_ended_job(context, job_id, datetime.now(UTC) - timedelta(days=days))
        _purge(context)
        assert (await http.get("/meta-train/old")).json()["status"] == "cancelled"
        assert (await http.get("/meta-train/old/events")).status_code == 204
        for path, method in (("/meta-train/old/checkpoint", "GET"), ("/meta-train/old/resume", "POST")):
            problem = problem_of(await http.request(method, path), 404, "checkpoint-not-found")
            assert "start a new job" in problem.detail
        assert (await http.get("/meta-train/new/checkpoint")).status_code == 200
        assert "event: end" in (await http.get("/meta-train/new/events")).text
        assert (await http.post("/meta-train/new/resume")).status_code == 202


async def test_jobs_of_no_days_are_kept(tmp_path: Path) -> None:
    async with served(tmp_path, job_days=0) as (_, context):
        _add_ended_job(context, "old", datetime.now(UTC) - timedelta(days=9_999))
        _purge(context)
        try:
            assert context.store.checkpoint("default", "old").data == b"state"
        except CheckpointNotFound:
            pytest.fail("it is not to be deleted")


def _add_ended_job(context: Context, job_id: str, ended: datetime) -> None:
    progress = {**dict.fromkeys(JobProgress.model_fields), "iteration": 0, "iterations": 9}
    new = NewJob(job_id, "default", "mine", REQUEST, {"threads": 1}, progress)
    context.store.add_job(new, now=ended, max_queued=9)
    claimed = context.store.claim_job("worker", now=ended, lease_seconds=9, max_crashes=1, crash_error={})
    assert claimed is not None
    context.store.save_checkpoint(claimed[1], 1, b"state", now=ended)
    context.store.end_job(claimed[1], "cancelled", None, now=ended)


async def test_a_version_that_went_while_a_task_was_adapted_is_named_as_its_tenant_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tenants_of(tmp_path) as tenants:
        store = tenants.context.store
        sent = await tenants.post("acme", "/models/mine/versions", FILE, content=text_model(None))
        assert sent.status_code == 201, sent.text
        add_revisions = store.add_revisions

        def add_when_it_is_gone(*arguments: Any, **options: Any) -> Any:
            store.delete_model_version("acme/mine", 1)
            return add_revisions(*arguments, **options)

        monkeypatch.setattr(store, "add_revisions", add_when_it_is_gone)
        answer = await tenants.adapt("acme", model="mine", support=CLASSES)
        assert problem_of(answer, 404, "version-not-found").detail == "mine has no version 1"
