"""What a service has to put up with: requests that are wrong in one way each, and connections that break."""

import json
import random
import socket
import struct
from typing import Any, NamedTuple
from urllib.parse import urlsplit

MAX_BODY_BYTES = 256 * 1024
"""Of the service that is asked."""
JSON, SAFETENSORS = {"Content-Type": "application/json"}, {"Content-Type": "application/vnd.safetensors"}
FINE = {"inputs": [[0.5], [1.0]], "targets": [0.1, 0.2]}
SOCKET_SECONDS = 30.0


class Bad(NamedTuple):
    """A request and the statuses it may have."""

    what: str
    statuses: frozenset[int]
    body: bytes = b""
    path: str = "/adapt"
    method: str = "POST"
    headers: dict[str, str] = JSON


def _bad(what: str, status: int, body: Any, **how: Any) -> Bad:
    return Bad(what, frozenset({status}), body if isinstance(body, bytes) else json.dumps(body).encode(), **how)


BAD_REQUESTS = (
    _bad("not JSON", 400, b'{"support": '),
    _bad("not UTF-8", 400, b'{"task_id": "\xff\xfe"}'),
    _bad("NaN", 422, b'{"support": {"inputs": [[NaN]], "targets": [1]}}'),
    _bad("1e400", 422, b'{"support": {"inputs": [[1e400]], "targets": [1]}}'),
    _bad("unknown field", 422, {"support": FINE, "owner": "me"}),
    _bad("wrong shape", 422, {"support": {"inputs": [[1.0, 2.0]], "targets": [1.0]}}),
    _bad("ragged rows", 422, {"support": {"inputs": [[1.0], []], "targets": [1.0, 2.0]}}),
    _bad("no rows", 422, {"support": {"inputs": [], "targets": []}}),
    _bad("too many steps", 422, {"support": FINE, "steps": 100_000}),
    _bad("diverges", 422, {"support": FINE, "learning_rate": 10.0, "steps": 100, "estimate": False}),
    _bad("bad id", 422, {"task_id": "../x", "support": FINE}),
    _bad("unknown model", 404, {"model": "nobody", "support": FINE}),
    _bad("unknown task", 404, {"task_id": "nobody", "inputs": [[1.0]]}, path="/predict"),
    _bad("too large", 413, b" " * (MAX_BODY_BYTES + 1)),
    _bad("media type", 415, b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    _bad("not safetensors", 400, b"\xff" * 64, headers=SAFETENSORS),
    _bad("method", 405, b"", method="PUT"),
    _bad("route", 404, b"", path="/nowhere"),
    _bad("job", 422, {"name": "x", "learner": {"kind": "none"}}, path="/meta-train"),
)


def drop_connection(url: str, body: dict[str, Any], chance: random.Random) -> None:
    """Send a request, a part of it or the whole of it, and leave without reading; now and then with a reset."""
    address = urlsplit(url)
    content = json.dumps(body).encode()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    whole = head.encode() + content
    sent = chance.choice([whole, whole[: len(whole) // 2], whole[:20], b""])
    with socket.create_connection((address.hostname, address.port), timeout=SOCKET_SECONDS) as connection:
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(sent)
