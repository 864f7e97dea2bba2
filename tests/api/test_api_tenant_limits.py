"""What a tenant may use up: so many requests, at once and a second, tasks and bytes; told in headers and /limits."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.api.asking import problem_of, sine
from tests.api.service import Service, start_service
from tests.api.tenants import client_of, make_key

MAX_TASKS, BURST, AT_ONCE = 4, 40, 2
SUPPORT = sine(4)
BIG = sine(500)
MAX_BYTES = 60_000


class Limited(NamedTuple):
    """A service whose tenants have small limits."""

    service: Service
    folder: Path
    clients: ExitStack

    def client(self, tenant: str) -> httpx.Client:
        return self.clients.enter_context(client_of(self.service, make_key(self.folder, tenant)))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    folder = tmp_path_factory.mktemp("limited")
    make_key(folder, "first")
    service = start_service(
        folder,
        tenant_requests_per_second=0.5,
        tenant_burst_requests=BURST,
        tenant_requests_at_once=AT_ONCE,
        tenant_tasks=MAX_TASKS,
        tenant_bytes=MAX_BYTES,
    )
    with ExitStack() as clients:
        yield Limited(service, folder, clients)
    service.stop()


def _computed(limited: Limited) -> float:
    """Return how many batches the device has run."""
    lines = limited.client("default").get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith('innerloop_batch_size_count{stage="device"}')]
    return float(line.rsplit(" ", 1)[1])


def test_limits_are_told_where_there_are_keys(limited: Limited) -> None:
    limits = limited.service.http.get("/limits").json()
    assert limits["tenant_requests_per_second"] == 0.5
    assert limits["tenant_burst_requests"] == BURST
    assert limits["tenant_requests_at_once"] == AT_ONCE
    assert limits["tenant_tasks"] == MAX_TASKS
    assert limits["tenant_bytes"] == MAX_BYTES


def test_every_answer_tells_what_is_left(limited: Limited) -> None:
    client = limited.client("told")
    asked: list[httpx.Response] = [client.get(path) for path in ("/tasks", "/models", "/tasks/none")]
    asked.append(client.post("/adapt", json={"support": SUPPORT}))
    for num, answer in enumerate(asked, start=1):
        assert answer.headers["RateLimit-Policy"] == (
            f'"rate";q={BURST};w=80, "at-once";q={AT_ONCE};qu="concurrent-requests"'
        )
        left = re.fullmatch(r'"rate";r=(\d+);t=\d+, "at-once";r=1', answer.headers["RateLimit"])
        assert left
        assert BURST - num <= int(left[1]) < BURST  # a slow machine has earned some again


def test_too_many_requests_in_a_while_are_refused_and_others_are_served(limited: Limited) -> None:
    client, other = limited.client("busy"), limited.client("calm")
    taken = 0
    while (refused := client.get("/tasks")).status_code == 200 and taken < 10 * BURST:
        taken += 1  # a slow machine earns some on the way
    assert taken >= BURST
    assert problem_of(refused, 429, "rate-limited")
    assert refused.headers["RateLimit"].startswith('"rate";r=0;')
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    assert other.post("/adapt", json={"support": SUPPORT}).status_code == 201
    time.sleep(int(refused.headers["Retry-After"]) + 0.1)
    assert client.get("/tasks").status_code == 200


def test_too_many_requests_at_once_are_refused_until_one_is_answered(limited: Limited) -> None:
    client = limited.client("parallel")
    body_goes_on, held = threading.Event(), []

    def slowly() -> Iterator[bytes]:
        yield b'{"support": '
        assert body_goes_on.wait(30)
        yield b"{}}"

    def hold() -> None:
        held.append(client.post("/adapt", content=slowly(), headers={"Content-Type": "application/json"}).status_code)

    threads = [threading.Thread(target=hold) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while (answer := client.get("/tasks")).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.5)  # far fewer of these than the rate allows
    body_goes_on.set()
    assert problem_of(answer, 429, "too-many-at-once")
    assert answer.headers["Retry-After"] == "1"
    for thread in threads:
        thread.join()
    assert held == [422] * AT_ONCE
    assert client.get("/tasks").status_code == 200


def test_one_task_more_than_are_kept_is_refused_before_it_is_computed(limited: Limited) -> None:
    client = limited.client("hoarder")
    for i in range(MAX_TASKS):
        assert client.post("/adapt", json={"task_id": f"task-{i}", "support": SUPPORT}).status_code == 201
    computed = _computed(limited)
    refused = client.post("/adapt", json={"task_id": "one-more", "support": SUPPORT})
    assert problem_of(refused, 429, "storage-used-up")
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get("/tasks/one-more").status_code == 404
    assert _computed(limited) == computed
    again = client.post("/adapt", json={"task_id": "task-0", "support": sine(2), "append": True})
    assert again.status_code == 201  # a revision of a task that is there
    assert client.delete("/tasks/task-1").status_code == 204
    assert client.post("/adapt", json={"task_id": "one-more", "support": SUPPORT}).status_code == 201


def test_bytes_beyond_what_is_kept_are_refused_before_they_are_computed(limited: Limited) -> None:
    client = limited.client("heavy")
    stored = 0
    while (answer := client.post("/adapt", json={"task_id": "one", "support": BIG, "steps": 1})).status_code == 201:
        BIG["targets"][0] += 1.0  # another support, or nothing would be stored
        stored = client.get("/tasks/one").json()["bytes"]  # of all its revisions
    assert problem_of(answer, 429, "storage-used-up")
    assert MAX_BYTES / 2 < stored <= MAX_BYTES + 10_000
    assert client.post("/datasets", files={"file": ("x.npz", b""), "spec": b"{}"}).status_code != 201
    assert client.delete("/tasks/one").status_code == 204
    assert client.post("/adapt", json={"task_id": "one", "support": BIG, "steps": 1}).status_code == 201


def test_a_batch_tells_each_of_its_calls(limited: Limited) -> None:
    client = limited.client("batched")
    calls = [{"task_id": f"task-{i}", "support": SUPPORT} for i in range(MAX_TASKS + 2)]
    answers = client.post("/adapt/batch", json=calls).json()
    codes = [answer.get("code", "stored") for answer in answers]
    assert sorted(codes) == ["storage-used-up"] * 2 + ["stored"] * MAX_TASKS


def test_without_keys_no_tenant_is_limited(tmp_path: Path) -> None:
    service = start_service(
        tmp_path, tenant_requests_per_second=0.1, tenant_burst_requests=1, tenant_requests_at_once=1, tenant_tasks=1
    )
    answers = [service.http.post("/adapt", json={"support": SUPPORT}) for _ in range(5)]
    limits = service.http.get("/limits").json()
    service.stop()
    assert [answer.status_code for answer in answers] == [201] * 5
    assert not any("RateLimit" in answer.headers for answer in answers)
    assert {limits[name] for name in limits if name.startswith("tenant_")} == {0}
