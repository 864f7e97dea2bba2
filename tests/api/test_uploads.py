"""Claims about uploads while they are held: where their bytes are, and that nothing is left."""

import asyncio
import os
import tempfile
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from starlette.types import Message

from app.api import uploads
from app.api.uploads import uploaded

MANY = 4 * 1024 * 1024
"""More than an upload may have before it goes to disk."""


def request_of(data: bytes) -> Request:
    sent = httpx.Request("POST", "http://test", files={"file": ("a.npz", data), "spec": (None, "{}")})
    body = sent.read()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(name.lower(), value) for name, value in sent.headers.raw]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("num_bytes", [0, 1, 1000, MANY])
@pytest.mark.parametrize("place", ["as it is here", "without paths of open files"])
async def test_an_upload_is_a_file_while_it_is_held(
    place: str, num_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if place != "as it is here":
        monkeypatch.setattr(uploads, "OPEN_FILES", None)
    data = os.urandom(num_bytes)
    async with uploaded(request_of(data), MANY) as upload:
        for _ in range(2):  # each opening begins at the start
            assert await asyncio.to_thread(upload.path.read_bytes) == data
        assert (upload.filename, upload.spec) == ("a.npz", b"{}")
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not uploads.OPEN_FILES, reason="open files have no paths here")
async def test_a_process_that_is_killed_would_leave_nothing_of_an_upload(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with uploaded(request_of(os.urandom(MANY)), MANY):
        assert names_in(tmp_path) == []  # it has no name
