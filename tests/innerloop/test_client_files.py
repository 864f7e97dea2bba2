"""Claims about the calls of both clients that send or bring files."""

import json
import zipfile
from collections.abc import Callable, Mapping
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from innerloop import errors, wire
from tests.innerloop.answers import DATASET, VERSION, WEIGHTS
from tests.innerloop.shells import Shell

SPEC: Mapping[str, Any] = {"name": "assays", "kind": "grouped", "targets": "y", "split": {"seed": 3}}


def parts_of(request: httpx.Request) -> dict[str, Any]:
    """The parts of a multipart body, by name, as Python's own parser of such bodies reads them."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    body: Any = message_from_bytes(head + request.content)
    assert body.is_multipart()
    return {part.get_param("name", header="Content-Disposition"): part for part in body.get_payload()}


async def upload(shell: Shell, file: Path, spec: Any = SPEC) -> dict[str, Any]:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=DATASET)

    answer = await shell(handler, lambda client: client.add_dataset(file, spec))
    assert answer == wire.DatasetInfo.model_validate(DATASET)
    (request,) = seen
    assert f"{request.method} {request.url.path}" == "POST /datasets"
    return parts_of(request)


@pytest.mark.parametrize("spec", [SPEC, wire.DatasetSpec.model_validate(dict(SPEC))], ids=["mapping", "object"])
async def test_data_set_is_a_form_of_a_file_and_its_spec(shell: Shell, tmp_path: Path, spec: Any) -> None:
    content = b"x,y\r\n1,2\n--boundary\r\n\x00\xff"
    (tmp_path / 'a "b".csv').write_bytes(content)
    parts = await upload(shell, tmp_path / 'a "b".csv', spec)
    assert parts.keys() == {"file", "spec"}
    assert parts["file"].get_payload(decode=True) == content
    assert parts["file"].get_filename().endswith(".csv")
    assert json.loads(parts["spec"].get_payload()) == SPEC


async def test_folder_is_sent_as_a_zip_of_its_class_folders(shell: Shell, tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/a/2.JPG", "dog/notes.txt", ".git/3.png", "loose.png"):
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    part = (await upload(shell, tmp_path / "pets"))["file"]
    assert part.get_filename() == "pets.zip"
    with zipfile.ZipFile(BytesIO(part.get_payload(decode=True))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name: name.encode() for name in ("cat/1.png", "dog/a/2.JPG")
        }


@pytest.mark.parametrize(("name", "message"), [("gone.csv", "there is no .*gone"), (".", "has no PNG or JPEG")])
async def test_data_that_is_not_there_is_named_and_nothing_is_sent(
    shell: Shell, tmp_path: Path, name: str, message: str
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    with pytest.raises(errors.UnreadableFile, match=message):
        await shell(handler, lambda client: client.add_dataset(tmp_path / name, SPEC))


DOWNLOADS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "model_weights": (lambda client: client.model_weights("m", 3), "/models/m/versions/3/weights"),
    "task_weights": (lambda client: client.task_weights("t"), "/tasks/t/weights?form=full"),
    "what adaptation changed": (
        lambda client: client.task_weights("t", revision=2, form="delta"),
        "/tasks/t/weights?form=delta&revision=2",
    ),
    "checkpoint": (lambda client: client.checkpoint("j-1"), "/meta-train/j-1/checkpoint"),
}


@pytest.mark.parametrize(("use", "path"), DOWNLOADS.values(), ids=DOWNLOADS)
async def test_download_is_the_very_bytes(shell: Shell, use: Callable[[Any], Any], path: str) -> None:
    content = WEIGHTS + bytes(range(256))

    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.raw_path.decode()) == ("GET", path)
        return httpx.Response(200, content=content)

    assert await shell(handler, use) == content


@pytest.mark.parametrize("content", [b"", b"<html>a proxy</html>", WEIGHTS[:-1]], ids=["nothing", "page", "cut"])
@pytest.mark.parametrize(("use", "path"), DOWNLOADS.values(), ids=DOWNLOADS)
async def test_download_that_is_no_safetensors_file_is_refused(
    shell: Shell, use: Callable[[Any], Any], path: str, content: bytes
) -> None:
    with pytest.raises(errors.UnexpectedAnswer, match="no safetensors file"):
        await shell(lambda _: httpx.Response(200, content=content), use)


async def test_upload_of_a_version_sends_the_very_bytes_once(shell: Shell) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=VERSION)

    answer = await shell(handler, lambda client: client.upload_model_version("m", WEIGHTS))
    assert answer == wire.ModelVersionInfo.model_validate(VERSION)
    (request,) = seen
    assert (request.method, request.url.path, request.content) == ("POST", "/models/m/versions", WEIGHTS)
    assert request.headers["Content-Type"] == "application/vnd.safetensors"


ONCE: dict[str, Callable[[Any], Any]] = {
    "upload_model_version": lambda client: client.upload_model_version("m", WEIGHTS),
    "delete_model_version": lambda client: client.delete_model_version("m", 1),
    "delete_dataset": lambda client: client.delete_dataset("d"),
    "cancel_job": lambda client: client.cancel_job("j"),
    "resume_job": lambda client: client.resume_job("j"),
}


@pytest.mark.parametrize("use", ONCE.values(), ids=ONCE)
async def test_what_may_have_been_done_is_not_sent_again(shell: Shell, use: Callable[[Any], Any]) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        raise httpx.ReadError("reset")

    with pytest.raises(errors.Unreachable):
        await shell(handler, use)
    assert len(seen) == 1
