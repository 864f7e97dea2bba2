"""A signal that comes at the worst moment: while the thread it interrupts writes a line of the log."""

import subprocess
import sys

from app.settings import REPOSITORY

SCRIPT = """
import asyncio, os, signal, sys
from types import SimpleNamespace

import structlog
from app.commands.serve import DrainingServer

class Interrupted:
    def write(self, text):
        if "in the middle" in text:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # handlers of Python run between two steps of the interpreter
                pass
        return sys.stderr.write(text)
    def flush(self):
        sys.stderr.flush()

structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=Interrupted()))
settings = SimpleNamespace(host="127.0.0.1", port=0, drain_delay_seconds=0.0, drain_timeout_seconds=1)
context = SimpleNamespace(settings=settings, draining=False, worker=None)
server = DrainingServer(None, context)

async def main():
    with server.capture_signals():
        structlog.get_logger().info("in the middle")
        await asyncio.sleep(0.1)
    print(context.draining, server.should_exit)

asyncio.run(main())
"""


def test_signal_that_interrupts_a_log_line_drains_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
