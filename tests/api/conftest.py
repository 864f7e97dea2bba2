"""One service for the session; every test has task ids of its own."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.api.asking import state_of
from tests.api.service import Service, start_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with its default settings."""
    running = start_service(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


@pytest.fixture
def http(service: Service) -> httpx.Client:
    return service.http


@pytest.fixture
def task_id() -> str:
    """An id that no other test uses."""
    return f"task-{uuid4().hex}"


@pytest.fixture
def nothing_changes(http: httpx.Client) -> Iterator[None]:
    """Hold the list of tasks and their latest revisions against what it was before the test."""
    before = state_of(http)
    yield
    assert state_of(http) == before
