"""`python -m app serve`: the service on uvicorn, draining on SIGTERM."""

import asyncio
import ctypes
import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import structlog
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app.api.context import Context
from app.commands.protocol import ProblemProtocol
from app.main import create_app, make_context
from app.settings import Settings, misspelt
from app.telemetry import configure_logging
from innerloop.errors import InnerloopError

DEVICE_GONE_STATUS = 70
"""Of a process that ended because its device failed: EX_SOFTWARE, so that a supervisor starts another."""
LINGER_SECONDS = 2.0
"""A service without a device answers so long that it has none: what waited is told, and /readyz is seen to say so."""
LAST_ANSWERS_SECONDS = 3
HARD_END_SECONDS = 30.0
"""A driver may never return from a call to a device that is gone: so long after, the process ends in any case."""

M_ARENA_MAX = -8
"""The parameter of glibc's mallopt."""
NUM_ARENAS = 2

log = structlog.get_logger()


def read_settings() -> Settings:
    """Return the settings of the environment; ends with status 2 and a line for each wrong one."""
    try:
        settings = Settings()
    except ValidationError as error:
        for item in error.errors():
            name = ".".join(map(str, item["loc"])).upper()
            typer.echo(f"error: {name + ': ' if name else ''}{item['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from error
    for name, meant in misspelt(os.environ).items():
        typer.echo(f"warning: {name} is no setting; {meant} is", err=True)
    return settings


def keep_private() -> None:
    """See to it that files and folders that this process makes from now on are its user's alone.

    What is stored are rows and weights of others; SQLite asks for nothing narrower than what everybody may read.
    """
    os.umask(0o077)


def serve() -> None:
    """Serve over HTTP; settings come from the environment, see README.md."""
    settings = read_settings()
    keep_private()
    configure_logging(settings.log_format, settings.log_level)
    _few_arenas()
    _check_address(settings)
    try:
        context = make_context(settings)
    except (InnerloopError, ValueError) as error:
        typer.echo(f"error: the service cannot start: {error}", err=True)
        raise typer.Exit(1) from error
    server = DrainingServer(create_app(context), context)
    _calm_collector()
    server.run()
    if not server.started:
        raise typer.Exit(1)
    if context.engine.failure:
        raise typer.Exit(DEVICE_GONE_STATUS)


def _few_arenas() -> None:
    """Keep glibc from holding free memory for each thread: what one has freed, another then uses.

    By default threads get an arena each, up to eight a core, and what is free in one stays there.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, NUM_ARENAS)


def _calm_collector() -> None:
    """Keep collections of cyclic garbage short: each one stops every request.

    What is there now stays, all of torch among it: half a second a collection. Those of what is young are short, and
    come as often as by default. Full ones, at that rate, took 65 ms of every 400 with a cache of 30 000 tasks: what
    requests leave behind goes by counting references, and the rest waits for the collection of `_purge_forever`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 10_000)


def _check_address(settings: Settings) -> None:
    """End with status 1 and a line when the address cannot be listened on: before anything was loaded."""
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        typer.echo(f"error: cannot listen on {where}: {error.strerror}; choose another by PORT or HOST", err=True)
        raise typer.Exit(1) from error


class DrainingServer(uvicorn.Server):
    """Stops in two steps: first not ready but still serving, then no new connections and the last answers."""

    def __init__(self, app: FastAPI, context: Context) -> None:
        settings = context.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=ProblemProtocol,
                ws="none",
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks for a caller's address
                timeout_graceful_shutdown=settings.drain_timeout_seconds,
            )
        )
        self._context = context
        self._is_failing = False

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether to stop: also when the device has failed."""
        if self._context.engine.failure and not self._is_failing:
            self._is_failing = True
            self._end_without_device(self._context.engine.failure)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            log.info("serving", url=f"http://{host}:{port}", docs=f"http://{host}:{port}/docs")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT, and end with status 0: uvicorn's own would raise the signal again.

        The loop calls the handler between two callbacks: called inside whatever the signal interrupts, it could wait
        for ever for a lock that the interrupted function holds, that of the log among them.
        """
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self.handle_exit, sig, None)
        try:
            yield
        finally:
            for sig in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(sig)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Say that the service drains and stop after the delay; at once by Ctrl-C, by force by a second one.

        A second SIGTERM changes nothing: make and process managers send it to the group and to the child.
        """
        delay = self._context.settings.drain_delay_seconds
        if self._context.draining:
            if sig == signal.SIGINT:
                self.force_exit = self.should_exit
                self.should_exit = True
            return
        self._context.draining = True
        if self._context.worker:
            self._context.worker.stop()
        log.info("draining", delay_seconds=delay)
        if sig == signal.SIGINT or not delay:
            self.should_exit = True
        else:
            asyncio.get_running_loop().call_later(delay, self._exit)

    def _end_without_device(self, failure: str) -> None:
        """Stop soon: nothing can be computed here any more, and another process may find the device well."""
        log.error("the service ends", reason=failure, seconds=LINGER_SECONDS)
        self.config.timeout_graceful_shutdown = LAST_ANSWERS_SECONDS
        self._context.draining = True
        if self._context.worker:
            self._context.worker.stop()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._exit)
        end = threading.Timer(HARD_END_SECONDS, os._exit, [DEVICE_GONE_STATUS])
        end.daemon = True
        end.start()

    def _exit(self) -> None:
        self.should_exit = True
