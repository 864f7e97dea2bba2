"""Threads are shared among tenants: one that asks for much waits for itself, and others find threads."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.api.threads import MOST_OF_TENANT
from app.store import Store
from tests.api.tenants import bearer, make_key
from tests.api.test_api_batched import served

NUM_FLOODING = 80


class Held:
    """Lists of tasks that wait until they are let go; those of some tenants do not."""

    def __init__(self, tenant: str) -> None:
        self.now, self.most = 0, 0
        self.full, self.let_go = threading.Event(), threading.Event()
        self._tenant, self._guard, self._list = tenant, threading.Lock(), Store.tasks

    def __call__(self, store: Store, tenant: str, **options: Any) -> Any:
        if tenant == self._tenant:
            with self._guard:
                self.now += 1
                self.most = max(self.most, self.now)
                if self.now == MOST_OF_TENANT:
                    self.full.set()
            assert self.let_go.wait(30)
            with self._guard:
                self.now -= 1
        return self._list(store, tenant, **options)


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, tenant: str) -> Iterator[Held]:
    made = Held(tenant)
    monkeypatch.setattr(Store, "tasks", lambda store, tenant, **options: made(store, tenant, **options))
    try:
        yield made
    finally:
        made.let_go.set()


async def test_one_tenant_leaves_threads_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (http, _):
        flooding, other = (bearer(make_key(tmp_path, tenant)) for tenant in ("flooding", "other"))
        await asyncio.sleep(1.5)  # the first key counts after a second
        with held(monkeypatch, "flooding") as lists:
            flood = [asyncio.create_task(http.get("/tasks", headers=flooding)) for _ in range(NUM_FLOODING)]
            assert await asyncio.to_thread(lists.full.wait, 20)
            async with asyncio.timeout(20):
                assert (await http.get("/tasks", headers=other)).status_code == 200
                assert (await http.get("/models/sinusoid", headers=other)).status_code == 200
            assert not any(call.done() for call in flood)
            lists.let_go.set()
            assert {(await call).status_code for call in flood} == {200}
        assert lists.most == MOST_OF_TENANT


async def test_callers_who_give_up_give_their_places_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as (http, _):
        flooding = bearer(make_key(tmp_path, "flooding"))
        await asyncio.sleep(1.5)
        with held(monkeypatch, "flooding") as lists:
            flood = [asyncio.create_task(http.get("/tasks", headers=flooding)) for _ in range(NUM_FLOODING)]
            assert await asyncio.to_thread(lists.full.wait, 20)
            for call in flood:
                call.cancel()
            lists.let_go.set()
            await asyncio.gather(*flood, return_exceptions=True)
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*(http.get("/tasks", headers=flooding) for _ in range(2 * MOST_OF_TENANT)))
        assert {answer.status_code for answer in answers} == {200}
