"""Uploads that stop half-way, by a caller who hangs up or by a crash: nothing is stored, and nothing is left behind."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.api.asking import sine
from tests.api.service import Service, start_service

BOUNDARY = "half-way"
SPEC = {"name": "rows", "kind": "labelled", "inputs": ["x"], "targets": "y"}
WAIT_SECONDS = 20.0


class Upload(NamedTuple):
    """A whole request, of which a test sends a part."""

    path: str
    kind: str
    body: bytes

    def head(self) -> bytes:
        """Return the request line and headers."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: service\r\nContent-Type: {self.kind}\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        ).encode()


def adapting(http: httpx.Client) -> Upload:
    support = sine(900)
    return Upload("/adapt", "application/json", json.dumps({"task_id": "half", "support": support}).encode())


def uploading_data(http: httpx.Client) -> Upload:
    rows = "".join(f"{i / 1e5:.6f},{'abcdef'[i % 6]}\n" for i in range(200_000))
    parts = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{json.dumps(SPEC)}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="rows.csv"\r\n'
        f"Content-Type: text/csv\r\n\r\nx,y\n{rows}\r\n--{BOUNDARY}--\r\n"
    )
    return Upload("/datasets", f"multipart/form-data; boundary={BOUNDARY}", parts.encode())


def uploading_a_model(http: httpx.Client) -> Upload:
    weights = http.get("/models/sinusoid/versions/1/weights").content
    return Upload("/models/half/versions", "application/vnd.safetensors", weights)


UPLOADS: list[Callable[[httpx.Client], Upload]] = [adapting, uploading_data, uploading_a_model]


def begun(service: Service, upload: Upload, share: float) -> socket.socket:
    """Send a share of an upload and return its connection."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(upload.head() + upload.body[: int(share * len(upload.body))])
    return connection


def nothing_stored(http: httpx.Client) -> None:
    assert http.get("/tasks").json()["data"] == []
    assert http.get("/datasets").json()["data"] == []
    assert http.get("/models/half").status_code == 404


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files of services that are started from here."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def service(tmp_path: Path, scratch: Path) -> Iterator[Service]:
    running = start_service(tmp_path / "data")
    yield running
    assert running.stop() == 0


def files_in(scratch: Path) -> list[str]:
    """Return the files with a name; torch makes a folder for itself."""
    return [str(file) for file in scratch.rglob("*") if file.is_file()]


def open_scratch_files(service: Service, scratch: Path) -> list[str]:
    """Return the temporary files that the service holds open, those without a name included."""
    found = []
    for descriptor in Path(f"/proc/{service.process.pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith(str(scratch)):
            found.append(target)
    return found


def nothing_left_behind(service: Service, scratch: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while left := [*files_in(scratch), *open_scratch_files(service, scratch)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_callers_who_hang_up_half_way_leave_nothing_and_harm_nobody(service: Service, scratch: Path) -> None:
    http = service.http
    for made in UPLOADS:
        upload = made(http)
        for share in (0.0, 0.5, 0.999):
            begun(service, upload, share).close()
            assert http.get("/healthz").status_code == 200
    nothing_left_behind(service, scratch)
    nothing_stored(http)
    assert service.logged("unforeseen error") == []
    for made in UPLOADS:  # and whole they are taken
        upload = made(http)
        answer = http.post(upload.path, content=upload.body, headers={"Content-Type": upload.kind})
        assert answer.status_code == 201, answer.text
    nothing_left_behind(service, scratch)


def test_a_crash_in_the_middle_of_uploads_leaves_nothing_half_stored(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "data"
    service = start_service(folder)
    uploads = [made(service.http) for made in UPLOADS]
    connections = [begun(service, upload, 0.7) for upload in uploads]
    time.sleep(0.3)  # what was sent is being read
    service.kill()
    for connection in connections:
        connection.close()
    assert files_in(scratch) == []
    again = start_service(folder)
    try:
        nothing_stored(again.http)
        for upload in uploads:
            answer = again.http.post(upload.path, content=upload.body, headers={"Content-Type": upload.kind})
            assert answer.status_code == 201, answer.text
    finally:
        assert again.stop() == 0
