"""Breaking requests: bytes, JSON, pictures and tables inside it, paths, queries and headers, by a seeded chance."""

import base64
import gzip
import json
import random
import re
import struct
import zlib
from typing import Any

from tests.soak.hostile_requests import FORM, JSON, TASKS, Asked, valid_requests

NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-300, 1e39, 1e308)
TEXTS = (
    "", "a", " ", "\0", "\x1b[31m", "é", "\ud800", "💥" * 50, "../../etc/passwd", "%2e%2e%2f", "a" * 300, "b" * 5000,
    "'; DROP TABLE tasks; --", "<script>", "{{7*7}}", "${7*7}", "sinusoid@1", "sinusoid@0", "h-model", "h-data", "=1+1",
    "nan", "NaN", "Infinity", "1e400", "null", "true", "http://127.0.0.1:1/", "file:///etc/passwd", "iVBORw0KGgo=",
)  # fmt: skip
LITERALS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e999", "1" + "0" * 400, "0x10", "01", "1.", "+1", "undefined")
PLACES = (
    "..", "../..", "%2e%2e", "%2e%2e%2fmodels", "%00", "a%00b", "%", "%zz", "%ff", "%c0%ae", "a" * 300, "%20", ";", "~",
    "a%2fb", "..%5c..", "*", "'", "%22", "-1", "0", "1.5", "1e3", "99999999999999999999", "None", "é", "%f0%9f%92%a5",
)  # fmt: skip
TYPES = (
    JSON, "application/vnd.safetensors", "application/octet-stream", "text/plain", "", "application/json; charset=x",
    "multipart/form-data", "multipart/form-data; boundary=", FORM, "application/problem+json", "*/*", "x",
)  # fmt: skip
ODD_HEADERS = {
    "Content-Type": TYPES,
    "Content-Encoding": ("gzip", "deflate", "br", "identity", "gzip, gzip", "x", ""),
    "Accept": (
        "*/*",
        "application/vnd.safetensors",
        "text/html",
        ";;;",
        "application/vnd.safetensors;q=nan",
        "a" * 900,
    ),
    "X-Request-ID": ("a b", "x" * 200, "<b>", "é", "ok"),
    "X-Request-Timeout-Ms": ("0", "-1", "1e9", "nan", "60000", "99999999999", "٣"),
    "Idempotency-Key": ("", "k" * 300, "é", "same", " "),
    "Inference-Header-Content-Length": ("0", "1", "99999999", "-1", "x", "٣"),
    "Last-Event-ID": ("-1", "99999999999", "x", "0"),
    "Authorization": ("Bearer", "Bearer x", "Basic Og==", "Bearer il_" + "a" * 60),
    "Range": ("bytes=0-0", "bytes=9-1"),
    "Expect": ("100-continue",),
    "If-None-Match": ("*",),
    "Host": ("", "example.org", "a" * 300),
    "Cookie": ("a=b; " * 50,),
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW")
MAX_BYTES = 300_000
TASK = re.compile(r"h-[0-9]+")


def hostile_request(chance: random.Random, surface: str) -> Asked:
    """Return a request of a surface with something wrong about it, or nothing, now and then."""
    asked = chance.choice(valid_requests()[surface])
    asked = asked._replace(path=_path(chance, asked.path))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        asked = chance.choice((_with_body, _with_body, _with_body, _with_header, _with_method))(chance, asked)
    return asked


def _path(chance: random.Random, path: str) -> str:
    """Return the path with another task, or with something wrong in it."""
    named = TASK.search(path)
    if named:
        other = chance.choice((*TASKS, *PLACES) if chance.random() < 0.3 else TASKS)
        return path[: named.start()] + other + path[named.end() :]
    if chance.random() < 0.05 and len(path) > 1:
        parts = path.split("/")
        parts[chance.randrange(1, len(parts))] = chance.choice(PLACES)
        path = "/".join(parts)
    if chance.random() < 0.1:
        path += ("&" if "?" in path else "?") + chance.choice(
            ("after=" + "a" * 600, "after=dGFza3M6", "limit=0", "limit=501", "limit=nan", "revision=0", "form=x", "x=1",
             "model=%00", "after=%ff", "if_revision=-1", "limit=1&limit=2", "task_id=../x", "&&&=")
        )  # fmt: skip
    return path


def _with_method(chance: random.Random, asked: Asked) -> Asked:
    return asked._replace(method=chance.choice(METHODS)) if chance.random() < 0.2 else asked


def _with_header(chance: random.Random, asked: Asked) -> Asked:
    name = chance.choice(list(ODD_HEADERS))
    return asked._replace(headers={**asked.headers, name: chance.choice(ODD_HEADERS[name])})


def _with_body(chance: random.Random, asked: Asked) -> Asked:
    kind, packed = asked.headers.get("Content-Type"), asked.headers.get("Content-Encoding") == "gzip"
    body = asked.body
    if packed and chance.random() < 0.7:
        try:
            body = gzip.compress(_broken_json(chance, gzip.decompress(body)), 1)
        except (OSError, EOFError, zlib.error):
            body = _broken_bytes(chance, body)
    elif kind == JSON and chance.random() < 0.8:
        body = _broken_json(chance, body)
    elif kind == FORM and chance.random() < 0.3:
        body = _broken_spec(chance, body)
    elif kind == "application/vnd.safetensors" and chance.random() < 0.6:
        body = _broken_header(chance, body)
    else:
        body = _broken_bytes(chance, body)
    return asked._replace(body=body[:MAX_BYTES])


def _broken_bytes(chance: random.Random, data: bytes) -> bytes:
    """Flip, cut, double, move, or overwrite with an extreme number."""
    found, length = bytearray(data), max(1, len(data))
    at = chance.randrange(length)
    match chance.randrange(7):
        case 0:
            for _ in range(chance.choice((1, 1, 2, 8, 64))):
                if found:
                    found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
        case 1:
            del found[at:]
        case 2:
            del found[at : at + chance.randrange(1, 32)]
        case 3:
            found[at:at] = chance.randbytes(chance.randrange(1, 32))
        case 4:
            found[at:at] = found[at : at + chance.randrange(1, 200)] * chance.choice((1, 2, 50))
        case 5:
            form = chance.choice(("<I", ">I", "<Q", "<H", "B"))
            size = struct.calcsize(form)
            found[at : at + size] = struct.pack(form, chance.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1))))
        case _:
            other = chance.choice(chance.choice(list(valid_requests().values()))).body
            found[at:] = other[chance.randrange(max(1, len(other))) :]
    return bytes(found)


