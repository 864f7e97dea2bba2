"""Log lines: one shape for all, and the request's id on each that is written for a request."""

import json
import subprocess
import sys

import pytest

from app.settings import REPOSITORY

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
