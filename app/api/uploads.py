"""Multipart uploads: a file and its description, read up to a cap, the file on disk and never whole in memory."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message

from app.api.compression import encoding_of, too_large
from app.api.threads import in_thread
from innerloop.errors import InvalidRequest, UnsupportedMediaType

MAX_SPEC_BYTES = 1024 * 1024
OVERHEAD_BYTES = 1024 * 1024
"""Boundaries, part headers and the spec, beside the bytes of the file itself."""
UTF8 = (b"utf-8", b"utf8")
_DESCRIPTORS = Path("/proc/self/fd")
OPEN_FILES = _DESCRIPTORS if _DESCRIPTORS.is_dir() else None
"""Where a file without a name has a path, on Linux."""


class Upload(NamedTuple):
    """What was uploaded; path and file are gone when the block ends, so that whatever reads it must end before."""

    path: Path
    filename: str
    spec: bytes


@asynccontextmanager
async def uploaded(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """Hold the parts `file` and `spec` of a multipart request for as long as the block runs.

    Raises BodyTooLarge while reading, UnsupportedMediaType, BadRequest, and InvalidRequest for a missing part.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not taken; send multipart/form-data with file and spec")
    charset = parse_options_header(request.headers["Content-Type"])[1].get(b"charset", b"utf-8").lower()
    if charset not in UTF8:  # the parser would read names and spec with whatever codec Python has under that name
        raise UnsupportedMediaType("the charset of the Content-Type is not UTF-8, in which names and spec are read")
    if encoding_of(request) is not None:
        raise UnsupportedMediaType("a form is not taken compressed; compress the file in it, as zip, npz or Parquet do")
    form = await _capped(request, max_bytes).form(max_files=2, max_fields=2, max_part_size=MAX_SPEC_BYTES)
    try:
        file, spec = _parts(form)
        if (file.size or 0) > max_bytes:
            raise too_large(max_bytes)
        text = spec if isinstance(spec, str) else (await spec.read(MAX_SPEC_BYTES)).decode("utf-8", "replace")
        async with _on_disk(file) as path:
            yield Upload(path, file.filename or "", text.encode())
    finally:
        await form.close()


@asynccontextmanager
async def _on_disk(file: UploadFile) -> AsyncIterator[Path]:
    """Hold a path of an upload: where the system can, of a file without a name, which not even a kill leaves behind."""
    if OPEN_FILES:
        path = OPEN_FILES / str(file.file.fileno())  # on disk from here on
        await in_thread(file.file.flush)
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        await in_thread(shutil.copyfileobj, file.file, copy)
        copy.flush()
        yield Path(copy.name)


def _parts(form: FormData) -> tuple[UploadFile, UploadFile | str]:
    unknown = sorted(set(form.keys()) - {"file", "spec"})
    if unknown:
        raise InvalidRequest(f"the part {unknown[0][:64]!r} is not known; the parts are file and spec")
    for name in form:
        if len(form.getlist(name)) > 1:
            raise InvalidRequest(f"there is more than one part {name!r}; send one file and one spec")
    file, spec = form.get("file"), form.get("spec")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("there is no part `file` with a file; send multipart/form-data with file and spec")
    if spec is None:
        raise InvalidRequest("there is no part `spec`; it is a JSON object with at least name and kind")
    return file, spec


def _capped(request: Request, max_bytes: int) -> Request:
    """Return the request, reading from which raises BodyTooLarge past a file of so many bytes and what is around it."""
    most = max_bytes + OVERHEAD_BYTES
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large(max_bytes)
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > most:
            raise too_large(max_bytes)
        return message

    return Request(request.scope, receive)