def _broken_json(chance: random.Random, text: bytes) -> bytes:
    """Change a value or a field somewhere in a document, or the text of it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _broken_bytes(chance, text)
    document = _changed(chance, document)
    dumped = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    match chance.randrange(12):
        case 0:
            return _broken_bytes(chance, dumped)
        case 1:
            literal = chance.choice(LITERALS).encode()
            return dumped.replace(chance.choice((b"0.5", b"1", b"null", b'"a"', b"0")), literal, 1)
        case 2:
            return chance.choice((b"\xef\xbb\xbf", b" ", b"[", b"\0")) + dumped
        case 3:
            return dumped[:-1] + b"," + dumped[1:]  # every field twice
        case _:
            return dumped


def _changed(chance: random.Random, value: Any) -> Any:
    """Return a document with one place in it changed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {name: part for name, part in value.items() if name != key}
            case 1:
                return {**value, chance.choice(TEXTS): _anything(chance)}
            case _:
                return {**value, key: _changed(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        match chance.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value * chance.choice((2, 50, 400))
            case _:
                return [*value[:at], _changed(chance, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and len(value) > 100:  # a picture in base64
        return _broken_base64(chance, value)
    return _anything(chance)


def _broken_base64(chance: random.Random, text: str) -> str:
    try:
        return base64.b64encode(_broken_bytes(chance, base64.b64decode(text, validate=True))).decode()
    except ValueError:
        return text[: chance.randrange(len(text))] + chance.choice(TEXTS)


def _anything(chance: random.Random, depth: int = 0) -> Any:
    match chance.randrange(8):
        case 0 | 1:
            return chance.choice(NUMBERS)
        case 2 | 3:
            return chance.choice(TEXTS)
        case 4:
            return chance.choice((None, True, False, [], {}, [[]], [{}], float("nan"), float("inf")))
        case 5 if depth < 3:
            return [_anything(chance, depth + 1) for _ in range(chance.randrange(5))]
        case 6 if depth < 3:
            return {chance.choice(TEXTS): _anything(chance, depth + 1) for _ in range(chance.randrange(4))}
        case _:
            nested: Any = 0
            for _ in range(chance.choice((3, 100, 900))):
                nested = [nested]
            return nested


def _broken_spec(chance: random.Random, form: bytes) -> bytes:
    """Change the description in a form, and leave its file."""
    head, mark, rest = form.rpartition(b'"spec"\r\n\r\n')
    spec, end, tail = rest.partition(b"\r\n--")
    return head + mark + _broken_json(chance, spec) + end + tail


def _broken_header(chance: random.Random, data: bytes) -> bytes:
    """Change the JSON at the start of a safetensors file, its length as it should be or not."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = _broken_json(chance, data[8:end])
    length = len(header) if chance.random() < 0.9 else chance.choice((0, 1, 2**63, 2**64 - 1, len(data)))
    return length.to_bytes(8, "little") + header + data[end:]
