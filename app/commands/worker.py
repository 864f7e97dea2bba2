"""`python -m app worker`: meta-training jobs from the store, without HTTP."""

import signal
import threading
from types import FrameType
from typing import Annotated

import structlog
import typer

from app.commands.serve import keep_private, read_settings
from app.main import make_worker, opened_store
from app.telemetry import configure_logging
from innerloop.errors import InnerloopError

log = structlog.get_logger()


def worker(
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; TRAINING_DEVICE if absent.")] = None,
) -> None:
    """Work on meta-training jobs of the store that DATA_DIR or DATABASE_URL names, until SIGTERM or Ctrl-C.

    Any number of workers may share a store. The job at hand writes a checkpoint and goes back to the queue.
    """
    settings = read_settings()
    keep_private()
    if device:
        settings = settings.model_copy(update={"training_device": device})
    configure_logging(settings.log_format, settings.log_level)
    try:
        store = opened_store(settings)
        jobs = make_worker(settings, store)
    except (InnerloopError, ValueError) as error:
        typer.echo(f"error: the worker cannot start: {error}", err=True)
        raise typer.Exit(1) from error

    def stop(sig: int, frame: FrameType | None) -> None:
        # Not here: the thread that is interrupted may hold the lock that stopping takes.
        threading.Thread(target=jobs.stop).start()

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    log.info("working on meta-training jobs", worker=jobs.name)
    jobs.run()
    store.close()
