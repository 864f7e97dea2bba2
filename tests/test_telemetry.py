"""Log lines: one shape for all, and the request's id on each that is written for a request."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.bearer_keys import new_key
from app.settings import REPOSITORY
from app.telemetry import coloured_line, text_line

HEAD = {"timestamp": "2026-11-21T21:00:00Z", "level": "info"}
WITHOUT_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

SCRIPT = """
import asyncio, logging, sys, warnings
import structlog
from anyio import to_thread
from app.current_request import enter, leave
from app.telemetry import configure_logging

configure_logging(sys.argv[1], "INFO")
log = structlog.get_logger()

def blocking(number):
    log.warning("from a thread", number=number)
    logging.getLogger("library").warning("from %s", "a library")

async def request(number):
    entered = enter(f"request-{number}")
    log.info("on the loop", number=number)
    await to_thread.run_sync(blocking, number)
    warnings.warn(f"deprecated {number}")
    rows = "of-a" + "-caller"
    try:
        raise ValueError("gone wrong")
    except ValueError:
        logging.getLogger("library").exception("failed")
    leave(entered)
    log.info("after it")

async def main():
    await asyncio.gather(request(1), request(2))
    log.info("named by hand", request_id="request-3")

asyncio.run(main())
"""


def logged(log_format: str) -> str:
    command = [sys.executable, "-c", SCRIPT, log_format]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_every_line_for_a_request_has_its_id_and_no_other_line_has_one() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    for number in (1, 2):
        own = [line["event"] for line in lines if line.get("request_id") == f"request-{number}"]
        assert own[:3] == ["on the loop", "from a thread", "from a library"]
        assert f"deprecated {number}" in own[3]
        assert own[4:] == ["failed"]
    assert [line["event"] for line in lines if "request_id" not in line] == ["after it", "after it"]
    assert lines[-1]["request_id"] == "request-3"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_tells_where_and_not_what_the_variables_held(log_format: str) -> None:
    lines = logged(log_format)
    assert lines.count("ValueError: gone wrong") == 2
    assert "Traceback (most recent call last)" in lines
    assert "of-a-caller" not in lines


def test_lines_of_libraries_have_the_shape_of_ours() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    (first, second) = [line for line in lines if line["event"] == "failed"]
    assert first["level"] == second["level"] == "error"
    assert first["logger"] == "library"
    assert "ValueError: gone wrong" in first["exception"]
    assert all({"timestamp", "level", "event"} <= line.keys() for line in lines)
    assert "from a library logger=library request_id=request-1" in logged("text")


QUOTED = r'"(?:[^"\\]|\\.)*"'
FIELD = re.compile(rf" ([a-z_]+)=({QUOTED}|[^ \"=\\]+)")
LINE = re.compile(rf"(\S+) \[([a-z]+)\] ({QUOTED}|[^\"=\\]*?)((?:{FIELD.pattern})*)")
NOTHING_ELSE = re.compile(r"[ -~]*")
"""Printable ASCII: neither ends of lines, whatever a reader takes for one, nor commands to a terminal."""


def read_back(line: str) -> tuple[str, dict[str, str]]:
    """Return what a line of format `text` says happened, and its fields."""

    def text(shown: str) -> str:
        return str(json.loads(shown)) if shown.startswith('"') else shown

    found = LINE.fullmatch(line)
    assert found, line
    return text(found[3]), {name: text(value) for name, value in FIELD.findall(found[4])}


FORGED = "/x\n2026-11-21T21:00:00Z [info] request method=DELETE path=/tasks/a status=204 tenant=bob\x1b[31m"


@given(
    st.text() | st.sampled_from([FORGED, "/a b", '/a" path="/b', "/a=b", "\x7f", "\x9b31m", "\u2028", "\r", "é", ""])
)
@example(FORGED)
def test_any_path_makes_one_line_that_is_read_back(path: str) -> None:
    line = text_line(None, "info", {**HEAD, "event": "request", "method": "GET", "path": path, "status": 404})
    assert NOTHING_ELSE.fullmatch(line)
    assert read_back(line) == ("request", {"method": "GET", "path": path, "status": "404"})


@given(st.text(min_size=1), st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.text(), max_size=4))
def test_what_libraries_say_and_any_fields_are_read_back(event: str, fields: dict[str, str]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("exception", "event", "level", "timestamp")}
    line = text_line(None, "info", {**HEAD, "event": event, **fields})
    assert NOTHING_ELSE.fullmatch(line)
    assert read_back(line) == (event, fields)


@given(st.text() | st.just(FORGED))
def test_no_text_in_a_trace_looks_like_a_line(text: str) -> None:
    for render in (text_line, coloured_line):
        shown = render(None, "error", {**HEAD, "event": "failed", "exception": f"Traceback:\nValueError: {text}"})
        first, *trace = WITHOUT_COLOURS.sub("", shown).split("\n")
        assert "failed" in first
        assert trace
        assert all(line.isprintable() for line in [first, *trace])
        assert all(line.startswith("    ") for line in trace if line)


@given(st.text() | st.just(FORGED))
def test_on_a_terminal_a_path_is_one_line_without_commands(path: str) -> None:
    shown = WITHOUT_COLOURS.sub("", coloured_line(None, "info", {**HEAD, "event": "request", "path": path}))
    assert NOTHING_ELSE.fullmatch(shown)
    assert path in shown or json.dumps(path).replace("\x7f", "\\u007f") in shown


def test_plain_values_stand_as_they_are() -> None:
    line = text_line(None, "info", {**HEAD, "event": "no memory left", "path": "/tasks/a-1", "ms": 0.25, "why": "a b"})
    assert line == '2026-11-21T21:00:00Z [info] no memory left path=/tasks/a-1 ms=0.25 why="a b"'


REQUESTS = """
import asyncio, sys
from pathlib import Path
from app.telemetry import configure_logging
from tests.api.test_api_batched import served

async def main(log_format, folder, path):
    configure_logging(log_format, "INFO")
    async with served(Path(folder)) as (http, _):
        for method in ("GET", "DELETE"):
            assert (await http.request(method, path)).status_code == 404

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nobody_writes_a_second_line_by_a_path(log_format: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", REQUESTS, log_format, str(tmp_path), quote(FORGED)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "DELETE" in line]
    assert len(lines) == 2
    assert "\x1b" not in done.stderr
    shown = [read_back(line)[1] if log_format == "text" else json.loads(line) for line in lines]
    assert [(line["method"], line["path"]) for line in shown] == [("GET", FORGED), ("DELETE", FORGED)]


SAYING_A_KEY = """
import logging, sys, warnings
import structlog
from app.telemetry import configure_logging

configure_logging(sys.argv[1], "INFO")
key = sys.argv[2]
structlog.get_logger().info("said", model=key, reason=f"no task {key!r}", many=[key, {key: key}], cut=key[:40])
logging.getLogger("library").warning("a library says %s", key)
warnings.warn(f"a warning of {key}")
try:
    raise ValueError(f"an error with {key}")
except ValueError:
    structlog.get_logger().exception("failed")
structlog.get_logger().error("end", last=1)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_has_a_key_wherever_it_comes_from(log_format: str) -> None:
    key = new_key()
    done = subprocess.run(
        [sys.executable, "-c", SAYING_A_KEY, log_format, key.text],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for said in ("said", "a library says", "a warning of", "an error with", "last"):
        assert said in done.stderr
    assert done.stderr.count(f"il_{key.key_id}_...") >= 8
    assert key.text[16:26] not in done.stderr
