"""Build the requests that look after data sets."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from innerloop import wire
from innerloop.calls.call import Call, deletion, segment


class Upload(NamedTuple):
    """Hold a file to upload; the ending of its `name` says what it is."""

    name: str
    content: bytes


def add_dataset(file: Upload, spec: wire.DatasetSpec | Mapping[str, Any]) -> Call[wire.DatasetInfo]:
    """Build `POST /datasets`; not repeatable, because a second one answers that the name is taken."""
    if isinstance(spec, wire.DatasetSpec):
        spec = spec.model_dump(mode="json", exclude_unset=True)
    # Made to be taken apart again: httpx knows how a form with a file is written.
    form = httpx.Request(
        "POST", "http://form", data={"spec": json.dumps(dict(spec))}, files={"file": (file.name, file.content)}
    )
    return Call(
        "POST",
        "/datasets",
        wire.DatasetInfo.model_validate_json,
        content=form.read(),
        headers={"Content-Type": form.headers["Content-Type"]},
        repeatable=False,
    )


def datasets() -> Call[wire.Page[wire.DatasetInfo]]:
    """Build `GET /datasets`."""
    return Call("GET", "/datasets", wire.Page[wire.DatasetInfo].model_validate_json)


def dataset(name: str) -> Call[wire.DatasetInfo]:
    """Build `GET /datasets/{name}`."""
    return Call("GET", f"/datasets/{segment(name)}", wire.DatasetInfo.model_validate_json)


def delete_dataset(name: str) -> Call[None]:
    """Build `DELETE /datasets/{name}`."""
    return deletion(f"/datasets/{segment(name)}")
